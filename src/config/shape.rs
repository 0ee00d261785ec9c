//! What a key accepts, as data: the JSON Schema, the reference and the environment's variables are made from it.
//!
//! Decision: `docs/decisions/23-reload.md`.

use serde_yaml::Value as Yaml;

/// The kind of value that a key accepts.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A whole number above 0.
    Count,
    /// A size in bytes.
    Size,
    /// A time.
    Duration,
    /// A number from 0 to 1.
    Share,
    /// One of these words, each with its meaning.
    Words(Vec<(&'static str, String)>),
    /// Text of this form, such as `URL`.
    Text(&'static str),
    /// A list; a single value may stand alone.
    List(Box<Shape>),
    /// A mapping with these keys.
    Section(Vec<KeyDescription>),
    /// A mapping whose keys are names of the operator's choice.
    Named(Box<Shape>),
    /// Either of two.
    Either(Box<Shape>, Box<Shape>),
    /// `null` or this.
    Optional(Box<Shape>),
    /// Whatever Pingora accepts there.
    Pingoras,
}

impl Shape {
    /// The keys of a section, of what a list or a mapping of names holds, or of either of two.
    pub(super) fn keys(&self) -> &[KeyDescription] {
        match self {
            Self::Section(keys) => keys,
            Self::List(inner) | Self::Named(inner) | Self::Optional(inner) => inner.keys(),
            Self::Either(one, other) if one.keys().is_empty() => other.keys(),
            Self::Either(one, _) => one.keys(),
            Self::Flag
            | Self::Count
            | Self::Size
            | Self::Duration
            | Self::Share
            | Self::Words(_)
            | Self::Text(_)
            | Self::Pingoras => &[],
        }
    }
}

/// Everything about a key that its declaration says.
#[derive(Debug, Clone)]
pub(super) struct KeyDescription {
    pub(super) name: String,
    /// One or more sentences.
    pub(super) text: String,
    pub(super) shape: Shape,
    /// What holds where the key is absent.
    pub(super) default: Yaml,
    /// What `default` does not say: where a derived default comes from.
    pub(super) derived: Option<&'static str>,
    /// The least and the most value, as they are written.
    pub(super) bounds: (Option<String>, Option<String>),
    /// What a number counts.
    pub(super) unit: Option<&'static str>,
    /// Whether the key must be written, with an example.
    pub(super) required: Option<&'static str>,
    /// The environment variable that overrides the key.
    pub(super) variable: Option<&'static str>,
    pub(super) visibility: Visibility,
    /// Whether a change takes effect only in a new process.
    pub(super) restart: bool,
}

/// Where a key is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// In the file and in the effective configuration.
    Everywhere,
    /// In the file. The effective configuration shows the keys for which it stands.
    Shorthand,
    /// In neither: only its environment variable sets it.
    VariableOnly,
}

/// The values that a running process keeps, each with its path; what has changed in it takes a new process.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RestartRequired(Vec<(String, Yaml)>);

impl RestartRequired {
    pub(super) fn push(&mut self, path: &str, value: Yaml) {
        self.0.push((path.to_owned(), value));
    }

    /// The values of the elements of one list, in no particular order.
    pub(super) fn push_list(&mut self, path: &str, elements: Vec<Self>) {
        let mut elements: Vec<Vec<(String, Yaml)>> = elements.into_iter().map(|element| element.0).collect();
        if elements.iter().all(Vec::is_empty) {
            return;
        }
        elements.sort_by_key(|element| format!("{element:?}"));
        let text = elements.into_iter().map(|element| format!("{element:?}").into()).collect::<Vec<Yaml>>();
        self.push(path, text.into());
    }

    /// The paths of the keys whose value in `new` is another one.
    #[must_use]
    pub(crate) fn changed(&self, new: &Self) -> Vec<String> {
        let value = |of: &Self, path: &str| of.0.iter().find(|(other, _)| other == path).map(|(_, value)| value.clone());
        let paths = self.0.iter().chain(&new.0).map(|(path, _)| path);
        let mut changed: Vec<String> = Vec::new();
        for path in paths {
            if value(self, path) != value(new, path) && !changed.contains(path) {
                changed.push(path.clone());
            }
        }
        changed
    }
}

//! One declaration a key: its type, default, bounds and documentation. Reading, the default, the effective configuration,
//! the JSON Schema and the reference all come from it.
//!
//! ```text
//! section! {
//!     /// What a client's connection may use.
//!     #[derive(Debug, Clone, PartialEq)]
//!     pub struct Limits {
//!         /// The largest request head: request line and header fields together.
//!         request_head: usize = 64 * 1024, between(1024, 1024 * 1024);
//!         /// The most requests on one connection before it is closed.
//!         keepalive_requests: u32 = 10_000, unit("requests"), restart();
//!     }
//!     check Limits::check
//! }
//! ```
//!
//! The clauses behind a default are methods of [`Declaration`]. The keys of a `flat` field stand in the section itself.
//! `check` names a function `(Self, &Section, &mut Findings) -> Option<Self>` for rules between keys.
//!
//! Decision: `docs/decisions/22-configuration.md`.

use serde_yaml::{Mapping, Value as Yaml};

use super::node::Value;
use super::problem::{Findings, did_you_mean, shown};
use super::section::Section;
use super::setting::Setting;
use super::shape::{KeyDescription, RestartRequired, Shape, Visibility};

/// A section: a set of declared keys.
pub(super) trait Members: Sized {
    /// The keys.
    fn keys() -> Vec<KeyDescription>;

    /// Reads the keys of an open section; a key with a problem gets its default.
    fn read_members(section: &Section<'_>, findings: &mut Findings) -> Option<Self>;

    /// Writes the keys.
    fn write_members(&self, mapping: &mut Mapping);

    /// Adds what a running process keeps of the keys.
    fn members_kept(&self, path: &str, kept: &mut RestartRequired);
}

/// What is declared of one key.
pub(super) struct Declaration<T> {
    name: &'static str,
    text: &'static str,
    default: T,
    derived: Option<&'static str>,
    least: Option<T>,
    most: Option<T>,
    in_order: fn(&T, &T) -> bool,
    unit: Option<&'static str>,
    example: Option<&'static str>,
    required: Option<&'static str>,
    variable: Option<&'static str>,
    visibility: Visibility,
    restart: bool,
}

impl<T: Setting> Declaration<T> {
    /// A key that may be left out.
    pub(super) fn new(name: &'static str, text: &'static str, default: T) -> Self {
        Self {
            name,
            text,
            default,
            derived: None,
            least: None,
            most: None,
            in_order: |_, _| true,
            unit: None,
            example: None,
            required: None,
            variable: None,
            visibility: Visibility::Everywhere,
            restart: false,
        }
    }

    /// Says where the value comes from when the key is absent, for a default that is worked out.
    pub(super) fn derived(self, derived: &'static str) -> Self {
        Self { derived: Some(derived), ..self }
    }

    /// Bounds the value, both bounds included.
    pub(super) fn between(self, least: T, most: T) -> Self
    where
        T: PartialOrd,
    {
        Self { least: Some(least), most: Some(most), in_order: |one, other| one <= other, ..self }
    }

    /// Bounds the value from above; the bound is included.
    pub(super) fn at_most(self, most: T) -> Self
    where
        T: PartialOrd,
    {
        Self { most: Some(most), in_order: |one, other| one <= other, ..self }
    }

    /// Says what a number counts.
    pub(super) fn unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Shows how the value is written, in the remedy of a problem that has none of its own.
    pub(super) fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// Makes it an error to leave the key out or blank; `example` is what could be written.
    pub(super) fn required(self, example: &'static str) -> Self {
        Self { required: Some(example), ..self }
    }

    /// Names the environment variable that overrides the key.
    pub(super) fn variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    /// Takes the key out of the file: only its variable sets it.
    pub(super) fn variable_only(self) -> Self {
        Self { visibility: Visibility::VariableOnly, ..self }
    }

    /// Takes the key out of the effective configuration, which shows the keys for which it stands.
    pub(super) fn shorthand(self) -> Self {
        Self { visibility: Visibility::Shorthand, ..self }
    }

    /// Marks a key whose change takes effect only in a new process.
    pub(super) fn restart(self) -> Self {
        Self { restart: true, ..self }
    }

    /// Reads the key from its section.
    pub(super) fn read(self, section: &Section<'_>, findings: &mut Findings) -> T {
        self.written(section, findings).unwrap_or(self.default)
    }

    fn written(&self, section: &Section<'_>, findings: &mut Findings) -> Option<T> {
        if !section.has(self.name) {
            self.report_missing(section, "is missing", findings);
            return None;
        }
        let (node, place) = section.raw(self.name)?;
        if node.value == Value::Null && (self.required.is_some() || !T::NULL_IS_A_VALUE) {
            self.report_missing(section, "is left blank", findings);
            return None;
        }
        let before = findings.problems.len();
        let value = T::read(node, &place, findings);
        if let Some(example) = self.example {
            let own = findings.problems.iter_mut().skip(before).filter(|problem| !problem.place.is_member_of(&place));
            for problem in own.filter(|problem| problem.remedy.is_none()) {
                problem.remedy = Some(format!("write it like  {example}"));
            }
        }
        value.filter(|value| {
            let outside = self.outside(value);
            if let Some(message) = &outside {
                let problem = place.problem(message.clone());
                findings.problem(match self.example {
                    Some(example) => problem.remedy(format!("write it like  {example}")),
                    None => problem.remedy(format!("the default is {}", scalar(&self.default.to_yaml()))),
                });
            }
            outside.is_none()
        })
    }

    fn outside(&self, value: &T) -> Option<String> {
        let below = self.least.as_ref().is_some_and(|least| !(self.in_order)(least, value));
        let above = self.most.as_ref().is_some_and(|most| !(self.in_order)(value, most));
        let text = |value: &T| scalar(&value.to_yaml());
        match (&self.least, &self.most) {
            (Some(least), Some(most)) if below || above => Some(format!("is outside {} to {}", text(least), text(most))),
            (None, Some(most)) if above => Some(format!("`{}` is above {}", text(value), text(most))),
            _ => None,
        }
    }

    fn report_missing(&self, section: &Section<'_>, what: &str, findings: &mut Findings) {
        let Some(example) = self.required else { return };
        let name = self.name;
        // A key that a variable can set is named by its full path, the others by the section that lacks them.
        let (place, message) = match self.variable {
            Some(_) => (section.place_of(name), what.to_owned()),
            None => (section.place.clone(), format!("`{name}` {what}")),
        };
        let or_variable = match self.variable {
            Some(variable) if section.is_default_site() => format!(", or set {variable}"),
            _ => String::new(),
        };
        findings.problem(place.problem(message).remedy(format!("write  {name}: {example}{or_variable}")));
    }

    /// Everything that is declared, as data.
    pub(super) fn describe(self) -> KeyDescription {
        let text = |bound: Option<T>| bound.map(|bound| scalar(&bound.to_yaml()));
        KeyDescription {
            name: self.name.to_owned(),
            text: self.text.trim().to_owned(),
            shape: T::shape(),
            default: self.default.to_yaml(),
            derived: self.derived,
            bounds: (text(self.least), text(self.most)),
            unit: self.unit,
            required: self.required,
            variable: self.variable,
            visibility: self.visibility,
            restart: self.restart,
        }
    }

    /// Writes a value of this key.
    pub(super) fn write(&self, value: &T, mapping: &mut Mapping) {
        if self.visibility == Visibility::Everywhere {
            mapping.insert(self.name.into(), value.to_yaml());
        }
    }

    /// Adds what a running process keeps of a value of this key.
    pub(super) fn kept(&self, value: &T, path: &str, kept: &mut RestartRequired) {
        let path = if path.is_empty() { self.name.to_owned() } else { format!("{path}.{}", self.name) };
        if self.restart { kept.push(&path, value.to_yaml()) } else { value.restart_required(&path, kept) }
    }

    /// What holds where the key is absent.
    pub(super) fn into_default(self) -> T {
        self.default
    }
}

/// A value of one of a set of words.
///
/// # Errors
/// A problem that names the words, or the one that was probably meant.
pub(super) fn word<T: Copy>(written: &str, words: &[(&str, T)]) -> Result<T, (String, String)> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("`{}` is not one of {}", shown(written), names.join(", "));
    Err((
        message,
        match did_you_mean(written, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write {}", names.join(" or ")),
        },
    ))
}

/// A value on one line, as YAML writes it.
pub(super) fn scalar(value: &Yaml) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_owned()
}

/// The shape of a section.
pub(super) fn section_shape<T: Members>() -> Shape {
    Shape::Section(T::keys())
}

/// Declares a section; see the [module](self).
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $Section:ident {
            $(
                $(#[doc = $text:literal])+
                $key:ident: $Type:ty = $default:expr $(, $clause:ident($($argument:expr),*))*;
            )*
            $( flat $flat:ident: $Flat:ty; )*
        }
        $(check $check:path)?
    ) => {
        $(#[$attribute])*
        $visibility struct $Section {
            $( $(#[doc = $text])+ $visibility $key: $Type, )*
            $( #[doc = concat!("The keys of [`", stringify!($Flat), "`].")] $visibility $flat: $Flat, )*
        }

        impl Default for $Section {
            fn default() -> Self {
                Self {
                    $( $key: section!(@declared $key: $Type = $default, [$($text)+] $(, $clause($($argument),*))*).into_default(), )*
                    $( $flat: Default::default(), )*
                }
            }
        }

        impl $crate::config::declaration::Members for $Section {
            fn keys() -> Vec<$crate::config::shape::KeyDescription> {
                #[allow(unused_mut, reason = "a section without flat fields adds nothing")]
                let mut keys = vec![
                    $( section!(@declared $key: $Type = $default, [$($text)+] $(, $clause($($argument),*))*).describe(), )*
                ];
                $( keys.extend(<$Flat as $crate::config::declaration::Members>::keys()); )*
                keys
            }

            fn read_members(
                section: &$crate::config::section::Section<'_>,
                findings: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                let read = Self {
                    $( $key: section!(@declared $key: $Type = $default, [$($text)+] $(, $clause($($argument),*))*)
                        .read(section, findings), )*
                    $( $flat: <$Flat as $crate::config::declaration::Members>::read_members(section, findings)?, )*
                };
                $( let read = $check(read, section, findings)?; )?
                Some(read)
            }

            fn write_members(&self, mapping: &mut serde_yaml::Mapping) {
                $( section!(@declared $key: $Type = $default, [$($text)+] $(, $clause($($argument),*))*)
                    .write(&self.$key, mapping); )*
                $( self.$flat.write_members(mapping); )*
            }

            fn members_kept(&self, path: &str, kept: &mut $crate::config::shape::RestartRequired) {
                $( section!(@declared $key: $Type = $default, [$($text)+] $(, $clause($($argument),*))*)
                    .kept(&self.$key, path, kept); )*
                $( self.$flat.members_kept(path, kept); )*
            }
        }

        impl $crate::config::setting::Setting for $Section {
            fn shape() -> $crate::config::shape::Shape {
                $crate::config::declaration::section_shape::<Self>()
            }

            fn read(
                node: &$crate::config::node::Node,
                place: &$crate::config::problem::Place,
                findings: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                let keys = <Self as $crate::config::declaration::Members>::keys();
                let section = $crate::config::section::Section::open(node, place, &keys, findings)?;
                $crate::config::declaration::Members::read_members(&section, findings)
            }

            fn to_yaml(&self) -> serde_yaml::Value {
                let mut mapping = serde_yaml::Mapping::new();
                $crate::config::declaration::Members::write_members(self, &mut mapping);
                serde_yaml::Value::Mapping(mapping)
            }

            fn restart_required(&self, path: &str, kept: &mut $crate::config::shape::RestartRequired) {
                $crate::config::declaration::Members::members_kept(self, path, kept);
            }
        }
    };

    (@declared $key:ident: $Type:ty = $default:expr, [$($text:literal)+] $(, $clause:ident($($argument:expr),*))*) => {
        $crate::config::declaration::Declaration::<$Type>::new(stringify!($key), concat!($($text),+), $default)
            $(.$clause($($argument),*))*
    };
}

/// Declares an enum whose values are words of the configuration.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $Words:ident {
            $( $(#[doc = $text:literal])+ $Variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $Words {
            $( $(#[doc = $text])+ $Variant, )+
        }

        impl $crate::config::setting::Setting for $Words {
            fn shape() -> $crate::config::shape::Shape {
                $crate::config::shape::Shape::Words(vec![$( ($word, concat!($($text),+).trim().to_owned()), )+])
            }

            fn read(
                node: &$crate::config::node::Node,
                place: &$crate::config::problem::Place,
                findings: &mut $crate::config::problem::Findings,
            ) -> Option<Self> {
                let written = $crate::config::section::text(node, place.clone(), findings)?.value;
                $crate::config::declaration::word(&written, &[$( ($word, Self::$Variant), )+])
                    .map_err(|(message, remedy)| findings.problem(place.problem(message).remedy(remedy)))
                    .ok()
            }

            fn to_yaml(&self) -> serde_yaml::Value {
                match self { $( Self::$Variant => $word.into(), )+ }
            }
        }
    };
}

pub(super) use {section, words};

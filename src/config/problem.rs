//! Problems of a configuration: where, what, and what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::observe::safe_text::is_unshowable;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The YAML file.
    File(Arc<Path>),
    /// The process environment.
    Environment,
    /// The file given with `--env-file`.
    EnvFile(Arc<Path>),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::EnvFile(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A position in a text file; both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value's address: its source, and the YAML path or the variable's name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, or the environment.
    pub source: Source,
    /// The position in the file, where it is known.
    pub mark: Option<Mark>,
    /// `sites.default.scopes[1]`, `OEMR_BASE`; empty for the source as a whole.
    pub key: String,
}

impl Place {
    /// Returns the place of a source as a whole.
    #[must_use]
    pub(crate) fn whole(source: Source) -> Self {
        Self { source, mark: None, key: String::new() }
    }

    /// Returns the place of the member `name` of this mapping, at the mapping's own position.
    #[must_use]
    pub(crate) fn member(&self, name: &str) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self { key: format!("{}{dot}{}", self.key, shown(name)), ..self.clone() }
    }

    /// Returns the place of the element `index` of this list, at the list's own position.
    #[must_use]
    pub(crate) fn element(&self, index: usize) -> Self {
        Self { key: format!("{}[{index}]", self.key), ..self.clone() }
    }

    /// Returns the same address at this position, if there is one.
    #[must_use]
    pub(crate) fn at(self, mark: impl Into<Option<Mark>>) -> Self {
        Self { mark: mark.into().or(self.mark), ..self }
    }

    /// Whether this is the address of a key in the mapping `outer`.
    pub(super) fn is_member_of(&self, outer: &Self) -> bool {
        self.key.strip_prefix(&outer.key).is_some_and(|rest| rest.contains('.'))
    }

    /// Makes a problem of this place.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { place: self.clone(), message: message.into(), remedy: None }
    }
}

impl fmt::Display for Place {
    /// Writes `conf/gateway.yaml:7:5: sites.default.scopes`, which editors and terminals can follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some(mark) = self.mark {
            write!(f, ":{mark}")?;
        }
        if self.key.is_empty() { Ok(()) } else { write!(f, ": {}", self.key) }
    }
}

/// A value with the place where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written<T> {
    /// The value.
    pub value: T,
    /// Its address.
    pub place: Place,
}

/// One problem: its place, a message with the wrong value, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Problem {
    /// Returns the same problem with its next step.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Problem {
    /// Writes `place: message`, and the remedy indented on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  {remedy}"),
            None => Ok(()),
        }
    }
}

/// A problem that does not keep the gateway from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning(pub Problem);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The problems and warnings found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The problems that keep the gateway from starting.
    pub problems: Vec<Problem>,
    /// The problems that do not.
    pub warnings: Vec<Warning>,
    /// The private keys that other users can read: problems or warnings, as `keys_readable_by_others` says.
    pub readable_keys: Vec<Problem>,
}

impl Findings {
    /// Adds a problem.
    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds a private key that other users can read.
    pub(super) fn readable_key(&mut self, problem: Problem) {
        self.readable_keys.push(problem);
    }

    /// Decides what the private keys that other users can read are.
    pub(super) fn settle_readable_keys(&mut self, are_accepted: bool) {
        let keys = std::mem::take(&mut self.readable_keys);
        if are_accepted {
            self.warnings.extend(keys.into_iter().map(Warning));
        } else {
            let or = "\n  or write  keys_readable_by_others: true";
            let with_switch = |problem: Problem| {
                let remedy = problem.remedy.as_deref().unwrap_or_default();
                Problem { remedy: Some(format!("{remedy}{or}")), ..problem }
            };
            self.problems.extend(keys.into_iter().map(with_switch));
        }
    }

    /// Adds a warning.
    pub(crate) fn warning(&mut self, problem: Problem) {
        self.warnings.push(Warning(problem));
    }
}

/// Returns a value as it is shown in an error: on one line, without characters that a terminal would obey, of bounded length.
#[must_use]
pub(crate) fn shown(value: &str) -> String {
    const MOST: usize = 120;
    let mut text: String = value.chars().take(MOST).map(|c| if is_unshowable(c) { '\u{fffd}' } else { c }).collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

/// Returns a path as one word of a shell's command, whole: a part of it would be another file.
#[must_use]
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if text.starts_with('-') {
        shell_word(&Path::new(".").join(path))
    } else if text.contains(is_unshowable) || path.to_str().is_none() {
        // What a terminal would not show as it is, is not to be pasted.
        "FILE".to_owned()
    } else if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns a path as written and, when that is relative, as it was resolved: `keys/a.pem (/srv/gw/keys/a.pem)`.
#[must_use]
pub(crate) fn shown_path(path: &Path) -> String {
    let written = shown(&path.display().to_string());
    match std::path::absolute(path) {
        Ok(absolute) if absolute != path => {
            format!("{written} ({})", shown(&absolute.display().to_string()))
        }
        _ => written,
    }
}

/// Returns the known name that was probably meant.
#[must_use]
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_the_terminal_shows_it() {
        let place = Place::whole(Source::File(Path::new("conf/gateway.yaml").into()));
        let problem = place
            .member("sites")
            .member("default")
            .member("scopes")
            .element(1)
            .at(Mark { line: 9, column: 7 })
            .problem("`openid` is not a system scope")
            .remedy("leave it out");
        assert_eq!(
            problem.to_string(),
            "conf/gateway.yaml:9:7: sites.default.scopes[1]: `openid` is not a system scope\n  leave it out"
        );
    }

    #[test]
    fn a_path_is_one_word_of_a_command() {
        for (path, word) in [
            ("keys/private_key.pem", "keys/private_key.pem"),
            ("my keys/a.pem", "'my keys/a.pem'"),
            ("a'b; rm -rf $HOME", r"'a'\''b; rm -rf $HOME'"),
            ("-rf", "./-rf"),
            ("a\nb", "FILE"),
            ("", "''"),
            ("~/k", "'~/k'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }

    #[test]
    fn guesses_only_what_is_near() {
        let known = ["client_id", "openemr", "scopes", "kid"];
        assert_eq!(did_you_mean("clientId", known), Some("client_id"));
        assert_eq!(did_you_mean("scope", known), Some("scopes"));
        assert_eq!(did_you_mean("kdi", known), Some("kid"));
        assert_eq!(did_you_mean("colour", known), None);
    }

    #[test]
    fn values_stay_on_one_line_and_short() {
        assert_eq!(shown("a\n\u{1b}[31mb"), "a\u{fffd}\u{fffd}[31mb");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 121);
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}', '\u{85}', '\u{feff}', '\u{e0041}'] {
            assert_eq!(shown(&format!("a{hidden}é")), "a\u{fffd}é", "{hidden:?}");
            assert_eq!(shell_word(Path::new(&format!("a{hidden}"))), "FILE");
        }
    }
}

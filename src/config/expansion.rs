//! `${NAME}` and `${NAME:-default}` in the values of an environment file.
//!
//! As Docker Compose and python-dotenv read them: a variable of the process comes before one of the file; of the file, only the
//! lines above count, so that there are no circles; what was put in is not read again; what is not set is empty. `$NAME` without
//! braces, and a `${` of another form, stand for themselves.

/// The longest value that comes of an expansion, in bytes: each line may double the one above.
const LONGEST_VALUE: usize = 64 * 1024;
/// The longest default, in characters.
const LONGEST_DEFAULT: usize = 4096;
/// How deep defaults may stand in defaults.
const DEEPEST: usize = 16;

/// A value is longer than `LONGEST_VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Expands one value.
pub(super) struct Expansion<'v> {
    /// The variable of a name, if it is set and not empty.
    lookup: &'v dyn Fn(&str) -> Option<&'v str>,
    value: String,
    unset: Vec<String>,
}

impl<'v> Expansion<'v> {
    /// An expansion with the variables that `lookup` knows.
    pub(super) fn new(lookup: &'v dyn Fn(&str) -> Option<&'v str>) -> Self {
        Self { lookup, value: String::new(), unset: Vec::new() }
    }

    /// Adds a character that stands for itself.
    pub(super) fn literal(&mut self, c: char) {
        self.value.push(c);
    }

    /// Adds what a text begins with: a reference, or else one character. Returns the rest.
    pub(super) fn take<'t>(&mut self, text: &'t str) -> Result<&'t str, TooLong> {
        self.take_within(text, 0)
    }

    /// Adds a whole text.
    pub(super) fn take_all(&mut self, text: &str) -> Result<(), TooLong> {
        self.take_all_within(text, 0)
    }

    /// The value, and the names that had no value and no default.
    pub(super) fn end(self) -> (String, Vec<String>) {
        (self.value, self.unset)
    }

    fn take_all_within(&mut self, mut text: &str, depth: usize) -> Result<(), TooLong> {
        while !text.is_empty() {
            text = self.take_within(text, depth)?;
        }
        Ok(())
    }

    fn take_within<'t>(&mut self, text: &'t str, depth: usize) -> Result<&'t str, TooLong> {
        let Some(reference) = (depth < DEEPEST).then(|| Reference::at_start(text)).flatten() else {
            let mut rest = text.chars();
            self.value.extend(rest.next());
            return Ok(rest.as_str());
        };
        match ((self.lookup)(reference.name), reference.default) {
            (Some(value), _) => self.value.push_str(value),
            (None, Some(default)) => self.take_all_within(default, depth + 1)?,
            (None, None) => self.unset.push(reference.name.to_owned()),
        }
        if self.value.len() > LONGEST_VALUE { Err(TooLong) } else { Ok(reference.rest) }
    }
}

/// Whether a text is a name that a shell accepts.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A reference to a variable.
struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
    rest: &'t str,
}

impl<'t> Reference<'t> {
    fn at_start(text: &'t str) -> Option<Self> {
        let inside = text.strip_prefix("${")?;
        let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        let (name, after) = inside.split_at(end);
        if !is_name(name) {
            return None;
        }
        if let Some(rest) = after.strip_prefix('}') {
            return Some(Self { name, default: None, rest });
        }
        let after = after.strip_prefix(":-").or_else(|| after.strip_prefix('-'))?;
        let (default, rest) = after.split_at(closing_brace(after)?);
        Some(Self { name, default: Some(default), rest: rest.strip_prefix('}')? })
    }
}

/// Where the brace is that closes a default, in which there may be further references.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut open, mut before) = (0_usize, ' ');
    for (index, c) in text.char_indices().take(LONGEST_DEFAULT) {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(index),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

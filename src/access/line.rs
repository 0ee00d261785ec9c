//! The lines of the configuration that decisions rest on.

use std::fmt;

/// A line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Line {
    /// The key, such as `access.policies.lab-feed.scopes[0]`.
    pub(crate) key: String,
    /// The number of the line in the file, from 1; `None` for what no file says.
    pub(crate) number: Option<usize>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{} (line {number})", self.key),
            None => f.write_str(&self.key),
        }
    }
}

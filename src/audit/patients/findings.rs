//! What was found in a body.

use super::distinct::Distinct;
use crate::audit::record::Text;

/// What was found until now.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Those that were told.
    pub(super) distinct: Distinct,
    /// The ids that nobody has taken yet.
    pub(super) fresh: Vec<Text>,
    /// Whether there was a patient at all.
    pub(super) any: bool,
    /// Bundle entries with a resource, at any depth.
    pub(super) entries: u64,
    /// Whether a part could not be read, or is about patients whom it does not name.
    pub(super) is_unknown: bool,
    /// Whether a resource is about the patients of others, which it does not name.
    pub(super) is_dependent: bool,
}

impl Findings {
    /// Tells a patient, unless it was told.
    pub(super) fn tell(&mut self, id: &[u8]) {
        self.any = true;
        if self.distinct.is_new(id) {
            self.fresh.push(String::from_utf8_lossy(id).into_owned().into());
        }
    }
}

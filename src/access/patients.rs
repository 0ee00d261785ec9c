//! Lists of patients.

use std::collections::HashSet;
use std::sync::Arc;

/// The patients whose data a policy is about, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Patients {
    /// All: there is no list.
    #[default]
    All,
    /// These: written in the configuration, or in a file that it names.
    Listed(Arc<PatientList>),
    /// The members of a Group at OpenEMR, by its id.
    Group(String),
    /// Those in a claim of the caller's JWT, by its name.
    Claim(String),
}

/// Ids of patients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PatientList(HashSet<Box<str>>);

impl PatientList {
    /// Whether a patient is on the list.
    #[must_use]
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// How many patients there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ids, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl<Id: Into<Box<str>>> FromIterator<Id> for PatientList {
    fn from_iter<Ids: IntoIterator<Item = Id>>(ids: Ids) -> Self {
        Self(ids.into_iter().map(Into::into).collect())
    }
}

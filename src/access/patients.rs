//! Lists of patients.

use std::collections::HashSet;
use std::sync::Arc;

use crate::fhir::id::is_uuid;

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

/// The most patients to whom a search is narrowed by a parameter.
const MOST_IN_SEARCH: usize = 20;

/// Ids of patients. OpenEMR writes its UUIDs in lower case, however they are written here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PatientList {
    ids: HashSet<Box<str>>,
    /// The ids with commas between them, where they are few.
    value: Option<Box<str>>,
}

impl PatientList {
    /// Whether a patient is on the list.
    #[must_use]
    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// How many patients there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The ids as the value of a search parameter, in a fixed order; `None` where they are too many for one, or none.
    #[must_use]
    pub(crate) fn as_value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The ids, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(AsRef::as_ref)
    }
}

impl<Id: Into<Box<str>>> FromIterator<Id> for PatientList {
    fn from_iter<Ids: IntoIterator<Item = Id>>(ids: Ids) -> Self {
        let as_openemr_writes = |id: Box<str>| if is_uuid(&id) { id.to_ascii_lowercase().into() } else { id };
        let ids: HashSet<Box<str>> = ids.into_iter().map(Into::into).map(as_openemr_writes).collect();
        let value = (1..=MOST_IN_SEARCH).contains(&ids.len()).then(|| {
            let mut sorted: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
            sorted.sort_unstable();
            sorted.join(",").into()
        });
        Self { ids, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_listed_as_openemr_writes_them() {
        let list: PatientList = ["A34C6E42-1D69-4AD3-B4EF-B31757983454", "P1"].into_iter().collect();
        assert!(list.has("a34c6e42-1d69-4ad3-b4ef-b31757983454") && list.has("P1") && !list.has("p1"));
        assert_eq!(list.as_value(), Some("P1,a34c6e42-1d69-4ad3-b4ef-b31757983454"));
    }
}

//! A patient who is looked for in records.

use super::ids::Ids;
use super::record::Record;

/// The ways in which the id of a patient can stand in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sought(Vec<String>);

impl Sought {
    /// A patient whose id is written as it is or, with these ids, as a hash.
    #[must_use]
    pub(crate) fn new(patient: &str, ids: Option<&Ids>) -> Self {
        let mut ways = vec![patient.to_owned()];
        ways.extend(ids.and_then(|ids| ids.patient(patient)).filter(|way| way != patient));
        Self(ways)
    }

    /// Whether a record is about the patient: it is among those concerned, or is the resource itself.
    #[must_use]
    pub(crate) fn is_in(&self, record: &Record) -> bool {
        let is_own = record.resource_type.as_deref() == Some("Patient") && record.id.as_deref().is_some_and(|id| self.is(id));
        is_own || record.patients.iter().any(|id| self.is(id))
    }

    fn is(&self, id: &str) -> bool {
        self.0.iter().any(|way| way == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::Kind;
    use jiff::Timestamp;

    #[test]
    fn a_patient_is_found_in_either_form_of_ids() {
        let ids = Ids::hashed(&[7; 32]);
        let plain = Record {
            resource_type: Some("Observation".into()),
            id: Some("p1".into()),
            patients: vec!["p2".into(), "p3".into()],
            ..Record::new(Kind::Request, Timestamp::UNIX_EPOCH)
        };
        let own = Record { resource_type: Some("Patient".into()), patients: vec![], ..plain.clone() };
        for (record, patient, expected) in
            [(&plain, "p3", true), (&plain, "p1", false), (&plain, "p4", false), (&own, "p1", true), (&own, "p2", false)]
        {
            let mut hashed = record.clone();
            ids.write(&mut hashed);
            for record in [record, &hashed] {
                assert_eq!(Sought::new(patient, Some(&ids)).is_in(record), expected, "{patient}");
            }
            assert_eq!(Sought::new(patient, None).is_in(record), expected);
            assert!(
                !Sought::new(patient, None).is_in(&hashed) && !Sought::new(patient, Some(&Ids::hashed(&[8; 32]))).is_in(&hashed)
            );
        }
    }
}

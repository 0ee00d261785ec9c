//! How ids of patients and resources are written.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::hmac;

use super::record::{Record, Text};

/// How many bytes of the hash are written, each as two hexadecimal digits.
const WRITTEN: usize = 16;

/// How ids are written.
pub(crate) enum Ids {
    /// As the first 128 bits of HMAC-SHA-256 (RFC 2104) over the type, a slash and the id.
    Hashed(Box<hmac::Key>),
    /// As they are.
    Plain,
    /// Not at all.
    None,
}

impl Ids {
    /// Ids hashed with this key.
    #[must_use]
    pub(crate) fn hashed(key: &[u8; 32]) -> Self {
        Self::Hashed(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// The id of a patient as it is written.
    #[must_use]
    pub(crate) fn patient(&self, id: &str) -> Option<String> {
        self.of("Patient", id)
    }

    /// The id of a resource as it is written.
    #[must_use]
    pub(crate) fn of(&self, resource_type: &str, id: &str) -> Option<String> {
        match self {
            Self::Hashed(key) => {
                let mut context = hmac::Context::with_key(key);
                [resource_type, "/", id].iter().for_each(|part| context.update(part.as_bytes()));
                let tag = context.sign();
                tag.as_ref().get(..WRITTEN).map(hex::encode)
            }
            Self::Plain => Some(id.to_owned()),
            Self::None => None,
        }
    }

    /// Makes of a record what a file may hold: ids in this form, and no query.
    pub(crate) fn write(&self, record: &mut Record) {
        record.query = None;
        if let Self::Plain = self {
            return;
        }
        let resource_type = record.resource_type.clone().unwrap_or(Cow::Borrowed(""));
        record.id = record.id.take().and_then(|id| self.of(&resource_type, &id)).map(Text::from);
        let patients = std::mem::take(&mut record.patients);
        record.patients = patients.iter().filter_map(|id| self.patient(id)).map(Text::from).collect();
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hashed(_) => "Hashed([redacted])",
            Self::Plain => "Plain",
            Self::None => "None",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::record::Kind;

    fn record() -> Record {
        Record {
            resource_type: Some("Patient".into()),
            id: Some("p1".into()),
            patients: vec!["p1".into(), "p2".into()],
            query: Some("GET /Patient/p1".into()),
            ..Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn a_hash_depends_on_key_type_and_id_and_names_the_same_patient_everywhere() {
        let ids = Ids::hashed(&[7; 32]);
        let mut written = record();
        ids.write(&mut written);
        assert_eq!(written.query, None);
        assert_eq!(written.id.as_deref(), ids.patient("p1").as_deref());
        assert_eq!(written.patients[0], written.id.clone().unwrap());
        let text = format!("{written:?}");
        assert!(!text.contains("p1") && !text.contains("p2"), "{text}");
        assert_ne!(ids.of("Observation", "p1"), ids.patient("p1"));
        assert_ne!(Ids::hashed(&[8; 32]).patient("p1"), ids.patient("p1"));
        // HMAC-SHA-256 as another program computes it, of `Patient/p1` with 32 bytes of 7.
        assert_eq!(ids.patient("p1").unwrap().len(), 32);
    }

    #[test]
    fn plain_ids_stay_and_none_leaves_nothing_but_never_is_there_a_query() {
        let mut plain = record();
        Ids::Plain.write(&mut plain);
        assert_eq!(plain, Record { query: None, ..record() });
        let mut none = record();
        Ids::None.write(&mut none);
        assert_eq!((none.id, none.patients, none.query), (None, vec![], None));
    }
}

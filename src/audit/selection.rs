//! What an operator looks for in the trail.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::period::Period;
use super::record::{Kind, Outcome, Record};
use super::sought::Sought;

/// Records that are all of this. What is not set selects nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// When they were made.
    pub(crate) period: Period,
    /// The name of the client.
    pub(crate) client: Option<String>,
    /// A patient concerned.
    pub(crate) patient: Option<Sought>,
    /// The resource type.
    pub(crate) resource_type: Option<String>,
    /// The interaction's code.
    pub(crate) interaction: Option<String>,
    /// What they are about.
    pub(crate) kind: Option<Kind>,
    /// The status of the answer.
    pub(crate) status: Option<u16>,
    /// How it ended.
    pub(crate) outcome: Option<Outcome>,
    /// The request's id.
    pub(crate) request_id: Option<String>,
}

impl Selection {
    /// Whether a record is meant.
    #[must_use]
    pub(crate) fn has(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        self.period.has(record.time)
            && is(&self.client, record.client.as_deref())
            && is(&self.resource_type, record.resource_type.as_deref())
            && is(&self.interaction, record.interaction.as_deref())
            && is(&self.request_id, record.request_id.as_deref())
            && self.kind.is_none_or(|kind| kind == record.kind)
            && self.status.is_none_or(|status| Some(status) == record.status)
            && self.outcome.is_none_or(|outcome| Some(outcome) == record.outcome)
            && self.patient.as_ref().is_none_or(|patient| patient.is_in(record))
    }
}

/// The kind with this name in records.
#[must_use]
pub(crate) fn kind(name: &str) -> Option<Kind> {
    named(name).filter(|kind| *kind != Kind::Unknown)
}

/// The outcome with this name in records.
#[must_use]
pub(crate) fn outcome(name: &str) -> Option<Outcome> {
    named(name)
}

fn named<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_record_is_meant_if_it_is_all_of_what_is_looked_for() {
        let record = Record {
            client: Some("lab".into()),
            resource_type: Some("Observation".into()),
            interaction: Some("search-type".into()),
            status: Some(200),
            outcome: Some(Outcome::Success),
            request_id: Some("r1".into()),
            patients: vec!["p1".into()],
            ..Record::new(Kind::Request, Timestamp::UNIX_EPOCH)
        };
        assert!(Selection::default().has(&record));
        let text = |text: &str| Some(text.to_owned());
        let all = Selection {
            period: Period { since: Some(Timestamp::UNIX_EPOCH), until: Some(Timestamp::UNIX_EPOCH) },
            client: text("lab"),
            patient: Some(Sought::new("p1", None)),
            resource_type: text("Observation"),
            interaction: text("search-type"),
            kind: kind("request"),
            status: Some(200),
            outcome: outcome("success"),
            request_id: text("r1"),
        };
        assert!(all.has(&record));
        let later = Period { since: Some(Timestamp::MAX), until: None };
        for (number, other) in [
            Selection { period: later, ..all.clone() },
            Selection { client: text("other"), ..all.clone() },
            Selection { patient: Some(Sought::new("p2", None)), ..all.clone() },
            Selection { resource_type: text("Patient"), ..all.clone() },
            Selection { interaction: text("read"), ..all.clone() },
            Selection { kind: kind("patients"), ..all.clone() },
            Selection { status: Some(404), ..all.clone() },
            Selection { outcome: outcome("broken_off"), ..all.clone() },
            Selection { request_id: text("r2"), ..all.clone() },
        ]
        .iter()
        .enumerate()
        {
            assert!(!other.has(&record), "{number}");
        }
        assert!(!all.has(&Record::new(Kind::Request, Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn names_are_those_in_records() {
        assert_eq!(kind("credential_refused"), Some(Kind::CredentialRefused));
        assert_eq!((kind("unknown"), kind("requests"), outcome("Success")), (None, None, None));
    }
}

//! What is recorded: one value, from which every sink makes its own form.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A word of the gateway's own, or a text of one request.
pub(crate) type Text = Cow<'static, str>;

/// One record. Members that are not known are left out.
///
/// In memory it has ids as they are; [`Ids::write`](super::ids::Ids::write) makes of them what a file may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it was made, in milliseconds.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(crate) time: Timestamp,
    /// What it is about.
    pub(crate) kind: Kind,
    /// The request's id, as in the access log and in `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<Text>,
    /// The gateway's own id of the request, where `request_id` is one that a trusted proxy gave, and may give twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<Text>,
    /// The client's name in the configuration; `None` for a caller without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Text>,
    /// What showed who it is: `none`, `api_key`, `certificate`, `jwt` or `access_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Text>,
    /// The name and address of who receives the data, as configured for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recipient: Option<Text>,
    /// What it receives them for, as configured for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<Text>,
    /// From where it called, as far as trusted proxies report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    /// The site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<Text>,
    /// FHIR's code of the interaction, or `export-file` for a file of a bulk export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interaction: Option<Text>,
    /// The name of the operation, without its `$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Text>,
    /// The resource type, one of FHIR R4.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) resource_type: Option<Text>,
    /// The id of the resource, without its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Text>,
    /// Method, path below the FHIR base and query, as the client sent them: patient data, which no file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<Text>,
    /// The ids of the patients concerned, each once; of an answer with many, those that no record of kind `patients` has named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) patients: Vec<Text>,
    /// How many records of kind `patients` this request has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) parts: u64,
    /// Whether the answer may be about patients that could not be found out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) patients_unknown: bool,
    /// What was decided; `None` for what was refused before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<Decision>,
    /// The lines of the configuration on which the decision rests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) by: Vec<Text>,
    /// The status of the answer; `None` when the client left before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
    /// How many resources the answer had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<u64>,
    /// How many resources of OpenEMR's answer the client did not get, because its policy does not permit them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) left_out: u64,
    /// The bytes of the answer's body, as they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// From the request's head to the end of the answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<f64>,
    /// What else is to be said, in words of the gateway's own: never a word of a client's or of OpenEMR's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<Text>,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A request to a FHIR route.
    Request,
    /// Patients of an answer that has many: what has passed to the client until now. Its request's record follows.
    Patients,
    /// A token exchange with OpenEMR.
    TokenExchange,
    /// A step in the rotation of a signing key.
    KeyRotation,
    /// A reload of the configuration.
    Reload,
    /// A caller whose credentials were refused.
    CredentialRefused,
    /// An access token of the gateway's own, given to a client.
    TokenIssued,
    /// A new access token of OpenEMR's that a caller forced.
    ForcedRefresh,
    /// The beginning of a file.
    FileBegun,
    /// The end of a file.
    FileEnded,
    /// Records that could not be written.
    Lost,
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// What the policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// The request goes on as it came.
    Allowed,
    /// The search is narrowed, and every resource of the answer tested.
    Narrowed,
    /// Every resource of the answer, or that of the body, is tested.
    Tested,
    /// It is refused.
    Refused,
}

/// How a request, or an event, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// As was asked.
    Success,
    /// The gateway or OpenEMR refused it (a status of 400 to 499).
    Refused,
    /// It failed (a status of 500 and more).
    Failed,
    /// The client, or the gateway, broke it off: the answer did not arrive whole, and may have arrived in part.
    BrokenOff,
}

impl Record {
    /// A record of this kind about which nothing else is known.
    #[must_use]
    pub(crate) fn new(kind: Kind, time: Timestamp) -> Self {
        Self {
            time,
            kind,
            request_id: None,
            serial: None,
            client: None,
            credential: None,
            recipient: None,
            purpose: None,
            address: None,
            site: None,
            interaction: None,
            operation: None,
            resource_type: None,
            id: None,
            query: None,
            patients: Vec::new(),
            parts: 0,
            patients_unknown: false,
            decision: None,
            by: Vec::new(),
            status: None,
            outcome: None,
            entries: None,
            left_out: 0,
            bytes: None,
            duration_ms: None,
            detail: None,
        }
    }

    /// The record of an event of the gateway's own. `detail`: in words of the gateway's own.
    #[must_use]
    pub(crate) fn event(kind: Kind, time: Timestamp, outcome: Outcome, detail: impl Into<Text>) -> Self {
        Self { outcome: Some(outcome), detail: Some(detail.into()), ..Self::new(kind, time) }
    }

    /// Adds its JSON object to `text`.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        // A struct of texts and numbers always serialises, and a vector takes all.
        let _ = serde_json::to_writer(text, self);
    }

    /// Roughly how many bytes it takes in memory.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        const TEXT: usize = size_of::<Text>();
        size_of::<Self>() + 256 + self.patients.iter().map(|id| TEXT + id.len()).sum::<usize>()
    }
}

impl Outcome {
    /// The outcome of a whole answer with this status.
    #[must_use]
    pub(crate) fn of(status: u16) -> Self {
        match status {
            0..400 => Self::Success,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

fn write_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_says_nothing_of_what_is_not_known() {
        let time: Timestamp = "2026-11-29T07:47:06.123Z".parse().unwrap();
        let mut text = Vec::new();
        let mut record = Record::new(Kind::Reload, time);
        record.write(&mut text);
        assert_eq!(String::from_utf8(text.clone()).unwrap(), r#"{"time":"2026-11-29T07:47:06.123Z","kind":"reload"}"#);
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
        record = Record {
            kind: Kind::Request,
            patients: vec!["a\"".into(), "b".into()],
            status: Some(200),
            outcome: Some(Outcome::of(200)),
            address: Some("2001:db8::1".parse().unwrap()),
            resource_type: Some("Observation".into()),
            duration_ms: Some(1.25),
            ..record
        };
        text.clear();
        record.write(&mut text);
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_kind_and_a_member_of_a_later_version_can_be_read() {
        let record: Record = serde_json::from_str(r#"{"time":"2026-11-29T07:47:06Z","kind":"dream","n":1,"new":{}}"#).unwrap();
        assert_eq!(record.kind, Kind::Unknown);
    }
}

//! A FHIR repository for AuditEvents, at a path of its own. It takes Bundles of type `batch`, and no event that R4 does not define.

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{answer::Answer, http1::ReceivedBody, request_head::RequestHead, response::Body};

/// Where Bundles are posted.
pub(super) const PATH: &str = "/audit-repository/fhir";

/// The faults of a request to the repository.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RepositoryFaults {
    /// Close the connection without an answer.
    pub(super) down: bool,
    /// Milliseconds to wait before anything else.
    pub(super) delay_ms: u64,
    /// Take nothing and answer with this status.
    pub(super) status: Option<u16>,
    /// The Retry-After field of that answer.
    pub(super) retry_after: Option<String>,
    /// Refuse events whose JSON contains this, with 422 each.
    pub(super) refuse_events: Option<String>,
    /// Refuse a whole Bundle with 400 that has an event whose JSON contains this.
    pub(super) refuse_bundles: Option<String>,
    /// Take so many events of a Bundle, and answer 507 for each other one.
    pub(super) room: Option<usize>,
    /// Take the Bundle and close the connection without an answer.
    pub(super) lose_answer: bool,
    /// The number of requests that this applies to; until cleared if `None`.
    pub(super) times: Option<u64>,
}

/// The repository.
#[derive(Debug, Default)]
pub(super) struct AuditRepository {
    events: Mutex<Vec<Value>>,
    /// Why events were refused that R4 does not define, and the Authorization field of the last request.
    invalid: Mutex<Vec<String>>,
    authorization: Mutex<Option<String>>,
}

impl AuditRepository {
    /// Returns all events in the order in which they came.
    pub(super) fn describe(&self) -> Value {
        json!({"events": *self.events.lock(), "invalid": *self.invalid.lock(), "authorization": *self.authorization.lock()})
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        self.events.lock().clear();
        self.invalid.lock().clear();
    }

    /// Answers a request. `None` closes the connection.
    pub(super) fn answer(&self, head: &RequestHead, body: &ReceivedBody, faults: &RepositoryFaults) -> Option<Answer> {
        *self.authorization.lock() = head.field("authorization").map(str::to_owned);
        if let Some(status) = faults.status {
            let answer = outcome(status, "the repository was told to say so");
            return Some(match &faults.retry_after {
                Some(wait) => answer.with("Retry-After", wait.clone()),
                None => answer,
            });
        }
        if head.method != "POST" || !head.field("content-type").unwrap_or_default().starts_with("application/fhir+json") {
            return Some(outcome(405, "only Bundles as application/fhir+json are taken, with POST"));
        }
        let bundle: Value = serde_json::from_slice(&body.kept).unwrap_or_default();
        let entries = bundle.get("entry").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_batch = text(&bundle, "resourceType") == "Bundle" && text(&bundle, "type") == "batch" && !entries.is_empty();
        let contains = |entry: &Value, part: &Option<String>| part.as_ref().is_some_and(|part| entry.to_string().contains(part));
        if !is_batch || entries.iter().any(|entry| contains(entry, &faults.refuse_bundles)) {
            return Some(outcome(400, "no Bundle that is taken"));
        }
        let mut answers = Vec::new();
        for entry in &entries {
            let number = answers.len();
            answers.push(match problem(entry) {
                Some(problem) => {
                    self.invalid.lock().push(problem.to_owned());
                    json!({"response": {"status": "422 Unprocessable Entity", "outcome": operation_outcome(problem)}})
                }
                None if contains(entry, &faults.refuse_events) => {
                    json!({"response": {"status": "422 Unprocessable Entity", "outcome": operation_outcome("told to")}})
                }
                None if faults.room.is_some_and(|room| number >= room) => {
                    json!({"response": {"status": "507 Insufficient Storage"}})
                }
                None => {
                    let mut events = self.events.lock();
                    events.push(entry.get("resource").cloned().unwrap_or_default());
                    json!({"response": {"status": "201 Created", "location": format!("AuditEvent/{}/_history/1", events.len())}})
                }
            });
        }
        let answer = json!({"resourceType": "Bundle", "type": "batch-response", "entry": answers});
        (!faults.lose_answer).then(|| fhir(200, &answer))
    }
}

fn fhir(status: u16, value: &Value) -> Answer {
    Answer::new(status, "application/fhir+json", Body::Whole(Bytes::from(value.to_string())))
}

fn outcome(status: u16, text: &str) -> Answer {
    fhir(status, &operation_outcome(text))
}

fn operation_outcome(text: &str) -> Value {
    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid", "diagnostics": text}]})
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Says what is wrong with an entry, by what R4 requires of an AuditEvent.
fn problem(entry: &Value) -> Option<&'static str> {
    const MEMBERS: [&str; 18] = [
        "resourceType",
        "id",
        "meta",
        "text",
        "contained",
        "extension",
        "type",
        "subtype",
        "action",
        "period",
        "recorded",
        "outcome",
        "outcomeDesc",
        "purposeOfEvent",
        "agent",
        "source",
        "entity",
        "language",
    ];
    let (event, request) = (entry.get("resource").unwrap_or(&Value::Null), entry.get("request").unwrap_or(&Value::Null));
    let is_coding = |coding: Option<&Value>| coding.is_some_and(|coding| !text(coding, "code").is_empty());
    let is_one_of = |value: &Value, name: &str, codes: &[&str]| match value.get(name) {
        None => true,
        Some(code) => code.as_str().is_some_and(|code| codes.contains(&code)),
    };
    let members = event.as_object().map(Map::keys);
    let checks: [(bool, &'static str); 14] = [
        (text(entry, "fullUrl").starts_with("urn:uuid:"), "fullUrl"),
        (text(request, "method") == "POST" && text(request, "url") == "AuditEvent", "request"),
        (text(event, "resourceType") == "AuditEvent", "resourceType"),
        (members.is_some_and(|mut names| names.all(|name| MEMBERS.contains(&name.as_str()))), "a member that is not defined"),
        (is_coding(event.get("type")), "type"),
        (list(event, "subtype").iter().all(|coding| is_coding(Some(coding))), "subtype"),
        (is_one_of(event, "action", &["C", "R", "U", "D", "E"]), "action"),
        (is_one_of(event, "outcome", &["0", "4", "8", "12"]), "outcome"),
        (is_instant(text(event, "recorded")), "recorded"),
        (!list(event, "agent").is_empty(), "agent"),
        (list(event, "agent").iter().all(|agent| agent.get("requestor").is_some_and(Value::is_boolean)), "agent.requestor"),
        (
            list(event, "agent")
                .iter()
                .filter_map(|agent| agent.get("network"))
                .all(|network| is_one_of(network, "type", &["1", "2", "3", "4", "5"]) && !text(network, "address").is_empty()),
            "agent.network",
        ),
        (event.pointer("/source/observer").is_some_and(Value::is_object), "source.observer"),
        (list(event, "entity").iter().all(is_entity), "entity"),
    ];
    checks.iter().find(|(holds, _)| !holds).map(|(_, what)| *what)
}

/// Whether R4 allows an entity: not both a name and a query, and details with a type and one value.
fn is_entity(entity: &Value) -> bool {
    let has = |name: &str| entity.get(name).is_some();
    let values = |detail: &Value| ["valueString", "valueBase64Binary"].iter().filter(|name| detail.get(**name).is_some()).count();
    !(has("name") && has("query"))
        && list(entity, "detail").iter().all(|detail| !text(detail, "type").is_empty() && values(detail) == 1)
}

/// Whether a text has the form of an instant: a date, a time with seconds, and a zone.
fn is_instant(text: &str) -> bool {
    let form = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    let (Some(begin), Some(rest)) = (text.get(..19), text.get(19..)) else { return false };
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    form(begin) == "0000-00-00T00:00:00" && (zone == "Z" || matches!(form(zone).as_str(), "+00:00" | "-00:00"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_event_without_what_r4_requires_is_refused() {
        let event = json!({
            "resourceType": "AuditEvent", "type": {"system": "s", "code": "rest"}, "recorded": "2026-11-29T07:47:06.123Z",
            "agent": [{"requestor": true, "network": {"address": "a", "type": "2"}}],
            "source": {"observer": {"display": "x"}}, "entity": [{"query": "AA=="}],
        });
        let entry = json!({"fullUrl": "urn:uuid:1", "resource": event, "request": {"method": "POST", "url": "AuditEvent"}});
        assert_eq!(problem(&entry), None);
        for (pointer, value, expected) in [
            ("/fullUrl", json!("x"), "fullUrl"),
            ("/request/url", json!("Patient"), "request"),
            ("/resource/type", json!({}), "type"),
            ("/resource/recorded", json!("2026-11-29"), "recorded"),
            ("/resource/agent", json!([]), "agent"),
            ("/resource/agent/0/requestor", json!("true"), "agent.requestor"),
            ("/resource/agent/0/network/type", json!("9"), "agent.network"),
            ("/resource/source", json!({}), "source.observer"),
            ("/resource/entity/0", json!({"name": "a", "query": "AA=="}), "entity"),
        ] {
            let mut entry = entry.clone();
            *entry.pointer_mut(pointer).unwrap() = value;
            assert_eq!(problem(&entry), Some(expected));
        }
    }
}

//! The record of a request in the audit trail: made once, before the end of the answer leaves.
//!
//! Decision: `docs/decisions/44-audit-records.md`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use pingora::Error;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::access::caller::Credential;
use crate::access::clients::Client;
use crate::audit::gate::Gate;
use crate::audit::patients::{Form, PatientsFound};
use crate::audit::record::{Kind as RecordKind, Outcome, Record, Text};
use crate::fhir::id::is_path_id;
use crate::fhir::interaction::Kind;
use crate::fhir::media_type::{essence, is_json};
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::account::Account;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::credentials::NotKnown;
use crate::gateway::destination::{Destination, FhirCall};
use crate::gateway::{export_file, response_head};
use crate::http::answer::Answer;
use crate::http::request_target::segments;
use crate::site::prepared::Site;

/// How many patients a record names at most.
const MOST_PATIENTS: usize = 1000;
/// How soon a request may be sent again that could not be recorded.
const RETRY: Duration = Duration::from_secs(5);
/// The longest query that is recorded, in bytes.
const LONGEST_QUERY: usize = 16 * 1024;

/// A request could not be recorded, which it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written, and audit.required is true")]
pub(super) struct NotRecorded;

impl From<NotRecorded> for Rejection {
    fn from(why: NotRecorded) -> Self {
        Self::unavailable(Reason::Audit, RETRY, "The request cannot be recorded at the moment, and is not answered without.")
            .because(why)
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// The status; `None` when the client left before it.
    pub(super) status: Option<StatusCode>,
    /// The bytes of its body.
    pub(super) bytes: usize,
    /// Whether it is whole.
    pub(super) is_whole: bool,
}

/// Checks that a request can be recorded, where it has to be.
///
/// # Errors
/// It cannot.
pub(super) fn check(call: &Call) -> Result<(), NotRecorded> {
    if call.runtime.trail.may_serve() { Ok(()) } else { Err(NotRecorded) }
}

/// Lets the patients be found in the body behind this head, on its way through `filters`.
pub(super) fn observe(call: &Call, fhir: &mut FhirCall, head: &ResponseHeader, is_document: bool, filters: &mut BodyFilters) {
    if !call.runtime.trail.is_on() || !head.status.is_success() || fhir.is_public() {
        return;
    }
    let is_lines = export_file::is_one(head, fhir);
    if is_document || !(is_lines || response_head::is_json(head)) || head.headers.contains_key(http::header::CONTENT_ENCODING) {
        fhir.account.is_illegible = true;
    } else {
        filters.find_patients(PatientsFound::new(if is_lines { Form::Lines } else { Form::Document }));
    }
}

/// Notes that an answer tells how many resources there are and shows none: what it says of patients stands in the question.
pub(super) fn note_count(fhir: &mut FhirCall) {
    fhir.account.is_illegible |= fhir.plan.search.as_ref().is_some_and(|terms| !terms.entries);
}

/// Takes what was found of a body that goes by, and records a part of the patients when there are many.
pub(super) fn progress(session: &Session, call: &Call, fhir: &mut FhirCall, filters: &mut BodyFilters, is_end: bool) {
    if is_end {
        if let Some(found) = filters.patients_found() {
            fhir.account.take(found);
        }
    } else if let Some(mut found) = filters.many_patients(MOST_PATIENTS) {
        fhir.account.patients.append(&mut found);
    }
    // The last record names some, too.
    while fhir.account.patients.len() > MOST_PATIENTS {
        let rest = fhir.account.patients.split_off(MOST_PATIENTS);
        let part = std::mem::replace(&mut fhir.account.patients, rest);
        record_part(session, call, fhir, part);
    }
}

fn record_part(session: &Session, call: &Call, fhir: &mut FhirCall, patients: Vec<Text>) {
    fhir.account.parts += 1;
    let mut record = of_request(RecordKind::Patients, session, call, Some(fhir));
    record.patients = patients;
    hand_over(session, call, record);
}

/// Records a FHIR request whose answer is about to end, unless that is done.
pub(super) fn answered(session: &Session, call: &Call, fhir: &mut FhirCall, ending: Ending) {
    if !call.runtime.trail.is_on() || std::mem::replace(&mut fhir.account.is_recorded, true) {
        return;
    }
    let mut record = of_request(RecordKind::Request, session, call, Some(fhir));
    end(&mut record, call, ending);
    let is_data = ending.status.is_some_and(|status| status.is_success()) && !fhir.is_public() && has_data(fhir.interaction.kind);
    let sent = &fhir.plan.read;
    if let Some(body) = sent.as_ref().filter(|_| is_data && fhir.interaction.kind.is_write()) {
        // Of a write whose answer is empty, the resource that was sent tells whom it is about.
        let mut found = PatientsFound::new(Form::Document);
        found.read(body);
        found.finish();
        let new: Vec<Text> = found.take().into_iter().filter(|id| !fhir.account.patients.contains(id)).collect();
        fhir.account.patients.extend(new);
    }
    record.patients_unknown = fhir.account.patients_are_unknown(fhir.interaction.resource_type, record.id.is_some(), is_data);
    let Account { patients, parts, entries, .. } = &mut fhir.account;
    record.patients = std::mem::take(patients);
    (record.parts, record.entries) = (*parts, *entries);
    record.left_out = fhir.left_out();
    hand_over(session, call, record);
}

/// Records a FHIR request whose answer ends with this head: Pingora shows no body then, whose end the record could come before.
pub(super) fn ends_with_head(session: &Session, call: &Call, fhir: &mut FhirCall, head: &ResponseHeader) {
    if response_head::has_no_body(&session.req_header().method, head) && !head.status.is_informational() {
        answered(session, call, fhir, Ending { status: Some(head.status), bytes: 0, is_whole: true });
    }
}

/// Records a FHIR request that the gateway answers itself.
pub(super) fn own_answer(session: &Session, call: &Call, fhir: &mut FhirCall, answer: &Answer) {
    let (body, content_type) = answer.body();
    let has_data = answer.status().is_success() && has_data(fhir.interaction.kind) && fhir.account.entries.is_none();
    if call.runtime.trail.is_on() && has_data && is_json(essence(content_type.as_bytes())) {
        let mut found = PatientsFound::new(Form::Document);
        found.read(body);
        fhir.account.take(found);
    }
    let bytes = if session.req_header().method == Method::HEAD { 0 } else { body.len() };
    answered(session, call, fhir, Ending { status: Some(answer.status()), bytes, is_whole: true });
}

/// Records a request to a FHIR route, or to what may be one, that the gateway answers itself.
pub(super) fn own_answer_to(session: &Session, call: &Call, destination: &mut Destination, answer: &Answer) {
    match destination {
        Destination::Fhir(fhir) => own_answer(session, call, fhir, answer),
        Destination::Unsafe { site, .. } if call.runtime.trail.is_on() => {
            let mut record = of_request(RecordKind::Request, session, call, None);
            record.site = site.as_ref().map(|site| site.name().to_owned().into());
            end(&mut record, call, Ending { status: Some(answer.status()), bytes: answer.body().0.len(), is_whole: true });
            hand_over(session, call, record);
        }
        Destination::Unsafe { .. } | Destination::Local(_) | Destination::NotFound => {}
    }
}

/// Records a FHIR request that has ended without a record: its answer was broken off, or there was none.
pub(super) fn at_the_end(session: &Session, error: Option<&Error>, context: &mut RequestContext) {
    let RequestContext { call, destination: Destination::Fhir(fhir), answer, .. } = context else { return };
    if !fhir.account.is_recorded {
        progress(session, call, fhir, &mut answer.filters, true);
        let status = answer.status(session);
        answered(session, call, fhir, Ending { status, bytes: session.body_bytes_sent(), is_whole: error.is_none() });
    }
}

/// Records that the credentials of a request were refused.
pub(super) fn credential_refused(session: &Session, call: &Call, destination: &Destination, why: NotKnown) {
    if call.runtime.trail.is_on() {
        let mut record = of_request(RecordKind::CredentialRefused, session, call, destination.fhir());
        record.outcome = Some(Outcome::Refused);
        record.detail = Some(why.to_string().into());
        hand_over(session, call, record);
    }
}

/// Records an event of the gateway's own that a caller has caused. `detail`: in words of the gateway's own.
pub(super) fn event(session: &Session, call: &Call, kind: RecordKind, site: Option<&str>, status: StatusCode, detail: Text) {
    let record = of_event(kind, session, call, site, status);
    hand_over(session, call, Record { detail: Some(detail), ..record });
}

fn of_event(kind: RecordKind, session: &Session, call: &Call, site: Option<&str>, status: StatusCode) -> Record {
    let mut record = of_request(kind, session, call, None);
    record.site = site.map(|site| site.to_owned().into());
    record.status = Some(status.as_u16());
    record.outcome = Some(Outcome::of(status.as_u16()));
    record
}

/// Hands a record over; nothing is written to the client before it is written. While records are required and cannot be written, a refusal
/// leaves without one and counts as lost: it has no data, and what room there is belongs to the requests that have begun.
fn hand_over(session: &Session, call: &Call, record: Record) {
    let trail = &call.runtime.trail;
    match record.outcome {
        Some(Outcome::Refused | Outcome::Failed) if !trail.may_serve() => trail.lose(),
        _ => trail.record(record, gate(session)),
    }
}

/// Records that a client was given an access token of the gateway's own.
pub(super) fn token_issued(session: &Session, call: &Call, site: &Site, client: &str) {
    let mut record = of_event(RecordKind::TokenIssued, session, call, Some(site.name()), StatusCode::OK);
    record.client = Some(client.to_owned().into());
    hand_over(session, call, record);
}

/// Records that a client got no access token. `why` repeats nothing of the request.
pub(super) fn assertion_refused(session: &Session, call: &Call, site: &Site, status: StatusCode, why: Text) {
    let record = of_event(RecordKind::CredentialRefused, session, call, Some(site.name()), status);
    hand_over(session, call, Record { detail: Some(why), ..record });
}

/// A record of this kind, with what is known of who asks and for what.
pub(super) fn of_request(kind: RecordKind, session: &Session, call: &Call, fhir: Option<&FhirCall>) -> Record {
    let mut record = Record::new(kind, Timestamp::now());
    record.request_id = Some(call.id.as_str().to_owned().into());
    record.serial = call.serial.map(|id| id.as_str().to_owned().into());
    record.address = call.trace.client().address();
    record.credential = Some(Cow::Borrowed(credential(call.caller.credential)));
    if let Some(name) = &call.caller.client {
        record.client = Some(String::from(&**name).into());
        let client: Option<&Arc<Client>> = call.config().access.clients.named(name);
        let text = |text: &Option<Arc<str>>| text.as_deref().map(|text| Cow::Owned(text.to_owned()));
        record.recipient = client.and_then(|client| text(&client.recipient));
        record.purpose = client.and_then(|client| text(&client.purpose));
    }
    let Some(fhir) = fhir else { return record };
    record.site = Some(fhir.site.name().to_owned().into());
    let is_file = fhir.plan.own_file.is_some();
    record.interaction = Some(Cow::Borrowed(if is_file { "export-file" } else { fhir.interaction.kind.code() }));
    record.operation = fhir.interaction.operation.map(Cow::Borrowed);
    record.resource_type = fhir.interaction.resource_type.map(Cow::Borrowed);
    record.id = id(fhir).filter(|_| !is_file);
    if let Some((decision, by)) = &fhir.account.decided {
        record.decision = Some(*decision);
        record.by = by.iter().map(|line| Cow::Owned(line.to_string())).collect();
    }
    if call.runtime.trail.takes_queries() {
        let method = session.req_header().method.as_str();
        let target = [fhir.path(), fhir.query()].concat();
        let shown = target.get(..target.len().min(LONGEST_QUERY)).unwrap_or_default();
        record.query = Some(format!("{method} {}", String::from_utf8_lossy(shown)).into());
    }
    record
}

fn end(record: &mut Record, call: &Call, Ending { status, bytes, is_whole }: Ending) {
    record.status = status.map(|status| status.as_u16());
    record.outcome = Some(match record.status {
        Some(status) if is_whole => Outcome::of(status),
        _ => Outcome::BrokenOff,
    });
    record.bytes = u64::try_from(bytes).ok();
    let microseconds = call.started.elapsed().as_micros();
    record.duration_ms = Some(f64::from(u32::try_from(microseconds).unwrap_or(u32::MAX)) / 1000.0);
}

/// The gate of the client's connection.
fn gate(session: &Session) -> Option<&Arc<Gate>> {
    session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

/// The id in the path of a request for one resource, or for what belongs to it.
fn id(fhir: &FhirCall) -> Option<Text> {
    use Kind::{Delete, Export, HistoryInstance, Operation, Patch, Read, SearchCompartment, Update, VersionRead};
    let kind = fhir.interaction.kind;
    let has_id =
        matches!(kind, Read | VersionRead | HistoryInstance | Update | Patch | Delete | SearchCompartment | Operation | Export);
    let id = segments(fhir.path()).nth(1).filter(|id| has_id && is_path_id(id))?;
    Some(id.into())
}

/// Whether the answer to such a request holds data of patients, or changes some.
fn has_data(kind: Kind) -> bool {
    !matches!(kind, Kind::Capabilities | Kind::SmartConfiguration | Kind::Export | Kind::ExportStatus | Kind::Other)
}

fn credential(credential: Credential) -> &'static str {
    match credential {
        Credential::None => "none",
        Credential::ApiKey => "api_key",
        Credential::Certificate => "certificate",
        Credential::Jwt => "jwt",
        Credential::AccessToken => "access_token",
    }
}

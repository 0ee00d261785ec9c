//! The answer to a request that never reached Pingora: an OperationOutcome, and an access line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONNECTION, DATE, HeaderValue};
use pingora::protocols::Stream;

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::outcome::{NO_ROUTE, coded_reason};
use crate::gateway::rejection_answer;
use crate::gateway::trace::X_REQUEST_ID;
use crate::http::answer_protection::protect;
use crate::http::forwarded::trusted_proxy::proxy;
use crate::http::framing::violation::Violation;
use crate::http::parts::edit_response;
use crate::http::set_field::SetField;
use crate::observe::access_log;
use crate::observe::metrics::metrics;
use crate::observe::request_record::{AnsweredBy, RequestRecord};
use crate::site::runtime::Runtime;

impl From<Violation> for Rejection {
    fn from(violation: Violation) -> Self {
        let (status, code, reason) = match violation {
            Violation::TargetTooLong => (StatusCode::URI_TOO_LONG, IssueCode::TooLong, Reason::HeadTooLarge),
            Violation::HeadTooLarge | Violation::TooManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, IssueCode::TooLong, Reason::HeadTooLarge)
            }
            Violation::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, IssueCode::NotSupported, Reason::NotSupported),
            Violation::Connect => (StatusCode::METHOD_NOT_ALLOWED, IssueCode::NotSupported, Reason::NotSupported),
            Violation::TransferCoding => (StatusCode::NOT_IMPLEMENTED, IssueCode::NotSupported, Reason::NotSupported),
            Violation::Late => (StatusCode::REQUEST_TIMEOUT, IssueCode::Timeout, Reason::RequestTimeout),
            Violation::NotHttp
            | Violation::RequestLine
            | Violation::Target
            | Violation::LineEnd
            | Violation::Continuation
            | Violation::FieldName
            | Violation::FieldValue
            | Violation::ContentLength
            | Violation::TwoFramings
            | Violation::TransferEncoding
            | Violation::Host
            | Violation::Chunk
            | Violation::Trailer => (StatusCode::BAD_REQUEST, IssueCode::Invalid, Reason::Malformed),
        };
        Self::new(status, code, reason, violation.to_string())
    }
}

/// Makes the whole answer, the last one of its connection, and writes the access line.
#[must_use]
pub(super) fn answer(violation: Violation, stream: &Stream, runtime: Arc<Runtime>) -> Bytes {
    let call = Call::new(runtime, None);
    let rejection = Rejection::from(violation);
    let reason = rejection.reason;
    let (mut head, body) = rejection_answer::of_fhir(rejection, &call).into_parts();
    let body = body.unwrap_or_default();
    edit_response(&mut head, protect);
    head.set(&X_REQUEST_ID, call.id.header_value());
    head.set(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        head.set(DATE, date);
    }
    log(&call, stream, head.status, reason, body.len());
    let mut bytes = BytesMut::with_capacity(512 + body.len());
    bytes.put_slice(format!("HTTP/1.1 {}\r\n", head.status).as_bytes());
    head.header_to_h1_wire(&mut bytes);
    bytes.put_slice(b"\r\n");
    bytes.put_slice(&body);
    bytes.freeze()
}

fn log(call: &Call, stream: &Stream, status: StatusCode, reason: Reason, bytes: usize) {
    let metrics = metrics();
    if !access_log::is_on() && metrics.is_none() {
        return;
    }
    let tls = stream.get_ssl_digest();
    let record = RequestRecord {
        request_id: call.id,
        trace: call.trace.context,
        client: None,
        caller: caller(call, stream),
        proto: "other",
        tls: tls.as_ref().map(|tls| &*tls.version),
        method: "other",
        route: NO_ROUTE,
        site: None,
        resource_type: None,
        interaction: None,
        status: Some(status.as_u16()),
        by: AnsweredBy::Gateway,
        reason: Some(coded_reason(reason)),
        whole: true,
        bytes_in: 0,
        bytes,
        duration: Duration::ZERO,
        queued: Duration::ZERO,
        token_wait: Duration::ZERO,
        upstream: None,
        reused: None,
        node: None,
        upstream_status: None,
        retries: 0,
        shared: false,
        left_out: 0,
    };
    if let Some(metrics) = metrics {
        metrics.count(&record);
    }
    if access_log::is_on() {
        access_log::write(&record);
    }
}

/// The client's address. Behind a trusted proxy it stands in a head that was not read.
fn caller(call: &Call, stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    let peer = digest.peer_addr()?.as_inet()?.ip().to_canonical();
    proxy(peer, &call.config().trusted_proxies).is_none().then_some(peer)
}

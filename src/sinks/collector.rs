//! One request to a collector of traces (OTLP 1.x over HTTP, in protobuf), and what its answer means.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use zeroize::Zeroizing;

use crate::config::Tracing;
use crate::http::retry_after;
use crate::nodes::client::{Client, Limits, Request};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;

/// The longest answer that is read, in bytes.
const MOST_ANSWER: usize = 64 * 1024;
/// The longest file of header fields, in bytes.
const MOST_HEADERS: u64 = 64 * 1024;
/// The fields that a request has in any case.
const OWN_FIELDS: [HeaderName; 6] = [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

/// A collector.
pub(super) struct Collector {
    settings: Tracing,
    origin: Origin,
    target: String,
    client: Client,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The collector has it, but for so many of its spans.
    Taken {
        /// The spans that it rejected.
        rejected: u64,
    },
    /// It will never take it, for this reason.
    Refused(String),
    /// It may take it later.
    Later {
        /// Why not now.
        why: String,
        /// For how long it wants to be left alone.
        wait: Option<Duration>,
    },
}

impl Collector {
    /// The collector of a configuration, if there is one.
    #[must_use]
    pub(super) fn new(settings: Tracing, client: Client) -> Option<Self> {
        let url = settings.endpoint.clone()?;
        let authorities = settings.ca_file.as_ref().map(|file| file.certificates.as_slice());
        let target = format!("{}/v1/traces", url.path);
        let origin = Origin::elsewhere(url, "tracing.endpoint", authorities);
        Some(Self { origin, target, client, settings })
    }

    /// The name of the service whose spans it gets.
    #[must_use]
    pub(super) fn service(&self) -> &str {
        &self.settings.service_name
    }

    /// Sends one message.
    pub(super) async fn post(&self, message: Bytes) -> Sent {
        let later = |why| Sent::Later { why, wait: None };
        let further = match self.settings.headers_file.as_deref().map(headers).transpose() {
            Ok(further) => further.unwrap_or_default(),
            Err(why) => return later(format!("tracing.headers_file {why}")),
        };
        const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
        let agent = HeaderValue::from_static(concat!("openemr-gateway/", env!("CARGO_PKG_VERSION")));
        let mut fields = vec![(CONTENT_TYPE, PROTOBUF), (ACCEPT, PROTOBUF)];
        if !further.iter().any(|(name, _)| name == USER_AGENT) {
            fields.push((USER_AGENT, agent));
        }
        fields.extend(further);
        let request = Request { method: Method::POST, target: self.target.clone(), fields, body: Some(message) };
        let limits = Limits { step: None, total: Some(self.settings.timeout), body: MOST_ANSWER };
        match self.client.send(&self.origin, request, limits).await {
            Ok(response) => {
                let wait = response.fields.get(RETRY_AFTER).and_then(|field| field.to_str().ok());
                let wait = wait.and_then(|field| retry_after::parse(field, SystemTime::now()));
                read(response.status, wait, &response.body, self.origin.url())
            }
            Err(error) => {
                // The name may have moved.
                if error.is_unsent() {
                    let _ = self.origin.resolve().await;
                }
                later(self.explain(&error))
            }
        }
    }

    fn explain(&self, error: &ClientError) -> String {
        let url = self.origin.url();
        if error.is_timeout() {
            return format!("{url}: no answer within {} s (tracing.timeout)", self.settings.timeout.as_secs_f64());
        }
        let remedy = if error.is_unknown_issuer() { ". Name its authority in tracing.ca_file" } else { "" };
        format!("{url}: {}{remedy}", error.cause())
    }
}

/// Reads an answer (OTLP, "Failures" of OTLP/HTTP). What the collector says of it in words is not shown: it is another's text.
fn read(status: StatusCode, wait: Option<Duration>, body: &[u8], url: impl std::fmt::Display) -> Sent {
    let number = status.as_u16();
    let remedy = match number {
        200..=299 => {
            let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
            let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
            return Sent::Taken { rejected: u64::try_from(rejected).unwrap_or(0) };
        }
        429 | 502 | 503 | 504 => return Sent::Later { why: format!("{url}: the answer is status {number}"), wait },
        300..=399 => ": redirects are not followed",
        401 | 403 => ": credentials for it belong in tracing.headers_file",
        404 | 405 => ": is tracing.endpoint the base of OTLP/HTTP? /v1/traces is appended to it",
        415 => ": it takes no protobuf",
        _ => "",
    };
    Sent::Refused(format!("{url}: the answer is status {number}{remedy}"))
}

/// The fields of a file, as it is now.
///
/// # Errors
/// What is wrong with it, as the end of a sentence, without what it holds.
fn headers(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    let file = std::fs::File::open(path).and_then(|file| file.take(MOST_HEADERS + 1).read_to_end(&mut text));
    let length = file.map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > MOST_HEADERS {
        return Err(format!("is larger than {MOST_HEADERS} bytes"));
    }
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    lines
        .map(|(index, line)| field(line).ok_or_else(|| format!("has no header field in line {}: write  Name: value", index + 1)))
        .collect()
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let name = HeaderName::from_bytes(name).ok().filter(|name| !OWN_FIELDS.contains(name))?;
    let mut value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    #[test]
    fn an_answer_says_what_becomes_of_a_message() {
        let some = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess { rejected_spans: 3, error_message: "why".to_owned() }),
        };
        let read = |status, body: &[u8]| read(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(7)), body, "url");
        for (status, body, rejected) in
            [(200, &[][..], 0), (202, b"{}", 0), (200, &[0xff; 20], 0), (200, &some.encode_to_vec(), 3)]
        {
            assert_eq!(read(status, body), Sent::Taken { rejected }, "{status} {body:?}");
        }
        for status in [429, 502, 503, 504] {
            let why = format!("url: the answer is status {status}");
            assert_eq!(read(status, b""), Sent::Later { why, wait: Some(Duration::from_secs(7)) });
        }
        for (status, remedy) in [(302, "redirects"), (400, ""), (401, "headers_file"), (404, "tracing.endpoint"), (500, "")] {
            let Sent::Refused(why) = read(status, b"secret") else { panic!("{status} is not refused") };
            assert!(why.contains(&status.to_string()) && why.contains(remedy) && !why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn fields_are_read_and_a_bad_line_is_named_by_its_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            headers(file.path())
        };
        let found = read("# for the collector\n\nAuthorization: Bearer a:b \r\nX-Scope-OrgID:7\n").unwrap();
        let shown: Vec<(&str, &[u8])> = found.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(shown, [("authorization", &b"Bearer a:b"[..]), ("x-scope-orgid", b"7")]);
        assert!(found.iter().all(|(_, value)| value.is_sensitive()));
        for bad in
            ["A: b\nsecret", "A: b\nse cret: x", "A: b\nHost: secret", "A: b\ncontent-type: secret", "A: b\nC: se\u{1}cret"]
        {
            assert_eq!(read(bad).unwrap_err(), "has no header field in line 2: write  Name: value", "{bad}");
        }
        assert_eq!(read(&"#".repeat(70_000)).unwrap_err(), "is larger than 65536 bytes");
        assert!(headers(Path::new("/nowhere/headers")).unwrap_err().starts_with("cannot be read: "));
    }
}

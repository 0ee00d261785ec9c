//! What makes two requests identical: everything of a request that decides what OpenEMR answers, and for whom.

use std::net::IpAddr;

use http::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderName, IF_NONE_MATCH, TRANSFER_ENCODING, VIA};
use http::{HeaderValue, Method};
use pingora::proxy::Session;

use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::request_head;
use crate::http::entity_tag;
use crate::openemr::search::terms::Window;
use crate::site::flights::Key;

/// The room for a key, in bytes: most have it.
const ROOM: usize = 512;

/// The key of a request that goes to OpenEMR as it is planned; `None` where it cannot be told whose it is.
#[must_use]
pub(super) fn of_request(session: &Session, call: &Call, fhir: &FhirCall) -> Option<Key> {
    planned(session, call, fhir, None)
}

/// The key of the walk that a page belongs to: that of the whole set, also where OpenEMR is asked for no more than the first page.
#[must_use]
pub(super) fn of_walk(session: &Session, call: &Call, fhir: &FhirCall) -> Option<Key> {
    let window = fhir.plan.search.as_ref()?.page?.window;
    let rows = match window {
        Window::First(rows) | Window::FromOffset(rows) => Some(rows),
        Window::Whole => None,
    };
    planned(session, call, fhir, rows)
}

/// `rows`: the `_count` at the end of what goes to OpenEMR that is no part of the key.
fn planned(session: &Session, call: &Call, fhir: &FhirCall, rows: Option<u64>) -> Option<Key> {
    let head = session.req_header();
    let mut key = Parts::of(0, call, fhir)?;
    key.add(&[u8::from(fhir.test().is_some()), u8::from(fhir.plan.search.is_some())]);
    key.add(fhir.interaction.kind.code().as_bytes());
    key.add(fhir.method_sent(&head.method).as_str().as_bytes());
    key.add(fhir.path_sent());
    key.add(without_count(fhir.query_sent(), rows));
    key.add(without_count(fhir.plan.form.as_deref().unwrap_or_default(), rows));
    let is_coded = !(fhir.reads_answer(&head.method) || call.runtime.trail.is_on());
    key.add_fields(&head.headers, is_coded);
    Some(key.into_key())
}

/// Parameters without the `_count` of so many rows, which the gateway has written at their end.
fn without_count(sent: &[u8], rows: Option<u64>) -> &[u8] {
    let counted = rows.and_then(|rows| sent.strip_suffix(format!("_count={rows}").as_bytes()));
    let others = counted.and_then(|others| others.strip_suffix(b"&").or_else(|| others.strip_suffix(b"?")).or(Some(others)));
    others.unwrap_or(sent)
}

/// The key of the read of a resource that has to be tested. Of the client's fields none goes to OpenEMR.
#[must_use]
pub(super) fn of_tested_read(_: &Session, call: &Call, fhir: &FhirCall) -> Option<Key> {
    let mut key = Parts::of(1, call, fhir)?;
    key.add(fhir.path_sent());
    Some(key.into_key())
}

/// The key of a search of which OpenEMR is asked these parts, by the gateway itself.
#[must_use]
pub(super) fn of_search_in_parts(call: &Call, fhir: &FhirCall, resource_type: &str, forms: &[Vec<u8>]) -> Option<Key> {
    let mut key = Parts::of(2, call, fhir)?;
    key.add(resource_type.as_bytes());
    forms.iter().for_each(|form| key.add(form));
    Some(key.into_key())
}

/// The parts of a key, each with its length: no two lists of parts make the same bytes.
struct Parts(Vec<u8>);

impl Parts {
    /// The parts of every key: of which form it is, how many writes there were, and whose it is. A client is known by its name,
    /// otherwise by its address.
    fn of(form: u8, call: &Call, fhir: &FhirCall) -> Option<Self> {
        let mut parts = Self(Vec::with_capacity(ROOM));
        parts.add(&[form]);
        parts.add(&fhir.site.flights.writes().get().to_be_bytes());
        match (&call.caller.client, call.trace.client().address()) {
            (Some(name), _) => parts.add(name.as_bytes()),
            (None, Some(address)) => parts.add_address(address),
            (None, None) => return None,
        }
        Some(parts)
    }

    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&part.len().to_be_bytes());
        self.0.extend_from_slice(part);
    }

    /// Adds an address, which is no client's name.
    fn add_address(&mut self, address: IpAddr) {
        self.add(b"");
        match address {
            IpAddr::V4(address) => self.add(&address.octets()),
            IpAddr::V6(address) => self.add(&address.octets()),
        }
    }

    /// Adds the fields of a GET that go to OpenEMR, but for those that the gateway writes for each request. `is_coded`: the client's
    /// Accept-Encoding goes there, too.
    fn add_fields(&mut self, fields: &HeaderMap, is_coded: bool) {
        for (name, value) in fields.iter().filter(|(name, _)| tells(name) && (is_coded || *name != ACCEPT_ENCODING)) {
            self.add_field(name, value);
        }
        if let Some(value) = entity_tag::foreign(fields) {
            self.add_field(&IF_NONE_MATCH, &value);
        }
    }

    fn add_field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.add(name.as_str().as_bytes());
        self.add(value.as_bytes());
    }

    fn into_key(self) -> Key {
        Key::new(self.0)
    }
}

/// Whether a field of a GET can change the answer. In doubt it can.
fn tells(name: &HeaderName) -> bool {
    let is_written_anew = *name == HOST
        || *name == VIA
        || *name == TRANSFER_ENCODING
        || name.as_str() == "tracestate"
        // The gateway's own tags stay here.
        || *name == IF_NONE_MATCH;
    !is_written_anew && request_head::passes(name.as_str(), &Method::GET)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(fields: &[(&str, &str)], is_coded: bool) -> Key {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let mut parts = Parts(Vec::new());
        parts.add_fields(&map, is_coded);
        parts.into_key()
    }

    #[test]
    fn what_reaches_openemr_tells_requests_apart_and_nothing_else() {
        let own = entity_tag::of(b"{}", None).to_str().unwrap().to_owned();
        for (field, tells_apart) in [
            (("accept", "application/json"), true),
            (("accept-language", "de"), true),
            (("accept-encoding", "gzip"), true),
            (("prefer", "handling=strict"), true),
            (("user-agent", "a"), true),
            (("if-none-match", "W/\"1\""), true),
            (("if-modified-since", "x"), true),
            (("if-none-match", own.as_str()), false),
            (("authorization", "Bearer x"), false),
            (("x-api-key", "x"), false),
            (("x-request-id", "x"), false),
            (("traceparent", "x"), false),
            (("tracestate", "x"), false),
            (("cookie", "a=1"), false),
            (("host", "gateway"), false),
            (("range", "bytes=0-1"), false),
            (("x-forwarded-for", "192.0.2.1"), false),
        ] {
            assert_eq!(key(&[field], true) != key(&[], true), tells_apart, "{field:?}");
        }
        let gzip = ("accept-encoding", "gzip");
        assert!(key(&[gzip], false) == key(&[], false), "what stays here makes no difference");
        assert!(key(&[("accept", "a"), ("accept", "b")], true) != key(&[("accept", "a, b")], true), "in doubt not shared");
    }

    #[test]
    fn the_first_page_of_a_walk_has_the_key_of_its_whole_set() {
        for (sent, rows, expected) in [
            ("?patient=1&_count=51", Some(51), "?patient=1"),
            ("?_count=51", Some(51), ""),
            ("_count=51", Some(51), ""),
            ("?patient=1", None, "?patient=1"),
            ("?patient=1&_count=51", None, "?patient=1&_count=51"),
            ("?patient=1&_count=5", Some(51), "?patient=1&_count=5"),
            ("?_count=51&patient=1", Some(51), "?_count=51&patient=1"),
        ] {
            assert_eq!(without_count(sent.as_bytes(), rows), expected.as_bytes(), "{sent} {rows:?}");
        }
    }

    proptest! {
        #[test]
        fn no_two_lists_of_parts_are_alike(
            one in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
            other in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        ) {
            let joined = |list: &[Vec<u8>]| {
                let mut parts = Parts(Vec::new());
                list.iter().for_each(|part| parts.add(part));
                parts.0
            };
            prop_assert_eq!(joined(&one) == joined(&other), one == other);
        }
    }
}

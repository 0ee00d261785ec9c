//! Validators of reads: a strong entity tag over the bytes that the client gets, and 304 where it has them already.
//!
//! OpenEMR sends none. Where a server has versions of its resources, its own tags pass, which say the version (FHIR R4, "RESTful
//! API", 3.1.0.1.3).
//!
//! Decision: `docs/decisions/46-asked-once.md`.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::fhir::interaction::Kind;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::destination::FhirCall;
use crate::gateway::response_head;
use crate::gateway::tagger::{Tagged, Tagger};
use crate::http::fields::set_length;
use crate::http::set_field::SetField;

/// Tags the body behind this head, which has been made what the client sees, where it is a resource that was read.
pub(super) fn begin(request: &RequestHeader, head: &ResponseHeader, fhir: &FhirCall, filters: &mut BodyFilters) {
    let is_meant = fhir.repairs().validators
        && request.method == Method::GET
        && matches!(fhir.interaction.kind, Kind::Read | Kind::VersionRead)
        && head.status == StatusCode::OK
        && response_head::is_json(head)
        && !head.headers.contains_key(ETAG)
        && !response_head::has_versions(fhir);
    let coding = head.headers.get(CONTENT_ENCODING);
    if is_meant && (coding.is_none() || filters.compress_body()) {
        let known = request.headers.get_all(IF_NONE_MATCH).iter().cloned().collect();
        filters.tag(Tagger::new(coding.cloned(), known));
    }
}

/// Makes the head say what became known of a body. `length`: of what goes out of it, in bytes.
pub(super) fn tell(head: &mut ResponseHeader, tagged: Option<&Tagged>, length: usize) {
    let Some(Tagged { tag, is_known }) = tagged else { return };
    head.set(ETAG, tag.clone());
    if !is_known {
        return set_length(head, length);
    }
    head.set_status(StatusCode::NOT_MODIFIED).expect("304 is a status");
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.remove_header(&name);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gateway::response_head::tests::head;
    use http::HeaderValue;

    #[test]
    fn a_304_has_a_tag_and_nothing_about_a_body() {
        let fields = [
            ("Content-Type", "application/fhir+json"),
            ("Content-Encoding", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Vary", "Accept-Encoding"),
            ("Cache-Control", "no-store"),
        ];
        let tagged = |is_known| Tagged { tag: HeaderValue::from_static("\"a\""), is_known };
        let mut not_modified = head(200, &fields);
        tell(&mut not_modified, Some(&tagged(true)), 0);
        assert_eq!(not_modified.status, 304);
        let mut names: Vec<&str> = not_modified.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "etag", "vary"]);
        let mut whole = head(200, &fields);
        tell(&mut whole, Some(&tagged(false)), 7);
        assert_eq!((whole.status.as_u16(), whole.headers.get(CONTENT_LENGTH).unwrap().as_bytes()), (200, &b"7"[..]));
        assert!(!whole.headers.contains_key(TRANSFER_ENCODING));
        let mut untouched = head(200, &fields);
        tell(&mut untouched, None, 7);
        assert_eq!(untouched.headers.len(), fields.len());
    }
}

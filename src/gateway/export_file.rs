//! The files of bulk exports, which OpenEMR serves as Binaries.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use pingora::http::ResponseHeader;

use crate::fhir::interaction::Kind;
use crate::fhir::link_text::LinkText;
use crate::gateway::destination::FhirCall;

/// Whether the body behind this head is the file of an export. NDJSON is the format of exports alone; every other Binary is
/// somebody's document, and stays as it is.
#[must_use]
pub(super) fn is_one(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| LinkText::of(value.as_bytes()));
    fhir.repairs().bulk_data
        && fhir.interaction.kind == Kind::Read
        && fhir.interaction.resource_type == Some("Binary")
        && head.status == StatusCode::OK
        && content_type == Some(LinkText::Ndjson)
        && !head.headers.contains_key(CONTENT_ENCODING)
}

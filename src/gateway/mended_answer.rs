//! Answers whose resources are mended before anything else reads them.
//!
//! Decision: `docs/decisions/35-mended-resources.md`.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use pingora::http::ResponseHeader;

use crate::fhir::interaction::Kind;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::destination::FhirCall;
use crate::gateway::{export_file, response_head};
use crate::site::prepared::Site;

/// Adds the filter that mends the resources in the body behind this head, if it has any.
pub(super) fn add_filter(head: &ResponseHeader, fhir: &FhirCall, filters: &mut BodyFilters) {
    let has_lines = export_file::is_one(head, fhir);
    if !has_lines && !has_resources(head, fhir) {
        return;
    }
    if let Some(mender) = fhir.site.mending.step() {
        filters.push(if has_lines { mender.of_lines() } else { mender });
    }
}

/// Mends a resource that was read.
#[must_use]
pub(super) fn mended(resource: Bytes, site: &Site) -> Bytes {
    match site.mending.step() {
        Some(mender) => mender.whole(resource),
        None => resource,
    }
}

/// Whether the body is a resource of OpenEMR's. Documents from Binary stay as they were stored.
fn has_resources(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    use Kind::*;
    let is_resource = match fhir.interaction.kind {
        Search | SearchSystem | SearchCompartment | Read | VersionRead | HistoryInstance | HistoryType | HistorySystem
        | Batch | Update | ConditionalUpdate | Patch | ConditionalPatch | Operation => true,
        // The answer that is made of it is mended where it is made.
        Create => !fhir.repairs().writes,
        Capabilities | SmartConfiguration | Delete | ConditionalDelete | Export | ExportStatus | Other => false,
    };
    is_resource
        && fhir.interaction.resource_type != Some("Binary")
        && head.status.is_success()
        && response_head::is_json(head)
        && !head.headers.contains_key(CONTENT_ENCODING)
}

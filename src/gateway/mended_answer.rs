//! Answers whose resources are mended before anything else reads them, and whose end is seen by the way.
//!
//! Decisions: `docs/decisions/08-end-of-body.md` and `docs/decisions/35-mended-resources.md`.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use pingora::http::ResponseHeader;

use crate::fhir::body_step::Broken;
use crate::fhir::interaction::Kind;
use crate::fhir::json::whole_object::WholeObject;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::destination::FhirCall;
use crate::gateway::{export_file, response_head};
use crate::openemr::mend::mender::Mender;
use crate::site::prepared::Site;

/// Adds the filter that mends the resources in the body behind this head, if it has any. Where they are not mended and errors are
/// told in FHIR's words, one that sees whether the body is whole: a half of a resource is none.
pub(super) fn add_filter(head: &ResponseHeader, fhir: &FhirCall, filters: &mut BodyFilters) {
    let mender = || fhir.site.mending.step();
    if export_file::is_one(head, fhir) {
        filters.push_some(mender().map(Mender::of_lines));
    } else if is_legible(head, fhir) {
        match has_resources(fhir).then(mender).flatten() {
            Some(mender) => filters.push(mender),
            // The answer to a create is judged where another is made of it.
            None if fhir.repairs().errors && !response_head::is_of_a_create(head, fhir) => filters.push(WholeObject::default()),
            None => {}
        }
    }
}

/// Mends a resource that was read.
///
/// # Errors
/// It is not whole.
pub(super) fn mended(resource: Bytes, site: &Site) -> Result<Bytes, Broken> {
    match site.mending.step() {
        Some(mender) => mender.whole(resource),
        None if site.config.answers.repairs.errors => WholeObject::check(&resource).map(|()| resource),
        None => Ok(resource),
    }
}

/// Whether the answer has resources of OpenEMR's.
fn has_resources(fhir: &FhirCall) -> bool {
    use Kind::*;
    match fhir.interaction.kind {
        Search | SearchSystem | SearchCompartment | Read | VersionRead | HistoryInstance | HistoryType | HistorySystem
        | Batch | Update | ConditionalUpdate | Patch | ConditionalPatch | Operation => true,
        // The answer that is made of it is mended where it is made.
        Create => !fhir.repairs().writes,
        Capabilities | SmartConfiguration | Delete | ConditionalDelete | Export | ExportStatus | Other => false,
    }
}

/// Whether the body is good JSON by its head, and can be read. Documents from Binary stay as they were stored.
fn is_legible(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    fhir.interaction.resource_type != Some("Binary")
        && head.status.is_success()
        && response_head::is_json(head)
        && !head.headers.contains_key(CONTENT_ENCODING)
}

//! The files of bulk exports, which OpenEMR serves as Binaries.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use pingora::http::ResponseHeader;

use crate::exports::files::ExportFile;
use crate::exports::jobs::Exports;
use crate::fhir::interaction::Kind;
use crate::fhir::link_text::LinkText;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::rejection::Rejection;
use crate::gateway::destination::FhirCall;
use crate::gateway::export_answers::{disk_failed, unknown};
use crate::gateway::export_paths::job;
use crate::gateway::stop::Step;
use crate::openemr::export::manifest::JOB;
use crate::openemr::export::ndjson::NdjsonFile;

/// Why a Binary is not served that OpenEMR has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotServed {
    /// Nobody knows which resources of the file an export with a filter holds.
    #[error("the file is of no export that is known, and exports with _typeFilter are about")]
    Withheld,
    /// A file that cannot be filtered.
    #[error("OpenEMR answered with something else than the file of the export")]
    NoFile,
}

impl From<NotServed> for Rejection {
    fn from(not: NotServed) -> Self {
        match not {
            NotServed::Withheld => {
                let text = "This is the file of no export that the gateway knows: take the addresses from the manifest.";
                Self::new(StatusCode::NOT_FOUND, IssueCode::NotFound, text)
            }
            NotServed::NoFile => {
                Self::bad_gateway(IssueCode::Exception, "OpenEMR answered with something else than the file of this export.")
                    .because(not)
            }
        }
    }
}

/// Whether a request may be for the file of an export that the gateway keeps.
#[must_use]
pub(super) fn may_be_one(fhir: &FhirCall) -> bool {
    fhir.repairs().bulk_data && fhir.interaction.kind == Kind::Read && fhir.interaction.resource_type == Some("Binary")
}

/// Finds out what the client gets of a Binary, should it be the file of an export.
///
/// # Errors
/// The export that the address names is not there, or has no such file.
pub(super) async fn attribute(fhir: &mut FhirCall, exports: &Exports) -> Step {
    if !may_be_one(fhir) {
        return Ok(());
    }
    let query = String::from_utf8_lossy(fhir.query().strip_prefix(b"?").unwrap_or_default()).into_owned();
    let is_named = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == JOB);
    let job = job(&query);
    if is_named {
        // It is the gateway's, and none of OpenEMR's.
        fhir.forget_parameter(JOB);
    }
    let jobs = exports.of(&fhir.site.config);
    let file = match (is_named, job) {
        (true, None) => Ok(ExportFile::Unknown),
        (_, job) => jobs.file(id(fhir), job).await,
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            let failed = disk_failed(&fhir.site, &jobs, error);
            if is_named {
                return Err(failed.into());
            }
            // Documents are served all the same.
            ExportFile::Withheld
        }
    };
    if matches!(file, ExportFile::Unknown) {
        return Err(unknown().into());
    }
    fhir.plan.export_file = file;
    Ok(())
}

/// The id of the Binary, as the client wrote it: in any other spelling than the manifest's it is of no export that is known.
fn id(fhir: &FhirCall) -> String {
    let path = String::from_utf8_lossy(fhir.path());
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// Checks that what OpenEMR answers may go to the client, as far as its head tells.
///
/// # Errors
/// It must not.
pub(super) fn check(head: &ResponseHeader, fhir: &FhirCall) -> Result<(), NotServed> {
    match &fhir.plan.export_file {
        ExportFile::Filtered(_) if head.status.is_success() && !is_one(head, fhir) => Err(NotServed::NoFile),
        ExportFile::Withheld if head.status.is_success() && is_ndjson(head) => Err(NotServed::Withheld),
        ExportFile::Whole | ExportFile::Filtered(_) | ExportFile::Withheld | ExportFile::Unknown => Ok(()),
    }
}

/// Whether the body behind this head is the file of an export. NDJSON is the format of exports alone; every other Binary is
/// somebody's document, and stays as it is.
#[must_use]
pub(super) fn is_one(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    may_be_one(fhir) && head.status == StatusCode::OK && is_ndjson(head) && !head.headers.contains_key(CONTENT_ENCODING)
}

fn is_ndjson(head: &ResponseHeader) -> bool {
    head.headers.get(CONTENT_TYPE).map(|value| LinkText::of(value.as_bytes())) == Some(LinkText::Ndjson)
}

/// The filter of the file's body.
#[must_use]
pub(super) fn filter(fhir: &FhirCall) -> NdjsonFile {
    match &fhir.plan.export_file {
        ExportFile::Filtered(test) => NdjsonFile::of_those_that_pass(test.clone()),
        ExportFile::Whole | ExportFile::Withheld | ExportFile::Unknown => NdjsonFile::default(),
    }
}

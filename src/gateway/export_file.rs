//! The files of bulk exports: addresses of the gateway's own, behind which OpenEMR has Binaries.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use pingora::http::ResponseHeader;
use uuid::Uuid;

use crate::access::permitted::permitted;
use crate::access::rule::Letter;
use crate::exports::files::{ExportFile, OwnFile};
use crate::exports::jobs::Exports;
use crate::fhir::interaction::Kind;
use crate::fhir::link_text::LinkText;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::export_answers::{plans_failed, unknown};
use crate::gateway::export_owner::{check_type, find};
use crate::gateway::export_paths::job;
use crate::gateway::stop::Step;
use crate::http::set_field::SetField;
use crate::openemr::export::files::GivenFile;
use crate::openemr::export::manifest::JOB;
use crate::openemr::export::ndjson::{LinePermit, NdjsonFile};

/// Why a Binary is not served that OpenEMR has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotServed {
    /// Nobody knows which resources of the file the client may have.
    #[error("the file is of no export that is known, and not everybody may have what is in it")]
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
                Self::new(StatusCode::NOT_FOUND, IssueCode::NotFound, Reason::NotFound, text)
            }
            NotServed::NoFile => Self::bad_gateway(
                IssueCode::Exception,
                Reason::NotFhir,
                "OpenEMR answered with something else than the file of this export.",
            )
            .because(not),
        }
    }
}

/// Whether a request may be for the file of an export that the gateway keeps.
#[must_use]
pub(super) fn may_be_one(fhir: &FhirCall) -> bool {
    fhir.repairs().bulk_data && fhir.interaction.kind == Kind::Read && fhir.interaction.resource_type == Some("Binary")
}

/// Makes a request for a file of the caller's own export the request for OpenEMR's Binary, and finds out what the caller gets of it.
///
/// # Errors
/// There is no such file, it is another's, or the policy of the caller does not permit it any more.
pub(super) async fn take(call: &Call, fhir: &mut FhirCall, exports: &Exports, job: Option<Uuid>, name: &str) -> Step {
    let plan = find(call, &fhir.site, exports, job).await?;
    let is_named = |file: &GivenFile<'_>| file.name() == name;
    // Its number is known once the export has ended.
    let file = plan.finished_at.and_then(|_| plan.given_files().find(is_named)).ok_or_else(unknown)?;
    let mut permit = None;
    if !call.caller.policy.is_everything {
        if file.is_outcome() {
            return Err(unknown().into());
        }
        check_type(call, file.resource_type)?;
        // A resource of an export is both found and read.
        let bases = fhir.site.openemr_bases();
        let tests = [Letter::Search, Letter::Read].map(|letter| permitted(&call.caller, letter, &bases.texts));
        permit = Some(Arc::new(LinePermit::new(file.resource_type, tests.into())));
    }
    let jobs = exports.of(&fhir.site);
    let known = jobs.file(file.id, Some(plan.job)).await;
    let known = known.map_err(|error| plans_failed(&jobs, error))?;
    if matches!(known, ExportFile::Unknown) {
        return Err(unknown().into());
    }
    fhir.plan.export_file = known;
    fhir.plan.own_file = Some(Box::new(OwnFile { name: file.name(), permit }));
    fhir.become_read_of_binary(file.id);
    Ok(())
}

/// Finds out what the client gets of a Binary, should it be the file of an export.
///
/// # Errors
/// The export that the address names is not there, or has no such file; the file is no document of a patient's, and so not for a
/// caller that may not have everything.
pub(super) async fn attribute(call: &Call, fhir: &mut FhirCall, exports: &Exports) -> Step {
    let is_for_everybody = call.caller.policy.is_everything;
    if !is_for_everybody && fhir.interaction.resource_type == Some("Binary") {
        fhir.plan.export_file = ExportFile::Withheld;
    }
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
    let jobs = exports.of(&fhir.site);
    let file = match (is_named, job) {
        (true, None) => Ok(ExportFile::Unknown),
        (true, Some(_)) if !is_for_everybody => Ok(ExportFile::Unknown),
        (_, job) => jobs.file(&id(fhir), job).await,
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            let failed = plans_failed(&jobs, error);
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
    if is_for_everybody {
        fhir.plan.export_file = file;
    }
    Ok(())
}

/// The id of the Binary, as the client wrote it: in any other spelling than the manifest's it is of no export that is known.
fn id(fhir: &FhirCall) -> String {
    let path = String::from_utf8_lossy(fhir.path());
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// Checks that what OpenEMR answers may go to the client, as far as its head tells; names the file as the gateway does.
///
/// # Errors
/// It must not.
pub(super) fn check(head: &mut ResponseHeader, fhir: &FhirCall) -> Result<(), NotServed> {
    if !head.status.is_success() {
        return Ok(());
    }
    match &fhir.plan.export_file {
        ExportFile::Withheld if is_ndjson(head) => return Err(NotServed::Withheld),
        // Of such an export, everything else that OpenEMR may have by this id now is somebody else's.
        ExportFile::Withheld if fhir.plan.own_file.is_some() => return Err(NotServed::NoFile),
        ExportFile::Filtered(_) if !is_one(head, fhir) => return Err(NotServed::NoFile),
        ExportFile::Whole if fhir.plan.own_file.is_some() && !is_one(head, fhir) => return Err(NotServed::NoFile),
        ExportFile::Whole | ExportFile::Filtered(_) | ExportFile::Withheld | ExportFile::Unknown => {}
    }
    if let Some(own) = &fhir.plan.own_file
        && let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{}\"", own.name))
    {
        head.set(CONTENT_DISPOSITION, name);
    }
    Ok(())
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
    let test = match &fhir.plan.export_file {
        ExportFile::Filtered(test) => Some(Arc::clone(test)),
        ExportFile::Whole | ExportFile::Withheld | ExportFile::Unknown => None,
    };
    let permit = fhir.plan.own_file.as_ref().and_then(|own| own.permit.clone());
    NdjsonFile::of_those_that_pass(test, permit)
}

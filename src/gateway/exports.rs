//! Bulk exports as the FHIR Bulk Data Access guide has them, over an OpenEMR that does not.
//!
//! OpenEMR exports within the kick-off's own request, everything that the token grants, and its web server gives it 60
//! seconds. So a client is answered at once, and a task kicks off one type after the other, each with a token for that type
//! alone. The client sees one job. The work itself is in the room `exports`; this file answers requests.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, EXPIRES, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use pingora::proxy::Session;

use crate::exports::jobs::Exports;
use crate::fhir::interaction::Kind;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::{FhirCall, FhirKind};
use crate::gateway::export_answers::{NO_STORE, empty, method_not_allowed, unknown};
use crate::gateway::export_owner::{delete, find, shown};
use crate::gateway::export_paths::{ExportPath, job};
use crate::gateway::public_base;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::{export_file, export_kick_off};
use crate::http::answer::Answer;
use crate::openemr::export::manifest::{self, Shown};
use crate::openemr::export::plan::Plan;
use crate::site::prepared::Site;

/// When a client may ask again, in seconds, how far a job is.
const ASK_AGAIN: u16 = 2;

/// Answers a request about an export, where the site's exports are the gateway's own. OpenEMR is not asked for it, and may be
/// out of reach. Of a request for a Binary it finds out whose file that is.
///
/// # Errors
/// [`Stop::Answered`], when it is such a request; why it is refused; the client is gone.
pub(super) async fn answer(
    session: &mut Session,
    call: &Call,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
    exports: &Exports,
) -> Step {
    let FhirKind::Export(path) = &fhir.kind else {
        check_proxied(call, fhir)?;
        return export_file::attribute(call, fhir, exports).await;
    };
    if let ExportPath::File(job, name) = path {
        check_is_read(&session.req_header().method)?;
        let (job, name) = (*job, name.clone());
        return export_file::take(call, fhir, exports, job, &name).await;
    }
    let site = &fhir.site;
    let job = job(&String::from_utf8_lossy(fhir.query().strip_prefix(b"?").unwrap_or_default()));
    let answer = match (path, &session.req_header().method) {
        (ExportPath::KickOff(level), _) => export_kick_off::answer(session, call, fhir, attempt, exports, level.clone()).await?,
        (ExportPath::Status, &Method::GET | &Method::HEAD) => {
            let plan = find(call, site, exports, job).await?;
            status(site, &plan, public_base::of(session, call, site).as_str(), shown(call))
        }
        (ExportPath::Status, &Method::DELETE) => {
            delete(call, site, exports, job).await?;
            empty(StatusCode::ACCEPTED)
        }
        (ExportPath::Status, _) => return Err(method_not_allowed("GET, HEAD, DELETE").into()),
        (ExportPath::Errors | ExportPath::File(..), method) => {
            check_is_read(method)?;
            errors(&find(call, site, exports, job).await?, shown(call))
        }
    };
    Err(Stop::Answered(answer))
}

/// Refuses what the gateway answers itself where it keeps the site's exports, and does not: its own addresses are none of OpenEMR's,
/// and OpenEMR's exports belong to nobody, and hold what the policy of the caller may not permit.
fn check_proxied(call: &Call, fhir: &FhirCall) -> Result<(), Rejection> {
    match fhir.interaction.kind {
        Kind::ExportStatus if fhir.interaction.operation != Some("bulkdata-status") => Err(unknown()),
        Kind::Export | Kind::ExportStatus if !call.caller.policy.is_everything => {
            let text =
                "The policy of the client permits no exports that the gateway does not keep itself; repairs.bulk_data is off.";
            Err(Rejection::by_policy(text))
        }
        _ => Ok(()),
    }
}

fn check_is_read(method: &Method) -> Result<(), Rejection> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(method_not_allowed("GET, HEAD")) }
}

/// How far an export is; at its end, its manifest.
fn status(site: &Site, plan: &Plan, base: &str, shown: Shown) -> Answer {
    let Some(finished_at) = plan.finished_at else {
        let (done, of) = plan.progress();
        let answer = empty(StatusCode::ACCEPTED).with(RETRY_AFTER, HeaderValue::from(ASK_AGAIN));
        return match HeaderValue::try_from(format!("{done} of {of} types done")) {
            Ok(progress) => answer.with(HeaderName::from_static("x-progress"), progress),
            Err(_) => answer,
        };
    };
    let body = manifest::write(plan, base, shown);
    let known_until =
        finished_at.saturating_add(i64::try_from(site.config.answers.bulk_data.keep.as_millis()).unwrap_or(i64::MAX));
    let ends = plan.files_end_at().map_or(known_until, |end| end.min(known_until));
    let answer = Answer::new(StatusCode::OK, "application/json", Bytes::from(body)).with(CACHE_CONTROL, NO_STORE);
    match http_date(ends) {
        Some(ends) => answer.with(EXPIRES, ends),
        None => answer,
    }
}

/// An HTTP date of milliseconds since 1970.
fn http_date(milliseconds: i64) -> Option<HeaderValue> {
    // No HTTP date lies behind the year 9999.
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default()))?;
    HeaderValue::try_from(httpdate::fmt_http_date(date.min(latest))).ok()
}

/// What went wrong with an export, as OperationOutcomes.
fn errors(plan: &Plan, shown: Shown) -> Answer {
    let outcomes = Bytes::from(manifest::outcomes(plan, shown));
    Answer::new(StatusCode::OK, "application/fhir+ndjson", outcomes).with(CACHE_CONTROL, NO_STORE)
}

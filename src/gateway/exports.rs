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
use uuid::Uuid;

use crate::exports::jobs::Exports;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::{FhirCall, FhirKind};
use crate::gateway::export_answers::{NO_STORE, disk_failed, empty, method_not_allowed, unknown};
use crate::gateway::export_paths::{ExportPath, job};
use crate::gateway::public_base;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::{export_file, export_kick_off};
use crate::http::answer::Answer;
use crate::openemr::export::manifest;
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
    if !matches!(fhir.kind, FhirKind::Export(_)) {
        return export_file::attribute(fhir, exports).await;
    }
    let FhirKind::Export(path) = &fhir.kind else { return Ok(()) };
    let site = &fhir.site;
    let job = job(&String::from_utf8_lossy(fhir.query().strip_prefix(b"?").unwrap_or_default()));
    let answer = match (path, &session.req_header().method) {
        (ExportPath::KickOff(level), _) => export_kick_off::answer(session, call, fhir, attempt, exports, level.clone()).await?,
        (ExportPath::Status, &Method::GET | &Method::HEAD) => {
            status(site, &find(site, exports, job).await?, public_base::of(session, call, site).as_str())
        }
        (ExportPath::Status, &Method::DELETE) => delete(site, exports, job).await?,
        (ExportPath::Status, _) => return Err(method_not_allowed("GET, HEAD, DELETE").into()),
        (ExportPath::Errors, &Method::GET | &Method::HEAD) => errors(&find(site, exports, job).await?),
        (ExportPath::Errors, _) => return Err(method_not_allowed("GET, HEAD").into()),
    };
    Err(Stop::Answered(answer))
}

/// How far an export is; at its end, its manifest.
fn status(site: &Site, plan: &Plan, base: &str) -> Answer {
    let Some(finished_at) = plan.finished_at else {
        let (done, of) = plan.progress();
        let answer = empty(StatusCode::ACCEPTED).with(RETRY_AFTER, HeaderValue::from(ASK_AGAIN));
        return match HeaderValue::try_from(format!("{done} of {of} types done")) {
            Ok(progress) => answer.with(HeaderName::from_static("x-progress"), progress),
            Err(_) => answer,
        };
    };
    let body = manifest::write(plan, base, needs_token());
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

/// Whether the files of an export need a token. The gateway asks none of its clients yet.
fn needs_token() -> bool {
    false
}

async fn delete(site: &Site, exports: &Exports, job: Option<Uuid>) -> Result<Answer, Rejection> {
    let job = job.ok_or_else(unknown)?;
    let jobs = exports.of(&site.config);
    match jobs.delete(job).await {
        Ok(true) => Ok(empty(StatusCode::ACCEPTED)),
        Ok(false) => Err(unknown()),
        Err(problem) => Err(disk_failed(site, &jobs, problem)),
    }
}

/// What went wrong with an export, as OperationOutcomes.
fn errors(plan: &Plan) -> Answer {
    let outcomes = Bytes::from(manifest::outcomes(plan));
    Answer::new(StatusCode::OK, "application/fhir+ndjson", outcomes).with(CACHE_CONTROL, NO_STORE)
}

async fn find(site: &Site, exports: &Exports, job: Option<Uuid>) -> Result<Plan, Rejection> {
    let job = job.ok_or_else(unknown)?;
    let jobs = exports.of(&site.config);
    match jobs.find(job).await {
        Ok(plan) => plan.ok_or_else(unknown),
        Err(problem) => Err(disk_failed(site, &jobs, problem)),
    }
}

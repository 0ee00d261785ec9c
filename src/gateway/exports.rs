//! Bulk exports as the FHIR Bulk Data Access guide has them, over an OpenEMR that does not.
//!
//! OpenEMR exports within the kick-off's own request, everything that the token grants, and its web server gives it 60
//! seconds. So a caller is answered at once, and a task kicks off one type after the other, each with a token for that type
//! alone. The caller sees one job.
//!
//! | file | what it is |
//! |---|---|
//! | `jobs` | the jobs of each site |
//! | `openemr` | what OpenEMR is asked |
//! | `store` | the plans on the disk |
//! | `worker` | the background service |

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, EXPIRES, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use log::error;
use pingora::proxy::Session;
use uuid::Uuid;

use crate::exports::jobs::{Exports, Jobs, now};
use crate::fhir::export_level::Level;
use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::parameters::{self, MAX_PARAMETERS};
use crate::fhir::prefer::{self, Handling};
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Verdict;
use crate::gateway::links::public_base;
use crate::gateway::negotiation::preferences;
use crate::gateway::route::Route;
use crate::gateway::{admission, answer};
use crate::http::answer::Answer;
use crate::http::request_target::Target;
use crate::openemr::export::kick_off::{KickOff, KickOffError, honoured_query};
use crate::openemr::export::level::scope;
use crate::openemr::export::manifest;
use crate::openemr::export::plan::{MAX_URL, Plan};
use crate::scopes::export;
use crate::site::prepared::Site;

/// When a caller may ask again, in seconds, how far a job is.
const ASK_AGAIN: u16 = 2;
/// When there may be room for another export, in seconds.
const ROOM_AGAIN: u16 = 60;
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What a path below the FHIR base is about, when it is about an export.
#[derive(Debug, PartialEq, Eq)]
enum About {
    KickOff(Level),
    Status,
    Errors,
}

impl About {
    fn of(path: &str) -> Option<Self> {
        let operation = |name: &str| {
            let segment = path.strip_prefix('/').unwrap_or_default().trim_end_matches('/');
            segment.strip_prefix('$').or_else(|| segment.strip_prefix("%24")) == Some(name)
        };
        if operation("bulkdata-status") {
            return Some(Self::Status);
        }
        if operation("bulkdata-errors") {
            return Some(Self::Errors);
        }
        Level::of(path).map(Self::KickOff)
    }
}

/// What a request is about, where it is about an export and the site's are the gateway's own.
fn about(session: &Session, context: &RequestContext) -> Option<About> {
    let Route::Fhir { prefix, .. } = context.route else { return None };
    // Nearly every request is done with here.
    if !matches!(context.interaction?.kind, Kind::Export | Kind::ExportStatus | Kind::Operation) {
        return None;
    }
    let path = std::str::from_utf8(Target::parse(session.req_header().raw_path()).path.get(prefix..)?).ok()?;
    About::of(path).filter(|_| context.site().is_some_and(|site| site.config.repairs.bulk_data))
}

/// Whether a request is answered here, with or without an OpenEMR.
#[must_use]
pub fn answers(session: &Session, context: &RequestContext) -> bool {
    about(session, context).is_some()
}

/// Answers a request that is about an export, where the site's are the gateway's own; `None` for every other. OpenEMR is
/// not asked for it, and may be out of reach.
///
/// # Errors
/// A caller who is gone before his request was read.
pub async fn answer(session: &mut Session, context: &mut RequestContext, exports: &Exports) -> pingora::Result<Option<Answer>> {
    let Some(about) = about(session, context) else { return Ok(None) };
    if matches!(about, About::KickOff(_))
        && let Err(failure) = admission::take_token(context).await
    {
        return Ok(Some(answer::of_verdict(&failure.verdict(), context)));
    }
    let context = &*context;
    let Some(site) = context.site() else { return Ok(None) };
    let query = Target::parse(session.req_header().raw_path()).query;
    let query = String::from_utf8_lossy(query.strip_prefix(b"?").unwrap_or_default()).into_owned();
    let method = session.req_header().method.clone();
    let base = public_base(session, context, site);
    let base = base.as_str();
    let answer = match (about, &method) {
        (About::KickOff(level), &Method::GET | &Method::POST) => {
            let body = match read_body(session).await? {
                Some(body) => body,
                None => return Ok(Some(refused(context, &too_large()))),
            };
            let head = session.req_header();
            let is_acceptable = context.negotiated.acceptable;
            let asked = Asked { fields: &head.headers, is_acceptable, query: &query, body: &body };
            kick_off(context, site, exports, level, &asked, base).await
        }
        (About::KickOff(_), _) => not_allowed(context, "GET, POST"),
        (About::Status, &Method::GET | &Method::HEAD) => status(context, site, exports, job(&query), base).await,
        (About::Status, &Method::DELETE) => delete(context, site, exports, job(&query)).await,
        (About::Status, _) => not_allowed(context, "GET, HEAD, DELETE"),
        (About::Errors, &Method::GET | &Method::HEAD) => errors(context, site, exports, job(&query)).await,
        (About::Errors, _) => not_allowed(context, "GET, HEAD"),
    };
    Ok(Some(answer))
}

/// Why there is no export.
struct Refusal {
    status: u16,
    code: IssueCode,
    text: String,
}

impl From<KickOffError> for Refusal {
    fn from(error: KickOffError) -> Self {
        Self { status: error.status(), code: error.code(), text: error.to_string() }
    }
}

/// A kick-off as it came.
struct Asked<'a> {
    fields: &'a HeaderMap,
    is_acceptable: bool,
    query: &'a str,
    body: &'a [u8],
}

impl Asked<'_> {
    /// Judges it by what the token grants.
    fn judge(&self, level: Level, granted: &str) -> Result<KickOff, Refusal> {
        let refusal = |status, code, text: &str| Refusal { status, code, text: text.to_owned() };
        let missing = export::missing(granted, scope(&level));
        if !missing.is_empty() {
            let text = format!("The gateway's token lacks the scope {}.", missing.join(" and "));
            return Err(refusal(403, IssueCode::Forbidden, &text));
        }
        if !self.is_acceptable {
            return Err(refusal(406, IssueCode::NotSupported, "An export is told of in application/fhir+json alone."));
        }
        if prefer::value_of(preferences(self.fields), "respond-async").is_none() {
            return Err(refusal(400, IssueCode::Invalid, "An export needs the field  Prefer: respond-async"));
        }
        let handling = Handling::named(preferences(self.fields));
        let mut parameters: Vec<_> = form_urlencoded::parse(self.query.as_bytes()).into_owned().collect();
        if !self.body.is_empty() && !self.fields.get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(refusal(415, IssueCode::NotSupported, "The body of a kick-off is a Parameters resource in JSON."));
        }
        let of_body = parameters::read(self.body);
        parameters.extend(of_body.ok_or_else(|| refusal(400, IssueCode::Invalid, "The body is no Parameters resource."))?);
        Ok(KickOff::validate(level, &parameters, handling, &export::readable_types(granted))?)
    }
}

fn is_json(media_type: &HeaderValue) -> bool {
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/fhir+json", "application/json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

/// Answers a kick-off at once; the work begins behind it.
async fn kick_off(
    context: &RequestContext,
    site: &Site,
    exports: &Exports,
    level: Level,
    asked: &Asked<'_>,
    base: &str,
) -> Answer {
    let granted = context.token.as_ref().map(|token| token.scope.as_str()).unwrap_or_default();
    let kick_off = match asked.judge(level, granted) {
        Ok(kick_off) => kick_off,
        Err(refusal) => return refused(context, &refusal),
    };
    let honoured = honoured_query(asked.query);
    let separator = if honoured.is_empty() { "" } else { "?" };
    let request = format!("{base}{}{separator}{honoured}", kick_off.level.path());
    if request.len() > MAX_URL {
        return refused(context, &Refusal { status: 414, code: IssueCode::TooCostly, text: "The URL is too long.".to_owned() });
    }
    let job = Uuid::new_v4();
    let jobs = exports.of(&site.config);
    match jobs.add(Plan::new(job, kick_off, request, now())).await {
        Ok(Ok(())) => exports.news.notify_waiters(),
        Ok(Err(_)) => {
            let text = "As many exports are under way as the gateway takes on.".to_owned();
            let refusal = Refusal { status: 429, code: IssueCode::TooCostly, text };
            return refused(context, &refusal).with(RETRY_AFTER, HeaderValue::from(ROOM_AGAIN));
        }
        Err(problem) => return disk_failed(context, site, &jobs, &problem),
    }
    match HeaderValue::try_from(format!("{base}/$bulkdata-status?job={job}")) {
        Ok(location) => empty(StatusCode::ACCEPTED).with(CONTENT_LOCATION, location),
        Err(_) => {
            refused(context, &Refusal { status: 400, code: IssueCode::Invalid, text: "The Host cannot be used.".to_owned() })
        }
    }
}

async fn status(context: &RequestContext, site: &Site, exports: &Exports, job: Option<Uuid>, base: &str) -> Answer {
    let plan = match find(context, site, exports, job).await {
        Ok(plan) => plan,
        Err(answer) => return answer,
    };
    let Some(finished_at) = plan.finished_at else {
        let (done, of) = plan.progress();
        let answer = empty(StatusCode::ACCEPTED).with(RETRY_AFTER, HeaderValue::from(ASK_AGAIN));
        return match HeaderValue::try_from(format!("{done} of {of} types done")) {
            Ok(progress) => answer.with(HeaderName::from_static("x-progress"), progress),
            Err(_) => answer,
        };
    };
    let manifest = manifest::write(&plan, base, needs_token());
    let known_until = finished_at.saturating_add(i64::try_from(site.config.bulk_data.keep.as_millis()).unwrap_or(i64::MAX));
    let ends = plan.files_end_at().map_or(known_until, |end| end.min(known_until));
    let answer = Answer::new(StatusCode::OK, "application/json", Bytes::from(manifest)).with(CACHE_CONTROL, NO_STORE);
    let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(ends).unwrap_or_default()));
    // No HTTP date lies behind the year 9999.
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    match ends.map(|ends| HeaderValue::try_from(httpdate::fmt_http_date(ends.min(latest)))) {
        Some(Ok(ends)) => answer.with(EXPIRES, ends),
        Some(Err(_)) | None => answer,
    }
}

/// The gateway asks no token of its callers yet.
fn needs_token() -> bool {
    false
}

async fn delete(context: &RequestContext, site: &Site, exports: &Exports, job: Option<Uuid>) -> Answer {
    let Some(job) = job else { return unknown(context) };
    let jobs = exports.of(&site.config);
    match jobs.delete(job).await {
        Ok(true) => {
            exports.news.notify_waiters();
            empty(StatusCode::ACCEPTED)
        }
        Ok(false) => unknown(context),
        Err(problem) => disk_failed(context, site, &jobs, &problem),
    }
}

async fn errors(context: &RequestContext, site: &Site, exports: &Exports, job: Option<Uuid>) -> Answer {
    match find(context, site, exports, job).await {
        Ok(plan) => {
            let outcomes = Bytes::from(manifest::outcomes(&plan));
            Answer::new(StatusCode::OK, "application/fhir+ndjson", outcomes).with(CACHE_CONTROL, NO_STORE)
        }
        Err(answer) => answer,
    }
}

async fn find(context: &RequestContext, site: &Site, exports: &Exports, job: Option<Uuid>) -> Result<Plan, Answer> {
    let Some(job) = job else { return Err(unknown(context)) };
    let jobs = exports.of(&site.config);
    match jobs.find(job).await {
        Ok(Some(plan)) => Ok(plan),
        Ok(None) => Err(unknown(context)),
        Err(problem) => Err(disk_failed(context, site, &jobs, &problem)),
    }
}

fn job(query: &str) -> Option<Uuid> {
    let (_, job) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "job")?;
    // Only as the gateway writes it: no other spelling is a name of a file.
    Uuid::parse_str(&job).ok().filter(|parsed| parsed.to_string() == *job)
}

/// A body that is read whole; `None` when it is too large. Of a kick-off by GET there is none.
async fn read_body(session: &mut Session) -> pingora::Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_request_body().await? {
        if body.len() + piece.len() > MAX_PARAMETERS {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body.freeze()))
}

fn empty(status: StatusCode) -> Answer {
    Answer::new(status, "application/fhir+json; charset=utf-8", Bytes::new()).with(CACHE_CONTROL, NO_STORE)
}

fn refused(context: &RequestContext, refusal: &Refusal) -> Answer {
    answer::of_verdict(&Verdict::new(refusal.status, refusal.code, &refusal.text), context)
}

fn not_allowed(context: &RequestContext, allowed: &'static str) -> Answer {
    let text = "This operation takes other methods; see Allow.".to_owned();
    refused(context, &Refusal { status: 405, code: IssueCode::NotSupported, text }).with(ALLOW, HeaderValue::from_static(allowed))
}

fn too_large() -> Refusal {
    let text = format!("The body of a kick-off is larger than {MAX_PARAMETERS} bytes.");
    Refusal { status: 413, code: IssueCode::TooCostly, text }
}

fn unknown(context: &RequestContext) -> Answer {
    let text = "There is no such export, or no longer.".to_owned();
    refused(context, &Refusal { status: 404, code: IssueCode::NotFound, text })
}

fn disk_failed(context: &RequestContext, site: &Site, jobs: &Jobs, problem: &std::io::Error) -> Answer {
    let (name, folder) = (site.name(), jobs.folder().display());
    error!(
        "site {name}: {folder} cannot be used for its exports: {problem}; bulk_data.folder must be the gateway's own to write"
    );
    let text = "The gateway cannot keep exports at the moment; its log says why.".to_owned();
    refused(context, &Refusal { status: 500, code: IssueCode::Exception, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_about_exports() {
        for (path, about) in [
            ("/$export", Some(About::KickOff(Level::System))),
            ("/Patient/%24export", Some(About::KickOff(Level::Patient))),
            ("/$bulkdata-status", Some(About::Status)),
            ("/%24bulkdata-status/", Some(About::Status)),
            ("/$bulkdata-errors", Some(About::Errors)),
            ("/Patient/$bulkdata-status", None),
            ("/bulkdata-status", None),
            ("/Patient", None),
            ("", None),
        ] {
            assert_eq!(About::of(path), about, "{path}");
        }
    }

    #[test]
    fn a_job_is_named_in_one_way_only() {
        let text = "6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11";
        assert_eq!(job(&format!("x=1&job={text}")).map(|job| job.to_string()).as_deref(), Some(text));
        for bad in [
            "".to_owned(),
            "job=".to_owned(),
            format!("job={}", text.to_uppercase()),
            format!("job={}", text.replace('-', "")),
            format!("job=%7B{text}%7D"),
            "job=..%2F..%2Fetc".to_owned(),
        ] {
            assert_eq!(job(&bad), None, "{bad}");
        }
    }
}

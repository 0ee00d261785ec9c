//! The requests of an export to OpenEMR: the kick-off for one type or for the Provenance of one, the status of its job, and the
//! deletion of its files.

use std::sync::Arc;
use std::time::Duration;

use form_urlencoded::byte_serialize;
use http::header::{ACCEPT, CONTENT_LOCATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use log::warn;

use crate::fhir::id::is_path_id;
use crate::nodes::client::Response;
use crate::nodes::in_flight::Flow;
use crate::openemr::export::manifest::{self, MAX_MANIFEST};
use crate::openemr::export::plan::Plan;
use crate::openemr::export::refusal::refuses_types;
use crate::openemr::export::since::in_whole_seconds;
use crate::openemr::export::state::{Cause, FinishedJob, TypePlan};
use crate::openemr::token_rejection::rejects_token;
use crate::scopes::export::narrowed;
use crate::site::client::{FhirRequest, SiteClientError};
use crate::site::prepared::Site;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::refresher::TokenTasks;
use crate::smart::token::AccessToken;

/// The longest answer to a kick-off or a deletion that is read, in bytes: an OperationOutcome.
const MOST: usize = 64 * 1024;
/// How long one wait for a token may take.
const TOKEN_PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of a kick-off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KickedOff {
    /// OpenEMR accepted it as the job with this id.
    Accepted(String),
    /// OpenEMR does not export the type, and answered with this status.
    NotExported(u16),
    /// It failed and must not be repeated.
    Failed(Cause),
    /// OpenEMR has not received it; it can be tried again.
    NotSent,
}

/// The state of a job at OpenEMR.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has ended.
    Ended(FinishedJob),
    /// OpenEMR works on it.
    Working,
    /// It has failed.
    Failed(Cause),
    /// OpenEMR did not tell; it can be asked again.
    Unknown,
}

/// Fetches a token that covers the types of one job alone, because OpenEMR exports what the token covers. It is used for this job
/// only.
///
/// # Errors
/// The cause when the site's scopes do not cover the types; `None` when there is no token in time.
pub(crate) async fn narrow_token(tokens: &TokenTasks, site: &Site, one: &TypePlan) -> Result<Arc<AccessToken>, Option<Cause>> {
    let types: Vec<&str> = one.job_types().collect();
    let scopes = narrowed(&site.config.token.scopes, &types).ok_or(Some(Cause::Forbidden))?;
    let (config, signer) = (Arc::clone(&site.config), Arc::clone(&site.signer));
    let endpoint = TokenEndpoint::new(config, signer, Arc::clone(&site.nodes), tokens.client());
    let handle = tokens.start(endpoint.narrowed(scopes, &format!("export of {one}")));
    handle.wait(TOKEN_PATIENCE).await.map_err(|_| None)
}

/// Kicks off the job for one part of a plan. OpenEMR does the work before it answers, so that the request is repeated only when
/// OpenEMR has refused the token and so done nothing.
pub(crate) async fn kick_off(tokens: &TokenTasks, site: &Site, plan: &Plan, one: &TypePlan, first: &AccessToken) -> KickedOff {
    let target = target(plan, one);
    let fields = vec![
        // OpenEMR compares both as strings.
        (ACCEPT, HeaderValue::from_static("application/fhir+json")),
        (HeaderName::from_static("prefer"), HeaderValue::from_static("respond-async")),
    ];
    let read_timeout = site.config.upstream.timeouts.export;
    let request = FhirRequest { fields, ..FhirRequest::get(&target, MOST, read_timeout).of(Flow::Exports) };
    let response = match site.client.send(&request, Some(first)).await {
        Ok(response) if refuses_the_token(&response) => match narrow_token(tokens, site, one).await {
            Ok(second) => site.client.send(&request, Some(&second)).await,
            Err(Some(cause)) => return KickedOff::Failed(cause),
            Err(None) => return KickedOff::NotSent,
        },
        response => response,
    };
    match response {
        Ok(response) if refuses_types(response.status, &response.body) => KickedOff::NotExported(response.status.as_u16()),
        Ok(response) if refuses_the_token(&response) => KickedOff::Failed(Cause::Forbidden),
        Ok(response) => match response.status.as_u16() {
            202 => job(&response.fields).map_or(KickedOff::Failed(Cause::NotUnderstood), KickedOff::Accepted),
            status @ (400 | 404) => KickedOff::NotExported(status),
            403 => KickedOff::Failed(Cause::Forbidden),
            status => KickedOff::Failed(Cause::Status(status)),
        },
        Err(error) => {
            warn!("site {}: export of {one}: {error}", site.name());
            if error.is_unsent() { KickedOff::NotSent } else { KickedOff::Failed(cause(&error)) }
        }
    }
}

/// Why there is no answer to a request that was sent.
fn cause(error: &SiteClientError) -> Cause {
    match error {
        SiteClientError::Failed(error) if error.is_timeout() => Cause::TimedOut,
        SiteClientError::Failed(error) if error.is_too_long() => Cause::NotUnderstood,
        SiteClientError::Failed(_) => Cause::Broken,
        SiteClientError::NoNode | SiteClientError::Busy | SiteClientError::NoToken => Cause::Unreachable,
    }
}

fn refuses_the_token(response: &Response) -> bool {
    match response.status {
        StatusCode::UNAUTHORIZED => !refuses_types(response.status, &response.body),
        StatusCode::BAD_REQUEST => rejects_token(&response.body),
        _ => false,
    }
}

/// The target of a kick-off. OpenEMR ignores `_type` so far and exports what the token covers.
fn target(plan: &Plan, one: &TypePlan) -> String {
    let types: Vec<&str> = one.job_types().collect();
    let mut target = format!("{}?_type={}", plan.level.path(), types.join(","));
    if let Some(since) = plan.since.as_deref().and_then(in_whole_seconds) {
        target.push_str("&_since=");
        target.extend(byte_serialize(since.as_bytes()));
    }
    target
}

/// The id of the job in `…/$bulkdata-status?job=…`.
fn job(fields: &HeaderMap) -> Option<String> {
    let location = fields.get(CONTENT_LOCATION)?.to_str().ok()?;
    let (_, query) = location.split_once('?')?;
    let (_, job) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "job")?;
    is_path_id(&job).then(|| job.into_owned())
}

/// Asks how far a job is. OpenEMR accepts any token of the client.
pub(crate) async fn progress(site: &Site, job: &str, one: &TypePlan) -> Progress {
    let target = format!("/$bulkdata-status?job={job}");
    let request = FhirRequest::get(&target, MAX_MANIFEST, site.config.upstream.timeouts.read).of(Flow::Exports);
    match site.client.send_with_token(&request).await {
        Ok(response) => match response.status.as_u16() {
            200 => match manifest::read(&response.body, one) {
                Some(ended) if ended.has_failed && ended.files.is_empty() && ended.errors.is_empty() => {
                    Progress::Failed(Cause::Reported)
                }
                Some(ended) => Progress::Ended(ended),
                None => Progress::Failed(Cause::NotUnderstood),
            },
            202 => Progress::Working,
            400 | 404 => Progress::Failed(Cause::Lost),
            401 | 403 => Progress::Failed(Cause::Forbidden),
            _ => Progress::Unknown,
        },
        Err(error) => {
            warn!("site {}: how far the export of {one} is cannot be read: {error}", site.name());
            match cause(&error) {
                Cause::NotUnderstood => Progress::Failed(Cause::NotUnderstood),
                _ => Progress::Unknown,
            }
        }
    }
}

/// Makes OpenEMR delete a job and its files. When that fails, OpenEMR deletes them after an hour.
pub(crate) async fn delete(site: &Site, job: &str) {
    let target = format!("/$bulkdata-status?job={job}");
    let request = FhirRequest::get(&target, MOST, site.config.upstream.timeouts.read).of(Flow::Exports);
    let request = FhirRequest { method: Method::DELETE, ..request };
    let _ = site.client.send_with_token(&request).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::export_level::Level;
    use crate::openemr::export::kick_off::KickOff;
    use crate::openemr::export::owner::Owner;
    use uuid::Uuid;

    #[test]
    fn the_job_is_read_from_its_address() {
        for (location, expected) in [
            (
                "https://h/apis/default/fhir/$bulkdata-status?job=a34c7255-811c-439b-ae75-3caf4873f54c",
                Some("a34c7255-811c-439b-ae75-3caf4873f54c"),
            ),
            ("/fhir/$bulkdata-status?x=1&job=7", Some("7")),
            ("/fhir/$bulkdata-status?job=..%2F7", None),
            ("/fhir/$bulkdata-status?job=", None),
            ("/fhir/$bulkdata-status", None),
        ] {
            let fields = HeaderMap::from_iter([(CONTENT_LOCATION, HeaderValue::from_static(location))]);
            assert_eq!(job(&fields).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_kick_off_names_its_types_and_the_instant() {
        let kick_off = KickOff {
            level: Level::Group("g".to_owned()),
            types: vec![("Patient", true)],
            provenance_of: vec!["Patient"],
            since: Some("2026-11-24T02:28:30.5+01:00".to_owned()),
            filters: Vec::new(),
            left_out: Vec::new(),
        };
        let plan = Plan::new(Uuid::from_u128(1), kick_off, String::new(), Owner::default(), 0);
        let targets: Vec<_> = plan.types.iter().map(|one| target(&plan, one)).collect();
        assert_eq!(
            targets,
            [
                "/Group/g/$export?_type=Patient&_since=2026-11-24T01%3A28%3A30Z",
                "/Group/g/$export?_type=Patient,Provenance&_since=2026-11-24T01%3A28%3A30Z"
            ]
        );
    }
}

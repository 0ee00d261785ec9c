//! Answers that several addresses of a bulk export give.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::exports::jobs::Jobs;
use crate::exports::store::StoreError;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::rejection::Rejection;
use crate::http::answer::Answer;
use crate::site::prepared::Site;

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer that is its head alone.
#[must_use]
pub(super) fn empty(status: StatusCode) -> Answer {
    Answer::new(status, "application/fhir+json; charset=utf-8", Bytes::new()).with(CACHE_CONTROL, NO_STORE)
}

/// 405
#[must_use]
pub(super) fn method_not_allowed(allowed: &'static str) -> Rejection {
    let text = "This operation takes other methods; see Allow.";
    Rejection::method_not_allowed(text, HeaderValue::from_static(allowed))
}

/// 404
#[must_use]
pub(super) fn unknown() -> Rejection {
    Rejection::new(StatusCode::NOT_FOUND, IssueCode::NotFound, "There is no such export, or no longer.")
}

/// 500: the plans of the exports cannot be read or written. The log says why.
#[must_use]
pub(super) fn disk_failed(site: &Site, jobs: &Jobs, error: StoreError) -> Rejection {
    let (name, folder) = (site.name(), jobs.folder().display());
    log::error!(
        "site {name}: {folder} cannot be used for its exports: {error}; bulk_data.folder must be the gateway's own to write"
    );
    let text = "The gateway cannot keep exports at the moment; its log says why.";
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception, text).because(error)
}

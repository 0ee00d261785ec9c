//! Answers that several addresses of a bulk export give.

use std::path::PathBuf;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::exports::jobs::Jobs;
use crate::exports::store::StoreError;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::http::answer::Answer;

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
    Rejection::new(StatusCode::NOT_FOUND, IssueCode::NotFound, Reason::NotFound, "There is no such export, or no longer.")
}

/// The plans of the exports cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used for exports: {error}; bulk_data.folder must be the gateway's own to write", .folder.display())]
struct NoFolder {
    folder: PathBuf,
    error: StoreError,
}

/// 500: the plans of the exports cannot be read or written. The log says why.
#[must_use]
pub(super) fn disk_failed(jobs: &Jobs, error: StoreError) -> Rejection {
    let no_folder = NoFolder { folder: jobs.folder().to_owned(), error };
    let text = "The gateway cannot keep exports at the moment; its log says why.";
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception, Reason::Exports, text).because(no_folder)
}

//! Answers that several addresses of a bulk export give.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::exports::jobs::Jobs;
use crate::exports::store::Store;
use crate::exports::store_error::StoreError;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::http::answer::Answer;

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// When the shared store may be back.
const STORE_AGAIN: Duration = Duration::from_secs(5);

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
enum NoPlans {
    /// On the disk.
    #[error("{folder} cannot be used for exports: {error}; bulk_data.folder must be the gateway's own to write")]
    Folder { folder: String, error: StoreError },
    /// In the shared store.
    #[error("the plans of exports cannot be had: {0}")]
    Shared(StoreError),
}

/// 500: the plans of the exports cannot be read or written. 503 while the shared store is away. The log says why.
#[must_use]
pub(super) fn plans_failed(jobs: &Jobs, error: StoreError) -> Rejection {
    let is_temporary = error.is_temporary();
    let cause = match jobs.store() {
        Store::Folder(folder) => NoPlans::Folder { folder: folder.path().display().to_string(), error },
        Store::Shared(_) => NoPlans::Shared(error),
    };
    let text = "The gateway cannot keep exports at the moment; its log says why.";
    if is_temporary {
        return Rejection::unavailable(Reason::ExportStore, STORE_AGAIN, text).because(cause);
    }
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception, Reason::Exports, text).because(cause)
}

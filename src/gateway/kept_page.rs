//! An answer of OpenEMR's that is kept for the pages behind the one that was asked for, while it passes.
//!
//! Decision: `docs/decisions/61-pages.md`.

use std::time::Instant;

use bytes::Bytes;
use pingora::http::ResponseHeader;

use crate::gateway::attempt::Attempt;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::shared_answer::may_be_shared;
use crate::site::kept_pages::Collected;

/// What has come of such an answer. Dropped, nothing of it is kept.
#[derive(Debug)]
pub(super) struct KeptPage {
    collected: Collected,
    head: ResponseHeader,
}

/// Takes the head of OpenEMR's answer.
#[must_use]
pub(super) fn begin(head: &ResponseHeader, has_no_body: bool, attempt: &mut Attempt) -> Option<KeptPage> {
    let collected = attempt.collected.take()?;
    may_be_shared(head, has_no_body).then(|| KeptPage { collected, head: head.clone() })
}

/// Takes a piece of its body. One that is too long is not kept.
pub(super) fn take(kept: &mut Option<KeptPage>, piece: Option<&Bytes>) {
    if let (Some(page), Some(piece)) = (&mut *kept, piece)
        && !page.collected.push(piece)
    {
        *kept = None;
    }
}

/// Keeps the answer, which is whole and good, if there is a page behind the one that the client gets.
pub(super) fn keep(kept: &mut Option<KeptPage>, filters: &BodyFilters) {
    if let Some(KeptPage { collected, head }) = kept.take()
        && filters.has_next_page()
    {
        collected.keep(head, Instant::now());
    }
}

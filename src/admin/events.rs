//! `GET /events`: the status once a second, as server-sent events (HTML standard, section 9.2).

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::admin::watch::Watch;
use crate::http::answer::Answer;
use crate::http::answer_protection::protect;
use crate::http::parts::edit_response;
use crate::http::set_field::SetField;

/// The most streams at once.
pub(super) const MOST_STREAMS: usize = 8;
/// How long an event may take to be written. A reader that leaves no room for it that long is cut off.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// A stream that may begin.
pub(super) struct Events {
    /// The connection; its request has been read.
    pub(super) session: ServerSession,
    /// The stream's place among [`MOST_STREAMS`].
    pub(super) place: OwnedSemaphorePermit,
}

impl Events {
    /// Sends the status until the reader leaves or is too slow.
    pub(super) async fn send(mut self, watch: &Watch) {
        // Who is gone gets no more.
        let _ = self.stream(watch).await;
        drop(self.place);
    }

    async fn stream(&mut self, watch: &Watch) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(StatusCode::OK, Some(8))?;
        head.set(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.set(CONNECTION, HeaderValue::from_static("close"));
        edit_response(&mut head, protect);
        self.session.set_keepalive(None);
        self.session.write_response_header(Box::new(head)).await?;
        let mut statuses = watch.subscribe();
        let mut status = watch.json();
        loop {
            let writing = self.session.write_response_body(event(&status), false);
            timeout(WRITE_WITHIN, writing).await.unwrap_or_else(|_| too_slow())?;
            if statuses.changed().await.is_err() {
                return Ok(());
            }
            status = statuses.borrow_and_update().clone();
        }
    }
}

/// The answer to one stream too many.
#[must_use]
pub(super) fn too_many() -> Answer {
    Answer::error(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_streams",
        "There are 8 streams of events already; close one of them.",
    )
    .with(http::header::RETRY_AFTER, HeaderValue::from_static("5"))
}

/// One event. JSON as it is written here has no line breaks, which would end its line.
fn event(status: &Bytes) -> Bytes {
    [b"data: ", &**status, b"\n\n"].concat().into()
}

fn too_slow() -> pingora::Result<()> {
    pingora::Error::e_explain(pingora::ErrorType::WriteTimedout, "the reader of the events is too slow")
}

//! The state of OpenEMR's answer on its way to the client.

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::json::completeness::Completeness;
use crate::fhir::reason::Reason;
use crate::gateway::backlog::Backlog;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::buffered_answer::BufferedAnswer;
use crate::gateway::due::Due;
use crate::gateway::held_answer::HeldAnswer;
use crate::gateway::kept_body::KeptBody;
use crate::gateway::kept_page::KeptPage;
use crate::gateway::shared_answer::SharedPieces;
use crate::http::decoder::Decoder;

/// What becomes of OpenEMR's answer.
#[derive(Debug, Default)]
pub(super) struct AnswerState {
    /// Decompresses a body.
    pub(super) decoder: Option<Decoder>,
    /// Follows a body whose end only its own brackets tell.
    pub(super) completeness: Option<Completeness>,
    /// An answer that is not sent before its body is known.
    pub(super) buffered: Option<BufferedAnswer>,
    /// What a buffered answer must be.
    pub(super) due: Option<Due>,
    /// What has come of an answer that others wait for.
    pub(super) shared: Option<SharedPieces>,
    /// What has come of an answer that is kept for further pages.
    pub(super) kept: Option<KeptPage>,
    /// An answer whose head is not sent before the beginning of its body is known.
    pub(super) held: Option<HeldAnswer>,
    /// The head of such an answer, until there is something of the body to send.
    pub(super) unsent: Option<Box<ResponseHeader>>,
    /// What goes out of its body, as long as that is short and the head has not been sent.
    pub(super) short: KeptBody,
    /// The status of such an answer whose head was sent.
    pub(super) begun: Option<StatusCode>,
    /// What the body goes through on its way to the client.
    pub(super) filters: BodyFilters,
    /// What of the body waits for the client of an HTTP/2 stream.
    pub(super) waiting: Option<Backlog>,
    /// Bytes of the body that have passed both.
    pub(super) passed: usize,
    /// Why the client did not get what it asked for.
    pub(super) reason: Option<Reason>,
}

impl AnswerState {
    /// The status of what the client has of an answer, this one or another in its place.
    #[must_use]
    pub(super) fn status(&self, session: &Session) -> Option<StatusCode> {
        session.response_written().map(|head| head.status).or(self.begun)
    }

    /// Drops what is known of an answer that the client does not get.
    pub(super) fn forget(&mut self) {
        self.decoder = None;
        self.completeness = None;
        self.buffered = None;
        self.due = None;
        self.shared = None;
        self.kept = None;
        self.held = None;
        self.unsent = None;
        self.short = KeptBody::default();
    }
}

//! The tries of a request at OpenEMR: with which token, on which node, how often, and how far the latest one came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::fhir::json::member_search::MemberSearch;
use crate::fhir::link_rewriter::LinkRewriter;
use crate::fhir::resource_identity::IdentityCheck;
use crate::gateway::pace::Pace;
use crate::nodes::in_flight::Permit;
use crate::nodes::{NodeLease, Tried};
use crate::site::flights::Leader;
use crate::site::kept_pages::Collected;
use crate::site::turns::Turn;
use crate::smart::token::AccessToken;

/// The state of a request towards OpenEMR.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// The access token that the request carries.
    pub(super) token: Option<Arc<AccessToken>>,
    /// The permit to be in flight at OpenEMR, until its answer has ended.
    pub(super) permit: Option<Permit>,
    /// The part of a request that others follow, until the head of its answer has come.
    pub(super) leader: Option<Leader>,
    /// An answer that is kept for further pages, until its head has come.
    pub(super) collected: Option<Collected>,
    /// Whether the request got the answer to another one.
    pub(super) is_shared: bool,
    /// The turn of a conditional create, until its answer has ended.
    pub(super) turn: Option<Turn>,
    /// The node that the request goes to, until its answer has ended.
    pub(super) node: Option<NodeLease>,
    /// The node of the latest try, by its index: kept for the log.
    pub(super) latest_node: Option<usize>,
    /// Whether the connection of the latest try had been used before.
    pub(super) reused: Option<bool>,
    /// The nodes that the request has given up.
    pub(super) tried: Tried,
    /// How many addresses of the node took no connection.
    pub(super) failed_connects: usize,
    /// How often the request was sent again after a broken connection.
    pub(super) repeats: u32,
    /// What the request met when OpenEMR refused its token.
    pub(super) refused_token: RefusedToken,
    /// When the latest try got its node.
    pub(super) begun: Option<Instant>,
    /// When the latest try was sent.
    pub(super) sent: Option<Instant>,
    /// From there to the head of OpenEMR's answer.
    pub(super) upstream_time: Option<Duration>,
    /// From the begin of the latest try to its failure.
    pub(super) failed_after: Option<Duration>,
    /// The status of OpenEMR's answer.
    pub(super) upstream_status: Option<StatusCode>,
    /// How long the request has waited in the site's queue.
    pub(super) queued: Duration,
    /// When it first began to.
    pub(super) queued_since: Option<Instant>,
    /// How long it has waited for an access token.
    pub(super) token_wait: Duration,
    /// When it first began to.
    pub(super) token_since: Option<Instant>,
    /// Bytes of the client's body that the latest try has sent.
    pub(super) body_sent: usize,
    /// Checks a resource on its way to OpenEMR.
    pub(super) identity: Option<Box<IdentityCheck>>,
    /// Looks for extensions in a resource on its way to OpenEMR.
    pub(super) extensions: Option<Box<MemberSearch>>,
    /// How fast the client sends the rest of its body, once it is known that there is one.
    pub(super) body_pace: Option<Pace>,
    /// Whether the client's body stays here, because the method has none.
    pub(super) drops_body: bool,
    /// Rewrites the links in a body on its way to OpenEMR.
    pub(super) request_links: Option<LinkRewriter>,
}

/// A request's record of refused tokens.
#[derive(Debug, Default)]
pub(super) struct RefusedToken {
    /// How often the request was repeated with a new token.
    pub(super) renewals: u32,
    /// Whether the request asks for an uncompressed answer, so that a refusal can be read.
    pub(super) uncompressed: bool,
    /// The generation of the token that OpenEMR has refused, until it is replaced.
    pub(super) generation: Option<u64>,
    /// Whether Pingora is to try again.
    pub(super) try_again: bool,
}

impl Attempt {
    /// Ends the request's business with OpenEMR: its permit goes to the next request.
    pub(super) fn leave_openemr(&mut self) {
        self.permit = None;
        self.node = None;
    }

    /// Notes that the head of OpenEMR's answer has come.
    pub(super) fn note_answered(&mut self, status: StatusCode) {
        self.upstream_status = Some(status);
        self.upstream_time = self.sent.map(|sent| sent.elapsed());
        if let Some(turn) = &mut self.turn {
            turn.note_answered();
        }
    }

    /// Notes that the latest try has failed, unless it was answered.
    pub(super) fn note_failed(&mut self) {
        if self.upstream_time.is_none() {
            self.failed_after = self.begun.max(self.sent).map(|begun| begun.elapsed());
        }
    }

    /// How long OpenEMR took for the head of its answer, or until the try failed.
    #[must_use]
    pub(super) fn upstream(&self) -> Option<Duration> {
        self.upstream_time.or(self.failed_after)
    }

    /// Notes a wait in the site's queue that has ended.
    pub(super) fn note_queued(&mut self, since: Instant) {
        self.queued += since.elapsed();
        self.queued_since.get_or_insert(since);
    }

    /// Notes a wait for an access token that has ended.
    pub(super) fn note_token_wait(&mut self, since: Instant) {
        self.token_wait += since.elapsed();
        self.token_since.get_or_insert(since);
    }

    /// When that began which [`Attempt::upstream`] measures.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub(super) fn upstream_since(&self) -> Option<Instant> {
        if self.upstream_time.is_some() { self.sent } else { self.begun.max(self.sent) }
    }

    /// Ends it after the whole answer: the next conditional create has its turn, too.
    pub(super) fn end(&mut self) {
        self.leave_openemr();
        self.turn = None;
    }

    /// The access token that the request carries, as text; empty before it has one.
    #[must_use]
    pub(super) fn token_text(&self) -> &[u8] {
        self.token.as_deref().map_or(&[], |token| token.secret().as_bytes())
    }

    /// How often the request was sent again, for any reason.
    #[must_use]
    pub(super) fn retries(&self) -> u32 {
        self.repeats + self.refused_token.renewals
    }

    /// Begins a try: nothing of its body has been sent.
    pub(super) fn begin_try(&mut self, now: Instant) {
        self.sent = Some(now);
        self.failed_after = None;
        self.upstream_status = None;
        self.body_sent = 0;
        self.body_pace = None;
        if let Some(turn) = &mut self.turn {
            turn.note_sent();
        }
    }

    /// Whether Pingora is to try again; true once.
    pub(super) fn take_try_again(&mut self) -> bool {
        std::mem::take(&mut self.refused_token.try_again)
    }
}

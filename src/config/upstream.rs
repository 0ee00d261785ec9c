//! How a site's OpenEMR is reached: its nodes, and the load that they are given.

use std::time::Duration;

use super::base_url::BaseUrl;
use super::certificates::CaFile;
use super::declaration::{section, words};
use super::problem::Findings;
use super::section::Section;
use super::value::duration_text;
use crate::limits::replicas::Replicas;

/// Everything about the way to a site's OpenEMR. While it is the same, a reload keeps the nodes and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where FHIR requests go and tokens come from; never none.
    pub nodes: Vec<Node>,
    /// A private CA that is trusted besides the system's.
    pub ca_file: Option<CaFile>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// The pool of connections.
    pub connections: Connections,
    /// How requests are spread over the nodes.
    pub balance: Balance,
    /// How nodes are checked.
    pub health_check: HealthCheck,
    /// How many requests OpenEMR works on at once.
    pub in_flight: InFlightLimit,
    /// How many gateways share that.
    pub(crate) replicas: Replicas,
}

impl Upstream {
    /// The default way to these nodes.
    #[cfg(test)]
    pub(crate) fn for_tests(nodes: Vec<Node>) -> Self {
        Self::with_defaults(nodes, None)
    }

    /// The way to these nodes with the defaults for everything else.
    #[must_use]
    pub(super) fn with_defaults(nodes: Vec<Node>, ca_file: Option<CaFile>) -> Self {
        Self {
            nodes,
            ca_file,
            timeouts: Timeouts::default(),
            connections: Connections::default(),
            balance: Balance::RoundRobin,
            health_check: HealthCheck::default(),
            in_flight: InFlightLimit::default(),
            replicas: Replicas::default(),
        }
    }

    /// How many requests of this gateway OpenEMR works on at once. The wait queue is the gateway's own, and whole.
    #[must_use]
    pub(crate) fn in_flight_here(&self) -> InFlightLimit {
        let part = |of: u32| self.replicas.part(of);
        InFlightLimit {
            most: part(self.in_flight.most),
            most_of_a_client: self.in_flight.most_of_a_client.map(part),
            most_of_exports: self.in_flight.most_of_exports.map(part),
            ..self.in_flight
        }
    }
}

/// One of the servers of an OpenEMR site. They share its database, so that each accepts the others' tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Where FHIR requests go.
    pub fhir_base: BaseUrl,
    /// Where tokens come from; where it is `None`, the server's SMART configuration says it.
    pub token_url: Option<BaseUrl>,
}

words! {
    /// How requests are spread over the nodes of a site.
    pub enum Balance {
        /// One after the other.
        RoundRobin = "round_robin",
        /// To the node whose answers come fastest.
        LeastLatency = "least_latency",
    }
}

section! {
    /// How nodes are checked. OpenEMR works a third of a second on its CapabilityStatement.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct HealthCheck {
        /// The time between two checks of a node.
        interval: Duration = Duration::from_secs(10);
        /// A check that takes longer has failed.
        timeout: Duration = Duration::from_secs(5);
    }
}

section! {
    /// How many requests OpenEMR works on at once. The default is below the 50 PHP workers of OpenEMR's images.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct InFlightLimit {
        /// The most requests under way, over all nodes of the site.
        most: u32 = 32, unit("requests");
        /// Whether the limit follows what OpenEMR can do: up to `most` while answers take what they usually take, down while they take
        /// longer.
        adaptive: bool = true;
        /// The most requests that wait for one of these to end. More get 503, those of the client first that would be served last.
        queue: u32 = 256, unit("requests");
        /// The most requests of one client under way; of the queue it gets the same part. A client is one of `access.clients`, or else
        /// an address.
        most_of_a_client: Option<u32> = None, derived("three quarters of the limit");
        /// The most requests of bulk exports under way.
        most_of_exports: Option<u32> = None, derived("a quarter of the limit");
        /// The longest wait in this queue. A request that waits longer gets 503.
        queue_timeout: Duration = Duration::from_secs(5);
        /// The wait that may last. Where all requests of a client wait longer for four times as long, those at the head of its queue get
        /// 503, ever more of them until the wait is shorter; never the only one.
        queue_target: Duration = Duration::from_secs(1);
    }
}

impl InFlightLimit {
    /// The most requests of one client under way while there may be `limit` in all.
    #[must_use]
    pub(crate) fn most_of_a_client_of(&self, limit: u32) -> u32 {
        self.most_of_a_client.unwrap_or_else(|| three_quarters(limit)).clamp(1, limit.max(1))
    }

    /// The most requests of bulk exports under way while there may be `limit` in all.
    #[must_use]
    pub(crate) fn most_of_exports_of(&self, limit: u32) -> u32 {
        self.most_of_exports.unwrap_or_else(|| limit.div_ceil(4)).clamp(1, limit.max(1))
    }

    /// The most requests of one client that wait.
    #[must_use]
    pub(crate) fn queue_of_a_client(&self) -> u32 {
        let part = u64::from(self.queue) * u64::from(self.most_of_a_client_of(self.most));
        u32::try_from(part.div_ceil(u64::from(self.most.max(1)))).unwrap_or(u32::MAX)
    }
}

/// What one client gets where nothing else is said: enough to keep OpenEMR busy, not enough to keep it from others.
pub(crate) fn three_quarters(of: u32) -> u32 {
    u32::try_from((u64::from(of) * 3).div_ceil(4)).unwrap_or(of)
}

section! {
    /// How often clients can cause a token exchange, by forcing one or by provoking a 401.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RefreshLimit {
        /// The time in which one more exchange is allowed.
        every: Duration = Duration::from_secs(1);
        /// The most exchanges at once after a pause.
        burst: u32 = 5, unit("exchanges");
        /// The most exchanges that `POST /oauth/token?force=true` causes in 24 hours: OpenEMR keeps a row for each token for ever.
        /// Renewal is never limited.
        daily: u32 = 100, unit("exchanges");
    }
}

section! {
    /// How long each step towards OpenEMR may take.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Timeouts {
        /// TCP connect.
        connect: Duration = Duration::from_secs(5);
        /// TCP connect and TLS handshake together.
        total_connect: Duration = Duration::from_secs(10);
        /// Between two reads of an answer. The default is longer than Apache waits for PHP (60 s), so that OpenEMR's own
        /// error comes first.
        read: Duration = Duration::from_secs(75);
        /// Between two reads of the answer to `$export`, at which OpenEMR works for up to two minutes before it answers.
        export: Duration = Duration::from_secs(150);
        /// Between two writes of a request.
        write: Duration = Duration::from_secs(60);
        /// A whole token exchange.
        token: Duration = Duration::from_secs(15);
    }
    check Timeouts::check
}

impl Timeouts {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.connect > self.total_connect {
            let (part, whole) = (duration_text(self.connect), duration_text(self.total_connect));
            let message = format!("connect ({part}) is longer than total_connect ({whole}), of which it is a part");
            findings.problem(section.place.problem(message).remedy("raise total_connect, or lower connect"));
        }
        Some(self)
    }
}

section! {
    /// The pool of connections to OpenEMR.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Connections {
        /// How long an idle connection is kept. The default is below the 5 s after which Apache closes it.
        idle_timeout: Duration = Duration::from_secs(4);
        /// How often OpenEMR's name is looked up again.
        resolve_every: Duration = Duration::from_secs(30);
        /// Whether HTTP/2 is spoken where OpenEMR's server offers it in the TLS handshake.
        http2: bool = true;
    }
}

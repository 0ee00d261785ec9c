//! A site's way to OpenEMR: its nodes, and what they are asked to bear.

use std::time::Duration;

use super::BaseUrl;

/// One of the servers that together are an OpenEMR site: they share its database, so that a token is good at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Where FHIR requests go.
    pub fhir_base: BaseUrl,
    /// Where tokens come from; where it is `None`, the server's SMART configuration says it.
    pub token_url: Option<BaseUrl>,
}

/// How requests are spread over the nodes of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// Where answers come fastest.
    LeastLatency,
}

/// How nodes are looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// Between two checks of a node.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
}

/// How many requests OpenEMR works on at once: PHP-FPM has 50 workers or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlightLimit {
    /// Requests under way, over all nodes of a site.
    pub most: u32,
    /// More than these are not let wait.
    pub queue: u32,
    /// Who waits longer gets 503.
    pub queue_timeout: Duration,
}

/// How often callers can cause a token exchange, by force or by provoking a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshLimit {
    /// One more each.
    pub every: Duration,
    /// So many at once, after a rest.
    pub burst: u32,
}

/// How long each step towards OpenEMR may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect.
    pub connect: Duration,
    /// TCP connect and TLS handshake together.
    pub total_connect: Duration,
    /// Between two reads of an answer; longer than Apache waits for PHP (60 s).
    pub read: Duration,
    /// The same on `$export`, at which OpenEMR works for up to two minutes before it answers.
    pub export: Duration,
    /// Between two writes of a request.
    pub write: Duration,
    /// A whole token exchange.
    pub token: Duration,
}

/// The pool of connections to OpenEMR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How long an idle connection is kept; below Apache's `KeepAliveTimeout` of 5 s.
    pub idle_timeout: Duration,
    /// How often OpenEMR's name is looked up again.
    pub resolve_every: Duration,
    /// Whether HTTP/2 is spoken where OpenEMR's server offers it (TLS ALPN).
    pub http2: bool,
}

//! What holds where nothing is written.

use std::time::Duration;

use super::{Balance, Connections, HealthCheck, InFlightLimit, Limits, ReadyRule, RefreshLimit, Timeouts};

/// The file that is read when none is named.
pub const CONFIG_FILE: &str = "conf/gateway.yaml";
/// Where the gateway listens.
pub const LISTEN: &str = "127.0.0.1:8000";
/// The route of `GET /health`.
pub const HEALTH: &str = "/health";
/// The route of `GET /ready`.
pub const READY: &str = "/ready";
/// The route of the JWK Set.
pub const JWKS: &str = "/.well-known/jwks.json";
/// The route of `POST /oauth/token`.
pub const TOKEN: &str = "/oauth/token";
/// The route of the FHIR API.
pub const FHIR: &str = "/fhir";
/// Who may call while every listener is on loopback.
pub const ALLOW_FROM: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What a caller's connection may take.
pub const LIMITS: Limits = Limits {
    request_head: 64 * 1024,
    read_timeout: Duration::from_secs(60),
    write_timeout: Duration::from_secs(60),
    keepalive_timeout: Duration::from_secs(60),
    keepalive_requests: 10_000,
};

/// How long each step towards OpenEMR may take. Apache gives PHP 60 s, and its own answer should come first; OpenEMR answers
/// `$export` after up to two minutes of silence.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    total_connect: Duration::from_secs(10),
    read: Duration::from_secs(75),
    export: Duration::from_secs(150),
    write: Duration::from_secs(60),
    token: Duration::from_secs(15),
};

/// Below the 5 s after which Apache closes an idle connection.
pub const CONNECTIONS: Connections = Connections { idle_timeout: Duration::from_secs(4), resolve_every: Duration::from_secs(30) };

/// How requests are spread over nodes.
pub const BALANCE: Balance = Balance::RoundRobin;
/// How nodes are looked after. OpenEMR works a third of a second on its CapabilityStatement.
pub const HEALTH_CHECK: HealthCheck = HealthCheck { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) };
/// Below the 50 workers of OpenEMR's images, with room for its own users.
pub const IN_FLIGHT: InFlightLimit = InFlightLimit { most: 32, queue: 64, queue_timeout: Duration::from_secs(5) };
/// How often callers can cause a token exchange.
pub const FORCED_REFRESHES: RefreshLimit = RefreshLimit { every: Duration::from_secs(1), burst: 5 };
/// When `GET /ready` says yes.
pub const READY_RULE: ReadyRule = ReadyRule::All;
/// A load balancer that asks every second notices.
pub const DRAIN_DELAY: Duration = Duration::from_secs(2);

//! What holds where nothing is written.

use std::time::Duration;

use super::{Balance, BulkData, Compression, Connections, HealthCheck, InFlightLimit, Limits, ReadyRule, RefreshLimit, Timeouts};

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
    request_target: 16 * 1024,
    header_fields: 100,
    request_body: 64 * 1024 * 1024,
    response_head: 64 * 1024,
    http2_streams: 100,
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
pub const CONNECTIONS: Connections =
    Connections { idle_timeout: Duration::from_secs(4), resolve_every: Duration::from_secs(30), http2: true };

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
/// Below that, compressing costs more than it saves. The fastest levels: FHIR JSON shrinks to a tenth with any.
pub const COMPRESSION: Compression = Compression { enabled: true, least: 1024, level: 3 };
/// How long a CapabilityStatement is good. OpenEMR builds it anew at each request.
pub const DOCUMENTS_MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// What a page of another origin may do.
pub const CORS_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The fields that it may send.
pub const CORS_HEADERS: [&str; 10] = [
    "Accept",
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-Modified-Since",
    "If-None-Exist",
    "If-None-Match",
    "Prefer",
    "Traceparent",
    "X-Request-Id",
];
/// The fields that it may see.
pub const CORS_EXPOSED: [&str; 9] = [
    "Content-Disposition",
    "Content-Location",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Progress",
    "X-Request-Id",
];
/// How long a browser may keep the answer to a preflight.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// Where the plans of exports are kept, and for how long. OpenEMR keeps their files for an hour.
#[must_use]
pub fn bulk_data() -> BulkData {
    BulkData { folder: "state/bulk".into(), keep: Duration::from_secs(24 * 60 * 60) }
}

/// A load balancer that asks every second notices.
pub const DRAIN_DELAY: Duration = Duration::from_secs(2);

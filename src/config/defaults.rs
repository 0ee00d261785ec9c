//! What holds where nothing is written.

use std::time::Duration;

use super::{Connections, Limits, Timeouts};

/// The file that is read when none is named.
pub const CONFIG_FILE: &str = "conf/gateway.yaml";
/// Where the gateway listens.
pub const LISTEN: &str = "127.0.0.1:8000";
/// The route of `GET /health`.
pub const HEALTH: &str = "/health";
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

/// How long each step towards OpenEMR may take. OpenEMR answers `$export` after up to two minutes of silence.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    total_connect: Duration::from_secs(10),
    read: Duration::from_secs(150),
    write: Duration::from_secs(60),
    token: Duration::from_secs(15),
};

/// Below the 5 s after which Apache closes an idle connection.
pub const CONNECTIONS: Connections = Connections { idle_timeout: Duration::from_secs(4) };

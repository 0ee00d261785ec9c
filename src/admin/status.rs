//! What the status page and `top` show: one value, which `GET /status` gives as JSON and `GET /events` once a second.
//!
//! It has names, numbers and causes; no token, no key, no query, no id of a resource, and nothing of a body. Times are seconds since
//! 1970.

use serde::{Deserialize, Serialize};

pub(crate) use crate::observe::metrics::history::Minute;

/// The state of the gateway, and its last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The version of the gateway.
    pub(crate) version: String,
    /// When this was known.
    pub(crate) at: i64,
    /// How it is, in a word.
    pub(crate) state: Overall,
    /// What is wrong. Empty when nothing is.
    pub(crate) problems: Vec<Problem>,
    /// Requests that are being answered.
    pub(crate) requests: u64,
    /// The connections of clients.
    pub(crate) connections: u32,
    /// How many connections there may be.
    pub(crate) most_connections: u32,
    /// Requests to the FHIR API a second, in the last minute.
    pub(crate) rate: f64,
    /// The sites, in the order of the configuration.
    pub(crate) sites: Vec<Site>,
    /// The last hour, the oldest minute first; the last one is under way.
    pub(crate) minutes: Vec<Minute>,
    /// The clients with a request to the FHIR API in the last hour, the busiest first.
    pub(crate) clients: Vec<Client>,
    /// Why clients did not get what they asked for in the last hour, the commonest reason first.
    pub(crate) reasons: Vec<Reason>,
    /// The certificates and JWK Sets that end, the first to end first.
    pub(crate) certificates: Vec<Certificate>,
    /// The audit trail; `None` where none is kept.
    pub(crate) audit: Option<Audit>,
    /// The store that is shared with other gateways; `None` where there is none.
    #[serde(default)]
    pub(crate) store: Option<Store>,
}

/// How the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overall {
    /// Nothing is wrong.
    Ok,
    /// It serves, and something is wrong.
    Degraded,
    /// No site can be served.
    Down,
    /// It is about to end.
    Draining,
}

impl Overall {
    /// The word for it.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// The store that is shared with other gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Its URL.
    pub(crate) url: String,
    /// Why it does not answer; `None` when it does.
    pub(crate) trouble: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// The site that it concerns; `None` when it concerns the gateway.
    pub(crate) site: Option<String>,
    /// What it is. The text stays the same as long as the problem does.
    pub(crate) text: String,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Site {
    /// Its name.
    pub(crate) name: String,
    /// Its access token.
    pub(crate) token: Token,
    /// The latest token exchanges, the last one first.
    pub(crate) exchanges: Vec<Exchange>,
    /// Requests that OpenEMR is working on.
    pub(crate) in_flight: u32,
    /// How many there may be, as far as is known by now.
    pub(crate) limit: u32,
    /// Requests that wait for their turn.
    pub(crate) waiting: u32,
    /// OpenEMR's servers.
    pub(crate) nodes: Vec<Node>,
    /// The bulk exports that are kept, the unfinished ones first.
    pub(crate) exports: Vec<Export>,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// Whether there is one that OpenEMR still accepts.
    pub(crate) is_valid: bool,
    /// The seconds that are left of its life.
    pub(crate) left: f64,
    /// The seconds of its whole life; 0 without one.
    pub(crate) life: u64,
    /// Whether an exchange is under way.
    pub(crate) is_exchanging: bool,
    /// The seconds to the next exchange, after one that failed.
    pub(crate) next_in: Option<f64>,
    /// When the first of the exchanges failed that have failed since.
    pub(crate) failing_since: Option<i64>,
    /// How many have failed since.
    pub(crate) failures: u32,
    /// The id of the key that signs.
    pub(crate) kid: String,
}

/// A token exchange that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// When it ended.
    pub(crate) at: i64,
    /// How long it took.
    pub(crate) took_ms: u64,
    /// Why it failed; `None` when it brought a token.
    pub(crate) failure: Option<String>,
}

/// A server of OpenEMR's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Its base URL.
    pub(crate) url: String,
    /// `healthy`, `degraded` or `ejected`.
    pub(crate) state: String,
}

/// A bulk export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Export {
    /// The first digits of its id, by which the log can be searched.
    pub(crate) id: String,
    /// `system`, `patient` or `group`.
    pub(crate) level: String,
    /// The client that asked for it, or its address.
    pub(crate) client: String,
    /// When it was asked for.
    pub(crate) asked_at: i64,
    /// When it ended.
    pub(crate) finished_at: Option<i64>,
    /// How many parts it has.
    pub(crate) parts: usize,
    /// How many of them have ended.
    pub(crate) ended: usize,
    /// How many of these failed.
    pub(crate) failed: usize,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    /// Its name; `none` for requests without one, `other` for those of clients beyond the first 64.
    pub(crate) name: String,
    /// Requests a second, in the last minute.
    pub(crate) rate: f64,
    /// Requests in the last hour.
    pub(crate) requests: u64,
    /// How many of them were answered with 4xx.
    pub(crate) refused: u64,
    /// How many of them were answered with 5xx.
    pub(crate) failed: u64,
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    /// Its code, as in the access log.
    pub(crate) code: String,
    /// How often it was one.
    pub(crate) count: u64,
}

/// A file whose contents end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// What is in it: `listener`, `client_ca`, `ca` or `jwks`.
    pub(crate) kind: String,
    /// The file.
    pub(crate) file: String,
    /// When the first of it ends.
    pub(crate) ends: i64,
}

/// The audit trail, since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// Whether the next record can be written, as far as is known.
    pub(crate) is_ready: bool,
    /// Records written.
    pub(crate) recorded: u64,
    /// Records lost.
    pub(crate) lost: u64,
    /// The repository that events are posted to, if there is one.
    pub(crate) repository: Option<Repository>,
}

/// The repository that audit events are posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repository {
    /// Events that it took.
    pub(crate) posted: u64,
    /// Events that it refused for good.
    pub(crate) refused: u64,
    /// Bytes of records that wait.
    pub(crate) pending_bytes: u64,
    /// Why records wait; `None` while it takes them.
    pub(crate) trouble: Option<String>,
}

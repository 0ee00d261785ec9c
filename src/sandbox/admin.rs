//! The admin, on a loopback port of its own, so that it is there when OpenEMR is not.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /__sandbox/state` | counters, the last requests, whether the listener is up |
//! | `GET /__sandbox/faults` | the faults in force |
//! | `POST /__sandbox/faults` | sets what the body names, leaves the rest; answers with the faults in force |
//! | `DELETE /__sandbox/faults` | clears the faults of both sides |
//! | `POST /__sandbox/reset` | everything back in order, see `World::reset` |
//!
//! The members of the body, each optional, unknown ones refused:
//!
//! ```json
//! {
//!   "token": {"down": true, "delay_ms": 0, "answer": {"status": 503, "body": "", "content_type": "text/html"},
//!             "html": true, "refuse": "unknown_client", "lose_answer": true, "truncate": true, "oversize_bytes": 100000,
//!             "pad_token_bytes": 30000, "expires_in": 5, "token_type": "mac", "date": "yesterday",
//!             "drop_scopes": ["system/Patient.read"], "silent": true, "times": 1},
//!   "fhir": {"target": "/Patient", "method": "POST", "delay_ms": 0, "error": "system", "refuse": "revoked",
//!            "answer": {"status": 418}, "html": true, "hang_up": true, "lose_answer": true, "silent": true,
//!            "framing": "http10", "truncate_after": 100, "ending": "reset", "close_idle": true,
//!            "close_reused": true, "piece_bytes": 100, "times": 1},
//!   "token_lifetime_seconds": 5,
//!   "revoke_tokens": "by_admin",
//!   "clients": {"the-client-id": {"enabled": false, "jwks": {"keys": []}, "jwks_uri": "http://gateway/jwks.json"}},
//!   "strict_kid": true,
//!   "jwks_cache_seconds": 60,
//!   "system_scopes": "off",
//!   "clock_offset_seconds": -600,
//!   "listener": "down",
//!   "binary": {"id": "5000", "bytes": 1073741824},
//!   "export": {"most_types": 3, "apache_waits_ms": 60000, "type_takes_ms": 500, "provenance": "timeout", "polls": 2,
//!              "files_live_seconds": 3600}
//! }
//! ```
//!
//! Each side takes a list of sets, too, and a request meets the first that is meant for it; `null` clears a side.
//! `jwks` or `jwks_uri` take the place of the client's keys. What can stand where one of several words is due:
//!
//! | member | words |
//! |---|---|
//! | `token.refuse` | `unknown_client`, `bad_assertion`, `issued_too_long_ago`, `missing_jti`, `invalid_scope`, `unsupported_grant_type`, `not_set_up`, `exception` |
//! | `fhir.refuse` | `unparsable`, `not_verified`, `revoked`, `no_trusted_user`, `not_in_database`, `other_site`, `scope_missing`, `policy` |
//! | `fhir.error` | `system`, `database`, `php_fpm_down`, `php_fpm_timeout` |
//! | `fhir.framing` | `chunked`, `content_length`, `http10` |
//! | `fhir.ending` | `close_notify`, `no_close_notify`, `reset` |
//! | `export.provenance` | `no`, `error`, `timeout` |
//! | `revoke_tokens` | `by_admin`, `trusted_user`, `unknown` |
//!
//! Of the state, beside what its names say: `probes` are requests for `metadata` without a token, which no other
//! counter but `paths` has; `paths` counts by method and path, hung-up requests included; `exchanges` has when each
//! token request came and when its answer was out, by the true clock; `most_fhir_at_once` is how many FHIR requests
//! had come and were still worked on, at most.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    bulk_export::Manner,
    clients::Keys,
    database::Revocation,
    faults::{FhirFaults, TokenFaults, lock},
    http1::{Body, Connection, Framing, ReceivedBody, Response},
    request_head::RequestHead,
    world::World,
};

/// The body of `POST /__sandbox/faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Orders {
    #[serde(default, deserialize_with = "sets")]
    token: Option<Vec<TokenFaults>>,
    #[serde(default, deserialize_with = "sets")]
    fhir: Option<Vec<FhirFaults>>,
    revoke_tokens: Option<Revocation>,
    #[serde(default)]
    clients: HashMap<String, ClientOrder>,
    system_scopes: Option<Switch>,
    clock_offset_seconds: Option<i64>,
    token_lifetime_seconds: Option<u32>,
    strict_kid: Option<bool>,
    jwks_cache_seconds: Option<u64>,
    listener: Option<Wanted>,
    binary: Option<BinaryOrder>,
    export: Option<Manner>,
}

/// Null is no set, an object one, an array as many as it holds.
fn sets<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let sets = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(sets) => sets,
        set => vec![set],
    };
    sets.into_iter().map(|set| serde_json::from_value(set).map_err(D::Error::custom)).collect::<Result<_, _>>().map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientOrder {
    enabled: Option<bool>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryOrder {
    id: String,
    bytes: u64,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Switch {
    On,
    Off,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Up,
    Down,
}

/// Serves the admin for ever.
pub async fn serve(world: Arc<World>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let world = Arc::clone(&world);
                    connections.spawn(async move {
                        let mut connection = Connection::new(stream);
                        while let Ok(Some(head)) = connection.read_head(Duration::from_secs(30)).await {
                            let Ok(body) = connection.read_body(&head, 1024 * 1024).await else { return };
                            let response = answer(&world, &head, &body).await;
                            if connection.write(&response).await.is_err() || !head.keeps_alive() {
                                return;
                            }
                        }
                    });
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn answer(world: &World, head: &RequestHead, body: &ReceivedBody) -> Response {
    let (status, value) = match (head.method.as_str(), head.path()) {
        ("GET", "/__sandbox/state") => (200, state(world)),
        ("GET", "/__sandbox/faults") => (200, world.faults.describe()),
        ("POST", "/__sandbox/faults") => match serde_json::from_slice::<Orders>(&body.kept) {
            Ok(orders) => match obey(world, orders).await {
                Ok(()) => (200, world.faults.describe()),
                Err(reason) => (400, json!({"error": reason})),
            },
            Err(error) => (400, json!({"error": error.to_string()})),
        },
        ("DELETE", "/__sandbox/faults") => {
            world.faults.set_token(Vec::new());
            world.faults.set_fhir(Vec::new());
            (200, world.faults.describe())
        }
        ("POST", "/__sandbox/reset") => {
            world.reset();
            settle(world, true).await;
            (200, state(world))
        }
        _ => (404, json!({"error": "no such route: see /__sandbox/state, /__sandbox/faults, /__sandbox/reset"})),
    };
    Response {
        status,
        fields: vec![("Content-Type", "application/json".to_owned())],
        body: Body::Whole(Bytes::from(format!("{value:#}\n"))),
        closes: !head.keeps_alive(),
        framing: Framing::ContentLength,
        cut_after: None,
        piece: None,
    }
}

async fn obey(world: &World, orders: Orders) -> Result<(), String> {
    {
        let mut clients = lock(&world.clients);
        if let Some(unknown) = orders.clients.keys().find(|id| !clients.contains_key(*id)) {
            return Err(format!("clients.{unknown}: no such client"));
        }
        for (id, order) in &orders.clients {
            if let Some(client) = clients.get_mut(id) {
                client.enabled = order.enabled.unwrap_or(client.enabled);
                match (&order.jwks_uri, &order.jwks) {
                    (Some(uri), _) => client.keys = Keys::Uri(uri.clone()),
                    (None, Some(set)) => client.keys = Keys::Inline(set.clone()),
                    (None, None) => {}
                }
            }
        }
    }
    if let Some(faults) = orders.token {
        world.faults.set_token(faults);
    }
    if let Some(faults) = orders.fhir {
        world.faults.set_fhir(faults);
    }
    if let Some(how) = orders.revoke_tokens {
        world.database.revoke_all(how).map_err(|error| format!("revoke_tokens: {error}"))?;
    }
    if let Some(switch) = orders.system_scopes {
        world.set_system_scopes(switch == Switch::On);
    }
    if let Some(seconds) = orders.clock_offset_seconds {
        world.clock.set(seconds);
    }
    if let Some(seconds) = orders.token_lifetime_seconds {
        world.set_token_lifetime(Duration::from_secs(seconds.into()));
    }
    if let Some(strict) = orders.strict_kid {
        world.client_keys.set_strict_kid(strict);
    }
    if let Some(seconds) = orders.jwks_cache_seconds {
        world.client_keys.keep_for(Duration::from_secs(seconds));
    }
    if let Some(binary) = orders.binary {
        lock(&world.exports).publish(binary.id, binary.bytes);
    }
    if let Some(manner) = orders.export {
        lock(&world.exports).go(manner);
    }
    if let Some(wanted) = orders.listener {
        let up = wanted == Wanted::Up;
        world.wanted_up.send_replace(up);
        settle(world, up).await;
    }
    Ok(())
}

/// Waits until the listener is as it is wanted, so that whoever asked can rely on it; 5 s at most.
async fn settle(world: &World, up: bool) {
    let mut is_up = world.is_up.subscribe();
    let _ = tokio::time::timeout(Duration::from_secs(5), is_up.wait_for(|now| *now == up)).await;
}

fn state(world: &World) -> Value {
    let exports = {
        let exports = lock(&world.exports);
        json!({"kick_offs": exports.kick_offs(), "jobs": exports.job_count()})
    };
    let mut state = json!({
        "exports": exports,
        "openemr": world.personality.to_string(),
        "listener": if *world.is_up.borrow() { "up" } else { "down" },
        "clock_offset_seconds": world.clock.offset(),
        "jwks_fetches": world.client_keys.fetches().load(Ordering::Relaxed),
    });
    if let (Value::Object(state), Value::Object(counters)) = (&mut state, world.counters.describe()) {
        state.extend(counters);
    }
    state
}

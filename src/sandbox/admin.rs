//! The admin address, on a loopback port of its own, so that it answers when OpenEMR does not.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /__sandbox/state` | counters, the last requests, whether the listener is up |
//! | `GET /__sandbox/faults` | the faults in force |
//! | `POST /__sandbox/faults` | changes what the body names and nothing else; answers with the faults in force |
//! | `DELETE /__sandbox/faults` | clears the faults of the token endpoint and the FHIR side |
//! | `POST /__sandbox/reset` | clears faults and counters, see `Instance::reset` |
//!
//! The members of the body; all are optional, unknown ones are rejected:
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
//! `token` and `fhir` can be a list of fault sets, of which a request gets the first that applies to it; `null` clears
//! them. `jwks` or `jwks_uri` replace the client's keys. The words of the members that take one of several:
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
//! In the state, `probes` are requests for `metadata` without a token, which only `paths` counts as well; `paths` counts
//! by method and path, requests that a fault hung up on included; `exchanges` tells when each token request arrived and
//! when its answer was sent, by the machine's clock; `most_fhir_at_once` is the most FHIR requests that were in progress
//! at one time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    clients::Keys,
    database::Revocation,
    exports::ExportBehavior,
    faults::{FhirFaults, TokenFaults},
    http1::{Connection, ReceivedBody},
    instance::Instance,
    request_head::RequestHead,
    response::{Body, Framing, Response},
};

/// The body of `POST /__sandbox/faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[serde(default, deserialize_with = "sets")]
    token: Option<Vec<TokenFaults>>,
    #[serde(default, deserialize_with = "sets")]
    fhir: Option<Vec<FhirFaults>>,
    revoke_tokens: Option<Revocation>,
    #[serde(default)]
    clients: HashMap<String, ClientChange>,
    system_scopes: Option<Switch>,
    clock_offset_seconds: Option<i64>,
    token_lifetime_seconds: Option<u32>,
    strict_kid: Option<bool>,
    jwks_cache_seconds: Option<u64>,
    listener: Option<ListenerState>,
    binary: Option<NewBinary>,
    export: Option<ExportBehavior>,
}

/// Deserializes a list of fault sets: null is empty, an object is a list of one.
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
struct ClientChange {
    enabled: Option<bool>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBinary {
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
enum ListenerState {
    Up,
    Down,
}

/// Serves the admin address. Does not return.
pub(super) async fn serve(instance: Arc<Instance>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let instance = Arc::clone(&instance);
                    connections.spawn(async move {
                        let mut connection = Connection::new(stream);
                        while let Ok(Some(head)) = connection.read_head(Duration::from_secs(30)).await {
                            let Ok(body) = connection.read_body(&head, 1024 * 1024).await else { return };
                            let response = answer(&instance, &head, &body).await;
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

async fn answer(instance: &Instance, head: &RequestHead, body: &ReceivedBody) -> Response {
    let (status, value) = match (head.method.as_str(), head.path()) {
        ("GET", "/__sandbox/state") => (200, state(instance)),
        ("GET", "/__sandbox/faults") => (200, instance.faults.describe()),
        ("POST", "/__sandbox/faults") => match serde_json::from_slice::<Changes>(&body.kept) {
            Ok(changes) => match apply(instance, changes).await {
                Ok(()) => (200, instance.faults.describe()),
                Err(reason) => (400, json!({"error": reason})),
            },
            Err(error) => (400, json!({"error": error.to_string()})),
        },
        ("DELETE", "/__sandbox/faults") => {
            instance.faults.set_token(Vec::new());
            instance.faults.set_fhir(Vec::new());
            (200, instance.faults.describe())
        }
        ("POST", "/__sandbox/reset") => {
            instance.reset();
            wait_for_listener(instance, true).await;
            (200, state(instance))
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

async fn apply(instance: &Instance, changes: Changes) -> Result<(), String> {
    {
        let mut clients = instance.clients.lock();
        if let Some(unknown) = changes.clients.keys().find(|id| !clients.contains_key(*id)) {
            return Err(format!("clients.{unknown}: no such client"));
        }
        for (id, change) in &changes.clients {
            if let Some(client) = clients.get_mut(id) {
                client.enabled = change.enabled.unwrap_or(client.enabled);
                match (&change.jwks_uri, &change.jwks) {
                    (Some(uri), _) => client.keys = Keys::Uri(uri.clone()),
                    (None, Some(set)) => client.keys = Keys::Inline(set.clone()),
                    (None, None) => {}
                }
            }
        }
    }
    if let Some(faults) = changes.token {
        instance.faults.set_token(faults);
    }
    if let Some(faults) = changes.fhir {
        instance.faults.set_fhir(faults);
    }
    if let Some(how) = changes.revoke_tokens {
        instance.database.revoke_all(how).map_err(|error| format!("revoke_tokens: {error}"))?;
    }
    if let Some(switch) = changes.system_scopes {
        instance.set_system_scopes(switch == Switch::On);
    }
    if let Some(seconds) = changes.clock_offset_seconds {
        instance.clock.set_offset(seconds);
    }
    if let Some(seconds) = changes.token_lifetime_seconds {
        instance.set_token_lifetime(Duration::from_secs(seconds.into()));
    }
    if let Some(strict) = changes.strict_kid {
        instance.client_keys.set_strict_kid(strict);
    }
    if let Some(seconds) = changes.jwks_cache_seconds {
        instance.client_keys.set_cache(Duration::from_secs(seconds));
    }
    if let Some(binary) = changes.binary {
        instance.exports.lock().publish(binary.id, binary.bytes);
    }
    if let Some(behavior) = changes.export {
        instance.exports.lock().set_behavior(behavior);
    }
    if let Some(wanted) = changes.listener {
        let up = wanted == ListenerState::Up;
        instance.wanted_up.send_replace(up);
        wait_for_listener(instance, up).await;
    }
    Ok(())
}

/// Waits until the listener is up or down, so that the client can rely on it; 5 s at most.
async fn wait_for_listener(instance: &Instance, up: bool) {
    let mut is_up = instance.is_up.subscribe();
    let _ = tokio::time::timeout(Duration::from_secs(5), is_up.wait_for(|now| *now == up)).await;
}

fn state(instance: &Instance) -> Value {
    let exports = {
        let exports = instance.exports.lock();
        json!({"kick_offs": exports.kick_offs(), "jobs": exports.job_count()})
    };
    let mut state = json!({
        "exports": exports,
        "openemr": instance.personality.to_string(),
        "listener": if *instance.is_up.borrow() { "up" } else { "down" },
        "clock_offset_seconds": instance.clock.offset(),
        "jwks_fetches": instance.client_keys.fetches(),
    });
    if let (Value::Object(state), Value::Object(counters)) = (&mut state, instance.counters.describe()) {
        state.extend(counters);
    }
    state
}

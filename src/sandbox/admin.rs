//! The admin address, on a loopback port of its own, so that it answers when OpenEMR does not.
//!
//! docs/sandbox.md describes its requests; a test below checks that it lists every member and every word that they take.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    audit_repository::RepositoryFaults,
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
    #[serde(default, deserialize_with = "sets")]
    audit_repository: Option<Vec<RepositoryFaults>>,
    revoke_tokens: Option<Revocation>,
    #[serde(default)]
    clients: HashMap<String, ClientChange>,
    system_scopes: Option<Switch>,
    clock_offset_seconds: Option<i64>,
    token_lifetime_seconds: Option<u32>,
    strict_kid: Option<bool>,
    jwks_cache_seconds: Option<u64>,
    workers: Option<NonZeroUsize>,
    listener: Option<ListenerState>,
    binary: Option<NewBinary>,
    export: Option<ExportBehavior>,
    #[serde(default)]
    resources: Vec<Value>,
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
        ("GET", "/__sandbox/audit-events") => (200, instance.audit_repository.describe()),
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
            instance.faults.set_repository(Vec::new());
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
    if let Some(faults) = changes.audit_repository {
        instance.faults.set_repository(faults);
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
    if let Some(workers) = changes.workers {
        instance.workers.set(workers);
    }
    if let Some(binary) = changes.binary {
        instance.exports.lock().publish(binary.id, binary.bytes);
    }
    for resource in changes.resources {
        let resource_type = resource.get("resourceType").and_then(Value::as_str).map(str::to_owned);
        let has_id = resource.get("id").is_some_and(Value::is_string);
        match resource_type.filter(|_| has_id) {
            Some(resource_type) => instance.population.write().add(&resource_type, resource),
            None => return Err("resources: a resource without a resourceType or an id".to_owned()),
        }
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
        "workers": instance.workers.wanted(),
        "workers_busy": instance.workers.busy(),
        "jwks_fetches": instance.client_keys.fetches(),
    });
    if let (Value::Object(state), Value::Object(counters)) = (&mut state, instance.counters.describe()) {
        state.extend(counters);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{
        exports::ProvenanceBehavior,
        faults::{ForcedOAuthError, ForcedRejection, ServerError},
        response::Ending,
    };

    /// The names that serde expects for `T`, which it lists in the error for an unknown one.
    fn expected<T: DeserializeOwned>(unknown: Value) -> Vec<String> {
        let error = serde_json::from_value::<T>(unknown).err().map(|error| error.to_string()).unwrap_or_default();
        let names = error.split_once("expected").map(|(_, names)| names.split('`').skip(1).step_by(2).map(str::to_owned));
        names.map(Iterator::collect).unwrap_or_default()
    }

    #[test]
    fn the_manual_lists_every_fault() {
        let manual = include_str!("../../docs/sandbox.md");
        let object = || json!({"?": 0});
        let word = || json!("?");
        for names in [
            expected::<Changes>(object()),
            expected::<TokenFaults>(object()),
            expected::<FhirFaults>(object()),
            expected::<RepositoryFaults>(object()),
            expected::<ExportBehavior>(object()),
            expected::<ClientChange>(object()),
            expected::<NewBinary>(object()),
            expected::<Revocation>(word()),
            expected::<Switch>(word()),
            expected::<ListenerState>(word()),
            expected::<ForcedOAuthError>(word()),
            expected::<ForcedRejection>(word()),
            expected::<ServerError>(word()),
            expected::<Framing>(word()),
            expected::<Ending>(word()),
            expected::<ProvenanceBehavior>(word()),
        ] {
            assert!(names.len() > 1, "{names:?}");
            for name in names {
                assert!(manual.contains(&format!("`{name}`")), "docs/sandbox.md does not list `{name}`");
            }
        }
    }
}

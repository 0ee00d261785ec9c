//! `POST /oauth2/{site}/registration`: RFC 7591 as OpenEMR implements it. New clients with system scopes are disabled
//! until an administrator enables them; in the sandbox, the admin address does.

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, HeaderSet},
    clients::{Client, Keys},
    instance::Instance,
    personality::Personality,
    php_json::Escapes,
    random::random_text,
    token_endpoint::ExchangeError,
};

fn rejected(error: &str, description: &str) -> Answer {
    let body = json!({"error": error, "error_description": description, "message": description});
    Answer::value(400, &body, Escapes::Plain)
}

/// Registers the client that `body` describes; `content_type` is the request's.
pub(super) fn register(instance: &Instance, site: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
    if !content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return rejected("invalid_client_metadata", "Unexpected content type");
    }
    let Ok(sent) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return rejected("invalid_client_metadata", "Invalid JSON");
    };
    let text = |name: &str| sent.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_list = |name: &str| sent.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !is_list("redirect_uris") {
        return rejected("invalid_redirect_uri", "redirect_uris is invalid");
    }
    let method = text("token_endpoint_auth_method");
    let methods: &[&str] = match instance.personality {
        Personality::V8_0 | Personality::Next => &["client_secret_basic", "client_secret_post", "private_key_jwt"],
        Personality::V7_0_3 => &["client_secret_basic", "client_secret_post"],
    };
    if !method.is_empty() && !methods.contains(&method) {
        return rejected("invalid_client_metadata", &format!("Unsupported token_endpoint_auth_method value : {method}"));
    }
    let asked = text("scope");
    if asked.trim().is_empty() {
        return ExchangeError::InvalidScope(String::new()).answer();
    }
    let scopes: Vec<String> = asked.split_whitespace().map(str::to_owned).collect();
    let is_known =
        |scope: &str| instance.known_scopes.knows(scope) && (instance.system_scopes_on() || !scope.starts_with("system/"));
    if let Some(unknown) = scopes.iter().find(|scope| !is_known(scope)) {
        return ExchangeError::InvalidScope(unknown.clone()).answer();
    }
    let wants_system = scopes.iter().any(|scope| scope.starts_with("system/"));
    let keys = match (text("jwks_uri"), sent.get("jwks")) {
        ("", Some(jwks)) if jwks.get("keys").is_some_and(Value::is_array) => Keys::Inline(jwks.clone()),
        ("", _) if wants_system => return rejected("invalid_client_metadata", "jwks is invalid"),
        ("", _) => Keys::Inline(json!({"keys": []})),
        (uri, _) => Keys::Uri(uri.to_owned()),
    };
    if wants_system && text("application_type") != "private" {
        return rejected("invalid_scope", "system and user scopes are only allowed for confidential clients");
    }

    let id = random_text(32);
    let mut echo = Map::new();
    let mut insert = |name: &str, value: Value| {
        echo.insert(name.to_owned(), value);
    };
    insert("client_id", json!(id));
    insert("client_secret", json!(random_text(64)));
    insert("registration_access_token", json!(random_text(32)));
    let client_url = format!("{}/oauth2/{site}/client/{}", instance.site_address, random_text(16));
    insert("registration_client_uri", json!(client_url));
    insert("client_id_issued_at", json!(instance.clock.seconds()));
    insert("client_secret_expires_at", json!(0));
    insert("client_role", json!("user"));
    let echoed = [
        "contacts",
        "application_type",
        "client_name",
        "redirect_uris",
        "token_endpoint_auth_method",
        "jwks_uri",
        "jwks",
        "scope",
    ];
    for name in echoed {
        if let Some(value) = sent.get(name) {
            insert(name, value.clone());
        }
    }
    insert("dsi_type", json!("none"));
    let client = Client { id: id.clone(), keys, scopes, enabled: !wants_system };
    instance.clients.lock().insert(id, client);
    let mut answer = Answer::value(200, &Value::Object(echo), Escapes::Plain).with_header_set(HeaderSet::Registered);
    if instance.personality == Personality::V7_0_3 {
        // The Content-Type is lost; the body is JSON all the same.
        answer.content_type = "text/html; charset=utf-8".to_owned();
    }
    answer
}

//! `POST /oauth2/{site}/token`: the client credentials grant with a signed client assertion (RFC 7523), with OpenEMR's
//! checks in OpenEMR's order, and its error answers.

use std::sync::atomic::Ordering;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    access_token::{Grant, Issue},
    answer::{Answer, HeaderSet},
    client_keys::KeyError,
    faults::{ForcedOAuthError, TokenFaults},
    instance::Instance,
    personality::Personality,
    php_json::Escapes,
    php_variables::{Variable, Variables},
    response::Body,
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The clock difference that is tolerated, in seconds.
const LEEWAY: f64 = 60.0;
/// The greatest age of `iat` in seconds, on 8.0; without leeway.
const OLDEST_IAT: f64 = 300.0;
/// How far ahead `exp` may be in seconds, on 8.0.
const FARTHEST_EXP: f64 = 24.0 * 3600.0;

/// Why no token is issued, by the error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExchangeError {
    /// 401 invalid_client: the client is unknown, disabled, or its keys cannot be had.
    UnknownClient,
    /// 400 invalid_client: the assertion is not valid.
    InvalidAssertion,
    /// 400 invalid_request, with this hint.
    InvalidRequest(&'static str),
    /// 400 invalid_scope, naming this scope.
    InvalidScope(String),
    /// 400 unsupported_grant_type.
    UnsupportedGrantType,
    /// 500 server_error.
    NotSetUp,
    /// 500 without a body: 7.0.3 when there is no assertion.
    Fatal,
    /// 500 because the database is down; [`dispatch`](super::dispatch) knows the words.
    DatabaseDown,
    /// 500 with the text of an exception.
    Exception,
}

impl ExchangeError {
    /// Returns OpenEMR's answer, byte for byte.
    pub(super) fn answer(&self) -> Answer {
        let league = |status, error: &str, description: &str, hint: Option<&str>| {
            let mut members = Map::new();
            members.insert("error".to_owned(), json!(error));
            members.insert("error_description".to_owned(), json!(description));
            if let Some(hint) = hint {
                members.insert("hint".to_owned(), json!(hint));
            }
            members.insert("message".to_owned(), json!(description));
            Answer::value(status, &Value::Object(members), Escapes::Plain)
        };
        match self {
            ExchangeError::UnknownClient => league(401, "invalid_client", "Client authentication failed", None),
            ExchangeError::InvalidAssertion => league(400, "invalid_client", "Client authentication failed", None),
            ExchangeError::InvalidRequest(hint) => league(
                400,
                "invalid_request",
                "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.",
                Some(hint),
            ),
            ExchangeError::InvalidScope(scope) => league(
                400,
                "invalid_scope",
                "The requested scope is invalid, unknown, or malformed",
                Some(&format!("Check the `{scope}` scope")),
            ),
            ExchangeError::UnsupportedGrantType => league(
                400,
                "unsupported_grant_type",
                "The authorization grant type is not supported by the authorization server.",
                Some("Check that all required parameters have been provided"),
            ),
            ExchangeError::NotSetUp => league(
                500,
                "server_error",
                "The authorization server encountered an unexpected condition which prevented it from fulfilling the request: Server was not properly setup",
                None,
            ),
            ExchangeError::Fatal => Answer::empty(500).with_header_set(HeaderSet::Aborted),
            ExchangeError::DatabaseDown | ExchangeError::Exception => {
                let text = "SQLSTATE[HY000] [2002] Connection refused";
                Answer::new(500, "text/html; charset=UTF-8", Body::Whole(text.into()))
            }
        }
    }

    /// Returns the error that a fault asks for; `scope` is the scope of the request.
    pub(super) fn forced(error: ForcedOAuthError, scope: &str) -> ExchangeError {
        match error {
            ForcedOAuthError::UnknownClient => ExchangeError::UnknownClient,
            ForcedOAuthError::BadAssertion => ExchangeError::InvalidAssertion,
            ForcedOAuthError::IssuedTooLongAgo => ExchangeError::InvalidRequest("Token issued too far in the past"),
            ForcedOAuthError::MissingJti => ExchangeError::InvalidRequest("Missing jti claim"),
            ForcedOAuthError::InvalidScope => ExchangeError::InvalidScope(scope.split(' ').next().unwrap_or_default().to_owned()),
            ForcedOAuthError::UnsupportedGrantType => ExchangeError::UnsupportedGrantType,
            ForcedOAuthError::NotSetUp => ExchangeError::NotSetUp,
            ForcedOAuthError::Database => ExchangeError::DatabaseDown,
            ForcedOAuthError::Exception => ExchangeError::Exception,
        }
    }
}

/// The fields of the form, as PHP reads them.
pub(super) struct TokenForm(Vec<(String, String)>);

impl TokenForm {
    /// Parses `application/x-www-form-urlencoded`.
    pub(super) fn parse(body: &[u8]) -> TokenForm {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let texts = Variables::from_form(body);
        let texts = texts.iter().filter_map(|(name, value)| match value {
            Variable::Text(value) => Some((text(name), text(value))),
            Variable::Array => None,
        });
        TokenForm(texts.collect())
    }

    /// Returns the value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Returns the names in order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// A client assertion, decoded.
pub(super) struct Assertion<'a> {
    /// The header.
    pub(super) header: Map<String, Value>,
    /// The claims.
    pub(super) claims: Map<String, Value>,
    message: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    /// Decodes a JWT; `None` unless it is three parts of base64url with JSON objects in the first two.
    pub(super) fn parse(jwt: &'a str) -> Option<Assertion<'a>> {
        let (message, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
        };
        Some(Assertion {
            header: object(header)?,
            claims: object(claims)?,
            message,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    fn seconds(&self, claim: &str) -> Option<f64> {
        self.claims.get(claim).and_then(Value::as_f64)
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(aud)) => aud == audience,
            Some(Value::Array(all)) => all.iter().any(|aud| aud == audience),
            _ => false,
        }
    }
}

/// Checks the request and issues a token.
pub(super) async fn exchange(
    instance: &Instance,
    site: &str,
    form: &TokenForm,
    faults: &TokenFaults,
) -> Result<Answer, ExchangeError> {
    let personality = instance.personality;
    if form.get("grant_type") != Some("client_credentials") {
        return Err(ExchangeError::UnsupportedGrantType);
    }
    let jwt = match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (Some(ASSERTION_TYPE), Some(jwt)) if !jwt.is_empty() => jwt,
        _ if personality == Personality::V7_0_3 => return Err(ExchangeError::Fatal),
        _ => {
            return Err(ExchangeError::InvalidRequest("assertion type is not supported"));
        }
    };
    let assertion = Assertion::parse(jwt).ok_or(ExchangeError::UnknownClient)?;
    let client_id = assertion.text("sub").unwrap_or_default();
    let client = instance.clients.lock().get(client_id).cloned().ok_or(ExchangeError::UnknownClient)?;
    if !client.enabled || assertion.header.contains_key("enc") {
        return Err(ExchangeError::UnknownClient);
    }
    let kid = assertion.header.get("kid").and_then(Value::as_str);
    let key = instance.client_keys.verifying_key(&client, kid).await.map_err(|error| {
        log::info!("sandbox: client {client_id}: {error}");
        match error {
            KeyError::UnknownKid => ExchangeError::InvalidAssertion,
            KeyError::Fetch(_) | KeyError::NoKey => ExchangeError::UnknownClient,
        }
    })?;

    let now = instance.clock.now();
    if personality != Personality::V7_0_3 {
        check_shape(&assertion, client_id, now)?;
    }
    if personality == Personality::Next && assertion.seconds("exp").is_none() {
        return Err(ExchangeError::InvalidRequest("Missing exp claim"));
    }
    let audience = instance.token_url(site);
    let before = |claim: &str| assertion.seconds(claim).is_none_or(|time| time <= now + LEEWAY);
    let jti = assertion.text("jti").unwrap_or_default();
    let is_valid = assertion.header.get("alg").and_then(Value::as_str) == Some("RS384")
        && key.verifies(assertion.message.as_bytes(), &assertion.signature)
        && assertion.text("iss") == Some(client_id)
        && assertion.is_for(&audience)
        && assertion.seconds("exp").is_none_or(|exp| exp + LEEWAY > now)
        && before("iat")
        && before("nbf")
        && !jti.is_empty();
    let down = |error| {
        log::warn!("sandbox: database: {error}");
        ExchangeError::DatabaseDown
    };
    if !is_valid || instance.database.is_used(jti).map_err(down)? {
        return Err(ExchangeError::InvalidAssertion);
    }

    let asked: Vec<&str> = form.get("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).collect();
    let system_scopes_off = !instance.system_scopes_on();
    if let Some(unknown) =
        asked.iter().find(|scope| !instance.known_scopes.knows(scope) || (system_scopes_off && scope.starts_with("system/")))
    {
        return Err(ExchangeError::InvalidScope((*unknown).to_owned()));
    }
    let granted: Vec<String> = asked
        .iter()
        .filter(|scope| instance.known_scopes.grants(&client.scopes, scope))
        .filter(|scope| !faults.drop_scopes.iter().any(|dropped| dropped == *scope))
        .map(|scope| (*scope).to_owned())
        .collect();

    // jti VARCHAR(100): a longer one fails in the database.
    if personality != Personality::V7_0_3 && jti.len() > 100 {
        return Err(ExchangeError::NotSetUp);
    }
    if !instance.database.mark_used(jti).map_err(down)? {
        return Err(ExchangeError::InvalidAssertion);
    }

    let lifetime = instance.token_lifetime().as_secs_f64();
    let grant = Grant { client: client.id.clone(), scopes: granted };
    let issuer = format!("{}/oauth2/{site}", instance.site_address);
    let padding = faults.pad_token_bytes;
    let issue = Issue { personality, site, issuer: &issuer, grant: &grant, lifetime, padding, now: instance.clock.now() };
    let token = instance.tokens.issue(&issue).map_err(down)?;
    instance.counters.tokens_issued.fetch_add(1, Ordering::Relaxed);
    let expires_in = faults.expires_in.clone().unwrap_or_else(|| json!(lifetime as i64));
    let token_type = faults.token_type.clone().unwrap_or_else(|| json!("Bearer"));
    let body = json!({
        "scope": grant.scopes.join(" "), "token_type": token_type, "expires_in": expires_in, "access_token": token,
    });
    let mut answer = Answer::value(200, &body, Escapes::Plain).with_header_set(HeaderSet::TokenIssued);
    answer.content_type = "application/json; charset=UTF-8".to_owned();
    Ok(answer)
}

/// Checks the form of the claims, which 8.0 does first, with a hint for each error.
fn check_shape(assertion: &Assertion<'_>, client_id: &str, now: f64) -> Result<(), ExchangeError> {
    if assertion.text("iss") != Some(client_id) {
        return Err(ExchangeError::InvalidRequest("Invalid issuer claim"));
    }
    if assertion.seconds("exp").is_some_and(|exp| exp > now + FARTHEST_EXP) {
        return Err(ExchangeError::InvalidRequest("Token expiration exceeds maximum allowed time"));
    }
    if assertion.seconds("iat").is_some_and(|iat| iat < now - OLDEST_IAT) {
        return Err(ExchangeError::InvalidRequest("Token issued too far in the past"));
    }
    if assertion.text("jti").is_none_or(str::is_empty) {
        return Err(ExchangeError::InvalidRequest("Missing jti claim"));
    }
    Ok(())
}

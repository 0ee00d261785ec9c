//! `POST /oauth2/{site}/token`: the client credentials grant with a signed client assertion (RFC 7523), judged in
//! OpenEMR's order and refused in its words.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    access_token::{Grant, Issue},
    answer::{Answer, Dress},
    client_keys::KeyError,
    faults::{Refusal, TokenFaults, lock},
    personality::Personality,
    php_json::Escapes,
    world::World,
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Seconds of clock difference that are forgiven.
const LEEWAY: f64 = 60.0;
/// 8.0: how old `iat` may be, in seconds; without leeway.
const OLDEST_IAT: f64 = 300.0;
/// 8.0: how far ahead `exp` may be, in seconds.
const FARTHEST_EXP: f64 = 24.0 * 3600.0;

/// Why no token is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRefusal {
    /// 401: who the client is.
    WhoYouAre,
    /// 400: the assertion itself.
    TheAssertion,
    /// 400, with the hint.
    InvalidRequest(&'static str),
    /// 400, naming the scope.
    InvalidScope(String),
    /// 400.
    UnsupportedGrantType,
    /// 500.
    NotSetUp,
    /// 500, nothing to read: 7.0.3 when there is no assertion.
    Fatal,
    /// 500, the bare text.
    Exception,
}

impl TokenRefusal {
    /// OpenEMR's answer, to the byte.
    pub fn answer(&self) -> Answer {
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
            TokenRefusal::WhoYouAre => league(401, "invalid_client", "Client authentication failed", None),
            TokenRefusal::TheAssertion => league(400, "invalid_client", "Client authentication failed", None),
            TokenRefusal::InvalidRequest(hint) => league(
                400,
                "invalid_request",
                "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.",
                Some(hint),
            ),
            TokenRefusal::InvalidScope(scope) => league(
                400,
                "invalid_scope",
                "The requested scope is invalid, unknown, or malformed",
                Some(&format!("Check the `{scope}` scope")),
            ),
            TokenRefusal::UnsupportedGrantType => league(
                400,
                "unsupported_grant_type",
                "The authorization grant type is not supported by the authorization server.",
                Some("Check that all required parameters have been provided"),
            ),
            TokenRefusal::NotSetUp => league(
                500,
                "server_error",
                "The authorization server encountered an unexpected condition which prevented it from fulfilling the request: Server was not properly setup",
                None,
            ),
            TokenRefusal::Fatal => Answer::empty(500).dressed(Dress::CutShort),
            TokenRefusal::Exception => {
                let text = "SQLSTATE[HY000] [2002] Connection refused";
                Answer::new(500, "text/html; charset=UTF-8", super::http1::Body::Whole(text.into()))
            }
        }
    }

    /// The refusal that a fault asks for; `scope` is what was asked.
    pub fn on_demand(refusal: Refusal, scope: &str) -> TokenRefusal {
        match refusal {
            Refusal::UnknownClient => TokenRefusal::WhoYouAre,
            Refusal::BadAssertion => TokenRefusal::TheAssertion,
            Refusal::IssuedTooLongAgo => TokenRefusal::InvalidRequest("Token issued too far in the past"),
            Refusal::MissingJti => TokenRefusal::InvalidRequest("Missing jti claim"),
            Refusal::InvalidScope => TokenRefusal::InvalidScope(scope.split(' ').next().unwrap_or_default().to_owned()),
            Refusal::UnsupportedGrantType => TokenRefusal::UnsupportedGrantType,
            Refusal::NotSetUp => TokenRefusal::NotSetUp,
            Refusal::Exception => TokenRefusal::Exception,
        }
    }
}

/// The form's fields, the last of a name winning as in PHP.
pub struct TokenForm(Vec<(String, String)>);

impl TokenForm {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(body: &[u8]) -> TokenForm {
        TokenForm(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The names in order, for the admin's record.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// A JWT taken apart.
pub struct Assertion<'a> {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    message: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    /// None when it is not three parts of base64url with JSON objects in the first two.
    pub fn parse(jwt: &'a str) -> Option<Assertion<'a>> {
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

/// Judges the request and, if it is good, issues a token.
pub async fn exchange(world: &World, site: &str, form: &TokenForm, faults: &TokenFaults) -> Result<Answer, TokenRefusal> {
    let personality = world.personality;
    if form.get("grant_type") != Some("client_credentials") {
        return Err(TokenRefusal::UnsupportedGrantType);
    }
    let jwt = match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (Some(ASSERTION_TYPE), Some(jwt)) if !jwt.is_empty() => jwt,
        _ if personality == Personality::V7_0_3 => return Err(TokenRefusal::Fatal),
        _ => {
            return Err(TokenRefusal::InvalidRequest("assertion type is not supported"));
        }
    };
    let assertion = Assertion::parse(jwt).ok_or(TokenRefusal::WhoYouAre)?;
    let client_id = assertion.text("sub").unwrap_or_default();
    let client = lock(&world.clients).get(client_id).cloned().ok_or(TokenRefusal::WhoYouAre)?;
    if !client.enabled || assertion.header.contains_key("enc") {
        return Err(TokenRefusal::WhoYouAre);
    }
    let kid = assertion.header.get("kid").and_then(Value::as_str);
    let key = world.client_keys.verifying_key(&client, kid).await.map_err(|error| {
        log::info!("stand-in: client {client_id}: {error}");
        match error {
            KeyError::UnknownKid => TokenRefusal::TheAssertion,
            KeyError::Fetch(_) | KeyError::NoKey => TokenRefusal::WhoYouAre,
        }
    })?;

    let now = world.clock.now();
    if personality == Personality::V8_0 {
        check_shape(&assertion, client_id, now)?;
    }
    let audience = world.token_url(site);
    let before = |claim: &str| assertion.seconds(claim).is_none_or(|time| time <= now + LEEWAY);
    let jti = assertion.text("jti").unwrap_or_default();
    let good = assertion.header.get("alg").and_then(Value::as_str) == Some("RS384")
        && key.verifies(assertion.message.as_bytes(), &assertion.signature)
        && assertion.text("iss") == Some(client_id)
        && assertion.is_for(&audience)
        && assertion.seconds("exp").is_none_or(|exp| exp + LEEWAY > now)
        && before("iat")
        && before("nbf")
        && !jti.is_empty();
    let down = |error| {
        log::warn!("stand-in: database: {error}");
        TokenRefusal::Exception
    };
    if !good || world.database.is_used(jti).map_err(down)? {
        return Err(TokenRefusal::TheAssertion);
    }

    let asked: Vec<&str> = form.get("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).collect();
    let system_scopes_off = !world.system_scopes_on();
    if let Some(unknown) =
        asked.iter().find(|scope| !world.known_scopes.knows(scope) || (system_scopes_off && scope.starts_with("system/")))
    {
        return Err(TokenRefusal::InvalidScope((*unknown).to_owned()));
    }
    let granted: Vec<String> = asked
        .iter()
        .filter(|scope| world.known_scopes.grants(&client.scopes, scope))
        .filter(|scope| !faults.drop_scopes.iter().any(|dropped| dropped == *scope))
        .map(|scope| (*scope).to_owned())
        .collect();

    // jti VARCHAR(100): a longer one fails in the database.
    if personality == Personality::V8_0 && jti.len() > 100 {
        return Err(TokenRefusal::NotSetUp);
    }
    if !world.database.use_up(jti).map_err(down)? {
        return Err(TokenRefusal::TheAssertion);
    }

    let lifetime = world.token_lifetime().as_secs_f64();
    let grant = Grant { client: client.id.clone(), scopes: granted };
    let issuer = format!("{}/oauth2/{site}", world.site_address);
    let padding = faults.pad_token_bytes;
    let issue = Issue { personality, site, issuer: &issuer, grant: &grant, lifetime, padding, now: world.clock.now() };
    let token = world.tokens.issue(&issue).map_err(down)?;
    world.counters.tokens_issued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let expires_in = faults.expires_in.clone().unwrap_or_else(|| json!(lifetime as i64));
    let token_type = faults.token_type.clone().unwrap_or_else(|| json!("Bearer"));
    let body = json!({
        "scope": grant.scopes.join(" "), "token_type": token_type, "expires_in": expires_in, "access_token": token,
    });
    let mut answer = Answer::value(200, &body, Escapes::Plain).dressed(Dress::TokenIssued);
    answer.content_type = "application/json; charset=UTF-8".to_owned();
    Ok(answer)
}

/// 8.0 looks at the claims' shape first and says what is wrong with them.
fn check_shape(assertion: &Assertion<'_>, client_id: &str, now: f64) -> Result<(), TokenRefusal> {
    if assertion.text("iss") != Some(client_id) {
        return Err(TokenRefusal::InvalidRequest("Invalid issuer claim"));
    }
    if assertion.seconds("exp").is_some_and(|exp| exp > now + FARTHEST_EXP) {
        return Err(TokenRefusal::InvalidRequest("Token expiration exceeds maximum allowed time"));
    }
    if assertion.seconds("iat").is_some_and(|iat| iat < now - OLDEST_IAT) {
        return Err(TokenRefusal::InvalidRequest("Token issued too far in the past"));
    }
    if assertion.text("jti").is_none_or(str::is_empty) {
        return Err(TokenRefusal::InvalidRequest("Missing jti claim"));
    }
    Ok(())
}

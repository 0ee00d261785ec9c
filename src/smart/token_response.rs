//! The answer of the token endpoint: a grant, or an error with OpenEMR's words and the likely cause.
//!
//! RFC 6749 sections 5.1 and 5.2. OpenEMR gives one body to a dozen causes and tells them apart by the
//! status: 401 `invalid_client` is about the client, 400 `invalid_client` about the assertion itself. An error that comes with
//! 200 counts as if it had come with 400.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::keys::without_byte_order_mark;
use crate::observe::safe_text::is_unshowable;

/// The largest answer that is read.
pub(super) const LARGEST_ANSWER: usize = 64 * 1024;
/// The longest life in seconds that is read from a number with a fraction or in a text: all whole numbers up to it are exact.
const LONGEST_INEXACT_LIFE: f64 = 9_007_199_254_740_992.0;
/// From this difference of the clocks on, in seconds, a refusal mentions it.
const NOTABLE_SKEW_SECONDS: i64 = 10;
/// The longest word of a server's text that goes to the log, in bytes.
const LONGEST_WORD: usize = 120;
/// How many characters of a server's text go to the log.
const LONGEST_QUOTE: usize = 300;

/// A token that was granted.
pub(crate) struct Grant {
    /// The access token: visible ASCII without spaces.
    pub access_token: Zeroizing<String>,
    /// How long it lives; at least a second.
    pub expires_in: Duration,
    /// The scope that was granted, space separated; the one that was asked for where the answer names none (RFC 6749 section
    /// 5.1). Never empty.
    pub scope: String,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// An OAuth error response.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// An answer that is no token response.
    #[error("the token endpoint answered {status}, but {problem}")]
    NotUnderstood {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        problem: String,
    },
    /// 200 with an empty scope: with such a token every FHIR request gets 401.
    #[error("the token endpoint granted none of the scopes that were asked for: the client is not registered for any of them")]
    NothingGranted,
}

/// An OAuth error response (RFC 6749 section 5.2), with OpenEMR's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// OAuth's error code.
    pub error: String,
    /// `error_description`, shortened and cleaned.
    pub description: String,
    /// OpenEMR's `hint`: which scope, which claim.
    pub hint: Option<String>,
    /// OpenEMR's clock minus ours, in seconds, when its Date field told.
    pub skew: Option<i64>,
}

impl Refusal {
    /// The likely cause, for the operator.
    #[must_use]
    pub(crate) fn likely_cause(&self) -> &'static str {
        match (self.effective_status(), self.error.as_str()) {
            (401, "invalid_client") => {
                "OpenEMR does not accept who is asking: client_id unknown, the client not enabled yet (Admin > System > API Clients), or its keys not reachable (jwks_uri)"
            }
            (400, "invalid_client") => {
                "OpenEMR does not accept the assertion: the signing key is not the first RSA key of the registered JWK Set, the clocks differ, token_audience is not OpenEMR's own token URL (its site_addr_oath + /oauth2/{site}/token), or the key is not for RS384"
            }
            (404, _) => "OpenEMR's APIs are off, or this is not its token endpoint",
            (_, "invalid_scope") => {
                "OpenEMR does not know a scope: the one in its hint is misspelt, a wildcard or not of this version, or system scopes are off (Administration > Config > Connectors)"
            }
            (_, "invalid_request") => {
                "OpenEMR does not accept a claim of the assertion; its hint says which: usually a clock that is slow by minutes"
            }
            (_, "unauthorized_client") => "the client is not registered for client_credentials",
            (_, "unsupported_grant_type") => "this is not OpenEMR's token endpoint, or something on the way changed the form",
            (_, "server_error") => {
                "OpenEMR's set-up is not complete (the oe-system user); on a fresh install the next attempt succeeds"
            }
            _ => "see OpenEMR's own log",
        }
    }

    /// The status with which the error should have come: RFC 6749 section 5.2 has no errors with 200.
    #[must_use]
    pub(crate) fn effective_status(&self) -> u16 {
        if self.status == 200 { 400 } else { self.status }
    }

    /// Whether the assertion itself was refused, rather than the client or the scopes: another one may pass.
    #[must_use]
    pub(crate) fn is_about_the_assertion(&self) -> bool {
        self.effective_status() == 400 && matches!(self.error.as_str(), "invalid_client" | "invalid_request")
    }

    fn notable_skew(&self) -> Option<i64> {
        self.skew.filter(|seconds| seconds.abs() > NOTABLE_SKEW_SECONDS)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token endpoint answered {} {}: {:?}", self.status, self.error, self.description)?;
        if let Some(hint) = &self.hint {
            write!(f, ", hint {hint:?}")?;
        }
        write!(f, ". Likely cause: {}", self.likely_cause())?;
        if let Some(seconds) = self.notable_skew() {
            let direction = if seconds > 0 { "behind" } else { "ahead of" };
            write!(f, ". This machine's clock is {} s {direction} OpenEMR's", seconds.abs())?;
        }
        Ok(())
    }
}

impl TokenError {
    /// The text for callers: it has no address, no file and nothing of OpenEMR's text.
    #[must_use]
    pub(crate) fn public_summary(&self) -> &'static str {
        match self {
            Self::NotUnderstood { .. } => "OpenEMR's token endpoint gave no usable answer",
            Self::Refused(refusal) => match refusal.status {
                401 => "OpenEMR refused the gateway's client (401): unknown, not enabled, or its keys not reachable",
                500.. => "OpenEMR's token endpoint failed",
                _ => "OpenEMR refused the gateway's token request; the gateway's log says why",
            },
            Self::NothingGranted => "OpenEMR granted none of the gateway's scopes",
        }
    }
}

/// An answer, before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The Content-Type field.
    pub content_type: Option<&'a str>,
    /// OpenEMR's clock minus ours, in seconds.
    pub skew: Option<i64>,
    /// The body, at most [`LARGEST_ANSWER`].
    pub body: &'a [u8],
}

#[derive(Deserialize)]
struct Success {
    access_token: Option<Zeroizing<String>>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    scope: Option<Value>,
    /// Anything but `null` is an error, whatever else stands there.
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
    error_description: Option<Value>,
    message: Option<Value>,
    hint: Option<Value>,
}

/// Reads the answer to a request for a token of the scope `asked`.
///
/// # Errors
/// Everything but a Bearer token of visible ASCII with a positive life and a non-empty scope.
pub(crate) fn parse(mut answer: Answer<'_>, asked: &impl fmt::Display) -> Result<Grant, TokenError> {
    answer.body = without_byte_order_mark(answer.body.trim_ascii_start());
    let not_understood = |problem: &str| TokenError::NotUnderstood { status: answer.status, problem: problem.to_owned() };
    if answer.status != 200 {
        return Err(refusal(answer));
    }
    let success: Success = serde_json::from_slice(answer.body).map_err(|_| {
        not_understood(if is_html(answer) {
            "with an HTML page: is this OpenEMR's token URL?"
        } else {
            "the body is not the JSON of a token response"
        })
    })?;
    if success.error.is_some() {
        return Err(refusal(answer));
    }
    if !success.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(not_understood("token_type is not Bearer"));
    }
    let access_token = success.access_token.ok_or_else(|| not_understood("there is no access_token"))?;
    if access_token.is_empty() || !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(not_understood("access_token is empty or has characters that no token may have"));
    }
    let expires_in = success
        .expires_in
        .as_ref()
        .and_then(seconds)
        .ok_or_else(|| not_understood("expires_in is not a number of seconds, one at least"))?;
    let scope = match success.scope {
        None => asked.to_string(),
        Some(Value::String(scope)) => scope,
        Some(_) => return Err(not_understood("scope is not a text")),
    };
    if scope.chars().any(char::is_control) {
        return Err(not_understood("scope has control characters"));
    }
    if scope.trim().is_empty() {
        return Err(TokenError::NothingGranted);
    }
    Ok(Grant { access_token, expires_in, scope })
}

/// Reads whole seconds, at least one: a number, or the same in a text, as PHP writes what came out of a database.
fn seconds(value: &Value) -> Option<Duration> {
    let (whole, inexact) = match value {
        Value::Number(number) => (number.as_u64(), number.as_f64()),
        Value::String(text) => (text.trim().parse().ok(), text.trim().parse().ok()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => (None, None),
    };
    let seconds = match (whole, inexact) {
        (Some(whole), _) => whole,
        (None, Some(inexact)) if inexact <= LONGEST_INEXACT_LIFE => Duration::try_from_secs_f64(inexact).ok()?.as_secs(),
        (None, _) => return None,
    };
    (seconds >= 1).then(|| Duration::from_secs(seconds))
}

fn refusal(answer: Answer<'_>) -> TokenError {
    match serde_json::from_slice::<Failure>(answer.body) {
        Ok(failure) => {
            let text = |member: &Option<Value>| member.as_ref().and_then(Value::as_str).map(quotable);
            TokenError::Refused(Box::new(Refusal {
                status: answer.status,
                error: quotable(&failure.error),
                description: text(&failure.error_description).or_else(|| text(&failure.message)).unwrap_or_default(),
                hint: text(&failure.hint),
                skew: answer.skew,
            }))
        }
        Err(_) => TokenError::NotUnderstood {
            status: answer.status,
            problem: if is_html(answer) { "with an HTML page" } else { "the body is not an OAuth error" }.to_owned(),
        },
    }
}

fn is_html(answer: Answer<'_>) -> bool {
    answer.content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// A server's text on one log line, without words that can be a token or an assertion.
pub(super) fn quotable(words: &str) -> String {
    let words = words.split(|c: char| is_unshowable(c) || c == ' ');
    let words =
        words.map(|word| if may_be_secret(word) { Cow::Owned(format!("[{} bytes]", word.len())) } else { Cow::Borrowed(word) });
    words.collect::<Vec<_>>().join(" ").chars().take(LONGEST_QUOTE).collect()
}

/// Whether a word is as long as no word, scope or address is, or begins a part of it as a JWT begins.
fn may_be_secret(word: &str) -> bool {
    word.len() > LONGEST_WORD || word.contains("eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(answer: Answer<'_>) -> Result<Grant, TokenError> {
        super::parse(answer, &"system/Patient.read system/Goal.rs")
    }

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer { status, content_type: Some("application/json; charset=UTF-8"), skew: None, body }
    }

    #[test]
    fn reads_openemrs_grant() {
        let body = br#"{"scope":"system\/Patient.read system\/Patient.$export","token_type":"Bearer","expires_in":300,"access_token":"eyJ0.e30.c2ln"}"#;
        let grant = parse(answer(200, body)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(grant.access_token.as_str(), "eyJ0.e30.c2ln");
        assert_eq!(grant.expires_in, Duration::from_secs(300));
        assert_eq!(grant.scope, "system/Patient.read system/Patient.$export");
    }

    #[test]
    fn a_byte_order_mark_before_the_answer_is_passed_over() {
        let body = "\u{feff}{\"scope\":\"s\",\"token_type\":\"Bearer\",\"expires_in\":300,\"access_token\":\"a\"}";
        assert_eq!(parse(answer(200, body.as_bytes())).ok().unwrap().access_token.as_str(), "a");
        assert!(parse(answer(200, format!("\r\n {body}").as_bytes())).is_ok());
        assert!(parse(answer(200, body.replacen('{', "\n\t{", 1).as_bytes())).is_ok());
        let refused = parse(answer(400, "\u{feff}{\"error\":\"invalid_scope\"}".as_bytes()));
        assert!(matches!(refused, Err(TokenError::Refused(refusal)) if refusal.error == "invalid_scope"));
    }

    #[test]
    fn a_life_is_read_however_it_is_written() {
        for (life, seconds) in
            [("300", 300), (r#""300""#, 300), (r#"" 300 ""#, 300), ("3.5", 3), ("3e2", 300), (r#""300.9""#, 300), ("300.0", 300)]
        {
            let body = format!(r#"{{"scope":"s","token_type":"bEARER","expires_in":{life},"access_token":"a","id":[{{}}]}}"#);
            let grant = parse(answer(200, body.as_bytes())).unwrap_or_else(|e| panic!("{life}: {e}"));
            assert_eq!(grant.expires_in, Duration::from_secs(seconds), "{life}");
        }
    }

    #[test]
    fn a_scope_that_is_not_named_is_the_one_asked_for() {
        for scope in ["", r#""scope":null,"#] {
            let body = format!(r#"{{{scope}"token_type":"Bearer","expires_in":300,"access_token":"a"}}"#);
            let grant = parse(answer(200, body.as_bytes())).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(grant.scope, "system/Patient.read system/Goal.rs");
        }
    }

    #[test]
    fn an_error_in_a_200_is_the_error_that_it_says() {
        let description = r#""error_description":"Client authentication failed","hint":"jti""#;
        for more in ["", r#","access_token":"a","token_type":"Bearer","expires_in":300"#, r#","token_type":null"#] {
            let body = format!(r#"{{"error":"invalid_client",{description}{more}}}"#);
            let Err(error @ TokenError::Refused(refusal)) = &parse(answer(200, body.as_bytes())) else { panic!("{body}") };
            assert!(refusal.is_about_the_assertion());
            let words = error.to_string();
            assert!(words.contains("answered 200 invalid_client") && words.contains("hint \"jti\""), "{words}");
            assert!(words.contains("first RSA key"), "{words}");
        }
        let granted = r#"{"error":null,"scope":"s","token_type":"Bearer","expires_in":300,"access_token":"a"}"#;
        assert!(parse(answer(200, granted.as_bytes())).is_ok());
    }

    #[test]
    fn an_error_is_read_whatever_its_other_members_are() {
        let body = br#"{"error":"invalid_scope","error_description":7,"message":"the message","hint":["x"]}"#;
        let error = parse(answer(400, body)).err().unwrap().to_string();
        assert!(error.contains("400 invalid_scope") && error.contains("the message") && !error.contains("hint \""), "{error}");
    }

    #[test]
    fn a_token_of_30_kb_is_taken() {
        let body = format!(r#"{{"scope":"s","token_type":"bearer","expires_in":1,"access_token":"{}"}}"#, "a".repeat(30_000));
        assert_eq!(parse(answer(200, body.as_bytes())).ok().unwrap().access_token.len(), 30_000);
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (body, reason) in [
            (r#"{"token_type":"mac","expires_in":300,"access_token":"a","scope":"s"}"#, "token_type"),
            (r#"{"token_type":"Bearer","expires_in":0,"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":-5,"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":1e99,"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":0.5,"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":"soon","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":"","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":"-300","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":"inf","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":"nan","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":[300],"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":true,"access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":300,"access_token":"a","scope":["s"]}"#, "scope is not a text"),
            (r#"{"error":{"code":7},"access_token":"a"}"#, "not an OAuth error"),
            (r#"{"token_type":"Bearer","access_token":"a","scope":"s"}"#, "expires_in"),
            (r#"{"token_type":"Bearer","expires_in":300,"scope":"s"}"#, "access_token"),
            (r#"{"token_type":"Bearer","expires_in":300,"access_token":"","scope":"s"}"#, "access_token"),
            (r#"{"token_type":"Bearer","expires_in":300,"access_token":"a\r\nX: y","scope":"s"}"#, "access_token"),
            (r#"{"token_type":"Bearer","expires_in":300,"access_token":"a","scope":"s\u0000"}"#, "scope"),
            (r#"{"token_type":"Bearer","expires_in":300,"access_token":"a","scope":""}"#, "none of the scopes"),
            (r#"{"token_type":"Bearer","expires_in":300,"acc"#, "not the JSON"),
            ("", "not the JSON"),
            ("[]", "not the JSON"),
        ] {
            let error = parse(answer(200, body.as_bytes())).err().unwrap().to_string();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn the_status_tells_two_causes_of_one_body_apart() {
        let body = br#"{"error":"invalid_client","error_description":"Client authentication failed","message":"Client authentication failed"}"#;
        let who = parse(answer(401, body)).err().unwrap().to_string();
        let what = parse(answer(400, body)).err().unwrap().to_string();
        assert!(who.contains("not enabled") && who.contains("Client authentication failed"), "{who}");
        assert!(what.contains("first RSA key") && !what.contains("not enabled"), "{what}");
        let is_about_the_assertion = |status| match parse(answer(status, body)) {
            Err(TokenError::Refused(refusal)) => refusal.is_about_the_assertion(),
            Ok(_) | Err(_) => panic!("it is a refusal"),
        };
        assert!(is_about_the_assertion(400) && !is_about_the_assertion(401));
    }

    #[test]
    fn a_refusal_quotes_the_hint_and_the_skew() {
        let body = br#"{"error":"invalid_scope","error_description":"The requested scope is invalid","hint":"Check the `system\/Foo.read` scope"}"#;
        let mut with_skew = answer(400, body);
        with_skew.skew = Some(95);
        let error = parse(with_skew).err().unwrap().to_string();
        assert!(error.contains("`system/Foo.read`") && error.contains("95 s behind"), "{error}");
    }

    #[test]
    fn a_refusal_quotes_no_token() {
        let long = "x".repeat(LONGEST_WORD + 1);
        let text = format!("The JWT `eyJhbGciOiJSUzM4NCJ9.e30.c2ln` or {long} is bad");
        let body = serde_json::json!({"error": "invalid_request", "error_description": text, "hint": text}).to_string();
        let error = parse(answer(400, body.as_bytes())).err().unwrap().to_string();
        assert!(error.contains("The JWT [31 bytes] or [121 bytes] is bad"), "{error}");
        assert!(!error.contains("eyJ") && !error.contains(&long), "{error}");
    }

    #[test]
    fn a_refusal_has_no_character_that_a_terminal_obeys() {
        let text = "a\u{1b}[31mb\u{202e}c\u{2028}d\u{9b}e";
        let body = serde_json::json!({"error": text, "error_description": text, "hint": text}).to_string();
        let error = parse(answer(400, body.as_bytes())).err().unwrap().to_string();
        assert_eq!(error.matches("a [31mb c d e").count(), 3, "{error}");
    }

    #[test]
    fn a_page_is_told_from_an_error() {
        let mut page = answer(503, b"<html>");
        page.content_type = Some("text/html; charset=iso-8859-1");
        assert!(parse(page).err().unwrap().to_string().contains("HTML page"));
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics_or_breaks_a_line(status in 200_u16..600, body in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Err(error) = parse(answer(status, &body)) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }

        #[test]
        fn what_is_taken_for_a_token_can_be_used_as_one(
            token in prop_oneof!["[!-~]{1,40}", ".{0,40}"],
            kind in prop_oneof![Just("Bearer".to_owned()), "[A-Za-z]{0,8}"],
            life in prop_oneof!["[0-9]{1,25}", "-?[0-9]{1,5}(\\.[0-9]{1,3})?(e[0-9]{1,3})?", Just("\"300\"".to_owned()), Just("null".to_owned())],
            scope in prop_oneof!["[!-~]{1,20}( [!-~]{1,20}){0,3}", ".{0,40}"],
        ) {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let body = format!(
                r#"{{"access_token":{},"token_type":{},"expires_in":{life},"scope":{}}}"#, quoted(&token), quoted(&kind), quoted(&scope),
            );
            if let Ok(grant) = parse(answer(200, body.as_bytes())) {
                let at = std::time::Instant::now();
                let token = crate::smart::token::AccessToken::new(grant, 1, at).unwrap();
                prop_assert!(token.is_usable(at) && token.life >= Duration::from_secs(1));
                prop_assert!(!token.is_usable(at + token.life) && !token.scope.trim().is_empty());
                prop_assert!(token.authorization().to_str().unwrap().starts_with("Bearer "));
            }
        }

        #[test]
        fn no_word_of_a_refusal_breaks_a_line(words in ".{0,600}") {
            let body = serde_json::json!({"error": words, "error_description": words, "hint": words}).to_string();
            let error = parse(answer(400, body.as_bytes())).err().unwrap().to_string();
            prop_assert!(!error.chars().any(is_unshowable));
        }
    }
}

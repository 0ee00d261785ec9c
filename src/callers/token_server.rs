//! The rules of a request for an access token (RFC 6749 section 4.4, RFC 7523, SMART App Launch 2.2 "Backend Services"): pure.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

/// The longest body of a request, in bytes.
pub(crate) const LONGEST_FORM: usize = 32 * 1024;
/// The most scopes that a request may name.
const MOST_SCOPES: usize = 256;
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The errors of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    /// A parameter is missing, comes twice, or cannot be read.
    InvalidRequest,
    /// The client is unknown, or did not authenticate.
    InvalidClient,
    /// The client may not have tokens here.
    UnauthorizedClient,
    /// Another grant than `client_credentials` was asked for.
    UnsupportedGrantType,
    /// None of the scopes can be granted.
    InvalidScope,
    /// The gateway itself has no key.
    TemporarilyUnavailable,
}

/// An error that a client gets. The description names the cause, and repeats nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OAuthError {
    /// The code.
    pub(crate) error: ErrorCode,
    /// What is wrong, and what to do instead.
    pub(crate) error_description: Cow<'static, str>,
}

impl OAuthError {
    pub(crate) fn new(error: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { error, error_description: description.into() }
    }

    pub(super) fn client(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidClient, description)
    }

    fn request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, description)
    }

    /// The status that goes with the error: 403 where the client is known and not allowed, as on every route.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        match self.error {
            ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorCode::UnauthorizedClient => StatusCode::FORBIDDEN,
            ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::InvalidRequest | ErrorCode::UnsupportedGrantType | ErrorCode::InvalidScope => StatusCode::BAD_REQUEST,
        }
    }
}

/// A request for an access token, as far as it can be judged by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    /// The client assertion.
    pub(crate) assertion: String,
    /// The client's name, where it is sent beside the assertion (RFC 7521 section 4.2).
    pub(crate) client_id: Option<String>,
    /// The scopes that are asked for, each once.
    pub(crate) scopes: Vec<String>,
}

/// Reads the body of a request. Parameters that nobody knows are ignored (RFC 6749 section 3.2).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(form: &[u8]) -> Result<TokenRequest, OAuthError> {
    let [mut grant_type, mut assertion_type, mut assertion, mut client_id, mut scope, mut secret] = [const { None::<String> }; 6];
    for (name, value) in form_urlencoded::parse(form) {
        let slot = match name.as_ref() {
            "grant_type" => &mut grant_type,
            "client_assertion_type" => &mut assertion_type,
            "client_assertion" => &mut assertion,
            "client_id" => &mut client_id,
            "scope" => &mut scope,
            "client_secret" => &mut secret,
            _ => continue,
        };
        if slot.replace(value.into_owned()).is_some() {
            return Err(OAuthError::request(format!("{name} comes twice.")));
        }
    }
    // A parameter without a value is as if it were missing (RFC 6749 section 3.1).
    let present = |value: Option<String>| value.filter(|value| !value.is_empty());
    match present(grant_type).as_deref() {
        None => return Err(OAuthError::request("grant_type is missing: send grant_type=client_credentials.")),
        Some("client_credentials") => {}
        Some(_) => {
            let text = "The only grant_type here is client_credentials.";
            return Err(OAuthError::new(ErrorCode::UnsupportedGrantType, text));
        }
    }
    if present(secret).is_some() {
        let text = "Clients authenticate with private_key_jwt here, and have no client_secret: send a client_assertion.";
        return Err(OAuthError::client(text));
    }
    let assertion = match (present(assertion), present(assertion_type).as_deref()) {
        (Some(assertion), Some(JWT_BEARER)) => assertion,
        (None, _) => {
            let text = "client_assertion is missing: send a JWT that is signed with the client's private key.";
            return Err(OAuthError::client(text));
        }
        (Some(_), None) => {
            return Err(OAuthError::request(format!("client_assertion_type is missing: send {JWT_BEARER}.")));
        }
        (Some(_), Some(_)) => {
            return Err(OAuthError::request(format!("The only client_assertion_type here is {JWT_BEARER}.")));
        }
    };
    let mut scopes = Vec::new();
    for asked in scope.as_deref().unwrap_or_default().split_ascii_whitespace() {
        if !scopes.iter().any(|known| known == asked) {
            scopes.push(asked.to_owned());
        }
    }
    match scopes.len() {
        0 => {
            let text = "scope is missing: name the scopes that are needed, such as system/Patient.rs.";
            Err(OAuthError::new(ErrorCode::InvalidScope, text))
        }
        1..=MOST_SCOPES => Ok(TokenRequest { assertion, client_id: present(client_id), scopes }),
        _ => Err(OAuthError::new(ErrorCode::InvalidScope, format!("scope names more than {MOST_SCOPES} scopes."))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c&scope=system%2FPatient.rs+system%2FGoal.read";

    #[test]
    fn a_request_as_smart_has_it() {
        let request = read(GOOD.as_bytes()).unwrap();
        assert_eq!(request.assertion, "a.b.c");
        assert_eq!(request.scopes, ["system/Patient.rs", "system/Goal.read"]);
        assert_eq!(request.client_id, None);
        let more = format!("{GOOD}&client_id=lab&resource=x&resource=y&client_secret=");
        assert_eq!(read(more.as_bytes()).unwrap().client_id.as_deref(), Some("lab"));
    }

    #[test]
    fn each_fault_has_its_error_and_its_cause() {
        use ErrorCode::*;
        let without = |name: &str| {
            let kept = GOOD.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect::<Vec<_>>();
            kept.join("&")
        };
        for (form, code, named) in [
            (String::new(), InvalidRequest, "grant_type"),
            (without("grant_type"), InvalidRequest, "grant_type"),
            (format!("{}&grant_type=", without("grant_type")), InvalidRequest, "grant_type"),
            (format!("{}&grant_type=password", without("grant_type")), UnsupportedGrantType, "client_credentials"),
            (format!("{}&grant_type=Client_Credentials", without("grant_type")), UnsupportedGrantType, "client_credentials"),
            (format!("{GOOD}&grant_type=client_credentials"), InvalidRequest, "grant_type comes twice"),
            (format!("{GOOD}&scope=system/*.rs"), InvalidRequest, "scope comes twice"),
            (format!("{GOOD}&client_assertion=x"), InvalidRequest, "client_assertion comes twice"),
            (without("client_assertion_type"), InvalidRequest, "client_assertion_type"),
            (without("client_assertion"), InvalidClient, "client_assertion"),
            (format!("{}&client_assertion_type=jwt", without("client_assertion_type")), InvalidRequest, "jwt-bearer"),
            (format!("{GOOD}&client_secret=s"), InvalidClient, "client_secret"),
            (without("scope"), InvalidScope, "scope is missing"),
            (format!("{}&scope=+", without("scope")), InvalidScope, "scope is missing"),
        ] {
            let error = read(form.as_bytes()).unwrap_err();
            assert_eq!(error.error, code, "{form}");
            assert!(error.error_description.contains(named), "{form}: {}", error.error_description);
        }
        let many = (0..=MOST_SCOPES).map(|number| format!("s{number}+")).collect::<String>();
        assert_eq!(read(format!("{}&scope={many}", without("scope")).as_bytes()).unwrap_err().error, InvalidScope);
        let json = serde_json::to_value(read(b"").unwrap_err()).unwrap();
        assert_eq!(json["error"], "invalid_request");
    }

    #[test]
    fn the_status_goes_with_the_error() {
        for (code, status) in [
            (ErrorCode::InvalidRequest, 400),
            (ErrorCode::InvalidClient, 401),
            (ErrorCode::UnauthorizedClient, 403),
            (ErrorCode::InvalidScope, 400),
            (ErrorCode::UnsupportedGrantType, 400),
            (ErrorCode::TemporarilyUnavailable, 503),
        ] {
            assert_eq!(OAuthError::new(code, "").status().as_u16(), status);
        }
    }

    proptest! {
        #[test]
        fn no_form_panics(form in "((grant_type|scope|client_assertion|client_id)(=[a-z%+ 0-9]{0,6})?&?){0,6}") {
            let _ = read(form.as_bytes());
        }
    }
}

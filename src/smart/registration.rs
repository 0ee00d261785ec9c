//! OpenEMR's dynamic registration of clients (RFC 7591), as its versions want it.
//!
//! A redirect URI is required although no browser is ever sent there; up to 7.0.3 `private_key_jwt` is refused as a method, and
//! another one does not keep a client from using it.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::keys::without_byte_order_mark;
use crate::nodes::client::{Client, Limits, Request, Response};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;
use crate::smart::token_response::quotable;

/// The largest answer that is read: it repeats the JWK Set.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// The longest client id that is taken.
const LONGEST_ID: usize = 512;

/// What a client is registered with.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Its name in OpenEMR's list of API clients.
    pub name: String,
    /// Where the administrators of the client are reached.
    pub contact: Option<String>,
    /// A URL that OpenEMR requires and never uses.
    pub redirect_uri: String,
    /// The scopes, with blanks between them.
    pub scope: String,
    /// Its public keys.
    pub keys: PublicKeys,
}

/// The public keys of a client.
#[derive(Debug)]
pub(crate) enum PublicKeys {
    /// The JWK Set, kept by OpenEMR.
    Inline(Value),
    /// The URL from which OpenEMR fetches it at each exchange.
    At(String),
}

/// Why no client was registered. Prints as one line, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRegistered {
    /// There is no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// OpenEMR refused.
    #[error("OpenEMR refused the registration: {status} {error}: {description:?}. {}", remedy(error))]
    Refused {
        /// The status.
        status: u16,
        /// OAuth's error code.
        error: String,
        /// OpenEMR's words, shortened and cleaned.
        description: String,
    },
    /// The configuration does not say where OpenEMR registers clients.
    #[error("the token endpoint is to be discovered, and with it no registration is: name OpenEMR in openemr, or its token_url")]
    NoEndpoint,
    /// The answer is none of OpenEMR's registration; explained.
    #[error("the answer is none of OpenEMR's registration: {0}")]
    NotUnderstood(String),
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
    message: Option<String>,
    hint: Option<String>,
}

/// Registers a client at the server of a token endpoint, and returns its id. Nothing is registered where this fails, unless the
/// answer was lost.
///
/// # Errors
/// [`NotRegistered`].
pub(crate) async fn register(
    client: &Client,
    token_endpoint: &Origin,
    limits: Limits,
    registration: &Registration,
) -> Result<String, NotRegistered> {
    let limits = Limits { body: LARGEST_ANSWER, ..limits };
    let first = client.send(token_endpoint, request(token_endpoint, registration, "private_key_jwt"), limits).await?;
    match read(&first) {
        Err(NotRegistered::Refused { status: 400, description, .. })
            if description.contains("Unsupported token_endpoint_auth_method") =>
        {
            let again = request(token_endpoint, registration, "client_secret_post");
            read(&client.send(token_endpoint, again, limits).await?)
        }
        answer => answer,
    }
}

fn request(token_endpoint: &Origin, registration: &Registration, method: &str) -> Request {
    let path = &token_endpoint.url().path;
    let mut body = json!({
        "application_type": "private",
        "client_name": registration.name,
        "redirect_uris": [registration.redirect_uri],
        "token_endpoint_auth_method": method,
        "scope": registration.scope,
    });
    if let Value::Object(members) = &mut body {
        if let Some(contact) = &registration.contact {
            members.insert("contacts".to_owned(), json!([contact]));
        }
        match &registration.keys {
            PublicKeys::Inline(set) => members.insert("jwks".to_owned(), set.clone()),
            PublicKeys::At(url) => members.insert("jwks_uri".to_owned(), json!(url)),
        };
    }
    let json = HeaderValue::from_static("application/json");
    Request {
        method: Method::POST,
        target: format!("{}/registration", path.strip_suffix("/token").unwrap_or(path)),
        fields: vec![(ACCEPT, json.clone()), (CONTENT_TYPE, json)],
        body: Some(Bytes::from(body.to_string())),
    }
}

fn read(response: &Response) -> Result<String, NotRegistered> {
    let body = without_byte_order_mark(response.body.trim_ascii_start());
    if matches!(response.status, StatusCode::OK | StatusCode::CREATED)
        && let Ok(Registered { client_id }) = serde_json::from_slice(body)
    {
        return if is_id(&client_id) {
            Ok(client_id)
        } else {
            Err(NotRegistered::NotUnderstood("its client_id has characters that none has".to_owned()))
        };
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if !refusal.error.contains(' ') => {
            let words = [refusal.error_description.or(refusal.message), refusal.hint];
            let description = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
            Err(NotRegistered::Refused {
                status: response.status.as_u16(),
                error: quotable(&refusal.error),
                description: quotable(&description),
            })
        }
        Ok(_) | Err(_) => Err(NotRegistered::NotUnderstood(response.explain().to_string())),
    }
}

/// Whether a text can stand in a configuration as a client's id.
fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_ID
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

fn remedy(error: &str) -> &'static str {
    match error {
        "invalid_scope" => {
            "A scope is misspelt, a wildcard or not of this version, or system scopes are off: switch them on first (Administration > Config > Connectors, Enable OpenEMR FHIR System Scopes)"
        }
        "invalid_redirect_uri" => "Name another URL with --redirect-uri",
        _ => "OpenEMR's log may say more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_without_escapes() {
        for (text, good) in
            [("s9X42aWw1QNLTWbm7UDB-lQFq7gkeMmsUqhrxQVMHhc", true), ("", false), ("a b", false), ("a\"", false), ("${A}", false)]
        {
            assert_eq!(is_id(text), good, "{text}");
        }
        assert!(!is_id(&"a".repeat(LONGEST_ID + 1)));
    }
}

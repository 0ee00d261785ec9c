//! Discovery of a server's token endpoint, by its SMART configuration (SMART App Launch 2.2, "Conformance").
//!
//! Of that document only `token_endpoint` is believed: OpenEMR's other members contradict each other and what it does.

use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};
use serde::Deserialize;

use crate::config::{BaseUrl, BaseUrlError};
use crate::keys::without_byte_order_mark;
use crate::nodes::client::{Client, Limits, Request};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;

/// The path of a SMART configuration, below the FHIR base.
pub(crate) const PATH: &str = "/.well-known/smart-configuration";

/// The largest document that is read, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 64 * 1024;

/// Why a SMART configuration does not say where the token endpoint is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoveryError {
    /// Not JSON, or another shape.
    #[error("it names no token_endpoint")]
    Unnamed,
    /// Not a URL.
    #[error("its token_endpoint {0}")]
    NoUrl(#[from] BaseUrlError),
    /// An assertion would travel in the open.
    #[error("its token_endpoint is not https, and not on this machine")]
    NotHttps,
    /// An assertion for the configured audience would go to a server that is not the audience's.
    #[error(
        "its token_endpoint, {0}, is neither at the origin of token_audience nor at that of fhir_base: if it is the right one, name it in token_url"
    )]
    OtherOrigin(BaseUrl),
}

/// Why discovery brought no token endpoint. Prints as one line for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoveryFailure {
    /// There is no answer.
    #[error("the SMART configuration ({PATH}) cannot be read: {0}")]
    Client(#[from] ClientError),
    /// The answer is no SMART configuration; explained.
    #[error("the SMART configuration ({PATH}) cannot be read: {0}")]
    Answer(String),
    /// The document names no token endpoint that may be used.
    #[error("the SMART configuration below {below}: {problem}")]
    Document {
        /// The FHIR base.
        below: BaseUrl,
        /// What is wrong with it.
        #[source]
        problem: DiscoveryError,
    },
    /// The site has no nodes.
    #[error("there is no node")]
    NoNode,
}

/// A token endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is.
    pub url: BaseUrl,
    /// The same, to the letter.
    pub text: String,
}

#[derive(Deserialize)]
struct SmartConfiguration {
    token_endpoint: String,
}

/// Asks a server where its token endpoint is. The exchange that it belongs to bounds its time. `audience` is the one that is
/// configured: whoever gets an assertion for it can use it there, so the endpoint must be the audience's or OpenEMR's own.
///
/// # Errors
/// [`DiscoveryFailure`].
pub(super) async fn find(client: &Client, fhir: &Origin, audience: Option<&str>) -> Result<Found, DiscoveryFailure> {
    let fields = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
    let request = Request::get(format!("{}{PATH}", fhir.url().path), fields);
    let response = client.send(fhir, request, Limits { step: None, total: None, body: MAX_DOCUMENT }).await?;
    if response.status != StatusCode::OK {
        return Err(DiscoveryFailure::Answer(response.explain().to_string()));
    }
    let found = token_endpoint(&response.body).and_then(|found| at_a_known_origin(found, fhir.url(), audience));
    found.map_err(|problem| match response.explain() {
        explained if explained.has_remedy() => DiscoveryFailure::Answer(explained.to_string()),
        _ => DiscoveryFailure::Document { below: fhir.url().clone(), problem },
    })
}

/// Reads a SMART configuration.
///
/// # Errors
/// No token endpoint that may be used: the same rules hold as for one that is configured.
pub(crate) fn token_endpoint(json: &[u8]) -> Result<Found, DiscoveryError> {
    let SmartConfiguration { token_endpoint: text } =
        serde_json::from_slice(without_byte_order_mark(json)).map_err(|_| DiscoveryError::Unnamed)?;
    let url = BaseUrl::parse(&text)?;
    if !url.https && !url.is_loopback() {
        return Err(DiscoveryError::NotHttps);
    }
    Ok(Found { url, text })
}

/// Checks that an endpoint is at the origin of the audience that is configured, or at that of the FHIR base.
///
/// # Errors
/// [`DiscoveryError::OtherOrigin`].
pub(crate) fn at_a_known_origin(found: Found, fhir: &BaseUrl, audience: Option<&str>) -> Result<Found, DiscoveryError> {
    let Some(audience) = audience else { return Ok(found) };
    let audience = BaseUrl::parse(audience).ok();
    let is_known = [Some(fhir), audience.as_ref()].into_iter().flatten().any(|known| found.url.has_origin_of(known));
    if is_known { Ok(found) } else { Err(DiscoveryError::OtherOrigin(BaseUrl { path: String::new(), ..found.url })) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_an_audience_the_endpoint_is_at_its_origin_or_at_openemrs() {
        let fhir = BaseUrl::parse("https://emr.example.org:9300/apis/default/fhir").unwrap();
        let audience = Some("https://public.example.org/oauth2/default/token");
        for (endpoint, audience, good) in [
            ("https://emr.example.org:9300/oauth2/default/token", audience, true),
            ("https://public.example.org/other/token", audience, true),
            ("https://public.example.org:443/token", audience, true),
            ("https://emr.example.org/oauth2/default/token", audience, false),
            ("https://public.example.org.evil.example/token", audience, false),
            ("http://127.0.0.1:9300/token", audience, false),
            ("https://anywhere.example.org/token", None, true),
        ] {
            let found = Found { url: BaseUrl::parse(endpoint).unwrap(), text: endpoint.to_owned() };
            assert_eq!(at_a_known_origin(found, &fhir, audience).is_ok(), good, "{endpoint}");
        }
    }

    #[test]
    fn only_a_token_endpoint_that_may_be_used_is_believed() {
        for (endpoint, good) in [
            (r#""https://emr.example.org/oauth2/default/token""#, true),
            (r#""https:\/\/emr.example.org:9300\/oauth2\/default\/token""#, true),
            (r#""http://localhost:9300/token""#, true),
            (r#""http://127.0.0.1/token""#, true),
            (r#""http://emr.example.org/token""#, false),
            (r#""https://user:secret@emr.example.org/token""#, false),
            (r#""/oauth2/default/token""#, false),
            (r#""ftp://emr.example.org/token""#, false),
            (r#""""#, false),
            ("null", false),
            ("[1]", false),
        ] {
            let json = format!(r#"{{"issuer":"x","token_endpoint":{endpoint},"scopes_supported":[["a"]]}}"#);
            assert_eq!(token_endpoint(json.as_bytes()).is_ok(), good, "{endpoint}");
        }
        for json in ["", "[]", "{}", "<html>"] {
            assert!(token_endpoint(json.as_bytes()).is_err(), "{json}");
        }
        let found = token_endpoint(br#"{"token_endpoint":"https://EMR.example.org/a/token/"}"#);
        assert!(found.is_err() || found.unwrap().text == "https://EMR.example.org/a/token/", "to the letter");
    }

    proptest! {
        #[test]
        fn no_document_panics(json in ".{0,200}") {
            let _ = token_endpoint(json.as_bytes());
        }
    }
}

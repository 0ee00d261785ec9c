//! The token request: the form that goes to the token endpoint.
//!
//! RFC 6749 section 4.4.2 with the client assertion of RFC 7523 section 2.2. Nothing else is sent: no
//! Authorization (OpenEMR would take it for another way to authenticate), no cookie (PHP would lock a session).

use pingora::http::RequestHeader;
use zeroize::Zeroizing;

use crate::config::BaseUrl;
use crate::scopes::scope::Scopes;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The body: `application/x-www-form-urlencoded`.
#[must_use]
pub fn form(scopes: &Scopes, assertion: &str) -> Zeroizing<String> {
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(assertion.len() + 512));
    form.append_pair("grant_type", "client_credentials")
        .append_pair("scope", &scopes.to_string())
        .append_pair("client_assertion_type", ASSERTION_TYPE)
        .append_pair("client_assertion", assertion);
    Zeroizing::new(form.finish())
}

/// The head: `POST {path}` with Host pinned to the configured token URL, whatever address is dialled.
///
/// # Errors
/// A token URL whose path or host cannot stand in a request head.
pub fn head(token_url: &BaseUrl, body_length: usize) -> pingora::Result<RequestHeader> {
    let path = if token_url.path.is_empty() { "/" } else { &token_url.path };
    let mut head = RequestHeader::build("POST", path.as_bytes(), Some(5))?;
    head.insert_header("Host", token_url.authority())?;
    head.insert_header("Accept", "application/json")?;
    head.insert_header("Content-Type", "application/x-www-form-urlencoded")?;
    head.insert_header("Content-Length", body_length.to_string())?;
    head.insert_header("User-Agent", concat!("openemr-gateway/", env!("CARGO_PKG_VERSION")))?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scopes::scope::Scope;

    #[test]
    fn form_holds_the_four_fields_and_nothing_else() {
        let scopes =
            Scopes::new([Scope::parse("system/*.$export").unwrap(), Scope::parse("system/Patient.read").unwrap()]).unwrap();
        let body = form(&scopes, "a.b-_c.d");
        let pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("scope", "system/*.$export system/Patient.read"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", "a.b-_c.d"),
        ];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn head_pins_host_and_carries_no_credentials() {
        let url =
            BaseUrl { https: true, host: "emr.example.org".into(), port: 8443, path: "/openemr/oauth2/default/token".into() };
        let head = head(&url, 7).unwrap();
        assert_eq!(head.raw_path(), b"/openemr/oauth2/default/token");
        assert_eq!(head.headers.get("host").unwrap(), "emr.example.org:8443");
        assert!(head.headers.get("authorization").is_none() && head.headers.get("cookie").is_none());
    }
}

//! The head that goes to OpenEMR: the client's, without what it must not send, with what it need not know.
//!
//! Decision: `docs/decisions/10-header-fields.md`.

use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::http::set_field::SetField;
use crate::smart::token::AccessToken;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Rewrites the head of a FHIR request. Pingora has already dropped the hop-by-hop fields, the fields named by
/// Connection, and an upgrade.
///
/// # Errors
/// A target that cannot stand in a request line.
pub(super) fn rewrite(head: &mut RequestHeader, target: &[u8], host: &HeaderValue, token: &AccessToken) -> pingora::Result<()> {
    head.set_raw_path(target)?;
    // Nearly every request carries none of these but Authorization, which is overwritten below.
    let dropped: Vec<HeaderName> = head.headers.keys().filter(|name| is_dropped(name.as_str())).cloned().collect();
    for name in &dropped {
        head.remove_header(name);
    }
    if accepts_anything(head) {
        head.set(ACCEPT, FHIR_JSON);
    }
    head.set(HOST, host.clone());
    head.set(AUTHORIZATION, token.authorization().clone());
    Ok(())
}

/// Whether a field of the client's is removed. `name` is in lower case.
fn is_dropped(name: &str) -> bool {
    match name {
        // PHP locks the session file of a cookie: requests that share one would queue behind each other.
        "cookie" | "cookie2"
        // OpenEMR reflects it, and CORS is not OpenEMR's to decide.
        | "origin"
        // Switches OpenEMR to the session of a logged-in browser.
        | "apicsrftoken"
        // Changes the links in OpenEMR's answers, and the audience that it demands of assertions.
        | "forwarded"
        // Symfony believes it on a POST: a create could become an update.
        | "x-http-method-override" | "x-http-method" | "x-method-override"
        | "x-original-url" | "x-rewrite-url"
        // httpoxy: CGI makes HTTP_PROXY of it.
        | "proxy" => true,
        _ => name.starts_with("x-forwarded-") || name.starts_with("proxy-"),
    }
}

fn accepts_anything(head: &RequestHeader) -> bool {
    let mut accepted = head.headers.get_all(ACCEPT).iter();
    match (accepted.next(), accepted.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().trim_ascii() == b"*/*",
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::smart::token_response::Grant;
    use std::time::{Duration, Instant};
    use zeroize::Zeroizing;

    fn rewritten(fields: &[(&'static str, &str)]) -> RequestHeader {
        let grant = Grant { access_token: Zeroizing::new("tok".into()), expires_in: Duration::from_secs(300), scope: "s".into() };
        let token = AccessToken::new(grant, 1, Instant::now()).unwrap();
        let mut head = RequestHeader::build("GET", b"/fhir/Patient?x=%41", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        rewrite(&mut head, b"/apis/default/fhir/Patient?x=%41", &HeaderValue::from_static("emr:8443"), &token).unwrap();
        head
    }

    #[test]
    fn the_caller_cannot_speak_for_the_gateway() {
        let head = rewritten(&[
            ("Authorization", "Bearer mine"),
            ("Authorization", "Basic bWU="),
            ("Host", "gateway"),
            ("Cookie", "apiOpenEMR=1"),
            ("Origin", "https://evil.example"),
            ("APICSRFTOKEN", "x"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "host=evil.example"),
            ("Proxy-Authorization", "x"),
            ("Proxy", "http://evil.example"),
            ("X-HTTP-Method-Override", "PUT"),
            ("If-None-Match", "\"1\""),
        ]);
        let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(head.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer tok"]);
        assert_eq!(head.headers.get("host").unwrap(), "emr:8443");
        assert_eq!(head.headers.get("if-none-match").unwrap(), "\"1\"");
        assert_eq!(head.raw_path(), b"/apis/default/fhir/Patient?x=%41");
    }

    #[test]
    fn accept_is_set_only_where_the_caller_does_not_care() {
        for (sent, expected) in [
            (vec![], "application/fhir+json"),
            (vec![("Accept", "*/*")], "application/fhir+json"),
            (vec![("Accept", "application/json")], "application/json"),
            (vec![("Accept", "text/html, */*")], "text/html, */*"),
        ] {
            assert_eq!(rewritten(&sent).headers.get("accept").unwrap(), expected);
        }
    }
}

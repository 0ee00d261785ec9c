//! The token request.
//!
//! RFC 6749 section 4.4.2 with the client assertion of RFC 7523 section 2.2. Nothing else is sent: no
//! Authorization (OpenEMR would take it for another way to authenticate), no cookie (PHP would lock a session).

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use zeroize::Zeroizing;

use crate::nodes::client::Request;
use crate::scopes::scope::Scopes;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The body, `application/x-www-form-urlencoded`, zeroed when it has been sent.
#[must_use]
pub(super) fn form(scopes: &Scopes, assertion: &str) -> Bytes {
    let begin = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", &scopes.to_string())
        .append_pair("client_assertion_type", ASSERTION_TYPE)
        .finish();
    const NAME: &str = "&client_assertion=";
    // As large as it becomes: a vector that grows leaves its contents behind. What a JWT is made of stands in a form as it is.
    let mut form = Zeroizing::new(Vec::with_capacity(begin.len() + NAME.len() + assertion.len()));
    for part in [&begin, NAME, assertion] {
        form.extend_from_slice(part.as_bytes());
    }
    Bytes::from_owner(form)
}

/// The request: `POST {path}` with the form.
#[must_use]
pub(super) fn request(path: &str, form: Bytes) -> Request {
    let fields = [
        (ACCEPT, "application/json"),
        (CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (USER_AGENT, concat!("openemr-gateway/", env!("CARGO_PKG_VERSION"))),
    ];
    Request {
        method: Method::POST,
        target: if path.is_empty() { "/" } else { path }.to_owned(),
        fields: fields.map(|(name, value)| (name, HeaderValue::from_static(value))).into(),
        body: Some(form),
    }
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
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("scope", "system/*.$export system/Patient.read"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", "a.b-_c.d"),
        ];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn it_goes_to_the_path_and_carries_no_credentials() {
        let request = request("/openemr/oauth2/default/token", Bytes::from("a=b"));
        assert_eq!((request.target.as_str(), request.body.as_deref()), ("/openemr/oauth2/default/token", Some(&b"a=b"[..])));
        let names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["accept", "content-type", "user-agent"]);
    }
}

//! Whether a request may use the admin listener: no web page of another origin may, and where keys are configured nobody without
//! one. Pure.

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::{Method, StatusCode};

use crate::access::api_key::ApiKey;
use crate::access::clients::KeyDigest;
use crate::http::answer::Answer;
use crate::http::fetch_metadata::FetchSite;

/// The field that a page of another origin cannot send without being asked for permission first, which it does not get.
static X_ADMIN: HeaderName = HeaderName::from_static("x-admin");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It calls the listener by a name: a web page can give its own name this address (DNS rebinding).
    Name,
    /// A page of another origin sent it.
    ForeignPage,
    /// It shows no key that is good.
    Key,
    /// A command without a key lacks the field `X-Admin`.
    NoField,
}

impl From<Refused> for Answer {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Name => Self::error(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "Call the admin listener by its IP address or as localhost, or use an API key.",
            ),
            Refused::ForeignPage => {
                Self::error(StatusCode::FORBIDDEN, "forbidden", "A web page of another origin may not use the admin listener.")
            }
            Refused::Key => {
                Self::error(StatusCode::UNAUTHORIZED, "unauthorized", "Send a key of admin.api_keys as Authorization: Bearer.")
                    .with(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer realm=\"admin\""))
            }
            Refused::NoField => {
                Self::error(StatusCode::FORBIDDEN, "forbidden", "A command needs the field  X-Admin: 1  or an API key.")
            }
        }
    }
}

/// Decides about a request. `now`: seconds since 1970.
///
/// # Errors
/// Why it is refused.
pub(super) fn check(method: &Method, fields: &HeaderMap, keys: &[KeyDigest], now: i64) -> Result<(), Refused> {
    let host = fields.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_foreign = match fields.get(ORIGIN) {
        Some(origin) => origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host),
        None => FetchSite::of(fields) == FetchSite::Foreign,
    };
    if is_foreign {
        return Err(Refused::ForeignPage);
    }
    if !keys.is_empty() {
        return if has_key(fields, keys, now) { Ok(()) } else { Err(Refused::Key) };
    }
    if !is_address(host) {
        return Err(Refused::Name);
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if changes && !fields.contains_key(&X_ADMIN) { Err(Refused::NoField) } else { Ok(()) }
}

/// Whether a host is an IP address or `localhost`, with a port or without.
fn is_address(host: &str) -> bool {
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(host, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

fn has_key(fields: &HeaderMap, keys: &[KeyDigest], now: i64) -> bool {
    let text = |name: &HeaderName| fields.get(name).and_then(|value| value.to_str().ok());
    let shown = text(&X_API_KEY).or_else(|| text(&AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")));
    let Some(key) = shown.and_then(ApiKey::parse) else { return false };
    // Each is compared, so that time does not tell which one is right.
    keys.iter().filter(|known| key.fits(Some(known)) && !known.has_expired(now)).count() > 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn decided(method: Method, lines: &[(&'static str, &str)], keys: &[KeyDigest]) -> Result<(), Refused> {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(&method, &fields, keys, 1_000)
    }

    #[test]
    fn without_keys_no_page_of_another_origin_gets_in() {
        let local = ("host", "127.0.0.1:9464");
        for (method, lines, expected) in [
            (Method::GET, &[local][..], Ok(())),
            (Method::GET, &[("host", "localhost:9464")], Ok(())),
            (Method::GET, &[("host", "[::1]:9464")], Ok(())),
            (Method::GET, &[("host", "evil.example:9464")], Err(Refused::Name)),
            (Method::GET, &[], Err(Refused::Name)),
            (Method::GET, &[local, ("origin", "http://evil.example")], Err(Refused::ForeignPage)),
            (Method::GET, &[local, ("origin", "null")], Err(Refused::ForeignPage)),
            (Method::GET, &[local, ("origin", "http://127.0.0.1:8000")], Err(Refused::ForeignPage)),
            (Method::GET, &[local, ("origin", "http://127.0.0.1:9464")], Ok(())),
            (Method::GET, &[local, ("sec-fetch-site", "cross-site")], Err(Refused::ForeignPage)),
            (Method::GET, &[local, ("sec-fetch-site", "none")], Ok(())),
            (Method::POST, &[local], Err(Refused::NoField)),
            (Method::POST, &[local, ("x-admin", "1")], Ok(())),
            (Method::POST, &[local, ("x-admin", "1"), ("sec-fetch-site", "same-site")], Err(Refused::ForeignPage)),
            (Method::PUT, &[local], Err(Refused::NoField)),
        ] {
            assert_eq!(decided(method, lines, &[]), expected, "{lines:?}");
        }
    }

    #[test]
    fn with_keys_one_of_them_is_needed_and_any_name_will_do() {
        let (key, known) = ApiKey::generate().unwrap();
        let (other, _) = ApiKey::generate().unwrap();
        let expired = KeyDigest { expires: Some(1_000), ..known };
        let host = ("host", "gateway.example.org:9464");
        let bearer = |key: &str| format!("Bearer {key}");
        for (lines, keys, expected) in [
            (&[host][..], &[known][..], Err(Refused::Key)),
            (&[host, ("x-api-key", &key)], &[known], Ok(())),
            (&[host, ("authorization", &bearer(&key))], &[known], Ok(())),
            (&[host, ("authorization", &bearer(&other))], &[known], Err(Refused::Key)),
            (&[host, ("x-api-key", &key)], &[expired], Err(Refused::Key)),
            (&[host, ("x-api-key", &key), ("origin", "http://evil.example")], &[known], Err(Refused::ForeignPage)),
        ] {
            assert_eq!(decided(Method::POST, lines, keys), expected, "{lines:?}");
        }
    }
}

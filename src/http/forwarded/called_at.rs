//! The address that the client called, as trusted proxies report it.

use http::HeaderMap;

use super::element::{Elements, parameter};
use super::hops::Hops;
use super::trusted_proxy::Family;

/// The address that the client called, as trusted proxies report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CalledAt<'a> {
    /// Whether the client used https.
    pub(crate) https: Option<bool>,
    /// The host, with its port.
    pub(crate) host: Option<&'a str>,
    /// The port alone.
    pub(crate) port: Option<u16>,
    /// What a proxy has removed from the front of the path.
    pub(crate) prefix: Option<&'a str>,
}

impl<'a> CalledAt<'a> {
    /// Reads the fields of a request that came by these hops: nothing where they do not lead from a client through trusted
    /// proxies, no host and no prefix unless that was asked for of each of the proxies.
    #[must_use]
    pub(crate) fn of(fields: &'a HeaderMap, hops: &Hops) -> Self {
        let Some(believed) = hops.believed else { return Self::default() };
        let of = |name: &str| match believed.family {
            Family::XForwarded => x_forwarded(fields, name, hops.proxies()),
            Family::Forwarded => forwarded(fields, name, hops.proxies()),
        };
        let https = of("proto").and_then(is_https);
        if !believed.host {
            return Self { https, ..Self::default() };
        }
        let has_more = believed.family == Family::XForwarded;
        Self {
            https,
            host: of("host"),
            port: of("port").filter(|_| has_more).and_then(|port| port.parse().ok()).filter(|port| *port != 0),
            prefix: of("prefix").filter(|_| has_more),
        }
    }
}

/// The entry of the proxy that the client met; where a list has fewer entries, its first.
fn x_forwarded<'a>(fields: &'a HeaderMap, name: &str, proxies: usize) -> Option<&'a str> {
    let name = match name {
        "proto" => "x-forwarded-proto",
        "host" => "x-forwarded-host",
        "port" => "x-forwarded-port",
        _ => "x-forwarded-prefix",
    };
    text(Elements::x_forwarded(fields, name)?.last_first().take(proxies).last()?)
}

/// The parameter that the proxy which the client met wrote; where that wrote none, the next proxy's.
fn forwarded<'a>(fields: &'a HeaderMap, name: &str, proxies: usize) -> Option<&'a str> {
    let elements = Elements::of(fields, Family::Forwarded)?;
    text(elements.last_first().take(proxies).filter_map(|element| parameter(element, name)).last()?)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn is_https(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(true),
        _ if scheme.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

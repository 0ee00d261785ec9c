//! The traces that proxies leave in a request.

use http::header::HeaderName;
use http::{HeaderMap, Version};

/// Whether a request looks forwarded: it has a field that proxies write, or is in HTTP/1.0, as nginx sends by default.
///
/// A client behind a proxy on this machine must not be taken for one on this machine because nobody has listed the proxy.
pub(super) fn are_in(fields: &HeaderMap, version: Version) -> bool {
    version < Version::HTTP_11 || fields.keys().any(is_a_proxys)
}

/// Whether proxies write this field, spelled with `-` or `_`.
fn is_a_proxys(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.contains('_') { is_listed(&name.replace('_', "-")) } else { is_listed(name) }
}

fn is_listed(name: &str) -> bool {
    match name {
        "forwarded"
        | "via"
        | "client-ip"
        | "true-client-ip"
        | "remote-addr"
        | "remote-ip"
        | "proxy-client-ip"
        | "wl-proxy-client-ip"
        | "fastly-client-ip"
        | "incap-client-ip"
        | "cdn-loop"
        | "cdn-src-ip"
        | "front-end-https"
        | "x-real-ip"
        | "x-real-port"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-originating-ip"
        | "x-remote-ip"
        | "x-remote-addr"
        | "x-proxyuser-ip"
        | "x-host"
        | "x-scheme"
        | "x-url-scheme"
        | "x-nginx-proxy"
        | "x-varnish"
        | "x-amzn-trace-id"
        | "x-sucuri-clientip" => true,
        _ => {
            let prefixes =
                ["x-forwarded", "x-original-", "x-envoy-", "x-azure-", "x-arr-", "x-akamai-", "x-appengine-", "cf-", "fly-"];
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        }
    }
}

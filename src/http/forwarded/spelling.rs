//! How an address is written in `X-Forwarded-For`, and in `for=` of `Forwarded`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::element::parameter;
use super::trusted_proxy::Family;

/// The address of an entry. Names, `unknown`, obfuscated identifiers, zones and ports that are none make an entry unreadable.
pub(super) fn address(element: &[u8], family: Family) -> Option<IpAddr> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let address = match family {
        Family::XForwarded => x_forwarded_for(text(element)?),
        Family::Forwarded => node(text(parameter(element, "for")?)?),
    }?;
    Some(address.to_canonical())
}

/// An entry of `X-Forwarded-For`, which no standard defines: an address as such or, as some proxies write it, in brackets or
/// with the port. An IPv6 address with a port must be in brackets.
fn x_forwarded_for(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, "")) => v6(inside),
        Some((inside, after)) => v6(inside).filter(|_| after.strip_prefix(':').is_some_and(is_port)),
        None => match text.split_once(':') {
            Some((before, port)) if !port.contains(':') => v4(before).filter(|_| is_port(port)),
            Some(_) => v6(text),
            None => v4(text),
        },
    }
}

/// A node identifier of `Forwarded` (RFC 7239 section 6): an IPv6 address is in brackets, a port may be obfuscated.
fn node(text: &str) -> Option<IpAddr> {
    let (address, after) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) => (v6(inside)?, after),
        None => {
            let (before, after) = text.split_at(text.find(':').unwrap_or(text.len()));
            (v4(before)?, after)
        }
    };
    let is_end = after.is_empty() || after.strip_prefix(':').is_some_and(|port| is_port(port) || is_obfuscated(port));
    is_end.then_some(address)
}

fn v4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)))
}

//! Forwarding fields: whatever a client writes into them, it is never taken for another one, and never for a proxy.
//!
//! Input: a byte that chooses the family, the value that the client sent, a line feed, another field's value.

use std::net::IpAddr;

use openemr_gateway::fuzzing;

const CLIENT: &str = "198.51.100.1";
const FAMILIES: [&str; 2] = ["X-Forwarded-For", "Forwarded"];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn check(input: &[u8]) {
    let ([choice], rest) = super::choices(input);
    let forwarded = choice & 1 == 1;
    let (name, other) = (FAMILIES[usize::from(forwarded)], FAMILIES[usize::from(!forwarded)]);
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (sent, more) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
    let client = ip(CLIENT);
    let proxy = ip("10.0.0.1");
    let of = |lines: &[(&str, &[u8])], peer| fuzzing::client(lines, peer, forwarded);

    // A proxy that is trusted adds the address that it was called from, in the same line or in one of its own.
    let added = if forwarded { format!("for={CLIENT}") } else { CLIENT.to_owned() };
    let in_line = [sent, b", ", added.as_bytes()].concat();
    let Some((found, is_local)) = of(&[(name, &in_line)], proxy) else { return };
    assert!(found == Some(client) || (forwarded && found.is_none()), "{found:?} made itself another client");
    assert!(!is_local);
    let (found, _) = of(&[(name, sent), (name, added.as_bytes())], proxy).expect("valid fields");
    assert!(found == Some(client) || (forwarded && found.is_none()), "{found:?} made itself another client");

    // Without that, a proxy of our own is never the client, and the client not on this machine.
    for peer in [proxy, ip("127.0.0.2")] {
        let (found, is_local) = of(&[(name, sent)], peer).expect("valid fields");
        assert!(found.is_none_or(|found| found != peer && !found.to_string().starts_with("10.")), "the proxy is the client");
        assert!(!is_local || (peer.is_loopback() && found.is_some_and(|found| found.is_loopback())));
        // The other family is the client's own.
        let with_other = of(&[(name, sent), (other, more), ("X-Real-IP", more)], peer);
        assert!(with_other.is_none_or(|with_other| with_other == (found, is_local)), "{other} was believed");
    }
    // Who is not trusted is the client itself.
    let lines: [(&str, &[u8]); 2] = [(name, sent), (other, more)];
    for (peer, local) in [("203.0.113.9", false), ("127.0.0.1", false)] {
        if let Some(found) = of(&lines, ip(peer)) {
            assert_eq!(found, (Some(ip(peer)), local), "{peer} was not taken for itself");
        }
    }
}

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use proptest::prelude::*;

use super::called_at::CalledAt;
use super::client::Client;
use super::hops::Hops;
use super::trusted_proxy::{Family, TrustedProxy};

const XFF: &str = "X-Forwarded-For";
const FWD: &str = "Forwarded";
const XF: Family = Family::XForwarded;
const F: Family = Family::Forwarded;

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    fields
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Trusts 10.0.0.0/8, fd00::/8 and 127.0.0.2 with this family, and 192.168.0.0/16 with the other one.
fn trusted(family: Family, host: bool) -> Vec<TrustedProxy> {
    let other = if family == F { XF } else { F };
    let all = [("10.0.0.0/8", family), ("fd00::/8", family), ("127.0.0.2/32", family), ("192.168.0.0/16", other)];
    all.map(|(from, family)| TrustedProxy { from: from.parse().unwrap(), family, host }).to_vec()
}

fn way(lines: &[(&str, &str)], peer: &str, family: Family) -> Hops {
    Hops::of(&fields(lines), Version::HTTP_11, ip(peer), &trusted(family, false))
}

#[test]
fn the_client_is_the_first_whom_nobody_vouches_for() {
    for (family, lines, peer, expected) in [
        (XF, &[][..], "203.0.113.9", "203.0.113.9"),
        (XF, &[(XFF, "198.51.100.1")], "203.0.113.9", "203.0.113.9"),
        (XF, &[(XFF, "198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (XF, &[(XFF, "6.6.6.6, 198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (XF, &[(XFF, "x\"y, é, , 198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (XF, &[(XFF, "6.6.6.6, 198.51.100.1 , 10.0.0.2")], "10.0.0.1", "198.51.100.1, 10.0.0.2, 10.0.0.1"),
        (XF, &[(XFF, "6.6.6.6, 198.51.100.1"), (XFF, "10.0.0.2")], "10.0.0.1", "198.51.100.1, 10.0.0.2, 10.0.0.1"),
        (XF, &[(XFF, "198.51.100.1"), (FWD, "for=6.6.6.6")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (F, &[(XFF, "6.6.6.6"), (FWD, "for=198.51.100.1;proto=https")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (F, &[(FWD, "For=\"[2001:db8::1]:4711\" , for=10.0.0.2;by=x")], "10.0.0.1", "2001:db8::1, 10.0.0.2, 10.0.0.1"),
        (F, &[(FWD, "for=\"a,b;for=6.6.6.6\", for=198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
        (F, &[(FWD, "for=6.6.6.6"), (FWD, "by=\"a,b\";for=198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
    ] {
        let hops = way(lines, peer, family);
        assert_eq!(hops.list().unwrap(), expected, "{lines:?}");
        assert_eq!(hops.client(), Client::At(ip(expected.split(',').next().unwrap())), "{lines:?}");
    }
}

#[test]
fn addresses_are_read_in_every_legal_spelling_and_in_no_other() {
    let v4 = Some("198.51.100.1");
    let v6 = Some("2001:db8::1");
    for (entry, xff, forwarded) in [
        ("198.51.100.1", v4, v4),
        ("198.51.100.1:4711", v4, v4),
        ("[2001:db8::1]", v6, v6),
        ("[2001:db8::1]:4711", v6, v6),
        // RFC 7239 demands the brackets, `X-Forwarded-For` does not.
        ("2001:db8::1", v6, None),
        ("::ffff:198.51.100.1", v4, None),
        ("[::ffff:198.51.100.1]", v4, v4),
        ("198.51.100.1:_secret", None, v4),
        ("", None, None),
        ("unknown", None, None),
        ("_hidden", None, None),
        ("gw.example", None, None),
        ("198.51.100.1:", None, None),
        ("198.51.100.1:99999", None, None),
        ("198.51.100.1:+80", None, None),
        ("198.51.100.1:_", None, None),
        ("198.51.100.1:4711:1", None, None),
        ("198.51.100.1/32", None, None),
        ("198.51.100.1 ", v4, v4),
        ("198.51.100.1 x", None, None),
        ("198.51.100", None, None),
        ("198.51.100.256", None, None),
        ("198.051.100.001", None, None),
        ("3325256705", None, None),
        ("0xc6336401", None, None),
        ("[198.51.100.1]", None, None),
        ("[2001:db8::1", None, None),
        ("2001:db8::1]", None, None),
        ("[2001:db8::1]4711", None, None),
        ("[2001:db8::1]:", None, None),
        ("fe80::1%eth0", None, None),
        ("[fe80::1%25eth0]", None, None),
        ("198.51.100.1\u{a0}", None, None),
        ("é", None, None),
        ("\u{ff11}98.51.100.1", None, None),
    ] {
        for (family, name, value, expected) in [
            (XF, XFF, entry.to_owned(), xff),
            (F, FWD, format!("for=\"{entry}\""), forwarded),
            (F, FWD, format!("for={entry}"), forwarded),
        ] {
            let expected = expected.map_or(Client::Stranger, |address| Client::At(ip(address)));
            // A blank inside of quotes is a part of the value.
            let expected = if entry.ends_with(' ') && value.contains('"') { Client::Stranger } else { expected };
            assert_eq!(way(&[(name, &value)], "10.0.0.1", family).client(), expected, "{value}");
        }
    }
}

#[test]
fn what_cannot_be_read_makes_a_stranger() {
    let long = |entry: &str, count: usize| vec![entry; count].join(", ");
    for (family, lines, list) in [
        // A proxy that reports no client is none itself.
        (XF, vec![], "unknown, 10.0.0.1"),
        (XF, vec![(FWD, "for=198.51.100.1".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(XFF, "198.51.100.1".to_owned())], "unknown, 10.0.0.1"),
        (XF, vec![(XFF, "10.0.0.2".to_owned())], "unknown, 10.0.0.2, 10.0.0.1"),
        (XF, vec![(XFF, String::new())], "unknown, 10.0.0.1"),
        (XF, vec![(XFF, "198.51.100.1,".to_owned())], "unknown, 10.0.0.1"),
        (XF, vec![(XFF, "198.51.100.1".to_owned()), (XFF, String::new())], "unknown, 10.0.0.1"),
        (XF, vec![(XFF, "198.51.100.1, unknown, 10.0.0.2".to_owned())], "unknown, 10.0.0.2, 10.0.0.1"),
        // 192.168.0.1 is trusted with the other family, and passes this one on as the client sent it.
        (XF, vec![(XFF, "6.6.6.6, 192.168.0.1".to_owned())], "unknown, 192.168.0.1, 10.0.0.1"),
        (F, vec![(FWD, "for=6.6.6.6, for=192.168.0.1".to_owned())], "unknown, 192.168.0.1, 10.0.0.1"),
        (F, vec![(FWD, "proto=https".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=198.51.100.1;for=198.51.100.1".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=198.51.100.1;for=6.6.6.6".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=198.51.100.1;proto".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=198.51.100.1;".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=\"198.51.100.1".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=\"x".to_owned() + ", for=198.51.100.1")], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=6.6.6.6;a=\"".to_owned() + ", for=\"198.51.100.1\"")], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=\"198.51\\.100.1\"".to_owned())], "unknown, 10.0.0.1"),
        (F, vec![(FWD, "for=\"198.51.100.1\"x".to_owned())], "unknown, 10.0.0.1"),
        (XF, vec![(XFF, long("198.51.100.1", 33))], "unknown, 10.0.0.1"),
    ] {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let hops = way(&lines, "10.0.0.1", family);
        assert_eq!((hops.client(), hops.list().as_deref()), (Client::Stranger, Some(list)), "{lines:?}");
        assert!(!hops.are_local());
        assert_eq!(CalledAt::of(&fields(&lines), &hops), CalledAt::default(), "{lines:?}");
    }
    let hops = way(&[(XFF, &("198.51.100.1, ".to_owned() + &long("10.0.0.2", 15)))], "10.0.0.1", XF);
    assert_eq!(hops.client(), Client::Stranger, "too many hops");
    let hops = way(&[(XFF, &("198.51.100.1, ".to_owned() + &long("10.0.0.2", 14)))], "10.0.0.1", XF);
    assert_eq!(hops.client(), Client::At(ip("198.51.100.1")));
    assert_eq!((Hops::unknown().client(), Hops::unknown().list()), (Client::Stranger, None));
}

#[test]
fn a_proxy_asks_for_itself_where_it_shows_no_client() {
    for (lines, peer, itself) in [
        (&[][..], "10.0.0.1", Some(ip("10.0.0.1"))),
        (&[], "203.0.113.9", None),
        (&[("Via", "1.1 x")], "10.0.0.1", None),
        (&[(FWD, "for=192.0.2.1")], "10.0.0.1", None),
        (&[(XFF, "unknown")], "10.0.0.1", None),
        (&[(XFF, "192.0.2.1")], "10.0.0.1", None),
    ] {
        let hops = way(lines, peer, XF);
        assert_eq!(hops.proxy_itself(), itself, "{lines:?}");
        assert!(itself.is_none() || hops.client() == Client::Stranger);
    }
}

#[test]
fn a_stranger_is_in_no_network() {
    let all = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    assert!(!Client::Stranger.is_in(&all) && Client::Stranger.address().is_none());
    assert!(Client::At(ip("192.0.2.1")).is_in(&all) && Client::At(ip("2001:db8::1")).is_in(&all));
}

#[test]
fn local_is_who_is_on_this_machine_without_a_trace_of_a_proxy() {
    let is_local = |lines: &[(&str, &str)], version, peer: &str| {
        Hops::of(&fields(lines), version, ip(peer), &trusted(XF, false)).are_local()
    };
    let v11 = Version::HTTP_11;
    for (lines, version, peer, expected) in [
        (&[][..], v11, "127.0.0.1", true),
        (&[], Version::HTTP_2, "::1", true),
        (&[("User-Agent", "curl"), ("X-Request-Id", "1"), ("Accept", "*/*")], v11, "127.0.0.1", true),
        (&[], v11, "192.0.2.1", false),
        // nginx speaks HTTP/1.0 by default.
        (&[], Version::HTTP_10, "127.0.0.1", false),
        (&[(XFF, "127.0.0.1")], v11, "127.0.0.1", false),
        // Through a trusted proxy on this machine, from this machine.
        (&[(XFF, "127.0.0.1")], v11, "127.0.0.2", true),
        (&[(XFF, "192.0.2.1")], v11, "127.0.0.2", false),
        (&[(XFF, "127.0.0.1, 192.0.2.1")], v11, "127.0.0.2", false),
        (&[(XFF, "127.0.0.1")], v11, "10.0.0.1", false),
        (&[(XFF, "127.0.0.2")], v11, "127.0.0.2", false),
        (&[], v11, "127.0.0.2", false),
        (&[(XFF, "unknown")], v11, "127.0.0.2", false),
    ] {
        assert_eq!(is_local(lines, version, peer), expected, "{lines:?} {version:?} {peer}");
    }
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Whatever",
        "X-Forwarded",
        "Forwarded",
        "X-Real-IP",
        "X_Real_IP",
        "X_Forwarded_For",
        "Via",
        "CF-Connecting-IP",
        "CF-Ray",
        "True-Client-IP",
        "Client-IP",
        "X-Client-IP",
        "X-Envoy-External-Address",
        "Fastly-Client-IP",
        "X-Cluster-Client-IP",
        "X-Original-Forwarded-For",
        "CDN-Loop",
        "X-Azure-ClientIP",
    ] {
        assert!(!is_local(&[(name, "127.0.0.1")], v11, "127.0.0.1"), "{name}");
        assert!(!is_local(&[(name, "")], v11, "::1"), "{name}");
    }
}

#[test]
fn where_the_client_called_is_the_word_of_the_proxy_that_it_met() {
    let peer = ip("10.0.0.1");
    let at = |https, host, port, prefix| CalledAt { https, host, port, prefix };
    let one = (XFF, "192.0.2.1");
    for (family, lines, expected) in [
        (XF, vec![one], at(None, None, None, None)),
        (
            XF,
            vec![one, ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "gw.example"), ("X-Forwarded-Port", "8443")],
            at(Some(true), Some("gw.example"), Some(8443), None),
        ),
        (XF, vec![one, ("X-Forwarded-Prefix", "/emr"), ("X-Forwarded-Port", "0")], at(None, None, None, Some("/emr"))),
        (XF, vec![one, ("X-Forwarded-Proto", "gopher")], at(None, None, None, None)),
        (XF, vec![one, ("X-Forwarded-Host", "é")], at(None, Some("é"), None, None)),
        // The other family is not believed.
        (XF, vec![one, (FWD, "proto=https;host=evil.example")], at(None, None, None, None)),
        (
            F,
            vec![(FWD, "for=192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Prefix", "/x")],
            at(None, None, None, None),
        ),
        (
            F,
            vec![(FWD, "for=192.0.2.1;host=\"gw.example:8443\";proto=HTTPS")],
            at(Some(true), Some("gw.example:8443"), None, None),
        ),
        // What the client wrote itself stands in front.
        (XF, vec![one, ("X-Forwarded-Host", "evil.example, gw.example")], at(None, Some("gw.example"), None, None)),
        (
            XF,
            vec![one, ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Host", "gw.example")],
            at(None, Some("gw.example"), None, None),
        ),
        // Two trusted proxies: the client met the outer one.
        (
            XF,
            vec![(XFF, "192.0.2.1, 10.0.0.2"), ("X-Forwarded-Proto", "https, http"), ("X-Forwarded-Host", "gw.example")],
            at(Some(true), Some("gw.example"), None, None),
        ),
        (
            F,
            vec![(FWD, "for=6.6.6.6;host=evil, for=192.0.2.1;proto=https;host=gw.example, for=10.0.0.2;proto=http;host=inner")],
            at(Some(true), Some("gw.example"), None, None),
        ),
    ] {
        let fields = fields(&lines);
        let hops = Hops::of(&fields, Version::HTTP_11, peer, &trusted(family, true));
        assert_eq!(CalledAt::of(&fields, &hops), expected, "{lines:?}");
        // Without having been asked for, nothing but the scheme.
        let hops = Hops::of(&fields, Version::HTTP_11, peer, &trusted(family, false));
        assert_eq!(CalledAt::of(&fields, &hops), at(expected.https, None, None, None), "{lines:?}");
        assert_eq!(CalledAt::of(&fields, &Hops::direct(ip("203.0.113.9"))), CalledAt::default());
    }
}

#[test]
fn a_host_is_believed_where_every_proxy_is_asked_for_it() {
    let trust = |from: &str, host| TrustedProxy { from: from.parse().unwrap(), family: XF, host };
    let fields = fields(&[(XFF, "192.0.2.1, 10.0.0.2"), ("X-Forwarded-Host", "gw.example")]);
    for (inner, outer) in [(true, true), (true, false), (false, true)] {
        let trusted = [trust("10.0.0.1/32", inner), trust("10.0.0.2/32", outer)];
        let hops = Hops::of(&fields, Version::HTTP_11, ip("10.0.0.1"), &trusted);
        assert_eq!(CalledAt::of(&fields, &hops).host.is_some(), inner && outer);
    }
}

proptest! {
    /// Whatever a client writes in front, the proxy's own entry counts: the client's address comes out, or nobody's.
    #[test]
    fn a_client_cannot_speak_for_its_proxy(
        lines in prop::collection::vec("[ -~\u{e9}]{0,40}|(for=|[0-9.,:;\"=\\\\\\[\\] ]|10\\.0\\.0\\.1,|127\\.0\\.0\\.1){0,40}", 0..4),
        same_line in any::<bool>(),
        quoted in any::<bool>(),
    ) {
        let (peer, client) = (ip("10.0.0.1"), "198.51.100.7");
        for (family, name) in [(XF, XFF), (F, FWD)] {
            let own = match (family, quoted) {
                (XF, _) => client.to_owned(),
                (F, false) => format!("for={client}"),
                (F, true) => format!("for=\"{client}\""),
            };
            let mut all = lines.clone();
            match all.last_mut() {
                Some(last) if same_line => *last = format!("{last}, {own}"),
                _ => all.push(own),
            }
            let mut fields = HeaderMap::new();
            for line in &all {
                fields.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let hops = Hops::of(&fields, Version::HTTP_11, peer, &trusted(family, true));
            prop_assert!(matches!(hops.client(), Client::Stranger) || hops.client() == Client::At(ip(client)), "{:?}: {:?}", all, hops);
            prop_assert!(!hops.are_local());
            prop_assert!(family == F || hops.client() != Client::Stranger || all.iter().map(|line| line.matches(',').count() + 1).sum::<usize>() > 32);
            let _ = CalledAt::of(&fields, &hops);
        }
    }

    #[test]
    fn what_goes_to_openemr_is_addresses_and_unknown(value in prop::collection::vec(any::<u8>(), 0..200), peer in any::<[u8; 4]>()) {
        let value: Vec<u8> = value.into_iter().filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect();
        for (family, name) in [(XF, XFF), (F, FWD)] {
            let mut fields = HeaderMap::new();
            fields.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
            for peer in [IpAddr::from(peer), ip("10.0.0.1")] {
                let hops = Hops::of(&fields, Version::HTTP_11, peer, &trusted(family, true));
                let list = hops.list().unwrap();
                prop_assert!(list.split(", ").all(|entry| entry == "unknown" || entry.parse::<IpAddr>().is_ok()), "{}", list);
                prop_assert_eq!(list.contains("unknown"), hops.client() == Client::Stranger);
                prop_assert!(list.len() < 800);
            }
        }
    }
}

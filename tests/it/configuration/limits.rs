//! Limits of callers: rates, bursts, requests at once.

use crate::support::command::{check, fails, passes, with};

const KEY: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn limits(members: &str) -> crate::support::command::Folder {
    with(&format!("limits: {{{members}}}\n"))
}

/// A good configuration with a policy `slow` and a client of it.
fn access(policy: &str, client: &str) -> crate::support::command::Folder {
    with(&format!(
        "access: {{allow_from: [127.0.0.0/8], policies: {{slow: {{{policy}}}}}, \
         clients: {{lab: {{policy: slow, api_keys: [\"{KEY}\"]{client}}}}}}}\n"
    ))
}

#[test]
fn rates_are_shown_as_they_take_effect() {
    let out = passes(&limits("rate_per_address: 600/m, burst_per_address: 7, requests_per_address: 3"), &[]);
    for line in [
        "rate_per_address: 600/min",
        "burst_per_address: 7",
        "requests_per_address: 3",
        "local_rate_per_address: 200/s",
        "local_burst_per_address: 1000",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
    let out = passes(&access("rate: 20 / s, burst: 40", ", burst: 5, at_once: 2"), &[]);
    for line in ["rate: 20/s", "burst: 40", "burst: 5", "at_once: 2"] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
}

#[test]
fn what_is_no_rate_is_refused() {
    for (written, what) in [
        ("20", "`20` is no rate; write 20/s, 600/min or 5000/h"),
        ("fast", "`fast` is no rate; write 20/s, 600/min or 5000/h"),
        ("20/day", "`20/day` is no rate; write 20/s, 600/min or 5000/h"),
        ("0/s", "`0/s` lets nothing pass; at least 1 is needed"),
        ("2000000/s", "`2000000/s` is too much; at most 1000000 are taken"),
        ("[20/s]", "a list where a rate such as 20/s was due"),
    ] {
        let folder = limits(&format!("rate_per_address: {written}"));
        fails(&folder, &[], &format!("conf/gateway.yaml: limits.rate_per_address: {what}"), "20/s");
    }
}

#[test]
fn a_burst_belongs_to_a_rate_and_is_bounded() {
    let missing = "is written, and `rate_per_address` is not";
    fails(&limits("burst_per_address: 5"), &[], &format!("conf/gateway.yaml: limits.burst_per_address: {missing}"), "20/s");
    let missing = "is written, and `rate` is not";
    let policy = "conf/gateway.yaml: access.policies.slow.burst";
    fails(&access("burst: 5", ", rate: 20/s"), &[], &format!("{policy}: {missing}"), "rate: 20/s");
    let client = "conf/gateway.yaml: access.clients.lab.burst";
    fails(&access("scopes: []", ", burst: 5"), &[], &format!("{client}: {missing}"), "rate: 20/s");
    passes(&access("rate: 20/s", ", burst: 5"), &[]);
    passes(&access("scopes: []", ", rate: 20/s, burst: 5"), &[]);
    for (members, what) in [
        ("rate_per_address: 20/s, burst_per_address: 100001", "limits.burst_per_address: `100001` is above 100000"),
        ("requests_per_address: 0", "limits.requests_per_address: `0` is no whole number above 0"),
        ("local_burst_per_address: 0", "limits.local_burst_per_address: `0` is no whole number above 0"),
    ] {
        let errors = check(&limits(members), &[]).err;
        assert!(errors.contains(what), "{what} in\n{errors}");
    }
}

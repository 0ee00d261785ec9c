//! The address of the admin listener.

use crate::support::command::{fails, passes, with};

const KEY: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn without_an_address_there_is_none_and_on_loopback_it_needs_no_key() {
    assert!(passes(&with(""), &[]).contains("admin:\n  address: null\n  api_keys: []\n"));
    for address in ["127.0.0.1:9464", "'[::1]:9464'"] {
        let out = passes(&with(&format!("admin: {{address: {address}}}\n")), &[]);
        assert!(out.contains("9464"), "{out}");
    }
    passes(&with(&format!("admin: {{address: 0.0.0.0:9464, api_keys: [\"{KEY}\"]}}\n")), &[]);
}

#[test]
fn one_that_others_reach_needs_a_key_and_none_may_be_a_listener_of_clients() {
    fails(
        &with("admin: {address: 0.0.0.0:9464}\n"),
        &[],
        "conf/gateway.yaml: admin.address: can be reached from other machines, and `api_keys` is empty",
        "access new-key",
    );
    fails(
        &with("admin: {address: 127.0.0.1:8000}\n"),
        &[],
        "conf/gateway.yaml: admin.address: `127.0.0.1:8000` is one of `listen`, too",
        "a port of its own",
    );
}

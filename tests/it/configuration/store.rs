//! The keys of the shared store.

use crate::support::command::{fails, passes, with};

#[test]
fn a_store_is_a_url_or_a_mapping() {
    let short = passes(&with("store: rediss://store.example.org\n"), &[]);
    let long = passes(&with("store:\n  url: rediss://store.example.org:6379/0\n  timeout: 0.5s\n"), &[]);
    assert_eq!(short, long);
    assert!(short.contains("  url: rediss://store.example.org:6379\n"), "{short}");
    let by_variable = passes(&with("store: ${STORE}\n"), &[("STORE", "redis://127.0.0.1:7000/2")]);
    assert!(by_variable.contains("  url: redis://127.0.0.1:7000/2\n"), "{by_variable}");
    assert!(passes(&with("store: null\n"), &[]).contains("\nstore: null\n"));
}

#[test]
fn what_is_wrong_with_a_store_is_said_without_its_password() {
    const FILE: &str = "conf/gateway.yaml: store";
    const PASSWORD: &str = "password_file: /etc/openemr-gateway/store-password";
    for (store, message, remedy) in [
        ("rediss://gateway:s3cret@store.example.org", ": holds a password", PASSWORD),
        ("{ url: 'redis://:s3cret@127.0.0.1' }", ".url: holds a password", PASSWORD),
        ("{ url: rediss://gateway@store.example.org }", ".url: names a user, and there is no password", PASSWORD),
        (
            "redis://store.example.org",
            ": is not rediss://, and store.example.org is not this machine: plans of exports name patients",
            "write rediss://",
        ),
        ("https://store.example.org", ": does not begin with rediss:// or redis://", "rediss://store.example.org:6379"),
        ("{ prefix: x }", ": `url` is missing", "write  url: rediss://"),
        ("{ url: redis://127.0.0.1, prefix: a b }", ".prefix: is not 1 to 64 letters, digits and signs", "openemr-gateway:"),
        ("{ url: redis://127.0.0.1, timeout: 1ms }", ".timeout: is outside 10ms to 1m", "500ms"),
        ("{ url: redis://127.0.0.1, ca_file: conf/ca.pem }", ".ca_file: has no effect without rediss://", "rediss://"),
    ] {
        let folder = with(&format!("store: {store}\n"));
        folder.write("conf/ca.pem", &rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem());
        fails(&folder, &[], &format!("{FILE}{message}"), remedy);
        assert!(!crate::support::command::check(&folder, &[]).err.contains("s3cret"));
    }
}

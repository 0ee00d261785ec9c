//! `access new-key`: the key that it prints is good with the line that it prints, and with no other.

use serde_json::json;

use crate::support::command::Folder;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

/// A key and the YAML of its line.
fn new_key(arguments: &[&str]) -> (String, String) {
    let out = Folder::empty().run(&[&["access", "new-key"], arguments].concat()).out;
    let key = out.split_whitespace().find(|word| word.starts_with("oegw_")).unwrap().to_owned();
    let line = out.lines().find_map(|line| line.trim().strip_prefix("api_keys: ")).unwrap().to_owned();
    assert_eq!(out.matches(&key).count(), 1, "{out}");
    assert!(!line.contains(key.rsplit('_').next().unwrap()) && out.contains("access.clients.lab"), "{out}");
    (key, line)
}

#[test]
fn a_new_key_opens_the_gateway_with_its_line_and_no_other() {
    let openemr = OpenEmr::start();
    let (key, line) = new_key(&["lab"]);
    let (other, _) = new_key(&["lab", "--expires", "2999-01-31"]);
    let mut config = config(&openemr);
    let keys: serde_json::Value = serde_yaml::from_str(&line).unwrap();
    config["access"]["clients"] = json!({"lab": {"policy": "everything", "api_keys": keys}});
    let gateway = Gateway::with(config);
    let get = |fields: &[(&str, &str)]| gateway.caller().send("GET", "/fhir/Patient?_count=1", fields, b"");
    assert_eq!(get(&[("X-API-Key", &key)]).status, 200);
    get(&[("X-API-Key", &other)]).outcome(401);
    get(&[]).outcome(401);
    assert_eq!(gateway.caller().get("/fhir/metadata").status, 200);
}

#[test]
fn a_key_ends_on_the_day_that_was_named() {
    let (_, line) = new_key(&["lab", "--expires", "2999-01-31"]);
    assert!(line.contains("expires: 2999-01-31"), "{line}");
    for (arguments, message) in [
        (&["lab", "--expires", "2001-01-31"][..], "2001-01-31 has passed"),
        (&["lab", "--expires", "31.1.2027"], "`31.1.2027` is no date"),
        (&["a b"], "`a b` is no name of a client"),
    ] {
        let ended = Folder::empty().run(&[&["access", "new-key"], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{arguments:?}");
        assert!(ended.err.contains(message), "{}", ended.err);
    }
}

//! `token`: an exchange with the sandbox, and what is said of it.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Ended, Folder};
use crate::support::gateway::config;
use crate::support::openemr::{CLIENT, OpenEmr};

struct Written(TempDir);

impl Written {
    fn new(config: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.yaml"), config.to_string()).unwrap();
        Self(folder)
    }

    fn token(&self, more: &[&str]) -> Ended {
        let file = self.0.path().join("gateway.yaml");
        Folder::empty().run(&[&["token", "--config", file.to_str().unwrap()], more].concat())
    }
}

/// The value behind a name at the beginning of a line.
fn value<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {name}: {text}")).trim()
}

#[test]
fn its_claims_are_shown_and_itself_only_on_demand() {
    let openemr = OpenEmr::with(&["--scope", "system/Patient.read system/Observation.read"]);
    let written = Written::new(&config(&openemr));
    let ended = written.token(&[]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let text = ended.out;
    let endpoint = format!("{}/oauth2/default/token", openemr.base);
    for (name, expected) in [
        ("site", "default"),
        ("endpoint", endpoint.as_str()),
        ("audience", endpoint.as_str()),
        ("client", CLIENT),
        ("issuer", &format!("{}/oauth2/default", openemr.base)),
        ("expires in", "300 s"),
        ("scopes", "system/Patient.read"),
        ("not granted", "system/Binary.read"),
        ("token", "not shown; --show prints it"),
    ] {
        assert_eq!(value(&text, name), expected, "{name} in\n{text}");
    }
    assert_eq!(value(&text, "kid").len(), 32);
    assert!(!text.contains("eyJ"), "{text}");

    let shown = written.token(&["--show"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(value(&shown.out, "token").split('.').count(), 3);
    assert_eq!(openemr.count("token_requests"), 2);
}

#[test]
fn a_refusal_is_explained() {
    let openemr = OpenEmr::start();
    let mut wrong = config(&openemr);
    wrong["sites"]["default"]["client_id"] = json!("somebody-else");
    let ended = Written::new(&wrong).token(&[]);
    assert!(ended.code == 1 && ended.out.is_empty(), "{}", ended.out);
    assert!(ended.err.contains("error: site default: ") && ended.err.contains("401 invalid_client"), "{}", ended.err);
    let ended = Written::new(&config(&openemr)).token(&["--site", "other"]);
    assert!(ended.err.contains("no site `other` is configured\n  name one of  default"), "{}", ended.err);
}

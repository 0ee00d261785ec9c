//! The log says what has started, and what a reload has changed.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

fn sha256(file: &Path) -> String {
    let digest = digest(&SHA256, &std::fs::read(file).unwrap());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_start_line_names_program_process_configuration_and_listeners() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["log"] = json!({"level": "info", "format": "json"});
    let gateway = Gateway::with(config);
    let line: Value = serde_json::from_str(&gateway.logs(&["has started"])).unwrap();
    let message = line["message"].as_str().unwrap();
    assert!(message.starts_with(concat!("openemr-gateway ", env!("CARGO_PKG_VERSION"), " (")), "{line}");
    assert_eq!(line["pid"], gateway.process.id());
    assert_eq!(line["config"], gateway.config_file().to_str().unwrap());
    assert_eq!(line["config_sha256"], sha256(&gateway.config_file()));
    assert_eq!(line["sites"], "default");
    assert_eq!(line["listeners"], format!("http://{} (loopback only, anonymous)", gateway.address));
    assert!(line["commit"].is_string(), "{line}");
}

#[test]
fn clients_are_counted() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    let key = |digit: &str| json!([format!("sha256:{}", digit.repeat(64))]);
    config["access"] = json!({
        "allow_from": ["127.0.0.0/8"],
        "clients": {
            "lab": {"scopes": ["system/Patient.read"], "api_keys": key("1")},
            "app": {"scopes": ["system/Patient.read"], "api_keys": key("2")},
        },
    });
    let gateway = Gateway::with(config);
    let line = gateway.logs(&["has started"]);
    assert!(line.ends_with(&format!("listeners=http://{} (loopback only, 2 clients)", gateway.address)), "{line}");
}

#[test]
fn a_reload_names_the_keys_that_changed_and_no_value() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    assert!(gateway.reload(&gateway.config).contains("no key of the configuration has changed"));
    let mut changed = gateway.config.clone();
    changed["routes"] = json!({"health": "/my-health"});
    changed["sites"]["default"]["timeouts"] = json!({"read": "77s"});
    let log = gateway.reload(&changed);
    let line = log.lines().find(|line| line.contains("changed in the configuration: ")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(": routes.health, sites.default.timeouts.read"), "{line}");
    assert!(line.ends_with(&format!("config_sha256={}", sha256(&gateway.config_file()))), "{line}");
    assert!(!log.contains("my-health") && !log.contains("77s"), "{log}");
}

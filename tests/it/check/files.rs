//! What `check` finds on this machine: the configuration, files and keys.

use super::{check, check_in, says};
use crate::support::command::{Folder, GOOD, own_key};
use crate::support::gateway::config;
use crate::support::keys;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

#[test]
fn each_problem_of_the_configuration_is_an_outcome_and_the_rest_waits() {
    let folder = Folder::good();
    folder.write("conf/gateway.yaml", &GOOD.replace("client_id: abc", "client_id:\n    clientid: x"));
    let checked = check_in(&folder, &[]);
    assert_eq!(checked.code, 1);
    let problems = checked.steps("configuration");
    assert_eq!(problems.len(), 2, "{}", checked.said);
    assert!(
        problems.iter().all(|step| step["verdict"] == "failed" && step["cause"].as_str().unwrap().contains("conf/gateway.yaml:"))
    );
    for step in ["files", "keys", "dns", "tcp", "tls", "discovery", "clock", "token", "scopes", "metadata", "count", "version"] {
        assert_eq!(checked.ended(step, "skipped")["because"], "configuration");
    }
    let missing = check_in(&Folder::empty(), &["--config", "nowhere.yaml"]);
    let step = missing.fails("configuration", 1, &["nowhere.yaml", "does not exist", "--config"]);
    assert!(step["cause"].as_str().unwrap().starts_with("nowhere.yaml (/"), "{step}");
}

#[test]
fn a_key_that_others_can_read_is_found_with_the_command_that_closes_it() {
    let folder = Folder::good();
    folder.chmod("keys/private_key.pem", 0o644);
    let checked = check_in(&folder, &[]);
    checked.fails("configuration", 1, &["can be read by every user", "chmod 600 keys/private_key.pem"]);
}

#[test]
fn a_key_that_is_not_the_first_of_its_set_is_found() {
    let folder = Folder::good();
    let own = own_key(&folder);
    let others: Value = serde_json::from_slice(&std::fs::read(keys("RS384").join("jwks.json")).unwrap()).unwrap();
    let mut other = others["keys"][0].clone();
    other["kid"] = json!("other");
    folder.write("keys/jwks.json", &json!({"keys": [other, own]}).to_string());
    let checked = check_in(&folder, &[]);
    checked.fails(
        "configuration",
        1,
        &["another RSA key (other) stands before the signing one", "move the signing key to the front"],
    );
}

#[test]
fn folders_that_cannot_be_written_are_found_and_others_are_named() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    folder.write("file", "");
    let mut config = config(&openemr);
    config["audit"] = json!({"folder": "file/audit", "ids_key": "state/ids.key", "checkpoint_key": "state/checkpoint.key"});
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.$export", "system/*.$bulkdata-status"]);
    config["sites"]["default"]["bulk_data"] = json!({"folder": "exports"});
    folder.write("gateway.yaml", &config.to_string());
    let checked = check_in(&folder, &["--config", "gateway.yaml"]);
    checked.fails("files", 1, &["audit.folder", "is no folder"]);
    let files = checked.steps("files");
    let of = |words: &str| files.iter().find(|step| step["did"].as_str().unwrap().contains(words)).unwrap();
    says(of("bulk_data.folder"), &["exports", "it is not there, and can be made in"]);
    says(of("audit.ids_key"), &["it is not there, and can be made in"]);
    says(of("private_key.pem"), &["mode 0600"]);
    assert!(!folder.path("exports").exists() && !folder.path("state").exists(), "nothing is made");

    config["audit"]["folder"] = json!("audit");
    std::fs::create_dir(folder.path("audit")).unwrap();
    folder.write("gateway.yaml", &config.to_string());
    let checked = check_in(&folder, &["--config", "gateway.yaml"]);
    checked.passes();
    let files = checked.steps("files");
    let audit = files.iter().find(|step| step["did"].as_str().unwrap().contains("audit.folder")).unwrap();
    assert_eq!((&audit["verdict"], &audit["found"]), (&json!("ok"), &json!("yes")));
}

#[test]
fn warnings_of_the_configuration_are_warnings() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["access"]["allow_from"] = json!(["127.0.0.1/8"]);
    let checked = check(&config);
    checked.passes();
    says(checked.ended("configuration", "warning"), &["names one address", "127.0.0.0/8"]);
}

#[test]
fn a_log_that_cannot_be_written_is_found_and_one_that_can_is_named() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let mut config = config(&openemr);
    config["log"] = json!({"to": "file", "file": {"path": "logs/gateway.log"}});
    folder.write("gateway.yaml", &config.to_string());
    let checked = check_in(&folder, &["--config", "gateway.yaml"]);
    checked.fails("files", 1, &["log.file.path: the folder logs does not exist", "install -d -m 750"]);
    std::fs::create_dir(folder.path("logs")).unwrap();
    let checked = check_in(&folder, &["--config", "gateway.yaml"]);
    checked.passes();
    let files = checked.steps("files");
    let log = files.iter().find(|step| step["did"].as_str().unwrap().contains("logs/gateway.log")).unwrap();
    assert_eq!((&log["verdict"], &log["found"]), (&json!("ok"), &json!("yes")));
    assert!(!folder.path("logs/gateway.log").exists(), "nothing is made");
}

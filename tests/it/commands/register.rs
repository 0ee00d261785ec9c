//! `register` at the sandbox: what OpenEMR wants of a registration, the id in the file, and the wait for an administrator.

use serde_json::json;

use crate::support::broken::canned;
use crate::support::command::{Ended, Folder};
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};

const SCOPES: &str = "[system/Patient.read, system/Observation.read]";

/// A folder with a configuration for this OpenEMR that has comments and no client.
fn unregistered(openemr: &OpenEmr) -> Folder {
    let folder = Folder::good();
    folder.write("conf/gateway.yaml", &text(openemr, "<the id that OpenEMR gave>"));
    folder
}

fn text(openemr: &OpenEmr, id: &str) -> String {
    format!(
        "# Ours.\nsites:\n  default:   # the only one\n    openemr: {}\n    client_id: {id}   # from register\n    \
         private_key: keys/private_key.pem\n    jwks: keys/jwks.json\n    scopes: {SCOPES}\n",
        openemr.base
    )
}

fn id_of(ended: &Ended) -> String {
    assert_eq!(ended.code, 0, "{}", ended.err);
    let id = ended.out.lines().find_map(|line| line.strip_prefix("client_id: ")).unwrap_or_else(|| panic!("{}", ended.out));
    id.to_owned()
}

fn enable(openemr: &OpenEmr, id: &str) {
    openemr.order(&json!({"clients": {id: {"enabled": true}}}));
}

#[test]
fn the_id_is_written_and_the_rest_of_the_file_stays() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let folder = unregistered(&openemr);
        folder.chmod("conf/gateway.yaml", 0o640);
        let ended = folder.run(&["register", "--backup"]);
        let id = id_of(&ended);
        assert_eq!(folder.read("conf/gateway.yaml"), text(&openemr, &format!("\"{id}\"")), "{version}");
        assert_eq!(folder.read("conf/gateway.yaml.bak"), text(&openemr, "<the id that OpenEMR gave>"));
        assert_eq!(folder.mode("conf/gateway.yaml"), 0o640);
        assert_eq!(std::fs::read_dir(folder.path("conf")).unwrap().count(), 2);
        assert!(ended.out.contains("Admin > System > API Clients, Edit \"openemr-gateway\", Enable Client"), "{}", ended.out);

        let disabled = folder.run(&["token"]);
        assert!(disabled.code == 1 && disabled.err.contains("401 invalid_client"), "{}", disabled.err);
        enable(&openemr, &id);
        assert_eq!(folder.run(&["token"]).code, 0);
        let again = folder.run(&["register"]);
        assert!(again.code == 1 && again.err.contains("already") && again.err.contains("--again"), "{}", again.err);
        assert_ne!(id_of(&folder.run(&["register", "--again"])), id);
    }
}

#[test]
fn it_waits_until_the_client_is_enabled() {
    let openemr = OpenEmr::start();
    let folder = unregistered(&openemr);
    let file = folder.path("conf/gateway.yaml");
    for (from, to) in [("keys/private_key.pem", "keys/private_key.pem"), ("keys/jwks.json", "keys/jwks.json")] {
        folder.replace("conf/gateway.yaml", from, folder.path(to).to_str().unwrap());
    }
    let mut process = Process::start(&["register", "--wait", "90s", "--config", file.to_str().unwrap()]);
    let id = eventually("the client is registered", || {
        let out = process.output();
        let line = out.lines().find_map(|line| line.strip_prefix("client_id: "))?.to_owned();
        process.log().contains("waiting for that, 90s at most").then_some(line)
    });
    assert!(process.ended().is_none(), "it did not wait: {}", process.log());
    enable(&openemr, &id);
    assert!(eventually("it ends", || process.ended()).success(), "{}", process.log());
    assert!(process.output().ends_with("the client is enabled, and OpenEMR gives it a token\n"), "{}", process.output());

    let ended = unregistered(&openemr).run(&["register", "--wait", "1s"]);
    assert!(ended.code == 1 && ended.err.contains("the client is not enabled after 1s"), "{}", ended.err);
}

#[test]
fn nothing_is_registered_for_an_id_that_cannot_be_written() {
    let openemr = OpenEmr::start();
    let folder = unregistered(&openemr);
    let fails = |variables: &[(&str, &str)], message: &str| {
        let ended = folder.run_with(&["register"], variables);
        assert!(ended.code == 1 && ended.err.contains(message), "not `{message}` but\n{}", ended.err);
    };
    fails(&[("CLIENT_ID", "x")], "error: environment: CLIENT_ID: decides the client_id of the site `default`");
    folder.replace("conf/gateway.yaml", "<the id that OpenEMR gave>", "${ID:-}");
    fails(&[("ID", "<x>")], "error: ");
    folder.write("conf/gateway.yaml", &text(&openemr, "${ID}"));
    fails(&[("ID", "<x>")], "has a client_id that comes from a variable, an anchor or an alias");
    folder.write("conf/gateway.yaml", &text(&openemr, "&id <x>"));
    fails(&[], "has a client_id that comes from a variable, an anchor or an alias");
    folder.write("conf/gateway.yaml", &text(&openemr, "<x>"));
    folder.write("conf/gateway.yaml.bak", "mine");
    let ended = folder.run(&["register", "--backup"]);
    assert!(ended.code == 1 && ended.err.contains("gateway.yaml.bak") && ended.err.contains("already exists"), "{}", ended.err);
    assert_eq!(openemr.came("POST /oauth2/default/registration"), 0);
}

#[test]
fn two_at_a_time_do_not_register_two_clients() {
    let openemr = OpenEmr::start();
    let folder = unregistered(&openemr);
    let file = std::fs::File::open(folder.path("conf/gateway.yaml")).unwrap();
    file.lock().unwrap();
    let ended = folder.run(&["register"]);
    assert!(ended.code == 1 && ended.err.contains("is being replaced by another process"), "{}", ended.err);
    assert_eq!(openemr.came("POST /oauth2/default/registration"), 0);
    file.unlock().unwrap();
    id_of(&folder.run(&["register"]));
}

#[test]
fn an_answer_that_was_lost_may_have_been_a_registration() {
    let openemr = OpenEmr::start();
    let folder = unregistered(&openemr);
    folder.replace("conf/gateway.yaml", &openemr.base, &canned(""));
    let ended = folder.run(&["register"]);
    assert!(ended.code == 1 && ended.err.contains("may have registered the client all the same"), "{}", ended.err);
}

#[test]
fn a_page_of_the_server_in_front_does_not_end_the_waiting() {
    for answer in [json!({"status": 502, "body": "<html>", "content_type": "text/html"}), json!({"status": 429})] {
        let openemr = OpenEmr::start();
        openemr.order(&json!({"token": {"answer": answer}}));
        let ended = unregistered(&openemr).run(&["register", "--wait", "1s"]);
        assert!(ended.code == 1 && ended.err.contains("the client is not enabled after 1s"), "{}", ended.err);
    }
}

#[test]
fn a_refusal_is_explained_and_changes_nothing() {
    let openemr = OpenEmr::start();
    let folder = unregistered(&openemr);
    let before = folder.read("conf/gateway.yaml");
    openemr.order(&json!({"system_scopes": "off"}));
    let ended = folder.run(&["register"]);
    assert!(ended.code == 1 && ended.err.contains("400 invalid_scope"), "{}", ended.err);
    assert!(ended.err.contains("Enable OpenEMR FHIR System Scopes"), "{}", ended.err);
    assert_eq!(folder.read("conf/gateway.yaml"), before);

    folder.replace("conf/gateway.yaml", &openemr.base, &format!("{}/emr", openemr.base));
    let ended = folder.run(&["register"]);
    assert!(ended.code == 1 && ended.err.contains("none of OpenEMR's registration"), "{}", ended.err);
}

#[test]
fn without_a_configuration_the_id_is_printed() {
    let openemr = OpenEmr::start();
    let folder = Folder::good();
    let asked = ["register", "--openemr", &openemr.base, "--scope", "system/Patient.read"];
    for (more, message) in [
        (["--jwks", "/dev/zero"], "is not a regular file"),
        (["--jwks", "keys/private_key.pem"], "--jwks: keys/private_key.pem"),
        (["--site", "../../apis"], "--site: `../../apis` is no site id"),
        (["--site", "a\r\nb: c"], "is no site id"),
    ] {
        let ended = folder.run(&[&asked[..], &more].concat());
        assert!(ended.code == 1 && ended.err.contains(message), "not `{message}` but\n{}", ended.err);
    }
    assert_eq!(openemr.came("POST "), 0);
    let id = id_of(&folder.run(&[&asked[..], &["--jwks", "keys/jwks.json"]].concat()));
    assert_eq!(id.len(), 43);
    assert_ne!(id_of(&folder.run(&[&asked[..], &["--jwks-uri", "https://gateway.example.org/jwks.json"]].concat())), id);
    for (more, message) in [
        (&[][..], "no keys are named"),
        (&["--jwks", "keys/none.json"], "--jwks: keys/none.json"),
        (&["--jwks-uri", "http://gateway.example.org/jwks.json"], "is not https"),
    ] {
        let ended = folder.run(&[&asked[..], more].concat());
        assert!(ended.code == 1 && ended.err.contains(message), "not `{message}` but\n{}", ended.err);
    }
}

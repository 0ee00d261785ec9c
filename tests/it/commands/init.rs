//! `init` at the sandbox: from an empty folder to a gateway that answers, by options and by prompts; what is there stays.

use serde_json::json;

use crate::support::command::{Ended, Folder, passes};
use crate::support::gateway::free_address;
use crate::support::http::Caller;
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};

const YAML: &str = "conf/gateway.yaml";
/// The name by which tests call the gateway.
const HOST: &str = "gateway.example";

/// A set-up with few scopes by options alone, with more of them.
fn init(folder: &Folder, openemr: &OpenEmr, more: &[&str]) -> Ended {
    folder.run(&[&["init", "--yes", "--openemr", &openemr.base, "--scopes", "Patient Observation"], more].concat())
}

fn client_id(folder: &Folder) -> String {
    let yaml = folder.read(YAML);
    let line = yaml.lines().find_map(|line| line.trim().strip_prefix("client_id: ")).unwrap_or_else(|| panic!("{yaml}"));
    line.trim_matches('"').to_owned()
}

fn enable(openemr: &OpenEmr, id: &str) {
    openemr.order(&json!({"clients": {id: {"enabled": true}}}));
}

fn fails(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    for word in words {
        assert!(ended.err.contains(word), "not `{word}` but\n{}", ended.err);
    }
}

/// The files of a folder, with what is in them.
fn files(folder: &Folder) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for name in ["conf", "keys"] {
        let found = std::fs::read_dir(folder.path(name)).into_iter().flatten();
        for file in found.map(|file| format!("{name}/{}", file.unwrap().file_name().to_str().unwrap())) {
            files.push((file.clone(), folder.read(&file)));
        }
    }
    files.sort();
    files
}

/// Runs a gateway with the file that was written, after its paths have been made absolute.
fn serve(folder: &Folder) -> Process {
    for path in ["keys/private_key.pem", "keys/jwks.json", "conf/openemr.pem"] {
        let absolute = folder.path(path).to_str().unwrap().to_owned();
        folder.write(YAML, &folder.read(YAML).replace(&format!("\"{path}\""), &format!("\"{absolute}\"")));
    }
    let mut gateway = Process::start(&["serve", "--config", folder.path(YAML).to_str().unwrap()]);
    eventually("the gateway has a token", || {
        assert!(gateway.ended().is_none(), "the gateway ended: {}", gateway.log());
        gateway.log().contains("token 1 for ").then_some(())
    });
    gateway
}

#[test]
fn a_first_set_up_by_options_and_what_is_there_stays() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let address = free_address();
    let listen = ["--listen", &address.to_string(), "--hosts", HOST];
    let disabled = init(&folder, &openemr, &listen);
    assert_eq!(disabled.code, 4, "{}{}", disabled.out, disabled.err);
    for words in ["Edit \"openemr-gateway\", Enable Client", "401 invalid_client", "serve --config conf/gateway.yaml"] {
        assert!(disabled.out.contains(words), "no {words} in {}", disabled.out);
    }
    assert_eq!((folder.mode("keys/private_key.pem"), folder.mode(YAML)), (0o600, 0o600));
    let names: Vec<String> = files(&folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [YAML, "keys/jwks.json", "keys/private_key.pem", "keys/public_key.pem"]);
    assert_eq!(folder.run(&["serve", "--test"]).err, "");

    enable(&openemr, &client_id(&folder));
    let before = files(&folder);
    let again = init(&folder, &openemr, &listen);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "{}", again.out);
    assert!(again.out.contains("conf/gateway.yaml is there; it is kept and used as it is"), "{}", again.out);
    assert!(again.out.contains("Start it:  openemr-gateway serve --config conf/gateway.yaml\n"), "{}", again.out);
    assert_eq!(files(&folder), before);
    assert_eq!(openemr.came("POST /oauth2/default/registration"), 1);

    let _gateway = serve(&folder);
    let answer = Caller::new(address).get("/fhir/Patient?_count=5");
    assert_eq!((answer.status, answer.json()["resourceType"].as_str()), (200, Some("Bundle")), "{}", answer.text());
}

#[test]
fn it_waits_until_the_client_is_enabled() {
    let openemr = OpenEmr::with(&["--openemr", "7.0.3"]);
    let folder = Folder::empty();
    let (config, keys) = (folder.path(YAML), folder.path("keys"));
    let paths = ["--config", config.to_str().unwrap(), "--keys", keys.to_str().unwrap()];
    // Every type of the default is known to 7.0.3.
    let mut process = Process::start(&[&["init", "--yes", "--wait", "90s", "--openemr", &openemr.base], &paths[..]].concat());
    eventually("it waits", || process.log().contains("waiting for that, 90s at most").then_some(()));
    enable(&openemr, &client_id(&folder));
    let status = eventually("it ends", || process.ended());
    assert!(status.success(), "{}{}", process.output(), process.log());
    assert!(process.output().contains("all 16 are granted"), "{}", process.output());
}

#[test]
fn a_first_set_up_by_prompts() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let address = free_address().to_string();
    // File, address (refused, then good), site, scopes (refused, then good), keys, listener, client, registration, wait, writing.
    let lines = ["", "http://emr.example.org", &openemr.base, "", "Patients", "Patient", "", &address, "lab", "", "no", "yes"];
    let ended = folder.run_answering(&["init", "--interactive", "--hosts", HOST], &format!("{}\n", lines.join("\n")));
    assert_eq!(ended.code, 4, "{}{}", ended.out, ended.err);
    for words in ["is not https", "did you mean `system/Patient.read`?", "Enable OpenEMR FHIR System Scopes", "[127.0.0.1:8000]"]
    {
        assert!(ended.err.contains(words), "no {words} in {}", ended.err);
    }
    let key = ended.out.lines().map(str::trim).find(|line| line.starts_with("oegw_")).unwrap_or_else(|| panic!("{}", ended.out));
    assert!(!ended.err.contains(key) && !folder.read(YAML).contains(key), "the key is shown once");

    enable(&openemr, &client_id(&folder));
    // The file, whether to keep it.
    let again = folder.run_answering(&["init", "--interactive"], "\n\n");
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    let _gateway = serve(&folder);
    let caller = Caller::new(address.parse().unwrap());
    assert_eq!(caller.get("/fhir/Patient").status, 401);
    assert_eq!(caller.send("GET", "/fhir/Patient", &[("X-API-Key", key)], b"").status, 200);
}

#[test]
fn nobody_is_asked_in_vain() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    fails(
        &folder.run(&["init"]),
        &["error: --openemr is missing\n  give it on the command line, or run this on a terminal: OpenEMR's address"],
    );
    fails(&folder.run(&["init", "--interactive"]), &["standard input ended before an answer to: Configuration file"]);
    fails(&folder.run_answering(&["init", "--interactive"], "\n"), &["answer it with --openemr on the command line"]);
    fails(
        &folder.run_answering(&["init", "--interactive"], "\na\nb\nc\nd\n"),
        &["error: --openemr: no answer of 3 could be used"],
    );
    let far = ["--listen", "0.0.0.0:8000"];
    fails(&init(&folder, &openemr, &far), &["error: --allow-from is missing"]);
    let far = [&far[..], &["--allow-from", "10.0.0.0/8"]].concat();
    fails(&init(&folder, &openemr, &far), &["error: --client is missing"]);
    for (option, answer, words) in [
        ("--allow-from", "10.0.0.5/8", "--allow-from"),
        ("--client", "a b", "--client: `a b` is no name of a client"),
        ("--site", "a/b", "is no site id of OpenEMR's"),
        ("--scopes", "system/*.read", "wildcard"),
        ("--keys", "${HOME}", "--keys: `${HOME}` cannot stand in a configuration"),
        ("--client-id", "<x>", "is still the placeholder"),
    ] {
        let options = ["init", "--yes", "--openemr", &openemr.base, option, answer];
        fails(&folder.run(&options), &[words]);
    }
    let lines = format!("\n{}\n\nPatient\n\n\n\n\nno\nno\n", openemr.base);
    fails(&folder.run_answering(&["init", "--interactive"], &lines), &["error: nothing was written"]);
    assert!(std::fs::read_dir(folder.path("")).unwrap().next().is_none(), "something was written");
    assert_eq!(openemr.came("POST /oauth2/default/registration"), 0);
}

#[test]
fn an_openemr_that_is_not_there_leaves_nothing() {
    let folder = Folder::empty();
    let ended = folder.run(&["init", "--yes", "--openemr", "http://127.0.0.1:1"]);
    fails(&ended, &["the way to http://127.0.0.1:1 ends at tcp: nothing was written", "--openemr"]);
    assert!(ended.out.contains("failed   tcp "), "{}", ended.out);
    // A person may name another address, and then has no more of them.
    let ended = folder.run_answering(&["init", "--interactive"], "\nhttp://127.0.0.1:1\n\n\nhttp://127.0.0.1:2\n\nno\n");
    fails(&ended, &["the way to http://127.0.0.1:2 ends at tcp"]);
    assert!(std::fs::read_dir(folder.path("")).unwrap().next().is_none(), "something was written");
}

#[test]
fn a_certificate_of_its_own_is_trusted_by_its_fingerprint() {
    let openemr = OpenEmr::with(&["--tls"]);
    let folder = Folder::empty();
    let untrusted = init(&folder, &openemr, &[]);
    fails(&untrusted, &["OpenEMR's certificate is not trusted", "--trust "]);
    let sha256 = untrusted.err.split("--trust ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    fails(&init(&folder, &openemr, &["--trust", &sha256.replace('A', "B")]), &["has another SHA-256 than --trust"]);
    assert!(files(&folder).is_empty());

    let trusted = init(&folder, &openemr, &["--trust", &sha256.replace(':', "").to_lowercase()]);
    assert_eq!(trusted.code, 4, "{}{}", trusted.out, trusted.err);
    assert_eq!(folder.read("conf/openemr.pem"), std::fs::read_to_string(&openemr.certificate).unwrap());
    assert!(folder.read(YAML).contains("ca_file: \"conf/openemr.pem\""));
    enable(&openemr, &client_id(&folder));
    assert_eq!(init(&folder, &openemr, &[]).code, 0);

    let other = Folder::empty();
    let by_file = init(&other, &openemr, &["--ca-file", openemr.certificate.to_str().unwrap()]);
    assert_eq!(by_file.code, 4, "{}{}", by_file.out, by_file.err);
    // A person's word, on which nothing else of the set-up depends.
    let asked = Folder::empty();
    let lines = format!("\n{}\n\nyes\nPatient\n\n\n\nby-hand\n\n", openemr.base);
    let ended = asked.run_answering(&["init", "--interactive"], &lines);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(asked.path("conf/openemr.pem").exists() && ended.err.contains(&sha256), "{}", ended.err);
}

#[test]
fn after_a_refusal_it_goes_on_where_it_was() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    openemr.order(&json!({"system_scopes": "off"}));
    let refused = init(&folder, &openemr, &[]);
    fails(
        &refused,
        &["400 invalid_scope", "Enable OpenEMR FHIR System Scopes", "openemr-gateway init --config conf/gateway.yaml"],
    );
    let key = folder.read("keys/private_key.pem");
    assert_eq!(client_id(&folder), "<client_id>");
    openemr.order(&json!({"system_scopes": "on"}));
    let ended = folder.run(&["init", "--yes"]);
    assert_eq!(ended.code, 4, "{}{}", ended.out, ended.err);
    assert_ne!(client_id(&folder), "<client_id>");
    assert_eq!(folder.read("keys/private_key.pem"), key);
}

#[test]
fn a_client_can_be_made_by_hand() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let ended = init(&folder, &openemr, &["--by-hand"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    for words in [
        "Register New App",
        "system/Patient.read system/Observation.read",
        "keys/jwks.json",
        "init --config conf/gateway.yaml --client-id ID",
    ] {
        assert!(ended.out.contains(words), "no {words} in {}", ended.out);
    }
    let registered = folder.run(&[
        "register",
        "--openemr",
        &openemr.base,
        "--jwks",
        "keys/jwks.json",
        "--scope",
        "system/Patient.read system/Observation.read",
    ]);
    let id = registered.out.lines().find_map(|line| line.strip_prefix("client_id: ")).unwrap().to_owned();
    enable(&openemr, &id);
    let ended = folder.run(&["init", "--client-id", &id]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(client_id(&folder), id);
}

#[test]
fn another_configuration_keeps_the_old_one_beside_it() {
    let openemr = OpenEmr::start();
    let folder = Folder::good();
    let (yaml, key) = (folder.read(YAML), folder.read("keys/private_key.pem"));
    let forced = init(&folder, &openemr, &["--force", "--client-id", "x-1"]);
    assert!(forced.out.contains("keys/private_key.pem is there; it is kept and used"), "{}", forced.out);
    assert_eq!((folder.read("conf/gateway.yaml.bak"), folder.read("keys/private_key.pem")), (yaml, key));
    assert_eq!(client_id(&folder), "x-1");
    let before = files(&folder);
    folder.write("shipped.yaml", include_str!("../../../conf/gateway.yaml"));
    fails(&init(&folder, &openemr, &["--config", "shipped.yaml"]), &["is the example that comes with the gateway", "--force"]);
    fails(&init(&folder, &openemr, &["--force"]), &["gateway.yaml.bak", "already exists", "move it away"]);
    assert_eq!(files(&folder), before);
    // A set without its key may be what is registered.
    std::fs::remove_file(folder.path("keys/private_key.pem")).unwrap();
    let lonely = init(&folder, &openemr, &["--config", "other.yaml"]);
    fails(&lonely, &["keys/jwks.json", "is there without keys/private_key.pem", "--keys"]);
    assert!(!folder.path("other.yaml").exists());
}

#[test]
fn a_dry_run_prints_and_writes_nothing() {
    let folder = Folder::empty();
    let far = ["--listen", "0.0.0.0:8000", "--allow-from", "10.0.0.0/8, 192.0.2.7", "--hosts", "gateway", "--client", "lab"];
    let options = [&["init", "--dry-run", "--openemr", "https://emr.example.org", "--client-id", "abc"][..], &far].concat();
    let ended = folder.run(&options);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    assert!(std::fs::read_dir(folder.path("")).unwrap().next().is_none());
    // It is good as it stands, and nothing about it is odd.
    let good = Folder::good();
    good.write(YAML, &ended.out);
    let effective = passes(&good, &[]);
    for words in ["- 10.0.0.0/8", "- 192.0.2.7/32", "- gateway", "client_id: abc"] {
        assert!(effective.contains(words), "no {words} in {effective}");
    }
}

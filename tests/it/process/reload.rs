//! The configuration is reloaded while requests pass: a good one is taken as a whole, a bad one changes nothing, and no
//! request is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::command::Folder;
use crate::support::gateway::{Gateway, config, copy_keys, free_address, site};
use crate::support::http::{End, request};
use crate::support::openemr::OpenEmr;
use crate::support::{Stop, eventually};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

#[test]
fn sighup_takes_a_good_configuration_and_keeps_the_token() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut changed = gateway.config.clone();
    changed["routes"] = json!({"fhir": "/r4", "health": null});
    changed["log"]["level"] = json!("debug");
    assert!(gateway.reload(&changed).contains("is in force"));
    let caller = gateway.caller();
    assert_eq!(caller.get("/r4/Patient?_count=1").status, 200);
    assert_eq!((caller.get(PATIENTS).status, caller.get("/health").status), (404, 404));
    assert_eq!(openemr.count("token_requests"), 1, "a site that did not change keeps its token");
}

#[test]
fn a_request_under_way_ends_on_the_old_configuration() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"fhir": {"target": "_id=slow", "delay_ms": 6_000}}));
    let mut slow = gateway.caller().connect();
    slow.write(&request("GET", "/fhir/Patient?_id=slow", &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") == 1).then_some(()));
    let mut changed = gateway.config.clone();
    changed["routes"] = json!({"fhir": "/r4"});
    changed["sites"] = json!({"other": changed["sites"]["default"]});
    changed["sites"]["other"]["fhir_base"] = json!(format!("{}/apis/default/fhir", openemr.base));
    changed["sites"]["other"]["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    assert!(gateway.reload(&changed).contains("is in force"));
    assert_eq!(gateway.caller().get(PATIENTS).status, 404);
    let answer = slow.read("GET");
    assert_eq!((answer.status, answer.end), (200, End::Whole));
}

#[test]
fn a_bad_configuration_changes_nothing_and_every_error_is_logged() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut bad = gateway.config.clone();
    bad["routes"] = json!({"fhir": "/r4", "helth": "/h"});
    bad["sites"]["default"]["client_id"] = json!("<client_id>");
    bad["sites"]["default"]["private_key"] = json!("/nowhere/key.pem");
    let log = gateway.reload(&bad);
    for problem in ["unknown key `helth`", "`<client_id>` is still the placeholder", "/nowhere/key.pem does not exist"] {
        assert!(log.contains(problem), "{problem} is not in {log}");
    }
    assert!(log.contains("stays as it is: 3 problems"), "{log}");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);

    gateway.rewrite(&Value::String("{ not: yaml".to_owned()));
    gateway.process.signal("HUP");
    gateway.logs(&["ERROR", "mapping was due"]);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn a_changed_site_gets_its_token_before_it_serves() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut changed = gateway.config.clone();
    changed["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Encounter.read"]);
    openemr.order(&json!({"token": {"delay_ms": 4_000}}));
    let reloaded = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !reloaded.load(Ordering::Relaxed) {
                assert_eq!(gateway.caller().get(PATIENTS).status, 200);
                asked += 1;
            }
            asked
        });
        let stopping = Stop(&reloaded);
        assert!(gateway.reload(&changed).contains("is in force"));
        drop(stopping);
        asking.join().unwrap()
    });
    assert!(asked > 2, "{asked}");
    assert_eq!(gateway.caller().get("/fhir/Encounter?_count=1").status, 200);
    assert_eq!(openemr.count("tokens_issued"), 2);
}

#[test]
fn a_site_that_openemr_would_refuse_keeps_its_old_configuration() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut changed = gateway.config.clone();
    changed["sites"]["default"]["client_id"] = json!("nobody");
    changed["routes"] = json!({"fhir": "/r4"});
    let log = gateway.reload(&changed);
    assert!(log.contains("stays as it is: site default gets no token with it"), "{log}");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn sites_come_and_go_with_their_tokens() {
    let openemr = OpenEmr::with(&["--token-lifetime", "2", "--site", "default", "--site", "north"]);
    let gateway = Gateway::start(&openemr);
    let mut both = gateway.config.clone();
    both["sites"]["north"] = site(&openemr.base, "RS384");
    assert!(gateway.reload(&both).contains("is in force"));
    eventually("the new site serves", || (gateway.caller().get("/north/fhir/Patient?_count=1").status == 200).then_some(()));
    assert!(gateway.reload(&gateway.config).contains("is in force"));
    assert_eq!(gateway.caller().get("/north/fhir/Patient?_count=1").status, 404);
    // A task that went on would ask for a token every 1.5 s. Four exchanges of the other site later it would have.
    let asked_for_north = || gateway.log().matches("site north: token ").count();
    let (north, default) = (asked_for_north(), gateway.log().matches("site default: token ").count());
    eventually("four more tokens", || (gateway.log().matches("site default: token ").count() >= default + 4).then_some(()));
    assert!(asked_for_north() <= north + 1, "the site's task goes on");
}

#[test]
fn listeners_take_new_certificates_and_say_when_only_an_upgrade_will_do() {
    let certificates = Folder::empty();
    let make = |out: &str| {
        assert_eq!(certificates.run(&["keys", "certificate", "--host", "localhost", "--out", out]).code, 0);
    };
    make("first");
    make("second");
    let path = |name: &str| certificates.path(name).display().to_string();
    let install = |from: &str| {
        for name in ["localhost.pem", "localhost-key.pem"] {
            certificates.secret(&format!("used/{name}"), &certificates.read(&format!("{from}/{name}")));
        }
    };
    install("first");
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    let (certificate, key) = (path("used/localhost.pem"), path("used/localhost-key.pem"));
    config["listen"] = json!([{"address": free_address().to_string(), "tls": {"certificate": certificate, "private_key": key}}]);
    let gateway = Gateway::with(config);
    let get = |trusted: &str| {
        let mut connection = gateway.caller().connect_tls(Path::new(&path(trusted)));
        connection.try_write(&request("GET", PATIENTS, &[], b"")).map(|()| connection.read("GET").status)
    };
    assert_eq!(get("first/localhost.pem").unwrap(), 200);

    // A certificate and a key that do not fit together are a bad configuration.
    certificates.write("used/localhost.pem", &certificates.read("second/localhost.pem"));
    assert!(gateway.reload(&gateway.config).contains("do not fit together"));
    assert_eq!(get("first/localhost.pem").unwrap(), 200);

    install("second");
    let mut changed = gateway.config.clone();
    changed["listen"].as_array_mut().unwrap().push(json!({"address": free_address().to_string()}));
    changed["server"]["threads"] = json!(5);
    let log = gateway.reload(&changed);
    assert!(log.contains("listen has changed: that takes effect with an upgrade"), "{log}");
    assert!(log.contains("server has changed: that takes effect with an upgrade"), "{log}");
    assert_eq!(get("second/localhost.pem").unwrap(), 200);
    assert!(get("first/localhost.pem").is_err(), "the old certificate is still shown");
}

#[test]
fn a_watched_file_is_read_again_without_a_signal() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["watch"] = json!(true);
    let gateway = Gateway::with(config);
    let mut changed = gateway.config.clone();
    changed["routes"] = json!({"fhir": "/r4"});
    // The first look at the files remembers them; a change before that is none.
    let served = eventually("the change is seen", || {
        gateway.rewrite(&changed);
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let log = gateway.log();
        log.contains("a file has changed").then_some(log)
    });
    assert!(served.contains("a file has changed"));
    eventually("the change is in force", || (gateway.caller().get("/r4/Patient?_count=1").status == 200).then_some(()));
}

#[test]
fn a_blank_key_or_no_site_at_all_in_a_reload_leaves_the_site_running() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut blank = gateway.config.clone();
    blank["sites"]["default"]["client_id"] = Value::Null;
    let mut none = gateway.config.clone();
    none["sites"] = json!({});
    for (bad, problem) in [(blank, "sites.default.client_id: is left blank"), (none, "sites: names no OpenEMR site")] {
        let log = gateway.reload(&bad);
        assert!(log.contains(problem) && log.contains("stays as it is"), "{log}");
        let caller = gateway.caller();
        assert_eq!((caller.get(PATIENTS).status, caller.get("/ready").status), (200, 200));
    }
}

#[test]
fn a_daemon_finds_its_files_again() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let address = free_address();
    let keys = crate::support::keys("RS384");
    for name in ["private_key.pem", "jwks.json"] {
        folder.secret(&format!("keys/{name}"), &std::fs::read_to_string(keys.join(name)).unwrap());
    }
    let mut config = config(&openemr);
    config["listen"] = json!([{"address": address.to_string()}]);
    config["sites"]["default"]["private_key"] = json!("keys/private_key.pem");
    config["sites"]["default"]["jwks"] = json!("keys/jwks.json");
    let path = |name: &str| folder.path(name).display().to_string();
    config["server"] = json!({
        "daemon": true, "pid_file": path("pid"), "error_log": path("log"), "upgrade_sock": path("upgrade.sock"),
    });
    folder.write("gateway.yaml", &config.to_string());
    let started = folder.run(&["serve", "--config", "gateway.yaml"]);
    assert_eq!(started.code, 0, "{}", started.err);
    let caller = crate::support::http::Caller::new(address);
    eventually("the daemon serves", || std::net::TcpStream::connect(address).is_ok().then_some(()));
    let pid = folder.read("pid").trim().to_owned();
    let kill = |name: &str| {
        let status = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(status.unwrap().success());
    };
    config["routes"] = json!({"fhir": "/r4"});
    folder.write("gateway.yaml", &config.to_string());
    kill("HUP");
    let served = eventually("the reload ends", || {
        let log = folder.read("log");
        (log.contains("is in force") || log.contains("stays as it is")).then(|| caller.get("/r4/Patient?_count=1").status)
    });
    kill("INT");
    assert_eq!(served, 200, "{}", folder.read("log"));
    eventually("the daemon ends", || std::net::TcpStream::connect(address).is_err().then_some(()));
}

#[test]
fn twenty_reloads_under_load_lose_no_request() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut other = gateway.config.clone();
    other["token_exposure"] = json!("never");
    other["sites"]["default"]["timeouts"] = json!({"read": "40s"});
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = gateway.caller().connect();
                while !done.load(Ordering::Relaxed) {
                    connection.write(&request("GET", PATIENTS, &[], b""));
                    let answer = connection.read("GET");
                    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stopping = Stop(&done);
        for round in 0..20 {
            let before = sent.load(Ordering::Relaxed);
            let log = gateway.reload(if round % 2 == 0 { &other } else { &gateway.config });
            assert!(log.contains("is in force"), "{log}");
            eventually("requests go on", || (sent.load(Ordering::Relaxed) >= before + 6).then_some(()));
        }
    });
}

#[test]
fn a_key_that_others_can_read_or_change_by_now_changes_nothing() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&openemr);
    copy_keys(&mut config, folder.path());
    let gateway = Gateway::with(config);
    let mut changed = gateway.config.clone();
    changed["routes"] = json!({"fhir": "/r4"});
    let key = folder.path().join("private_key.pem");
    for (mode, problem) in [(0o644, "can be read by every user"), (0o602, "can be changed by every user")] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let log = gateway.reload(&changed);
        assert!(log.contains("stays as it is") && log.contains(problem), "{log}");
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    }
    // The files of the keys are looked at between reloads, too.
    let jwks = folder.path().join("jwks.json");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&jwks, Permissions::from_mode(0o666)).unwrap();
    fs::write(&jwks, fs::read(&jwks).unwrap()).unwrap();
    gateway.logs(&["can be changed by every user", "The keys stay as they are"]);
    fs::set_permissions(&jwks, Permissions::from_mode(0o644)).unwrap();
    assert!(gateway.reload(&changed).contains("is in force"));
    assert_eq!(gateway.caller().get("/r4/Patient?_count=1").status, 200);
}

//! Mutual TLS: which certificates a handshake takes, and what becomes of a connection whose certificate is good no longer.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::certificates::{Ca, Files, Identity, client, is_refused};
use crate::support::command::Folder;
use crate::support::eventually;
use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::{Connection, End, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway whose listener checks clients' certificates by these keys of `tls`.
struct Mutual {
    gateway: Gateway,
    server: Certificate,
    openemr: OpenEmr,
}

impl Mutual {
    fn with(keys: &Value) -> Self {
        let openemr = OpenEmr::start();
        let server = Certificate::make();
        let mut config = config(&openemr);
        config["listen"] = json!([{"tls": tls(&server, keys)}]);
        let gateway = Gateway::with(config);
        Self { gateway, server, openemr }
    }

    fn reload(&self, keys: &Value) {
        let mut config = self.gateway.config.clone();
        config["listen"][0]["tls"] = tls(&self.server, keys);
        let log = self.gateway.reload(&config);
        assert!(log.contains("is in force"), "{log}");
    }

    fn connect(&self, identity: Option<&Identity>) -> Connection {
        self.gateway.caller().connect_as(Arc::new(client(&self.server.certificate, identity)))
    }

    fn get(&self, identity: Option<&Identity>) -> u16 {
        get(&mut self.connect(identity)).0
    }

    fn refuses(&self, identity: Option<&Identity>) -> bool {
        is_refused(self.gateway.address, &client(&self.server.certificate, identity))
    }
}

fn tls(server: &Certificate, keys: &Value) -> Value {
    let mut tls = server.tls();
    for (key, value) in keys.as_object().unwrap() {
        tls[key] = value.clone();
    }
    tls
}

/// The status of an answer, and what it says of the connection.
fn get(connection: &mut Connection) -> (u16, Option<String>) {
    connection.write(&request("GET", PATIENTS, &[], b""));
    let answer = connection.read("GET");
    assert_eq!(answer.end, End::Whole);
    if answer.status == 401 {
        answer.outcome(401);
    }
    (answer.status, answer.field("connection").map(str::to_owned))
}

#[test]
fn a_certificate_of_the_ca_is_taken_and_one_of_another_ca_or_none_where_one_is_due_is_not() {
    let (ca, other, files) = (Ca::new("clinic"), Ca::new("other"), Files::new());
    let keys = |demand: &str| json!({"client_ca": files.write("ca.pem", ca.pem()), "client_certificates": demand});
    let mutual = Mutual::with(&keys("required"));
    let (good, foreign) = (ca.issue(1, "lab", &["lab.example.org"]), other.issue(1, "lab", &["lab.example.org"]));
    // The same name does not make it the same CA.
    let namesake = Ca::new("clinic").issue(1, "lab", &["lab.example.org"]);
    let old = ca.issue_with(2, "lab", &[], |parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let server = ca.issue_with(3, "lab", &[], |parameters| {
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(mutual.get(Some(&good)), 200);
    let bad = [("of another CA", &foreign), ("of a CA of the same name", &namesake), ("expired", &old), ("for servers", &server)];
    for (which, identity) in bad {
        assert!(mutual.refuses(Some(identity)), "{which}");
    }
    assert!(mutual.refuses(None), "none");
    assert!(!mutual.refuses(Some(&good)));

    mutual.reload(&json!({"client_ca": files.write("ca.pem", ca.pem())}));
    assert_eq!((mutual.get(None), mutual.get(Some(&good))), (200, 200), "optional is the default");
    assert!(mutual.refuses(Some(&foreign)), "a bad one is worse than none");
    assert!(mutual.openemr.count("fhir_requests") >= 3);
}

#[test]
fn a_certificate_that_is_revoked_is_refused_in_the_handshake_and_at_the_next_request_of_an_open_connection() {
    let (ca, files) = (Ca::new("clinic"), Files::new());
    let list = |revoked: &[u64]| files.write("revoked.pem", ca.revocations(revoked, 2090));
    let keys = json!({"client_ca": files.write("ca.pem", ca.pem()), "client_crl": list(&[9])});
    let mutual = Mutual::with(&keys);
    let (good, later, revoked) = (ca.issue(1, "a", &[]), ca.issue(2, "b", &[]), ca.issue(9, "c", &[]));
    assert!(mutual.refuses(Some(&revoked)));
    let shown = Arc::new(client(&mutual.server.certificate, Some(&later)));
    let mut open = mutual.gateway.caller().connect_as(Arc::clone(&shown));
    let mut kept = mutual.connect(Some(&good));
    let http2 = Http2::tls_as(mutual.gateway.address, client(&mutual.server.certificate, Some(&later)));
    assert_eq!((get(&mut open).0, get(&mut kept).0, http2.get(PATIENTS).status), (200, 200, 200));

    list(&[9, later.serial()]);
    mutual.reload(&keys);
    let before = mutual.openemr.count("fhir_requests");
    let (status, connection) = get(&mut open);
    assert_eq!((status, connection.as_deref()), (401, Some("close")));
    assert!(open.closes());
    let answer = http2.get(PATIENTS);
    let text = answer.outcome(401);
    assert!(text.contains("client certificate"), "{text}");
    // The session that it could resume has been checked before the list was there.
    assert!(is_refused_or_401(&mutual, &shown));
    assert!(mutual.refuses(Some(&later)));
    assert_eq!(mutual.openemr.count("fhir_requests"), before, "nothing of it reached OpenEMR");
    assert_eq!((get(&mut kept).0, mutual.get(Some(&good))), (200, 200), "others are not concerned");
}

fn is_refused_or_401(mutual: &Mutual, shown: &Arc<rustls::ClientConfig>) -> bool {
    let mut resumed = mutual.gateway.caller().connect_as(Arc::clone(shown));
    resumed.try_write(&request("GET", PATIENTS, &[], b"")).is_err()
        || !resumed.is_alive().unwrap_or(false)
        || resumed.read("GET").status == 401
}

#[test]
fn a_list_is_read_again_when_its_file_changes() {
    let (ca, files) = (Ca::new("clinic"), Files::new());
    let keys = json!({
        "client_ca": files.write("ca.pem", ca.pem()), "client_crl": files.write("revoked.pem", ca.revocations(&[], 2090)),
    });
    let openemr = OpenEmr::start();
    let server = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": tls(&server, &keys)}]);
    config["watch"] = json!(true);
    let mutual = Mutual { gateway: Gateway::with(config), server, openemr };
    let identity = ca.issue(5, "a", &[]);
    let mut open = mutual.connect(Some(&identity));
    assert_eq!(get(&mut open).0, 200);
    files.write("revoked.pem", ca.revocations(&[5], 2090));
    eventually("the list is in force", || mutual.gateway.log().contains("is in force").then_some(()));
    assert_eq!(get(&mut open).0, 401);
}

#[test]
fn what_no_list_covers_is_refused_and_so_is_all_when_a_list_is_out_of_date() {
    let (ca, files) = (Ca::new("clinic"), Files::new());
    let below = ca.below("ward", 7);
    let (direct, indirect) = (ca.issue(1, "a", &[]), below.issue(1, "b", &[]).with_issuer(&below));
    let keys =
        |lists: String| json!({"client_ca": files.write("ca.pem", ca.pem()), "client_crl": files.write("revoked.pem", lists)});
    let mutual = Mutual::with(&keys(ca.revocations(&[], 2090)));
    assert_eq!(mutual.get(Some(&direct)), 200);
    assert!(mutual.refuses(Some(&indirect)), "no list of its CA");
    mutual.reload(&keys(ca.revocations(&[], 2090) + &below.revocations(&[], 2090)));
    assert_eq!((mutual.get(Some(&direct)), mutual.get(Some(&indirect))), (200, 200));
    mutual.reload(&keys(ca.revocations(&[7], 2090) + &below.revocations(&[], 2090)));
    assert!(mutual.refuses(Some(&indirect)), "its CA is revoked");
    assert_eq!(mutual.get(Some(&direct)), 200);
    mutual.reload(&keys(ca.revocations(&[], 2025)));
    assert!(mutual.refuses(Some(&direct)), "the list is out of date");
    assert!(mutual.gateway.log().contains("is out of date: the next list was due on 2025-01-01"), "{}", mutual.gateway.log());
}

#[test]
fn a_reload_brings_and_takes_away_the_demand_for_open_connections_too() {
    let (ca, other, files) = (Ca::new("clinic"), Ca::new("other"), Files::new());
    let of = |file: &str, ca: &Ca, demand: &str| json!({"client_ca": files.write(file, ca.pem()), "client_certificates": demand});
    let mutual = Mutual::with(&json!({}));
    let (one, two) = (ca.issue(1, "a", &[]), other.issue(1, "b", &[]));
    let mut without = mutual.connect(None);
    assert_eq!((get(&mut without).0, mutual.get(Some(&one))), (200, 200), "none is asked for");
    mutual.reload(&of("ca.pem", &ca, "required"));
    assert_eq!(get(&mut without).0, 401);
    assert!(mutual.refuses(None) && mutual.refuses(Some(&two)));
    let mut with = mutual.connect(Some(&one));
    assert_eq!(get(&mut with).0, 200);
    mutual.reload(&of("other.pem", &other, "required"));
    assert_eq!((get(&mut with).0, mutual.get(Some(&two))), (401, 200), "its CA is trusted no longer");
    mutual.reload(&json!({}));
    assert_eq!(mutual.get(None), 200);
}

#[test]
fn mistakes_in_the_keys_are_named() {
    let ca = Ca::new("clinic");
    let folder = Folder::good();
    folder.write("certs/ca.pem", &ca.pem());
    folder.write("certs/revoked.pem", &ca.revocations(&[], 2090));
    folder.write("certs/old.pem", &ca.revocations(&[], 2025));
    let made = Certificate::make();
    let tls = made.tls();
    let good = std::fs::read_to_string(folder.path("conf/gateway.yaml")).unwrap();
    let listen = |keys: &str| {
        let (certificate, key) = (tls["certificate"].as_str().unwrap(), tls["private_key"].as_str().unwrap());
        format!(
            "{good}\nlisten: [{{address: \"127.0.0.1:8443\", tls: {{certificate: {certificate}, private_key: {key}, {keys}}}}}]\n"
        )
    };
    for (keys, code, words) in [
        ("client_ca: certs/ca.pem", 0, ""),
        ("client_ca: certs/ca.pem, client_crl: certs/revoked.pem, client_certificates: required", 0, ""),
        ("client_certificates: required", 1, "listen[0].tls.client_certificates: has no effect without `client_ca`"),
        ("client_crl: certs/revoked.pem", 1, "listen[0].tls.client_crl: has no effect without `client_ca`"),
        ("client_ca: certs/none.pem", 1, "listen[0].tls.client_ca: certs/none.pem"),
        ("client_ca: certs/revoked.pem", 1, "holds no PEM certificate"),
        ("client_ca: certs/ca.pem, client_crl: certs/ca.pem", 1, "holds no revocation list"),
        ("client_ca: certs/ca.pem, client_crl: certs/old.pem", 0, "is out of date: the next list was due on 2025-01-01"),
        ("client_ca: certs/ca.pem, client_certificates: maybe", 1, "client_certificates"),
    ] {
        folder.write("conf/gateway.yaml", &listen(keys));
        let ended = folder.run(&["config", "check"]);
        assert_eq!(ended.code, code, "{keys}: {}", ended.err);
        assert!(ended.err.contains(words), "{keys}: {words} in {}", ended.err);
    }
}

//! The alerts of deploy/prometheus/alerts.yaml: each fires when its cause is there, and none does at a gateway that is well.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::Admin;
use super::evaluation::{Scrape, evaluate};
use super::expression::Expression;
use crate::audit::trail::Trail;
use crate::process::log_reader::flood;
use crate::support::eventually;
use crate::support::gateway::{Certificate, config, free_address};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use crate::support::redis::Redis;

pub const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");
const PATIENTS: &str = "/fhir/Patient?_count=1";
/// How many scrapes are the window of a function.
const WINDOW: usize = 3;

/// An alert.
pub struct Alert {
    pub name: String,
    pub expression: Expression,
    pub annotations: Value,
    pub severity: String,
}

/// All of the file.
pub fn alerts() -> Vec<Alert> {
    let file: Value = serde_yaml::from_str(ALERTS).unwrap();
    let rules = file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules
        .map(|rule| Alert {
            name: text(&rule["alert"]),
            expression: Expression::parse(&text(&rule["expr"])).unwrap(),
            annotations: rule["annotations"].clone(),
            severity: text(&rule["labels"]["severity"]),
        })
        .collect()
}

impl Alert {
    fn named(name: &str) -> Self {
        alerts().into_iter().find(|alert| alert.name == name).unwrap_or_else(|| panic!("there is no alert {name}"))
    }

    fn fires(&self, scrapes: &[Scrape]) -> bool {
        !evaluate(&self.expression, &scrapes[scrapes.len().saturating_sub(WINDOW)..]).is_empty()
    }

    /// Waits until it fires, or does so no more, while this goes on.
    fn becomes(&self, fires: bool, admin: &Admin, mut meanwhile: impl FnMut()) {
        let mut scrapes = vec![admin.scrape()];
        let what = format!("{} {}", self.name, if fires { "fires" } else { "is over" });
        eventually(&what, || {
            meanwhile();
            scrapes.push(admin.scrape());
            (scrapes.len() >= WINDOW && self.fires(&scrapes) == fires).then_some(())
        });
    }
}

/// Declares the causes: of each alert a function that makes it fire, which is a test of its own.
macro_rules! causes {
    ($($cause:ident: $alert:literal;)+) => {
        const CAUSED: &[&str] = &[$($alert),+];

        mod fires_when {
            use super::Alert;

            $(
                #[test]
                fn $cause() {
                    super::$cause(&Alert::named($alert));
                }
            )+
        }
    };
}

causes! {
    the_gateway_is_killed: "GatewayDown";
    it_starts_again_and_again: "GatewayRestarts";
    there_is_no_token: "TokenMissing";
    exchanges_fail: "TokenExchangesFail";
    a_node_is_down: "NodeOut";
    the_only_node_is_down: "AllNodesOut";
    openemr_answers_with_errors: "ManyErrors";
    openemr_is_slow: "OpenEmrSlow";
    requests_wait: "QueueLong";
    the_queue_is_full: "RequestsRefusedByQueue";
    a_rate_is_used_up: "ClientsBeyondLimits";
    connections_are_left_open: "ConnectionsNearLimit";
    a_certificate_ends_soon: "CertificateEnds";
    the_trail_has_no_room: "AuditNotReady";
    records_are_lost: "AuditRecordsLost";
    the_repository_is_down: "AuditRepositoryBehind";
    the_repository_refuses_events: "AuditEventsRefused";
    the_store_is_killed: "StoreAway";
    nobody_reads_the_log: "LogLinesLost";
    a_reload_fails: "ReloadFailed";
    an_export_fails: "ExportsFail";
}

fn started(change: impl FnOnce(&mut Value)) -> (OpenEmr, Admin) {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    change(&mut config);
    let admin = Admin::start(config);
    (openemr, admin)
}

fn ask(admin: &Admin) {
    admin.gateway.caller().get(PATIENTS);
}

fn the_gateway_is_killed(alert: &Alert) {
    let (_openemr, mut admin) = started(|_| {});
    alert.becomes(false, &admin, || {});
    admin.gateway.process.signal("KILL");
    eventually("it has ended", || admin.gateway.process.ended());
    alert.becomes(true, &admin, || {});
}

fn it_starts_again_and_again(alert: &Alert) {
    let (openemr, address) = (OpenEmr::start(), free_address());
    let start = || Admin::within(&[], config(&openemr), address);
    let mut scrapes = Vec::new();
    for _ in 0..4 {
        let mut admin = start();
        scrapes.push(admin.scrape());
        assert!(!alert.fires(&scrapes[..1]));
        admin.gateway.process.signal("KILL");
        eventually("it has ended", || admin.gateway.process.ended());
    }
    assert!(!evaluate(&alert.expression, &scrapes).is_empty());
}

fn there_is_no_token(alert: &Alert) {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"refuse": "unknown_client"}}));
    let admin = Admin::start(config(&openemr));
    alert.becomes(true, &admin, || {});
    openemr.order(&json!({"token": null}));
    alert.becomes(false, &admin, || drop(admin.order("POST", "/refresh", "")));
}

fn exchanges_fail(alert: &Alert) {
    let (openemr, admin) = started(|_| {});
    alert.becomes(false, &admin, || {});
    openemr.order(&json!({"token": {"refuse": "bad_assertion"}}));
    alert.becomes(true, &admin, || drop(admin.order("POST", "/refresh", "")));
    openemr.order(&json!({"token": null}));
    alert.becomes(false, &admin, || drop(admin.order("POST", "/refresh", "")));
}

/// A gateway in front of a node that listens, and one that does not.
fn a_node_is_down(alert: &Alert) {
    let down = free_address();
    let (_openemr, admin) = started(|config| {
        let site = &mut config["sites"]["default"];
        let base = site["openemr"].as_str().unwrap().to_owned();
        site["token_audience"] = json!(format!("{base}/oauth2/default/token"));
        site["openemr"] = json!([base, format!("http://{down}")]);
        site["health_check"] = json!({"interval": "300ms"});
    });
    alert.becomes(true, &admin, || ask(&admin));
    assert!(!Alert::named("AllNodesOut").fires(&[admin.scrape()]));
}

fn the_only_node_is_down(alert: &Alert) {
    let (openemr, admin) = started(|_| {});
    alert.becomes(false, &admin, || ask(&admin));
    openemr.order(&json!({"listener": "down"}));
    alert.becomes(true, &admin, || ask(&admin));
    openemr.order(&json!({"listener": "up"}));
    alert.becomes(false, &admin, || ask(&admin));
}

fn openemr_answers_with_errors(alert: &Alert) {
    let (openemr, admin) = started(|_| {});
    ask(&admin);
    alert.becomes(false, &admin, || ask(&admin));
    openemr.order(&json!({"fhir": {"error": "database"}}));
    alert.becomes(true, &admin, || ask(&admin));
    openemr.order(&json!({"fhir": null}));
    alert.becomes(false, &admin, || ask(&admin));
}

fn openemr_is_slow(alert: &Alert) {
    let (openemr, admin) = started(|_| {});
    ask(&admin);
    eventually("it is counted", || {
        admin.get("/metrics").body.contains("http_client_request_duration_seconds_count").then_some(())
    });
    openemr.order(&json!({"fhir": {"delay_ms": 3_500}}));
    alert.becomes(true, &admin, || ask(&admin));
    openemr.order(&json!({"fhir": null}));
    alert.becomes(false, &admin, || ask(&admin));
}

/// A gateway whose OpenEMR works on one request at a time and does not end with it; the requests are under way while the streams are
/// open.
fn stuck(queue: u32) -> (OpenEmr, Admin, Vec<TcpStream>) {
    let (openemr, admin) = started(|config| {
        config["sites"]["default"]["in_flight"] = json!({"most": 1, "adaptive": false, "queue": queue, "queue_timeout": "60s"});
    });
    ask(&admin);
    openemr.order(&json!({"fhir": {"silent": true}}));
    let streams = (0..8).map(|_| {
        let mut stream = TcpStream::connect(admin.gateway.address).unwrap();
        stream.write_all(&request("GET", PATIENTS, &[], b"")).unwrap();
        stream
    });
    let streams = streams.collect();
    (openemr, admin, streams)
}

fn requests_wait(alert: &Alert) {
    let (_openemr, admin, streams) = stuck(100);
    alert.becomes(true, &admin, || {});
    drop(streams);
    alert.becomes(false, &admin, || {});
}

fn the_queue_is_full(alert: &Alert) {
    let (_openemr, admin, _streams) = stuck(1);
    alert.becomes(true, &admin, || ask(&admin));
    assert!(!Alert::named("ClientsBeyondLimits").fires(&[admin.scrape()]));
}

fn a_rate_is_used_up(alert: &Alert) {
    let (_openemr, admin) = started(|config| config["sites"]["default"]["rate"] = json!("1/h"));
    alert.becomes(true, &admin, || ask(&admin));
    alert.becomes(false, &admin, || {});
}

fn connections_are_left_open(alert: &Alert) {
    let (_openemr, admin) = started(|config| config["limits"] = json!({"connections": 10, "connections_per_address": 10}));
    alert.becomes(false, &admin, || {});
    let connect = || TcpStream::connect(admin.gateway.address).unwrap();
    let streams: Vec<TcpStream> = (0..9).map(|_| connect()).collect();
    alert.becomes(true, &admin, || {});
    drop(streams);
    alert.becomes(false, &admin, || {});
}

fn a_certificate_ends_soon(alert: &Alert) {
    let (folder, good) = (tempfile::tempdir().unwrap(), Certificate::make());
    let (certificate, key) = (folder.path().join("gateway.pem"), folder.path().join("gateway-key.pem"));
    ends_in_three_days(&certificate, &key);
    let (_openemr, admin) = started(|config| {
        config["listen"] = json!([{"tls": {"certificate": certificate, "private_key": key}}]);
    });
    alert.becomes(true, &admin, || {});
    fs::copy(&good.certificate, &certificate).unwrap();
    fs::copy(&good.private_key, &key).unwrap();
    assert_eq!(admin.order("POST", "/reload", "").status, 202);
    alert.becomes(false, &admin, || {});
}

fn ends_in_three_days(certificate: &Path, key: &Path) {
    let end = jiff::Zoned::now().date() + jiff::Span::new().days(3);
    let (month, day) = (u8::try_from(end.month()).unwrap(), u8::try_from(end.day()).unwrap());
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
    let pair = rcgen::KeyPair::generate().unwrap();
    fs::write(certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs a program whose files can have 128 KiB each, which stands for a full disk.
pub const FULL_DISK: [&str; 3] = ["sh", "-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\""];

/// A gateway on a full disk.
fn with_a_full_disk(trail: &Trail) -> (OpenEmr, Admin) {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    trail.keep(&mut config);
    let admin = Admin::within(&FULL_DISK, config, free_address());
    (openemr, admin)
}

/// Sends requests that are recorded, and that OpenEMR does not see.
fn fill(admin: &Admin) {
    let mut connection = admin.gateway.caller().connect();
    let refused = request("GET", "/fhir/Patient?_sort=a", &[], b"");
    for _ in 0..50 {
        connection.write(&refused);
        assert_eq!(connection.read("GET").status, 400);
    }
}

fn the_trail_has_no_room(alert: &Alert) {
    let trail = Trail::new();
    let (_openemr, admin) = with_a_full_disk(&trail);
    alert.becomes(false, &admin, || {});
    alert.becomes(true, &admin, || fill(&admin));
}

fn records_are_lost(alert: &Alert) {
    let trail = Trail::new();
    let (_openemr, admin) = with_a_full_disk(&trail);
    alert.becomes(false, &admin, || {});
    alert.becomes(true, &admin, || fill(&admin));
}

fn with_a_repository(folder: &Path) -> (OpenEmr, Admin) {
    started(|config| {
        let openemr = config["sites"]["default"]["openemr"].as_str().unwrap();
        let repository = json!({"url": format!("{openemr}/audit-repository/fhir"), "spool": folder.join("spool")});
        config["audit"] = json!({"repository": repository, "ids_key": folder.join("ids.key"), "name": "gw/audit"});
    })
}

fn the_repository_is_down(alert: &Alert) {
    let folder = tempfile::tempdir().unwrap();
    let (openemr, admin) = with_a_repository(folder.path());
    openemr.order(&json!({"audit_repository": {"status": 503, "retry_after": "1"}}));
    alert.becomes(true, &admin, || ask(&admin));
    openemr.order(&json!({"audit_repository": null}));
    alert.becomes(false, &admin, || {});
}

fn the_repository_refuses_events(alert: &Alert) {
    let folder = tempfile::tempdir().unwrap();
    let (openemr, admin) = with_a_repository(folder.path());
    ask(&admin);
    alert.becomes(false, &admin, || {});
    openemr.order(&json!({"audit_repository": {"refuse_events": "AuditEvent"}}));
    alert.becomes(true, &admin, || ask(&admin));
}

/// The log goes to a pipe that is read forty times, and is open and unread from then on.
fn nobody_reads_the_log(alert: &Alert) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    let script = format!(
        "mkfifo {0}; (exec 3<{0}; dd bs=64k count=40 <&3 >&2 2>/dev/null; exec tail --pid=$$ -f /dev/null) & exec \"$0\" \"$@\" 2>{0}",
        pipe.display()
    );
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["limits"] = json!({"local_rate_per_address": "1000000/s", "local_burst_per_address": 100_000});
    let admin = Admin::within(&["sh", "-c", &script], config, free_address());
    alert.becomes(false, &admin, || {});
    alert.becomes(true, &admin, || flood(admin.gateway.address, 20_000));
}

fn the_store_is_killed(alert: &Alert) {
    let mut redis = Redis::start();
    let (_openemr, admin) = started(|config| config["store"] = json!(redis.url()));
    alert.becomes(false, &admin, || {});
    redis.kill();
    alert.becomes(true, &admin, || {});
    redis.restart();
    alert.becomes(false, &admin, || {});
}

fn a_reload_fails(alert: &Alert) {
    let (_openemr, admin) = started(|_| {});
    alert.becomes(false, &admin, || {});
    let good = admin.gateway.config.clone();
    let mut bad = good.clone();
    bad["nonsense"] = json!(1);
    admin.gateway.reload(&bad);
    alert.becomes(true, &admin, || {});
    admin.gateway.reload(&good);
    alert.becomes(false, &admin, || {});
}

fn an_export_fails(alert: &Alert) {
    let folder = tempfile::tempdir().unwrap();
    let (openemr, admin) = started(|config| {
        let site = &mut config["sites"]["default"];
        site["scopes"] = json!([
            "system/Patient.read",
            "system/Binary.read",
            "system/*.$export",
            "system/Patient.$export",
            "system/Group.$export",
            "system/*.$bulkdata-status"
        ]);
        site["bulk_data"] = json!({"folder": folder.path().join("bulk")});
    });
    let export = || {
        let fields = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
        let answer = admin.gateway.caller().send("GET", "/fhir/$export?_type=Patient", &fields, b"");
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    export();
    let good = r#"openemr_gateway_export_parts_total{site="default",result="ok"} 1"#;
    eventually("it ends well", || admin.get("/metrics").body.contains(good).then_some(()));
    alert.becomes(false, &admin, || {});
    openemr.order(&json!({"fhir": {"target": "$export", "answer": {"status": 400, "body": "{}"}}}));
    export();
    alert.becomes(true, &admin, || {});
}

#[test]
fn each_alert_is_caused_by_a_test_and_explained_in_the_runbook() {
    let runbook = include_str!("../../../docs/runbook.md");
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names, CAUSED);
    for alert in &alerts {
        let place = format!("docs/runbook.md#{}", alert.name.to_ascii_lowercase());
        assert_eq!(alert.annotations["runbook"], *place, "{}", alert.name);
        assert!(runbook.contains(&format!("\n## {}\n", alert.name)), "{}", alert.name);
        assert!(
            !alert.annotations["summary"].as_str().unwrap().is_empty() && ["critical", "warning"].contains(&&*alert.severity)
        );
    }
}

#[test]
fn at_a_gateway_that_is_well_none_fires() {
    let (folder, certificate, trail) = (tempfile::tempdir().unwrap(), Certificate::make(), Trail::new());
    let (_openemr, admin) = started(|config| {
        config["listen"] =
            json!([{"address": free_address().to_string()}, {"address": free_address().to_string(), "tls": certificate.tls()}]);
        let openemr = config["sites"]["default"]["openemr"].as_str().unwrap().to_owned();
        let repository = json!({"url": format!("{openemr}/audit-repository/fhir"), "spool": folder.path().join("spool")});
        trail.keep_with(config, &json!({"repository": repository, "name": "gw/audit"}));
    });
    let mut scrapes = Vec::new();
    eventually("it has a token", || (admin.get("/health").json()["sites"][0]["has_token"] == true).then_some(()));
    for _ in 0..WINDOW {
        for _ in 0..5 {
            assert_eq!(admin.gateway.caller().get(PATIENTS).status, 200);
        }
        eventually("the records are posted", || {
            admin.get("/metrics").body.contains("\nopenemr_gateway_audit_pending_bytes 0").then_some(())
        });
        scrapes.push(admin.scrape());
    }
    for alert in alerts() {
        let found = evaluate(&alert.expression, &scrapes);
        assert!(found.is_empty(), "{}: {found:?}", alert.name);
    }
}

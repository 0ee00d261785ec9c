//! Several nodes of one OpenEMR, as processes that are killed, stopped and started again under load: each request sent is
//! answered as it should be.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, config_for, free_address};
use crate::support::load::{self, Load, as_long_as_needed, rate};
use crate::support::load_report::{Report, Row};
use crate::support::openemr::OpenEmr;
use crate::support::permits::LOADS;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
/// What the nodes' links and the audience are made of; nobody connects there.
const PUBLIC: &str = "http://127.0.0.1:9";
const SCOPES: [&str; 4] = ["system/Patient.read", "system/Patient.write", "system/Observation.read", "system/Binary.read"];

/// Nodes that share a database.
pub(super) struct Cluster {
    nodes: Vec<Option<OpenEmr>>,
    pub(super) addresses: Vec<SocketAddr>,
    database: tempfile::TempDir,
}

fn node(address: SocketAddr, database: &Path) -> OpenEmr {
    let (address, database) = (address.to_string(), database.to_str().unwrap());
    OpenEmr::with(&["--listen", &address, "--site-address", PUBLIC, "--database", database])
}

impl Cluster {
    pub(super) fn start(count: usize) -> Self {
        let database = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let nodes: Vec<OpenEmr> = (0..count).map(|_| node(any, database.path())).collect();
        let addresses = nodes.iter().map(|node| node.address).collect();
        Self { nodes: nodes.into_iter().map(Some).collect(), addresses, database }
    }

    pub(super) fn node(&self, index: usize) -> &OpenEmr {
        self.nodes[index].as_ref().expect("it lives")
    }

    /// All those that live.
    fn living(&self) -> impl Iterator<Item = &OpenEmr> {
        self.nodes.iter().flatten()
    }

    pub(super) fn kill(&mut self, index: usize) {
        let mut node = self.nodes[index].take().expect("it lives");
        node.process.signal("KILL");
        eventually("it is dead", || node.process.ended());
    }

    pub(super) fn revive(&mut self, index: usize) {
        self.nodes[index] = Some(node(self.addresses[index], self.database.path()));
    }

    pub(super) fn order(&self, orders: &Value) {
        self.living().for_each(|node| node.order(orders));
    }

    pub(super) fn config(&self) -> Value {
        let mut config = config_for(PUBLIC);
        let site = &mut config["sites"]["default"];
        let bases: Vec<String> = self.addresses.iter().map(|address| format!("http://{address}")).collect();
        site["openemr"] = json!(bases);
        site["token_audience"] = json!(format!("{PUBLIC}/oauth2/default/token"));
        site["scopes"] = json!(SCOPES);
        site["health_check"] = json!({"interval": "300ms", "timeout": "30s"});
        config
    }
}

/// How often the log holds all these words in one line.
fn said(gateway: &Gateway, words: &[&str]) -> usize {
    gateway.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn served(node: &OpenEmr) -> u64 {
    node.count("fhir_requests")
}

/// Lets a load go on until that many more of its requests are done.
fn after(load: &load::Running, requests: u64) {
    let until = load.done() + requests;
    eventually("the load goes on", || (load.done() >= until).then_some(()));
}

#[test]
fn killing_one_of_two_nodes_loses_no_get() {
    let _permit = LOADS.take();
    let mut cluster = Cluster::start(2);
    let mut config = cluster.config();
    // At any rate, the one that is left can take it all.
    config["sites"]["default"]["in_flight"] = json!({"most": 128});
    let gateway = Gateway::with(config);
    // So that there are always some under way.
    cluster.order(&json!({"fhir": {"delay_ms": 25}}));
    // The one that is left works on 50 at once, for 25 ms each: 2,000 a second, those of the writes among them.
    let per_second = rate(200).min(800);
    let gets =
        Load::new(gateway.address, per_second, as_long_as_needed()).get(PATIENTS).get("/fhir/Observation?_count=1").start();
    let patient = br#"{"resourceType": "Patient", "name": [{"use": "official", "family": "Load", "given": ["Ada"]}], "gender": "female", "birthDate": "1984-02-29"}"#;
    let fields = [("Content-Type", "application/fhir+json")];
    let writes = Load::new(gateway.address, per_second.div_ceil(5), as_long_as_needed()).connections(8);
    let writes = writes.request("POST", "/fhir/Patient", &fields, patient).start();
    for index in [0, 1] {
        after(&gets, u64::from(per_second));
        cluster.kill(index);
        gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[index]), "is left out"]);
        after(&gets, u64::from(per_second) / 2);
        cluster.revive(index);
        gateway.logs(&["INFO", &format!("node http://{}", cluster.addresses[index]), "is back"]);
        // Few of them are on their way to the node at once.
        after(&writes, 150);
    }
    let (gets, writes) = (gets.end(), writes.end());
    gets.expect("one of two nodes killed with SIGKILL: GET", |status| status == 200);
    // A write that was on its way to the node is not sent again, and its caller is told so.
    writes.expect("one of two nodes killed with SIGKILL: POST", |status| status == 201 || status == 502);
    assert!(writes.statuses()[&201] * 10 > writes.sent() * 9, "{writes}");
    assert_eq!(said(&gateway, &["access", "method=POST", "retries=1"]), 0);
    for address in &cluster.addresses {
        let url = format!("node http://{address}");
        assert_eq!((said(&gateway, &[&url, "is left out"]), said(&gateway, &[&url, "is back"])), (1, 1), "once a change");
    }
    assert!(cluster.living().all(|node| served(node) > 0), "both serve again");
}

#[test]
fn stopping_one_of_two_nodes_loses_no_get() {
    let _permit = LOADS.take();
    let cluster = Cluster::start(2);
    let mut config = cluster.config();
    config["sites"]["default"]["health_check"] = json!({"interval": "300ms", "timeout": "2s"});
    config["sites"]["default"]["timeouts"] = json!({"read": "10s"});
    let gateway = Gateway::with(config);
    let per_second = rate(50).min(300);
    let load = Load::new(gateway.address, per_second, as_long_as_needed()).get(PATIENTS).start();
    after(&load, u64::from(per_second));
    // It takes connections, and says nothing.
    cluster.node(0).process.signal("STOP");
    gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[0]), "is left out"]);
    // Those that it holds have waited for as long as they may, and go to the other one.
    gateway.logs(&["access", "status=200", "retries=1"]);
    after(&load, u64::from(per_second));
    cluster.node(0).process.signal("CONT");
    gateway.logs(&["INFO", &format!("node http://{}", cluster.addresses[0]), "is back"]);
    let report: Report = load.end();
    report.expect("one of two nodes stopped with SIGSTOP", |status| status == 200);
    assert!(!load::is_measured() || report.longest_stall() < Duration::from_secs(13), "{report}");
}

#[test]
fn when_all_are_down_callers_are_told_at_once_until_one_is_back() {
    let _permit = LOADS.take();
    let mut cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let load = Load::new(gateway.address, rate(100).min(1_000), as_long_as_needed()).get(PATIENTS).start();
    after(&load, 50);
    cluster.kill(0);
    cluster.kill(1);
    gateway.logs(&["WARN", "no node can be reached"]);
    let asked = Instant::now();
    let answer = gateway.caller().get(PATIENTS);
    assert!(answer.outcome(503).contains("cannot be reached"), "{}", answer.text());
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert!(!load::is_measured() || asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    cluster.revive(1);
    gateway.logs(&["INFO", "requests go out again"]);
    let back = eventually("requests are served", || Some(gateway.caller().get(PATIENTS)).filter(|answer| answer.status == 200));
    assert_eq!(back.json()["resourceType"], "Bundle");
    after(&load, 50);
    let report = load.end();
    // 502 while it is being found out.
    report.expect("both nodes killed, one back", |status| matches!(status, 200 | 502 | 503));
    let statuses = report.statuses();
    assert!(statuses[&200] > 0 && statuses[&503] > 0, "{report}");
    assert!(!load::is_measured() || report.longest_stall() < Duration::from_secs(3), "nobody waits for a connection: {report}");
    assert_eq!((said(&gateway, &["no node can be reached"]), said(&gateway, &["requests go out again"])), (1, 1));
}

#[test]
fn the_only_node_has_a_breaker_that_opens_after_five_and_closes_soon() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let caller = gateway.caller();
    assert_eq!(caller.get(PATIENTS).status, 200);
    openemr.order(&json!({"listener": "down"}));
    let status = || caller.get(PATIENTS).status;
    assert_eq!([status(), status(), status(), status()], [502; 4]);
    let opening = Instant::now();
    assert_eq!(status(), 502);
    let sixth = status();
    // After a second a request is sent for a trial.
    assert!(sixth == 503 || opening.elapsed() > Duration::from_secs(1), "{sixth}");
    eventually("it stays open", || ([status(), status(), status()] == [503; 3]).then_some(()));
    openemr.order(&json!({"listener": "up"}));
    eventually("it is served again", || (status() == 200).then_some(()));
    gateway.logs(&["INFO", "requests go out again"]);
    assert_eq!(caller.get(PATIENTS).status, 200);
}

#[test]
fn what_openemr_answers_never_opens_the_circuit() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for error in ["system", "database", "php_fpm_down", "php_fpm_timeout"] {
        openemr.order(&json!({"fhir": {"error": error, "times": 8, "target": "/Patient"}}));
        let statuses: Vec<u16> = (0..9).map(|_| gateway.caller().get(PATIENTS).status).collect();
        assert!(statuses[..8].iter().all(|status| *status >= 500) && statuses[8] == 200, "{error}: {statuses:?}");
    }
    // The first of them may meet it twice, on a pooled connection.
    openemr.order(&json!({"fhir": {"hang_up": true, "times": 10}}));
    let statuses: Vec<u16> = (0..8).map(|_| gateway.caller().get(PATIENTS).status).collect();
    assert_eq!(statuses, [502; 8]);
    openemr.order(&json!({"fhir": null}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(said(&gateway, &["no node can be reached"]), 0);
}

#[test]
fn a_token_is_asked_for_where_somebody_answers() {
    let mut cluster = Cluster::start(2);
    let mut config = cluster.config();
    config["sites"]["default"]["forced_refreshes"] = json!({"every": "100ms", "burst": 20});
    let gateway = Gateway::with(config);
    let (mut sent, mut failed, mut longest_stall) = (0, 0, Duration::ZERO);
    for index in [0, 1] {
        cluster.kill(index);
        for _ in 0..3 {
            let asked = Instant::now();
            let answer = gateway.token("?force=true");
            longest_stall = longest_stall.max(asked.elapsed());
            sent += 1;
            failed += u64::from(answer.status != 200);
        }
        // The token of one node is good at the other.
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
        gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[index]), "is left out"]);
        cluster.revive(index);
        gateway.logs(&["INFO", &format!("node http://{}", cluster.addresses[index]), "is back"]);
    }
    Row { fault: "one of two nodes killed: token exchanges".to_owned(), sent, failed, longest_stall }.print();
    assert_eq!(failed, 0);
}

#[test]
fn a_node_without_a_working_token_endpoint_keeps_nobody_from_a_token() {
    let cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    for (broken, well) in [(0, 1), (1, 0)] {
        cluster.living().for_each(OpenEmr::reset);
        cluster.node(broken).order(&json!({"token": {"answer": {"status": 500}}}));
        eventually("a token of the other node's", || (gateway.token("?force=true").status == 200).then_some(()));
        assert_eq!((cluster.node(broken).count("tokens_issued"), cluster.node(well).count("tokens_issued")), (0, 1));
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    }
}

#[test]
fn a_node_that_is_down_from_the_start_costs_nobody_an_answer() {
    let mut cluster = Cluster::start(3);
    cluster.kill(0);
    let gateway = Gateway::with(cluster.config());
    assert!((0..12).all(|_| gateway.caller().get(PATIENTS).status == 200));
    gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[0]), "is left out"]);
    let (one, other) = (served(cluster.node(1)), served(cluster.node(2)));
    (0..20).for_each(|_| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
    assert_eq!((served(cluster.node(1)) - one, served(cluster.node(2)) - other), (10, 10), "its share is shared");
}

#[test]
fn requests_take_turns_or_go_where_answers_come_fastest() {
    let cluster = Cluster::start(2);
    let mut config = cluster.config();
    let gateway = Gateway::with(config.clone());
    (0..40).for_each(|_| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
    assert_eq!((served(cluster.node(0)), served(cluster.node(1))), (20, 20));

    config["sites"]["default"]["balance"] = json!("least_latency");
    let gateway = Gateway::with(config);
    cluster.living().for_each(OpenEmr::reset);
    cluster.node(0).order(&json!({"fhir": {"delay_ms": 1_000}}));
    (0..60).for_each(|_| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
    // What the gateway itself asks first can have told it enough.
    let (slow, fast) = (served(cluster.node(0)), served(cluster.node(1)));
    assert!(fast > 5 * slow, "{slow} and {fast}");
}

#[test]
fn several_nodes_are_checked_without_a_token_and_the_only_one_is_not_while_it_answers() {
    let cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    let probes = |node: &OpenEmr| node.count("probes");
    eventually("each is checked more than once", || cluster.living().all(|node| probes(node) > 2).then_some(()));
    drop(gateway);

    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["health_check"] = json!({"interval": "5s", "timeout": "1s"});
    let gateway = Gateway::with(config);
    let asked = Instant::now();
    // Longer than the time between two checks of one of several.
    while asked.elapsed() < Duration::from_secs(6) {
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    // Once, to learn what can be searched by.
    assert_eq!((openemr.count("probes"), openemr.came("GET /apis/default/fhir/metadata")), (1, 1));
}

#[test]
fn a_node_whose_checks_fail_is_left_out_as_long_as_another_is_well() {
    let cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    let sick = json!({"fhir": {"target": "/metadata", "error": "database"}});
    cluster.node(0).order(&sick);
    gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[0]), "answers its checks with errors"]);
    let before = (served(cluster.node(0)), served(cluster.node(1)));
    (0..10).for_each(|_| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
    assert_eq!((served(cluster.node(0)) - before.0, served(cluster.node(1)) - before.1), (0, 10));
    // When all are sick, what they answer is what callers get.
    cluster.node(1).order(&sick);
    gateway.logs(&["WARN", &format!("node http://{}", cluster.addresses[1]), "answers its checks with errors"]);
    (0..10).for_each(|_| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
    cluster.order(&json!({"fhir": null}));
    gateway.logs(&["INFO", &format!("node http://{}", cluster.addresses[0]), "is back"]);
}

#[test]
fn any_request_moves_on_from_a_node_that_takes_no_connection() {
    let cluster = Cluster::start(1);
    let mut config = cluster.config();
    let nobody = format!("http://{}", free_address());
    config["sites"]["default"]["openemr"] = json!([nobody, format!("http://{}", cluster.addresses[0])]);
    // No check finds it out before the requests do.
    config["sites"]["default"]["health_check"] = json!({"interval": "1h", "timeout": "2s"});
    let gateway = Gateway::with(config);
    for (method, expected) in [("POST", 201), ("POST", 201), ("GET", 200), ("GET", 200)] {
        let body = r#"{"resourceType": "Patient", "name": [{"use": "official", "family": "Load", "given": ["Ada"]}], "gender": "female", "birthDate": "1984-02-29"}"#;
        let body = if method == "POST" { body.as_bytes() } else { b"" };
        let answer = gateway.caller().send(method, "/fhir/Patient", &[("Content-Type", "application/fhir+json")], body);
        assert_eq!(answer.status, expected, "{method}: {}", answer.text());
    }
    assert_eq!(cluster.node(0).came("POST /apis/default/fhir/Patient"), 2);
}

#[test]
fn a_reload_of_the_ceiling_keeps_the_token_and_ends_the_old_checks() {
    let mut cluster = Cluster::start(2);
    let mut config = cluster.config();
    let gateway = Gateway::with(config.clone());
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let issued = |cluster: &Cluster| cluster.living().map(|node| node.count("tokens_issued")).sum::<u64>();
    let before = issued(&cluster);
    config["listen"] = gateway.config["listen"].clone();
    config["server"] = gateway.config["server"].clone();
    config["sites"]["default"]["in_flight"] = json!({"most": 5});
    let log = gateway.reload(&config);
    assert!(log.contains("is in force"), "{log}");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(issued(&cluster), before);
    cluster.kill(0);
    gateway.logs(&["WARN", "is left out"]);
    // Tokens follow to the new nodes, too.
    assert_eq!(gateway.token("?force=true").status, 200);
    cluster.revive(0);
    gateway.logs(&["INFO", "is back"]);
    assert_eq!(said(&gateway, &["is left out"]), 1, "nobody looks after the old nodes any more");
}

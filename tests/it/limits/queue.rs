//! The queue in front of OpenEMR, and the limit that finds itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::closed_load::{Client, Plan};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Connection, request};
use crate::support::openemr::OpenEmr;

const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const POLITE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

fn gateway(openemr: &OpenEmr, in_flight: Value) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["in_flight"] = in_flight;
    Gateway::with(config)
}

/// What `/health` says of requests: in flight, the limit, waiting.
fn requests(gateway: &Gateway) -> [u64; 3] {
    let health = gateway.caller().get("/health").json();
    ["in_flight", "limit", "waiting"].map(|name| health["sites"][0]["requests"][name].as_u64().unwrap())
}

/// Sends reads of different resources, each on a connection of its own.
fn send(gateway: &Gateway, source: IpAddr, name: &str, count: usize) -> Vec<Connection> {
    let sent = (0..count).map(|number| {
        let mut connection = gateway.caller().connect_from(source);
        connection.write(&request("GET", &format!("/fhir/Patient?_count=1&_id={name}{number}"), &[], b""));
        connection
    });
    sent.collect()
}

fn read(connections: &mut [Connection]) -> Vec<Answer> {
    connections.iter_mut().map(|connection| connection.read("GET")).collect()
}

#[test]
fn who_asks_for_less_than_its_share_is_next() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, json!({"most": 2, "most_of_a_client": 2, "queue_timeout": "60s", "queue_target": "60s"}));
    openemr.order(&json!({"fhir": {"delay_ms": 200}}));
    let mut greedy = send(&gateway, GREEDY, "greedy", 20);
    eventually("the greedy one's requests wait", || (requests(&gateway)[2] == 18).then_some(()));
    let mut polite = send(&gateway, POLITE, "polite", 1);
    assert!(read(&mut polite).iter().chain(&read(&mut greedy)).all(|answer| answer.status == 200));
    eventually("every request has its line", || (lines(&gateway).len() == 21).then_some(()));
    let at = lines(&gateway).iter().position(|client| client.contains("127.0.0.3")).unwrap();
    // Two were at work; whichever of them ended first made room for it.
    assert!(at <= 12, "it was served as number {at} of 21");
}

/// The access lines of FHIR requests, in the order in which they ended.
fn lines(gateway: &Gateway) -> Vec<String> {
    gateway.log().lines().filter(|line| line.contains("127.0.0.") && line.contains("search-type")).map(str::to_owned).collect()
}

#[test]
fn a_standing_queue_is_cut_at_its_head_and_a_single_request_is_not() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, json!({"most": 1, "queue": 64, "queue_timeout": "60s", "queue_target": "50ms"}));
    openemr.order(&json!({"fhir": {"delay_ms": 100}}));
    let mut greedy = send(&gateway, GREEDY, "greedy", 30);
    let mut polite = send(&gateway, POLITE, "polite", 1);
    let answers = read(&mut greedy);
    assert_eq!(read(&mut polite)[0].status, 200);
    let cut: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!cut.is_empty() && cut.len() < answers.len());
    for answer in cut {
        assert_eq!(answer.outcome(503), "OpenEMR is busy, and too many of your requests wait for it already.");
        // What waits is served within a few seconds, however long it might wait.
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&seconds), "{seconds}");
    }
    assert_eq!(requests(&gateway), [0, 1, 0]);
    assert!(gateway.log().contains("in_flight.queue_target"));
}

#[test]
fn a_full_queue_has_room_for_who_has_less_in_it() {
    let openemr = OpenEmr::start();
    let gateway =
        gateway(&openemr, json!({"most": 1, "queue": 4, "most_of_a_client": 1, "queue_timeout": "60s", "queue_target": "60s"}));
    openemr.order(&json!({"fhir": {"delay_ms": 500}}));
    let mut greedy = send(&gateway, GREEDY, "greedy", 5);
    eventually("the queue is full", || (requests(&gateway) == [1, 1, 4]).then_some(()));
    let mut polite = send(&gateway, POLITE, "polite", 1);
    let mut statuses: Vec<u16> = read(&mut greedy).iter().map(|answer| answer.status).collect();
    assert_eq!(read(&mut polite)[0].status, 200);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503]);
}

/// It begins at four, grows while four are not enough, and falls when OpenEMR says that it is too much; what is configured is the end.
#[test]
fn the_limit_finds_itself() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, json!({"most": 16, "queue": 64, "queue_timeout": "60s"}));
    assert_eq!(requests(&gateway), [0, 4, 0]);
    openemr.order(&json!({"fhir": {"delay_ms": 50}}));
    let client = |last| Client { source: Ipv4Addr::new(127, 0, 0, last), fields: Vec::new(), open: 16, pause: Duration::ZERO };
    let kinds = vec![(0..64).map(|number| format!("/fhir/Patient?_count=1&_id=a{number}")).collect()];
    let plan = Plan { address: gateway.address, clients: vec![client(2), client(3)], kinds, cycle: vec![0] };
    let load = plan.start();
    eventually("the limit has grown", || (requests(&gateway)[1] > 8).then_some(()));
    let most_workers = openemr.count("most_workers_busy");
    assert!((5..=16).contains(&most_workers), "{most_workers}");
    openemr.order(&json!({"fhir": {"error": "php_fpm_down"}}));
    eventually("the limit has fallen to where it began", || (requests(&gateway)[1] == 4).then_some(()));
    gateway.logs(&["site default: OpenEMR gets", "in_flight.most: 16"]);
    openemr.order(&json!({"fhir": {"delay_ms": 50}}));
    eventually("it is found again", || (requests(&gateway)[1] > 8).then_some(()));
    drop(load);
}

#[test]
fn a_fixed_limit_stays_and_a_reload_keeps_what_was_found() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["in_flight"] = json!({"most": 16, "adaptive": false});
    let gateway = Gateway::with(config.clone());
    assert_eq!(requests(&gateway), [0, 16, 0]);
    openemr.order(&json!({"fhir": {"error": "php_fpm_down"}}));
    for _ in 0..4 {
        assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 503);
    }
    assert_eq!(requests(&gateway), [0, 16, 0]);
    config["sites"]["default"]["in_flight"] = json!({"most": 12, "adaptive": true});
    gateway.reload(&config);
    assert_eq!(requests(&gateway), [0, 4, 0], "nothing was found with a fixed one");
}

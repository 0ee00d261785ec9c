//! Rates of clients, addresses and sites. A rate of one an hour lets exactly its burst pass while a test runs.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::told::told;
use crate::access::api_keys::{client, digest_of, key_of};
use crate::audit::trail::Trail;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, site};
use crate::support::http::{Answer, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;

pub const PATIENTS: &str = "/fhir/Patient?_count=1";
pub const HERE: &str = "127.0.0.1";
pub const ELSEWHERE: &str = "127.0.0.3";

/// A configuration for callers at every address of this machine.
pub fn open(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["access"]["allow_from"] = json!(["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]);
    config
}

/// The same with clients that have keys, of a policy with these limits.
pub fn with_clients(openemr: &OpenEmr, names: &[&str], limits: &Value) -> Value {
    let mut config = open(openemr);
    let mut policy = json!({"scopes": ["system/Patient.rs"]});
    for (key, value) in limits.as_object().unwrap() {
        policy[key] = value.clone();
    }
    config["access"]["policies"] = json!({"limited": policy});
    for name in names {
        config["access"]["clients"][name] = json!({"policy": "limited", "api_keys": [digest_of(name)]});
    }
    config
}

/// An answer to a caller at this address.
pub fn from(gateway: &Gateway, source: &str, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut connection = gateway.caller().connect_from(source.parse::<IpAddr>().unwrap());
    connection.write(&request(method, target, fields, b""));
    connection.read(method)
}

/// An answer to a client with its key.
pub fn of(gateway: &Gateway, client: &str, target: &str) -> Answer {
    gateway.caller().send("GET", target, &[("X-API-Key", &key_of(client))], b"")
}

/// The statuses of so many answers.
fn statuses(count: usize, ask: impl Fn() -> Answer) -> Vec<u16> {
    (0..count).map(|_| ask().status).collect()
}

/// Checks that an answer says that a rate was exceeded, and gives the wait in seconds.
fn throttled(answer: &Answer, limit: &str) -> u64 {
    let text = answer.outcome(429);
    assert_eq!(answer.json()["issue"][0]["code"], "throttled", "{text}");
    let wait = answer.field("retry-after").unwrap().parse().unwrap();
    let told = told(answer);
    let (_, [.., remaining, next]) = told.iter().find(|(name, _)| name == limit).unwrap();
    assert_eq!((*remaining, *next), (0, wait), "{:?}", answer.fields);
    wait
}

#[test]
fn a_client_beyond_its_rate_is_refused_and_another_is_served() {
    let (openemr, trail) = (OpenEmr::start(), Trail::new());
    let mut config = with_clients(&openemr, &["lab", "app"], &json!({"rate": "1/h", "burst": 3}));
    trail.keep(&mut config);
    let gateway = Gateway::with(config);
    let before = openemr.count("fhir_requests");
    assert_eq!(statuses(5, || of(&gateway, "lab", PATIENTS)), [200, 200, 200, 429, 429]);
    let refused = of(&gateway, "lab", "/fhir/Patient/nobody");
    assert!((1..=3600).contains(&throttled(&refused, "client")), "{:?}", refused.fields);
    assert_eq!(statuses(4, || of(&gateway, "app", PATIENTS)), [200, 200, 200, 429]);
    assert_eq!(openemr.count("fhir_requests") - before, 6, "what is refused does not reach OpenEMR");
    let id = refused.field("x-request-id").unwrap();
    gateway.logs(&[id, "more requests than the client's rate allows"]);
    let record = trail.of_request(id);
    assert_eq!((&record["status"], &record["outcome"], &record["client"]), (&json!(429), &json!("refused"), &json!("lab")));
}

#[test]
fn what_stands_at_the_client_counts_in_place_of_its_policys() {
    let openemr = OpenEmr::start();
    let mut config = with_clients(&openemr, &["lab", "app", "far"], &json!({"rate": "1/h", "burst": 2}));
    config["access"]["clients"]["app"]["burst"] = json!(4);
    config["access"]["clients"]["far"] = json!({"scopes": ["system/Patient.rs"], "api_keys": [digest_of("far")]});
    let gateway = Gateway::with(config);
    for (client, served) in [("lab", 2), ("app", 4), ("far", 6)] {
        let statuses = statuses(6, || of(&gateway, client, PATIENTS));
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), served, "{client}: {statuses:?}");
    }
}

#[test]
fn callers_without_credentials_have_the_limits_of_their_policy_by_address() {
    let openemr = OpenEmr::start();
    let mut config = with_clients(&openemr, &["lab"], &json!({"rate": "1/h", "burst": 2}));
    config["access"]["anonymous"] = json!("limited");
    let gateway = Gateway::with(config);
    for source in [HERE, ELSEWHERE] {
        assert_eq!(statuses(3, || from(&gateway, source, "GET", PATIENTS, &[])), [200, 200, 429], "{source}");
    }
    assert_eq!(of(&gateway, "lab", PATIENTS).status, 200, "a client is counted by its name");
}

#[test]
fn an_address_beyond_its_rate_is_refused_whatever_it_asks_for_but_for_local_routes() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["limits"] = json!({"rate_per_address": "1/h", "burst_per_address": 5});
    config["sites"]["default"]["cors"] = json!({"origins": ["https://app.example.org"]});
    let gateway = Gateway::with(config);
    let preflight = [("Origin", "https://app.example.org"), ("Access-Control-Request-Method", "GET")];
    for (method, target, fields, status) in [
        ("GET", PATIENTS, &[][..], 200),
        ("OPTIONS", PATIENTS, &preflight, 204),
        ("GET", "/fhir/%2e%2e/", &[], 400),
        ("GET", "/fhir/metadata", &[], 200),
        ("GET", PATIENTS, &[("Host", "evil.example")], 421),
        ("GET", PATIENTS, &[], 429),
        ("OPTIONS", PATIENTS, &preflight, 429),
        ("GET", "/fhir/metadata", &[], 429),
        ("GET", "/health", &[], 200),
        ("GET", "/nowhere", &[], 404),
    ] {
        let answer = from(&gateway, HERE, method, target, fields);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
    }
    throttled(&from(&gateway, HERE, "GET", PATIENTS, &[]), "address");
    assert_eq!(from(&gateway, ELSEWHERE, "GET", PATIENTS, &[]).status, 200);
}

#[test]
fn wrong_credentials_are_tried_no_oftener_than_the_address_may_ask() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["access"]["clients"] = json!({"lab": client("lab")});
    config["limits"] = json!({"rate_per_address": "1/h", "burst_per_address": 3});
    let gateway = Gateway::with(config);
    let wrong = key_of("nobody");
    let statuses = statuses(6, || from(&gateway, HERE, "GET", PATIENTS, &[("X-API-Key", &wrong)]));
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    let key = key_of("lab");
    let good = [("X-API-Key", key.as_str())];
    assert_eq!(from(&gateway, HERE, "GET", PATIENTS, &good).status, 429, "the address has used up its rate");
    assert_eq!(from(&gateway, ELSEWHERE, "GET", PATIENTS, &good).status, 200);
    assert_eq!(openemr.count("fhir_requests"), 1);
}

#[test]
fn a_site_gets_no_more_than_its_rate_and_only_what_goes_to_openemr_counts() {
    let openemr = OpenEmr::start();
    let mut config = with_clients(&openemr, &["lab"], &json!({}));
    config["access"]["anonymous"] = json!("metadata-only");
    config["sites"]["other"] = site(&openemr.base, "RS384");
    config["sites"]["other"]["fhir_base"] = json!(format!("{}/apis/default/fhir", openemr.base));
    config["sites"]["other"]["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    config["sites"]["default"]["rate"] = json!("1/h");
    config["sites"]["default"]["burst"] = json!(2);
    let gateway = Gateway::with(config);
    // Who may not ask, and what the gateway knows, use up nothing.
    assert_eq!(statuses(3, || gateway.caller().get(PATIENTS)), [401; 3]);
    assert_eq!(statuses(3, || of(&gateway, "lab", "/fhir/Observation")), [403; 3]);
    assert_eq!(statuses(3, || gateway.caller().get("/fhir/metadata")), [200; 3]);
    let before = openemr.count("fhir_requests");
    assert_eq!(statuses(4, || of(&gateway, "lab", PATIENTS)), [200, 200, 429, 429]);
    assert_eq!(openemr.count("fhir_requests") - before, 2);
    throttled(&of(&gateway, "lab", PATIENTS), "site");
    assert_eq!(statuses(4, || of(&gateway, "lab", "/other/fhir/Patient?_count=1")), [200; 4]);
}

#[test]
fn local_routes_have_a_rate_of_their_own() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["limits"] = json!({"local_rate_per_address": "1/h", "local_burst_per_address": 4});
    let gateway = Gateway::with(config);
    for (method, target, status) in [
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/.well-known/jwks.json", 200),
        ("GET", "/health", 429),
        ("GET", "/nowhere", 429),
        ("POST", "/oauth/token", 429),
        ("GET", PATIENTS, 200),
    ] {
        assert_eq!(from(&gateway, HERE, method, target, &[]).status, status, "{method} {target}");
    }
    let refused = from(&gateway, HERE, "GET", "/health", &[]);
    assert_eq!(refused.json()["error"], "too_many_requests", "{}", refused.text());
    let [_, _, remaining, next] = told(&refused)[0].1;
    assert_eq!((remaining, refused.field("retry-after").unwrap()), (0, next.to_string().as_str()));
    assert_eq!(from(&gateway, ELSEWHERE, "GET", "/health", &[]).status, 200);
}

#[test]
fn a_reload_changes_the_rate_and_not_what_has_been_used_of_it() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(with_clients(&openemr, &["lab"], &json!({"rate": "1/h", "burst": 2})));
    assert_eq!(statuses(3, || of(&gateway, "lab", PATIENTS)), [200, 200, 429]);
    let mut config = gateway.config.clone();
    config["log"]["level"] = json!("debug");
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(of(&gateway, "lab", PATIENTS).status, 429, "an hour is not over");
    config["access"]["policies"]["limited"]["rate"] = json!("1000/s");
    assert!(gateway.reload(&config).contains("is in force"));
    eventually("the new rate applies", || (of(&gateway, "lab", PATIENTS).status == 200).then_some(()));
    config["access"]["policies"]["limited"] = json!({"scopes": ["system/Patient.rs"]});
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(statuses(4, || of(&gateway, "lab", PATIENTS)), [200; 4]);
}

#[test]
fn the_wait_that_is_told_is_long_enough() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(with_clients(&openemr, &["lab"], &json!({"rate": "1/s", "burst": 2})));
    for _ in 0..3 {
        let refused = eventually("the rate is used up", || {
            Some(of(&gateway, "lab", "/fhir/metadata")).filter(|answer| answer.status == 429)
        });
        thread::sleep(Duration::from_secs(throttled(&refused, "client")));
        assert_eq!(of(&gateway, "lab", PATIENTS).status, 200);
    }
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_rate_and_strangers_have_one() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["trusted_proxies"] = json!([{"from": "127.0.0.2", "fields": "x_forwarded"}]);
    config["access"]["allow_from"] = json!("open");
    config["limits"] = json!({"rate_per_address": "1/h", "burst_per_address": 2, "local_rate_per_address": "1/h",
        "local_burst_per_address": 2});
    let gateway = Gateway::with(config);
    let forwarded =
        |client: &str, target: &str| from(&gateway, "127.0.0.2", "GET", target, &[("X-Forwarded-For", client)]).status;
    let ask = |clients: &[&str]| clients.iter().map(|client| forwarded(client, PATIENTS)).collect::<Vec<_>>();
    assert_eq!(ask(&["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]), [200, 200, 429, 200]);
    assert_eq!(ask(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]), [200, 200, 429, 200]);
    assert_eq!(ask(&["unknown", "_hidden", "127.0.0.2", "10.0.0.3"]), [200, 200, 429, 200]);
    // What a client writes before the proxy's own entry is not believed.
    assert_eq!(ask(&["192.0.2.7, 10.0.0.4", "192.0.2.8, 10.0.0.4", "192.0.2.9, 10.0.0.4"]), [200, 200, 429]);
    // The proxy's own health checks are not those of strangers.
    let own = || from(&gateway, "127.0.0.2", "GET", "/health", &[]).status;
    assert_eq!(
        [forwarded("unknown", "/health"), forwarded("unknown", "/health"), forwarded("unknown", "/health")],
        [200, 200, 429]
    );
    assert_eq!([own(), own(), own()], [200, 200, 429]);
}

#[test]
fn streams_of_one_connection_count_like_requests_of_several() {
    let openemr = OpenEmr::start();
    let mut config = with_clients(&openemr, &["lab"], &json!({"rate": "1/h", "burst": 3}));
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let http2 = Http2::plain(gateway.address);
    let key = key_of("lab");
    let begun: Vec<_> = (0..7).map(|_| http2.begin("GET", PATIENTS, &[("x-api-key", &key)], true)).collect();
    let answers: Vec<Answer> = begun.into_iter().map(|begun| http2.read(begun)).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((served, answers.iter().filter(|answer| answer.status == 429).count()), (3, 4));
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        throttled(answer, "client");
    }
    assert_eq!(openemr.count("fhir_requests"), 3);
}

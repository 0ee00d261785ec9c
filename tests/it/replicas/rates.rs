//! Limits of several gateways: each with its part, or counted in the store by all together. A rate of one an hour lets exactly its
//! burst pass while a test runs.

use std::thread;

use serde_json::{Value, json};

use super::store::is_up;
use super::with_store;
use crate::admin::Admin;
use crate::limits::rates::{HERE, PATIENTS, from, of, open, with_clients};
use crate::limits::told::told;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, request};
use crate::support::openemr::OpenEmr;
use crate::support::redis::Redis;

/// A configuration whose clients may send this burst each.
fn limited(openemr: &OpenEmr, burst: u32) -> Value {
    with_clients(openemr, &["lab", "app"], &json!({"rate": "1/h", "burst": burst}))
}

/// The same, counted in the store.
fn shared(openemr: &OpenEmr, redis: &Redis, burst: u32) -> Value {
    let mut config = with_store(limited(openemr, burst), redis);
    config["limits"]["shared"] = json!(true);
    config["replicas"] = json!(3);
    config
}

/// How many of so many requests of a client are admitted, sent to these gateways in turn, several at once.
fn admitted(client: &str, gateways: &[&Gateway], count: usize) -> usize {
    let statuses: Vec<u16> = thread::scope(|scope| {
        let sending = |part: usize| {
            scope.spawn(move || {
                let mine = (part..count).step_by(6);
                mine.map(|number| of(gateways[number % gateways.len()], client, PATIENTS).status).collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..6).map(sending).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

fn client_limit(answer: &Answer) -> [u64; 4] {
    told(answer).into_iter().find(|(name, _)| name == "client").unwrap().1
}

#[test]
fn without_a_store_each_gateway_has_its_part() {
    let openemr = OpenEmr::start();
    let mut config = limited(&openemr, 10);
    config["replicas"] = json!(3);
    let gateways = [(); 3].map(|()| Gateway::with(config.clone()));
    // What a client is told is what this gateway will do.
    assert_eq!(client_limit(&of(&gateways[0], "lab", PATIENTS))[..3], [3, 9 * 3600, 2]);
    let all: Vec<&Gateway> = gateways.iter().collect();
    assert_eq!(admitted("lab", &all, 30), 8);
    let refused = of(&gateways[0], "lab", PATIENTS);
    assert!((3600..=3 * 3600).contains(&refused.field("retry-after").unwrap().parse::<u64>().unwrap()), "{:?}", refused.fields);
}

#[test]
fn a_variable_says_how_many_gateways_there_are_and_one_request_is_the_least() {
    let openemr = OpenEmr::start();
    let mut config = limited(&openemr, 2);
    config["replicas"] = json!("${REPLICAS_OF_THE_TEST}");
    let gateway = Gateway::within(&["env", "REPLICAS_OF_THE_TEST=4"], config.clone());
    assert_eq!(admitted("lab", &[&gateway], 6), 1);
    config.as_object_mut().unwrap().remove("replicas");
    let gateway = Gateway::within(&["env", "GATEWAY_REPLICAS=2"], config);
    assert_eq!(client_limit(&of(&gateway, "lab", PATIENTS))[0], 1);
}

#[test]
fn requests_at_once_and_in_flight_are_divided_too() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["limits"] = json!({"requests_per_address": 2});
    config["replicas"] = json!(2);
    config["sites"]["default"]["in_flight"] = json!({"most": 7, "adaptive": false});
    let admin = Admin::start(config);
    let health = admin.get("/health").json();
    assert_eq!(health["sites"][0]["limit"], 3, "{health}");
    openemr.order(&json!({"fhir": {"target": "_id=slow", "delay_ms": 20_000}}));
    let before = openemr.count("fhir_requests");
    let mut slow = admin.gateway.caller().connect_from(HERE.parse().unwrap());
    slow.write(&request("GET", "/fhir/Patient?_id=slow", &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") > before).then_some(()));
    assert!(from(&admin.gateway, HERE, "GET", PATIENTS, &[]).outcome(429).contains("at once"));
    // Another number of gateways takes effect with a reload.
    let mut changed = admin.gateway.config.clone();
    changed["replicas"] = json!(1);
    admin.gateway.reload(&changed);
    assert_eq!(admin.get("/health").json()["sites"][0]["limit"], 7);
    assert_eq!(from(&admin.gateway, HERE, "GET", PATIENTS, &[]).status, 200);
}

#[test]
fn a_shared_limit_is_exact_over_three_gateways() {
    let (openemr, redis) = (OpenEmr::start(), Redis::start());
    let config = shared(&openemr, &redis, 25);
    let gateways = [(); 3].map(|()| Gateway::with(config.clone()));
    let all: Vec<&Gateway> = gateways.iter().collect();
    assert_eq!(client_limit(&of(all[0], "lab", PATIENTS))[..3], [25, 25 * 3600, 24]);
    assert_eq!(client_limit(&of(all[1], "lab", PATIENTS))[2], 23);
    assert_eq!(admitted("lab", &all, 90), 23);
    for gateway in all {
        let refused = of(gateway, "lab", PATIENTS);
        refused.outcome(429);
        assert_eq!(client_limit(&refused)[..3], [25, 25 * 3600, 0]);
    }
    // The store learns no name, and forgets what has been refilled.
    let keys = redis.ask("KEYS *");
    assert!(keys.contains("openemr-gateway:rate:") && !keys.contains("lab"), "{keys}");
}

#[test]
fn one_gateway_alone_may_use_a_shared_limit_whole() {
    let (openemr, redis) = (OpenEmr::start(), Redis::start());
    let config = shared(&openemr, &redis, 9);
    let gateways = [(); 2].map(|()| Gateway::with(config.clone()));
    assert_eq!(admitted("lab", &[&gateways[0]], 20), 9);
    assert_eq!(admitted("lab", &[&gateways[1]], 5), 0);
}

#[test]
fn a_store_that_is_killed_costs_no_request_and_the_limit_is_exact_again_when_it_is_back() {
    let (openemr, mut redis) = (OpenEmr::start(), Redis::start());
    let config = shared(&openemr, &redis, 30);
    let admins = [(); 3].map(|()| Admin::start(config.clone()));
    let all: Vec<&Gateway> = admins.iter().map(|admin| &admin.gateway).collect();
    assert_eq!(admitted("lab", &all, 6), 6);
    redis.kill();
    // Each gateway goes on with its part, a third of the rate, of which the two that it has admitted are a part.
    assert_eq!(admitted("lab", &all, 60), 27);
    assert_eq!(client_limit(&of(all[0], "lab", PATIENTS))[0], 10);
    let errors = |admin: &Admin| {
        let metrics = admin.get("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("openemr_gateway_store_errors_total{use=\"rates\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(admins.iter().all(|admin| errors(admin) > 0.0));
    redis.restart();
    for admin in &admins {
        eventually("the store is found again", || is_up(admin)?.then_some(()));
    }
    assert_eq!(admitted("app", &all, 90), 30);
    // The store has lost what it knew. Each gateway still knows what it has admitted itself, and has one request left of the whole.
    for gateway in all {
        assert_eq!([(); 2].map(|()| of(gateway, "lab", PATIENTS).status), [200, 429]);
    }
}

#[test]
fn a_store_that_hangs_is_given_up_and_used_again_when_it_goes_on() {
    let (openemr, redis) = (OpenEmr::start(), Redis::start());
    let mut config = shared(&openemr, &redis, 30);
    config["store"]["timeout"] = json!("300ms");
    let gateway = Gateway::with(config);
    let counts_for = |requests: u64| client_limit(&of(&gateway, "app", PATIENTS))[0] == requests;
    eventually("the whole limit is counted in the store", || counts_for(30).then_some(()));
    redis.suspend();
    // The first request waits for the store, as long as it may.
    assert_eq!(admitted("lab", &[&gateway], 30), 10);
    redis.resume();
    eventually("the store is used again", || counts_for(30).then_some(()));
}

#[test]
fn a_shared_limit_needs_a_store() {
    use crate::support::command::{fails, with};
    let message = "conf/gateway.yaml: limits.shared: is true, and there is no store to count in";
    fails(&with("limits: { shared: true }\n"), &[], message, "write  store: rediss://");
    let message = "conf/gateway.yaml: replicas: `1001` is above 1000";
    fails(&with("replicas: 1001\n"), &[], message, "the default is 1");
}

//! A client assertion is good once at all gateways with one store, and none is taken while nobody can tell.

use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use super::with_store;
use crate::access::smart_client::{ENDPOINT, SmartClient, ask, form, get, refused};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use crate::support::redis::Redis;

const PATIENTS: &str = "/fhir/Patient?_count=1";
const SCOPE: &str = "system/Patient.rs";

/// A gateway on a machine of its own: its key is a copy, and it has no folder of used assertions in common with another one.
fn gateway(openemr: &OpenEmr, redis: &Redis, folder: &Path, key: Option<&Path>, lab: &SmartClient) -> Gateway {
    let own = folder.join("token-key.pem");
    std::fs::create_dir_all(folder).unwrap();
    if let Some(key) = key {
        std::fs::copy(key, &own).unwrap();
    }
    let mut config = with_store(config(openemr), redis);
    config["access"]["token_key"] = json!(own);
    config["access"]["clients"] = json!({"lab": lab.configured(folder, &json!({"scopes": [SCOPE]}))});
    Gateway::with(config)
}

/// Three gateways that know each other's access tokens.
fn three(openemr: &OpenEmr, redis: &Redis, folder: &Path, lab: &SmartClient) -> [Gateway; 3] {
    let first = gateway(openemr, redis, &folder.join("1"), None, lab);
    let key = folder.join("1/token-key.pem");
    let others = ["2", "3"].map(|name| gateway(openemr, redis, &folder.join(name), Some(&key), lab));
    let [second, third] = others;
    [first, second, third]
}

#[test]
fn an_assertion_that_was_used_at_one_gateway_is_refused_at_the_others_also_after_its_death() {
    let (openemr, redis, folder) = (OpenEmr::start(), Redis::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let [mut first, second, third] = three(&openemr, &redis, folder.path(), &lab);
    let used = form(&lab.assertion(ENDPOINT), SCOPE);
    let given = ask(&first.caller(), &used);
    assert_eq!(given.status, 200, "{}", given.text());
    first.process.signal("KILL");
    eventually("the first gateway has ended", || first.process.ended());
    for gateway in [&second, &third] {
        let told = refused(&ask(&gateway.caller(), &used), 401, "invalid_client");
        assert!(told.contains("used before"), "{told}");
        // A token of the one that was killed is good at the others.
        let token = given.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(get(gateway, PATIENTS, &token).status, 200);
    }
    assert_eq!(lab.ask(&second, SCOPE).status, 200);
}

#[test]
fn of_an_assertion_that_is_sent_to_three_gateways_at_once_one_is_good() {
    let (openemr, redis, folder) = (OpenEmr::start(), Redis::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateways = three(&openemr, &redis, folder.path(), &lab);
    for _ in 0..4 {
        let form = form(&lab.assertion(ENDPOINT), SCOPE);
        let statuses: Vec<u16> = thread::scope(|scope| {
            let asking = |at: usize| {
                let (caller, form) = (gateways[at % 3].caller(), &form);
                scope.spawn(move || ask(&caller, form).status)
            };
            let asked: Vec<_> = (0..12).map(asking).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 11, "{statuses:?}");
    }
}

#[test]
fn while_the_store_is_away_no_token_is_given_and_those_that_were_given_are_good() {
    let (openemr, mut redis, folder) = (OpenEmr::start(), Redis::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = gateway(&openemr, &redis, folder.path(), None, &lab);
    let token = lab.token(&gateway, SCOPE);
    redis.kill();
    let assertion = form(&lab.assertion(ENDPOINT), SCOPE);
    let answer = ask(&gateway.caller(), &assertion);
    let told = refused(&answer, 503, "temporarily_unavailable");
    assert!(told.contains("send a new one"), "{told}");
    assert!(answer.field("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert!(!told.contains("127.0.0.1") && !told.contains("store"), "{told}");
    assert_eq!(get(&gateway, PATIENTS, &token).status, 200);
    redis.restart();
    eventually("tokens are given again", || (lab.ask(&gateway, SCOPE).status == 200).then_some(()));
    // What could not be looked up was not good later either.
    refused(&ask(&gateway.caller(), &assertion), 401, "invalid_client");
}

#[test]
fn the_store_learns_neither_the_client_nor_the_jti_and_forgets_by_itself() {
    let (openemr, redis, folder) = (OpenEmr::start(), Redis::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = gateway(&openemr, &redis, folder.path(), None, &lab);
    let claims = lab.claims(ENDPOINT);
    assert_eq!(ask(&gateway.caller(), &form(&lab.sign(&lab.header(), &claims), SCOPE)).status, 200);
    let keys = redis.ask("KEYS *");
    assert!(keys.contains("openemr-gateway:jti:"), "{keys}");
    let Value::String(jti) = &claims["jti"] else { panic!("{claims}") };
    assert!(!keys.contains(jti.as_str()) && !keys.contains("lab"), "{keys}");
    let key = keys.lines().find(|line| line.contains("jti:")).unwrap().to_owned();
    let left: i64 = redis.ask(&format!("TTL {key}")).trim_start_matches(':').trim().parse().unwrap();
    assert!((500..=700).contains(&left), "{left}");
}

#[test]
fn an_assertion_that_was_used_stays_used_when_the_store_is_taken_out_or_has_lost_its_data() {
    let (openemr, redis, folder) = (OpenEmr::start(), Redis::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let first = gateway(&openemr, &redis, folder.path(), None, &lab);
    let used = form(&lab.assertion(ENDPOINT), SCOPE);
    assert_eq!(ask(&first.caller(), &used).status, 200);
    let mut config = first.config.clone();
    // Its upgrade socket goes with it.
    config.as_object_mut().unwrap().remove("server");
    drop(first);
    redis.ask("FLUSHALL");
    let again = Gateway::with(config.clone());
    refused(&ask(&again.caller(), &used), 401, "invalid_client");
    drop(again);
    config.as_object_mut().unwrap().remove("store");
    let without = Gateway::with(config);
    refused(&ask(&without.caller(), &used), 401, "invalid_client");
}

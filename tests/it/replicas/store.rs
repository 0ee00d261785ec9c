//! The store as the operator sees it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::with_store;
use crate::admin::Admin;
use crate::support::eventually;
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;
use crate::support::redis::Redis;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// Whether the store is up, as the metrics say; `None` where there is none.
pub fn is_up(admin: &Admin) -> Option<bool> {
    let metrics = admin.get("/metrics").body;
    let number = metrics.lines().find_map(|line| line.strip_prefix("openemr_gateway_store_up "))?;
    Some(number.parse::<f64>().unwrap() == 1.0)
}

fn problems(admin: &Admin) -> Vec<Value> {
    admin.get("/status").json()["problems"].as_array().unwrap().clone()
}

#[test]
fn a_store_that_is_away_is_shown_and_costs_no_request() {
    let (openemr, mut redis) = (OpenEmr::start(), Redis::start());
    let admin = Admin::start(with_store(config(&openemr), &redis));
    eventually("the store is up", || is_up(&admin)?.then_some(()));
    assert_eq!(admin.get("/health").json()["store"], json!({"ok": true}));
    eventually("there is a token, and nothing is wrong", || problems(&admin).is_empty().then_some(()));
    redis.kill();
    eventually("the store is away", || (!is_up(&admin)?).then_some(()));
    let health = admin.get("/health").json();
    assert_eq!((&health["store"]["ok"], &health["status"]), (&json!(false), &json!("degraded")));
    assert!(health["store"]["cause"].as_str().unwrap().starts_with("cannot be reached"), "{health}");
    assert!(problems(&admin).iter().any(|problem| problem["text"].as_str().unwrap().contains(&redis.url())));
    assert_eq!(admin.gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(admin.gateway.caller().get("/health").json()["status"], "degraded");
    assert_eq!(admin.gateway.caller().get("/ready").status, 200);
    redis.restart();
    eventually("the store is up again", || is_up(&admin)?.then_some(()));
    admin.gateway.logs(&["INFO", "the store at", "answers again"]);
    let (log, address) = (admin.gateway.log(), format!("the store at {} cannot be reached", redis.url()));
    assert_eq!(log.lines().filter(|line| line.contains(&address)).count(), 1, "{log}");
}

#[test]
fn a_gateway_starts_without_its_store_and_takes_another_one_in_a_reload() {
    let (openemr, redis) = (OpenEmr::start(), Redis::start());
    // It accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = with_store(config(&openemr), &redis);
    config["store"] = json!({"url": format!("redis://{}", silent.local_addr().unwrap()), "timeout": "50ms"});
    let admin = Admin::start(config);
    assert_eq!(admin.gateway.caller().get(PATIENTS).status, 200);
    eventually("the store is away", || (!is_up(&admin)?).then_some(()));
    let mut changed = admin.gateway.config.clone();
    changed["store"]["url"] = json!(redis.url());
    admin.gateway.reload(&changed);
    eventually("the store is up", || is_up(&admin)?.then_some(()));
    changed.as_object_mut().unwrap().remove("store");
    admin.gateway.reload(&changed);
    assert_eq!(is_up(&admin), None);
}

#[test]
fn a_store_that_wants_a_password_says_so_without_it() {
    let (openemr, redis) = (OpenEmr::start(), Redis::with(&["--requirepass", "s3cret"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "guess\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let mut config = with_store(config(&openemr), &redis);
    config["store"]["password_file"] = json!(file);
    let admin = Admin::start(config);
    let cause = eventually("the store refuses", || admin.get("/health").json()["store"]["cause"].as_str().map(str::to_owned));
    assert!(cause.contains("does not accept the user or the password"), "{cause}");
    fs::write(&file, "s3cret\n").unwrap();
    eventually("the store is up", || is_up(&admin)?.then_some(()));
    let said = [admin.gateway.log(), admin.get("/config").body, admin.get("/status").body];
    assert!(said.iter().all(|said| !said.contains("s3cret") && !said.contains("guess")), "{said:?}");
}

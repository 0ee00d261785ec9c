//! What the gateway answers itself: health, JWK Set, token.

use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, config, free_address, site};
use crate::support::http::{End, request};
use crate::support::openemr::OpenEmr;
use crate::support::{eventually, keys};
use serde_json::{Value, json};

#[test]
fn health_tells_each_site_and_its_token() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic-b"]);
    let mut config = config(&openemr);
    config["sites"]["clinic-b"] = site(&openemr.base, "RS384");
    let gateway = Gateway::with(config);
    let answer = gateway.caller().get("/health");
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let health = answer.json();
    assert_eq!((&health["status"], &health["version"]), (&json!("ok"), &json!(env!("CARGO_PKG_VERSION"))));
    let sites = health["sites"].as_array().unwrap();
    assert_eq!(sites.len(), 2);
    for (site, name) in sites.iter().zip(["default", "clinic-b"]) {
        assert_eq!(site["name"], name);
        assert_eq!(site["fhir_base"], format!("{}/apis/{name}/fhir", openemr.base));
        assert_eq!(site["token"], "valid");
        assert!((240..=300).contains(&site["expires_in"].as_u64().unwrap()), "{site}");
    }
    assert!(!answer.text().contains("eyJ"));
}

#[test]
fn health_never_waits() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"delay_ms": 600_000}}));
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"token": "600s"});
    let gateway = Gateway::with(config);
    // A request that waits for a token waits for five seconds.
    let asked = Instant::now();
    for _ in 0..20 {
        let health = gateway.caller().get("/health").json();
        assert!(asked.elapsed() < Duration::from_secs(20 * 5), "{:?}", asked.elapsed());
        assert_eq!((&health["status"], &health["sites"][0]["token"]), (&json!("down"), &json!("refreshing")));
        assert_eq!(health["sites"][0]["expires_in"], 0);
    }
}

#[test]
fn health_tells_a_missing_token_and_one_that_is_being_renewed() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic-b"]);
    let mut config = config(&openemr);
    config["sites"]["clinic-b"] = site(&openemr.base, "RS384");
    config["sites"]["clinic-b"]["client_id"] = json!("nobody");
    let gateway = Gateway::with(config);
    let site_health = |index: usize| -> Value { gateway.caller().get("/health").json()["sites"][index].clone() };
    // Between two attempts; during one it is "refreshing".
    eventually("a missing token", || (site_health(1)["token"] == "missing").then_some(()));
    assert_eq!(gateway.caller().get("/health").json()["status"], "degraded");
    assert_eq!(site_health(0)["token"], "valid");

    openemr.order(&json!({"token": {"delay_ms": 5_000}}));
    std::thread::scope(|scope| {
        let forced = scope.spawn(|| gateway.token("?force=true"));
        let renewed = eventually("a renewal", || Some(site_health(0)).filter(|site| site["token"] == "refreshing"));
        assert!(renewed["expires_in"].as_u64().unwrap() > 200, "the token in hand still counts: {renewed}");
        assert_eq!(forced.join().unwrap().status, 200);
    });
    eventually("it is valid again", || (site_health(0)["token"] == "valid").then_some(()));
}

#[test]
fn the_jwk_set_is_public_and_cacheable() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("/.well-known/jwks.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.field("cache-control"), Some("public, max-age=300"));
    let served = answer.json();
    let on_disk: Value = serde_json::from_slice(&std::fs::read(keys("RS384").join("jwks.json")).unwrap()).unwrap();
    let (served, on_disk) = (&served["keys"][0], &on_disk["keys"][0]);
    for member in ["kty", "kid", "n", "e"] {
        assert!(served[member].is_string() && served[member] == on_disk[member], "{member}: {served}");
    }
    for member in served.as_object().unwrap().keys() {
        assert!(["kty", "kid", "n", "e", "alg", "use", "key_ops"].contains(&member.as_str()), "{member}: {served}");
    }
}

#[test]
fn openemr_can_fetch_the_jwk_set_from_the_gateway() {
    let address = free_address();
    let jwks_uri = format!("http://{address}/.well-known/jwks.json");
    let openemr = OpenEmr::with_jwks(&jwks_uri, &[]);
    let mut config = config(&openemr);
    config["listen"] = json!([{"address": address.to_string()}]);
    let gateway = Gateway::with(config);
    // It does so during the first exchange already.
    eventually("a token", || (gateway.caller().get("/fhir/Patient?_count=1").status == 200).then_some(()));
    assert!(!gateway.log().contains("no token (failure"), "{}", gateway.log());
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn head_works_wherever_get_does() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for target in ["/health", "/.well-known/jwks.json", "/nowhere"] {
        let get = gateway.caller().get(target);
        let mut connection = gateway.caller().connect();
        connection.write(&request("HEAD", target, &[], b""));
        let head = connection.read("HEAD");
        assert_eq!((head.status, head.field("content-type")), (get.status, get.field("content-type")), "{target}");
        assert!(head.field("content-length").unwrap().parse::<usize>().unwrap() > 0);
        // No body came: the connection goes on.
        connection.write(&request("GET", "/health", &[], b""));
        assert_eq!(connection.read("GET").json()["status"], "ok", "{target}");
    }
}

#[test]
fn a_wrong_method_is_405_and_says_which_are_right() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (method, target, allow) in [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("PUT", "/.well-known/jwks.json", "GET, HEAD"),
        ("GET", "/oauth/token", "POST"),
        ("HEAD", "/oauth/token", "POST"),
        ("OPTIONS", "/oauth/token", "POST"),
    ] {
        let answer = gateway.caller().send(method, target, &[], b"");
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allow)), "{method} {target}");
    }
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn anything_else_is_404() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for target in [
        "/",
        "/fhirx",
        "/FHIR/Patient",
        "/health/",
        "/health/x",
        "/oauth",
        "/oauth/token/",
        "/.well-known/",
        "/apis/default/fhir/Patient",
        "/%66hir/Patient",
    ] {
        let answer = gateway.caller().get(target);
        assert_eq!((answer.status, answer.json()["error"].clone()), (404, json!("not_found")), "{target}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
    assert_eq!(openemr.count("fhir_requests"), 0);
}

#[test]
fn the_token_route_reads_its_query() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic-b"]);
    let mut config = config(&openemr);
    config["sites"]["clinic-b"] = site(&openemr.base, "RS384");
    let gateway = Gateway::with(config);
    let answer = gateway.token("");
    assert_eq!((answer.status, answer.field("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["access_token", "token_type", "expires_in", "scope"]);

    let access_token = |query: &str| gateway.token(query).json()["access_token"].as_str().unwrap().to_owned();
    let (first, second) = (access_token("?site=default"), access_token("?site=clinic-b"));
    assert_eq!(access_token("?force=false"), first);
    assert_eq!(openemr.count("token_requests"), 2);
    assert_ne!(access_token("?site=clinic-b&force=true"), second);
    assert_eq!(openemr.state()["last_token_request"]["target"], "/oauth2/clinic-b/token");
    assert_eq!(access_token(""), first);
    // A body is not looked at, whatever it says.
    assert_eq!(
        gateway.caller().post("/oauth/token", &[("Content-Type", "application/x-www-form-urlencoded")], b"force=true").status,
        200
    );
    assert_eq!(openemr.count("token_requests"), 3);

    for (query, status, error) in [("?site=clinic-c", 404, "unknown_site"), ("?force=maybe", 400, "bad_request")] {
        let answer = gateway.token(query);
        assert_eq!((answer.status, answer.json()["error"].clone()), (status, json!(error)), "{query}");
    }
}

#[test]
fn routes_can_be_moved_and_switched_off() {
    let openemr = OpenEmr::start();
    let mut moved = config(&openemr);
    moved["routes"] = json!({"health": "/internal/up", "jwks": "/keys", "token": "/token", "fhir": "/r4/api"});
    let gateway = Gateway::with(moved);
    assert_eq!(gateway.caller().get("/internal/up").json()["status"], "ok");
    assert_eq!(gateway.caller().get("/keys").status, 200);
    assert_eq!(gateway.caller().post("/token", &[], b"").status, 200);
    assert_eq!(gateway.caller().get("/r4/api/Patient?name=A").status, 200);
    assert_eq!(openemr.state()["last_fhir_request"]["target"], "/apis/default/fhir/Patient?name=A");
    gateway.caller().get("/r4/api/../x").outcome(400);
    for target in ["/health", "/.well-known/jwks.json", "/oauth/token", "/fhir/Patient"] {
        assert_eq!(gateway.caller().get(target).status, 404, "{target}");
    }

    let mut off = config(&openemr);
    off["routes"] = json!({"health": null, "jwks": null, "token": null});
    let gateway = Gateway::with(off);
    for target in ["/health", "/.well-known/jwks.json", "/oauth/token"] {
        assert_eq!(gateway.caller().get(target).status, 404, "{target}");
    }
    assert_eq!(gateway.token("?force=true").status, 404);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
}

use serde_json::json;

use super::{Admin, new_key};
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;

#[test]
fn a_web_page_of_another_origin_cannot_use_it() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    for (method, lines, status) in [
        ("GET", &[][..], 200),
        ("GET", &["Origin: http://evil.example"], 403),
        ("GET", &["Sec-Fetch-Site: cross-site"], 403),
        ("GET", &["Host: evil.example"], 421),
        ("POST", &[], 403),
        ("POST", &["X-Admin: 1", "Origin: http://evil.example"], 403),
        ("POST", &["X-Admin: 1", "Host: evil.example"], 421),
    ] {
        let path = if method == "GET" { "/health" } else { "/refresh" };
        let answer = admin.send(method, path, lines, "");
        assert_eq!(answer.status, status, "{method} {lines:?}: {}", answer.body);
        assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
    }
    assert_eq!(admin.get("/nothing").status, 404);
    let answer = admin.order("POST", "/metrics", "");
    assert_eq!((answer.status, answer.head.contains("allow: get, head")), (405, true), "{}", answer.head);
    // Nothing of it is where clients call.
    assert_eq!(admin.gateway.caller().get("/metrics").status, 404);
}

#[test]
fn with_keys_one_is_needed() {
    let openemr = OpenEmr::start();
    let (key, digest) = new_key();
    let mut config = config(&openemr);
    config["admin"] = json!({"api_keys": [digest]});
    let admin = Admin::start(config);
    assert_eq!(admin.get("/metrics").status, 401);
    assert_eq!(admin.send("GET", "/metrics", &["Authorization: Bearer oegw_no"], "").status, 401);
    let bearer = format!("Authorization: Bearer {key}");
    assert_eq!(admin.send("GET", "/metrics", &[&bearer, "Host: gateway.example.org"], "").status, 200);
    assert_eq!(admin.send("POST", "/refresh", &[&bearer], "").status, 200);
    assert!(!admin.gateway.log().contains("oegw_"));
}

//! A search for many ids comes by POST, and its links by GET: they can be followed, although Apache takes no request line as
//! long as that.

use std::sync::atomic::Ordering;

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::http2_front::Front;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// The ids of the matches, and the link to the next page.
fn page(answer: &Answer) -> (Vec<String>, Option<String>) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let bundle = answer.json();
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let ids = entries.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect();
    let links = bundle["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").map(|link| link["url"].as_str().unwrap());
    (ids, next.map(|url| format!("/fhir/{}", url.split_once("/fhir/").unwrap().1)))
}

fn scopes(config: &mut Value) {
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Condition.read"]);
}

/// Each of a thousand ids, in OpenEMR's order.
fn all_ids(gateway: &Gateway) -> Vec<String> {
    page(&gateway.caller().get("/fhir/Patient?_elements=id")).0
}

#[test]
fn the_links_of_a_search_for_1000_ids_can_be_followed() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", "1000"]);
        let mut config = config(&openemr);
        config["listen"] = json!([{"h2c": true}]);
        scopes(&mut config);
        let gateway = Gateway::with(config);
        let ids = all_ids(&gateway);
        assert_eq!(ids.len(), 1000);
        let form = format!("_count=300&_elements=id&_id={}", ids.join(","));
        for over_http2 in [false, true] {
            let get = |target: &str| match over_http2 {
                true => Http2::plain(gateway.address).get(target),
                false => gateway.caller().get(target),
            };
            let mut met = Vec::new();
            let first = gateway.caller().post("/fhir/Patient/_search", &[FORM], form.as_bytes());
            let (mut found, mut next) = page(&first);
            loop {
                met.append(&mut found);
                let Some(link) = next else { break };
                assert!(link.len() > 37_000, "{}", link.len());
                let answer = get(&link);
                (found, next) = page(&answer);
                let asked = openemr.state()["last_fhir_request"].clone();
                assert_eq!((&asked["method"], &asked["target"]), (&json!("POST"), &json!("/apis/default/fhir/Patient/_search")));
                let bundle = answer.json();
                let full_url = bundle["entry"][0]["fullUrl"].as_str().unwrap();
                assert!(!full_url.contains("_search"), "{full_url}");
                assert!(bundle["link"][0]["url"].as_str().unwrap().contains("/fhir/Patient?_id="));
            }
            assert_eq!(met, ids, "{version} {over_http2}");
        }
        // HEAD is a GET without its body.
        let head = gateway.caller().send("HEAD", &format!("/fhir/Patient?_id={}", ids.join(",")), &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        // No value is logged.
        assert!(ids.iter().all(|id| !gateway.log().contains(id.as_str())));
    }
}

#[test]
fn a_short_search_stays_a_get_and_a_long_one_is_sent_again_like_one() {
    let openemr = OpenEmr::with(&["--patients", "300"]);
    let mut config = config(&openemr);
    scopes(&mut config);
    let gateway = Gateway::with(config);
    let ids = all_ids(&gateway);
    let search = |count: usize| format!("/fhir/Patient?_id={}", ids[..count].join(","));
    for (count, method) in [(100, "GET"), (200, "POST"), (300, "POST")] {
        assert_eq!(page(&gateway.caller().get(&search(count))).0, ids[..count]);
        assert_eq!(openemr.state()["last_fhir_request"]["method"], method, "{count}");
    }
    openemr.order(&json!({"fhir": {"refuse": "not_verified", "times": 1}}));
    assert_eq!(page(&gateway.caller().get(&search(300))).0, ids);
    let (answer, asked) = gateway.meet_a_dead_connection(&openemr, || gateway.caller().get(&search(300)));
    assert_eq!((page(&answer).0, asked), (ids.clone(), 1));
    // One connection for both kinds.
    let mut connection = gateway.caller().connect();
    for count in [300, 1, 300] {
        connection.write(&crate::support::http::request("GET", &search(count), &[], b""));
        assert_eq!(page(&connection.read("GET")).0, ids[..count]);
    }
}

#[test]
fn a_web_server_that_speaks_http_2_gets_a_long_search_too() {
    let openemr = OpenEmr::with(&["--patients", "300"]);
    let front = Front::of(openemr.address);
    let mut config = config(&openemr);
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(format!("{}/apis/default/fhir", front.base()));
    site["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    site["ca_file"] = json!(front.certificate.certificate);
    scopes(&mut config);
    let gateway = Gateway::with(config);
    let ids = all_ids(&gateway);
    assert!(front.seen.streams.load(Ordering::SeqCst) > 0);
    assert_eq!(page(&gateway.caller().get(&format!("/fhir/Patient?_id={}", ids.join(",")))).0, ids);
}

#[test]
fn a_search_whose_links_the_gateway_would_not_take_comes_in_no_pages() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["limits"] = json!({"request_target": "2KiB"});
    scopes(&mut config);
    let gateway = Gateway::with(config);
    let post = |form: &str| gateway.caller().post("/fhir/Patient/_search", &[FORM], form.as_bytes());
    let long = format!("name={}", "A".repeat(2030));
    let told = post(&format!("{long}&_count=5")).outcome(413);
    assert!(told.contains("_count"), "{told}");
    assert_eq!(post(&long).status, 200);
    assert_eq!(post(&format!("{}&_count=5", &long[..1900])).status, 200);
}

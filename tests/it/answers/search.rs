//! A search is sent to OpenEMR with parameters that it knows and no others, because an unknown one empties the result.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const STRICT: (&str, &str) = ("Prefer", "respond-async, handling=strict");
const LENIENT: (&str, &str) = ("Prefer", "handling=lenient");

/// A gateway with read scopes for these types.
fn gateway_for(openemr: &OpenEmr, types: &[&str]) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = types.iter().map(|name| json!(format!("system/{name}.read"))).collect();
    Gateway::with(config)
}

fn last(openemr: &OpenEmr) -> Value {
    openemr.state()["last_fhir_request"].clone()
}

/// What OpenEMR was asked: the target behind its FHIR base.
fn received(openemr: &OpenEmr) -> String {
    last(openemr)["target"].as_str().unwrap().strip_prefix("/apis/default/fhir").unwrap().to_owned()
}

/// Whether that was the body that OpenEMR received.
fn has_received_form(openemr: &OpenEmr, form: &str) -> bool {
    let sha256: String = digest(&SHA256, form.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let last = last(openemr);
    last["body_length"] == form.len() && last["body_sha256"] == sha256
}

fn post(gateway: &Gateway, target: &str, form: &str) -> Answer {
    gateway.caller().post(target, &[FORM], form.as_bytes())
}

#[test]
fn openemr_is_asked_what_it_knows_and_nothing_else() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient", "Observation", "Condition"]);
    for (asked, expected) in [
        ("/Patient", "/Patient"),
        ("/Patient?", "/Patient"),
        ("/Patient?name=M%c3%bcller&given=a+b%20c&&=&x", "/Patient?name=M%c3%bcller&given=a+b%20c"),
        ("/Patient?birthdate=ge1900&gender:not=male", "/Patient?birthdate=ge1900&gender:not=male"),
        ("/Patient?_format=json&_pretty=true&_total=none&_summary=text&_elements=id&name=A", "/Patient?name=A"),
        ("/Patient?_sort=-birthdate", "/Patient?_sort=-birthdate"),
        ("/Patient?_count=5", "/Patient?_count=6"),
        ("/Patient?_count=5&_offset=10&name=A", "/Patient?name=A&_count=6&_offset=10"),
        ("/Patient?_count=200&_offset=200", "/Patient?_count=200&_offset=200"),
        ("/Patient?_count=201", "/Patient"),
        ("/Patient?_count=5&_revinclude=Provenance:target", "/Patient?_revinclude=Provenance:target"),
        ("/Patient?_count=5&_total=accurate", "/Patient"),
        ("/Patient?_summary=count", "/Patient"),
        ("/Condition?subject=Patient/1&category=problem-list-item", "/Condition?patient=Patient/1"),
        ("/Condition?_count=50&_offset=100", "/Condition?_count=151"),
        ("/Condition?_count=50&_offset=150", "/Condition"),
        ("/Condition?_=1&utm_source=x", "/Condition"),
        (
            // An id that is no UUID makes OpenEMR fail.
            "/Observation?code=http://loinc.org|8480-6&_id=Observation/f9af7275-0000-4000-8000-000000000001,f9af7275-0000-4000-8000-000000000002",
            "/Observation?code=http://loinc.org|8480-6&_id=f9af7275-0000-4000-8000-000000000001,f9af7275-0000-4000-8000-000000000002",
        ),
    ] {
        let answer = gateway.caller().get(&format!("/fhir{asked}"));
        // What `_id` names is no UUID here.
        assert!(matches!(answer.status, 200 | 400), "{asked}: {}", answer.text());
        assert_eq!(received(&openemr), expected, "{asked}");
    }
    // A reference that a caller has read in an answer, and one by OpenEMR's own address.
    for base in ["http://gateway.example/fhir", &format!("{}/apis/default/fhir", openemr.base)] {
        gateway.caller().get(&format!("/fhir/Condition?subject={base}/Patient/1&_format=json"));
        let target = received(&openemr);
        assert!(["/Condition?patient=Patient/1", "/Condition?patient=Patient%2F1"].contains(&target.as_str()), "{target}");
        post(&gateway, "/fhir/Condition/_search", &format!("subject={base}/Patient/1&_=1"));
        assert!(["patient=Patient/1", "patient=Patient%2F1"].iter().any(|form| has_received_form(&openemr, form)));
    }
}

#[test]
fn openemr_7_0_3_is_asked_for_no_page_and_no_order() {
    let openemr = OpenEmr::with(&["--openemr", "7.0.3"]);
    let gateway = gateway_for(&openemr, &["Patient", "Condition"]);
    for (asked, expected) in [
        ("/Patient?_count=5&_offset=5&name:exact=A", "/Patient?name:exact=A"),
        ("/Condition?_count=5&subject=Patient/1", "/Condition?patient=Patient/1"),
        ("/Condition?_revinclude=Provenance:target&_count=1", "/Condition?_revinclude=Provenance:target"),
    ] {
        assert_eq!(gateway.caller().get(&format!("/fhir{asked}")).status, 200);
        assert_eq!(received(&openemr), expected, "{asked}");
    }
}

#[test]
fn no_type_is_asked_what_empties_its_answer() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway_for(&openemr, &["Patient", "Observation", "Condition", "Encounter", "Organization", "Location"]);
        for (resource_type, number) in
            [("Patient", 20), ("Observation", 108), ("Condition", 10), ("Encounter", 40), ("Organization", 3), ("Location", 3)]
        {
            let noise = "_count=1000&_offset=0&_sort=x&_format=json&x=1&_summary=false&_include=*&_lastUpdated=ge1970-01-01";
            let answer = gateway.caller().send("GET", &format!("/fhir/{resource_type}?{noise}"), &[LENIENT], b"");
            let entries = answer.json()["entry"].as_array().unwrap().clone();
            let matches = entries.iter().filter(|entry| entry["resource"]["resourceType"] == resource_type).count();
            assert_eq!(matches, number, "{version} {resource_type}: {}", received(&openemr));
        }
    }
}

#[test]
fn what_is_left_out_is_said_along_with_what_was_found() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway_for(&openemr, &["Patient", "Condition"]);
        let found = |query: &str| gateway.caller().send("GET", &format!("/fhir/Condition?{query}"), &[LENIENT], b"").json();
        let bundle = found("clinical_status=active&_lastUpdated=gt2000&shoe-size=CANARY&_include=CANARY");
        let entries = bundle["entry"].as_array().unwrap();
        assert_eq!((entries.len(), bundle["total"].as_u64()), (11, Some(10)), "an outcome is no match");
        let modes = |mode: &str| entries.iter().filter(|entry| entry["search"]["mode"] == mode).collect::<Vec<_>>();
        let [outcome] = modes("outcome")[..] else { panic!("{bundle}") };
        let issues = outcome["resource"]["issue"].as_array().unwrap();
        let of_issues = |member: &str| issues.iter().map(|issue| issue[member].clone()).collect::<Vec<_>>();
        assert_eq!(of_issues("severity"), ["warning"; 3]);
        assert_eq!(of_issues("location"), [["http.clinical_status"], ["http.shoe-size"], ["http._include"]].map(|at| json!(at)));
        assert!(issues.iter().all(|issue| issue["diagnostics"].as_str().unwrap().starts_with("The parameter ")));
        assert!(!bundle.to_string().contains("CANARY"));
        let own = bundle["link"][0]["url"].as_str().unwrap();
        assert!(own.ends_with("/fhir/Condition?_lastUpdated=gt2000"), "{own}");
        // Nothing is said where nothing was left out, and something where nothing was found.
        assert!(!found("_lastUpdated=gt2000").to_string().contains("OperationOutcome"));
        let none = found("_lastUpdated=gt2100&x=1");
        assert_eq!((none["total"].as_u64(), none["entry"][0]["search"]["mode"].as_str()), (Some(0), Some("outcome")));
    }
}

#[test]
fn strict_handling_names_parameters_and_asks_nobody() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient"]);
    let strictly = |target: &str| gateway.caller().send("GET", &format!("/fhir/Patient?{target}"), &[STRICT], b"");
    assert_eq!(strictly("name=A&_count=5&_summary=true").status, 200);
    let before = openemr.count("fhir_requests");
    for (query, names) in [
        ("name:missing=CANARY-VALUE&gender=male", &["name:missing"][..]),
        ("active=CANARY-VALUE&foo=CANARY-VALUE", &["active", "foo"]),
        ("_count=CANARY-VALUE", &["_count"]),
        ("_sort=CANARY-VALUE", &["_sort"]),
        ("_include=CANARY-VALUE", &["_include"]),
        ("_=CANARY-VALUE", &["_"]),
    ] {
        let told = strictly(query).outcome(400);
        assert!(names.iter().all(|name| told.contains(&format!("The parameter {name} "))), "{query}: {told}");
        assert!(!told.contains("CANARY") && !told.contains("handling"), "{query}: {told}");
    }
    let form = gateway.caller().post("/fhir/Patient/_search", &[FORM, STRICT], b"name=A&foo=CANARY-VALUE");
    assert!(form.outcome(400).starts_with("The parameter foo "));
    let many = strictly(&"name=A&".repeat(300)).outcome(400);
    assert!(many.contains("200 parameters"), "{many}");
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn a_search_by_post_keeps_its_parameters_in_the_form() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient", "Condition"]);
    for (target, form, expected) in [
        ("/fhir/Patient/_search", "name=A&_=1&_format=json", "name=A"),
        ("/fhir/Patient/_search?gender=male&_=1", "name=J%c3%bc+A&_count=3", "gender=male&name=J%c3%bc+A&_count=4"),
        ("/fhir/Condition/_search", "subject=Patient/1", "patient=Patient/1"),
        ("/fhir/Patient/_search", "_pretty=true", ""),
    ] {
        assert_eq!(post(&gateway, target, form).status, 200);
        assert_eq!(last(&openemr)["method"], "POST");
        assert_eq!(received(&openemr), target["/fhir".len()..].split('?').next().unwrap());
        assert!(has_received_form(&openemr, expected), "{form}: {}", last(&openemr));
        assert_eq!(openemr.received("content-length"), [expected.len().to_string()]);
        assert_eq!(openemr.received("content-type"), ["application/x-www-form-urlencoded"]);
    }
    // Without a form there is a query.
    assert_eq!(post(&gateway, "/fhir/Patient/_search?name=A&_=1", "").status, 200);
    assert_eq!(received(&openemr), "/Patient/_search?name=A");
}

#[test]
fn a_form_is_read_however_it_comes() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient"]);
    // PHP would not read it without its media type, and answer with everybody.
    assert_eq!(gateway.caller().post("/fhir/Patient/_search", &[], b"name=A").status, 200);
    assert!(has_received_form(&openemr, "name=A"));
    assert_eq!(openemr.received("content-type"), ["application/x-www-form-urlencoded"]);

    let head = |field: &str| {
        format!(
            "POST /fhir/Patient/_search HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n{field}\r\n\r\n"
        )
    };
    let mut chunked = gateway.caller().connect();
    chunked.write(head("Transfer-Encoding: chunked").as_bytes());
    chunked.write(b"4\r\nname\r\n3\r\n=A&\r\n3\r\n_=1\r\n0\r\n\r\n");
    assert_eq!(chunked.read("POST").status, 200);
    assert!(has_received_form(&openemr, "name=A"));
    assert!(openemr.received("transfer-encoding").is_empty());
    // An empty one is none.
    chunked.write(head("Transfer-Encoding: chunked").as_bytes());
    chunked.write(b"0\r\n\r\n");
    assert_eq!(chunked.read("POST").status, 200);

    let mut waiting = gateway.caller().connect();
    waiting.write(head("Expect: 100-continue\r\nContent-Length: 10").as_bytes());
    assert_eq!(waiting.read_head().status, 100);
    waiting.write(b"name=A&_=1");
    assert_eq!(waiting.read("POST").status, 200);
    assert!(has_received_form(&openemr, "name=A"));
    assert!(openemr.received("expect").is_empty());
}

#[test]
fn a_form_may_come_over_http_2_and_may_not_come_for_ever() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["limits"] = json!({"read_timeout": "2s"});
    let gateway = Gateway::with(config);
    let http2 = Http2::plain(gateway.address);
    let answer = http2.send("POST", "/fhir/Patient/_search", &[FORM], b"name=A&_=1");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(has_received_form(&openemr, "name=A"));
    assert_eq!(http2.send("POST", "/fhir/Patient/_search?name=A&_=1", &[FORM], b"").status, 200);
    assert_eq!(received(&openemr), "/Patient/_search?name=A");

    let mut slow = gateway.caller().connect();
    slow.write(b"POST /fhir/Patient/_search HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n");
    // Each byte comes in time; all of them would not.
    let mut sent = 0;
    while !slow.is_answered() {
        slow.write(b"a");
        sent += 1;
        assert!(sent < 900, "it waits for each byte anew");
        std::thread::sleep(Duration::from_millis(100));
    }
    slow.read("POST").outcome(408);
}

#[test]
fn what_is_no_form_is_refused_unread() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient"]);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    let before = openemr.count("fhir_requests");
    for fields in [&[("Content-Type", "application/json")][..], &[FORM, ("Content-Encoding", "gzip")]] {
        gateway.caller().post("/fhir/Patient/_search", fields, b"{}").outcome(415);
    }
    let large = format!("name={}", "A".repeat(64 * 1024));
    post(&gateway, "/fhir/Patient/_search", &large).outcome(413);
    let mut chunked = gateway.caller().connect();
    chunked.write(b"POST /fhir/Patient/_search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    chunked.write(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes());
    chunked.read("POST").outcome(413);
    assert_eq!(openemr.count("fhir_requests"), before);
    assert_eq!(post(&gateway, "/fhir/Patient/_search", &large[..60_000]).status, 200);
}

#[test]
fn a_form_is_sent_again_with_a_new_token() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient"]);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    openemr.reset();
    openemr.order(&json!({"fhir": {"refuse": "not_verified", "times": 1}}));
    assert_eq!(post(&gateway, "/fhir/Patient/_search", "name=A&_=1").status, 200);
    assert_eq!(openemr.count("fhir_requests"), 2);
    assert!(has_received_form(&openemr, "name=A"));
}

#[test]
fn a_server_that_says_nothing_of_itself_is_asked_what_every_version_knows() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Condition"]);
    openemr.order(&json!({"fhir": {"error": "system", "target": "/metadata"}}));
    for _ in 0..3 {
        assert_eq!(gateway.caller().get("/fhir/Condition?_pretty=true&subject=Patient/1&_count=5").status, 200);
        // The whole set is what every version can give.
        assert_eq!(received(&openemr), "/Condition?patient=Patient/1");
        let before = openemr.count("fhir_requests");
        let unjudged = gateway.caller().get("/fhir/Condition?category=problem-list-item");
        assert!(unjudged.outcome(503).starts_with("The parameter category may be one"), "{}", unjudged.text());
        assert_eq!(unjudged.field("retry-after"), Some("5"));
        gateway.caller().get("/fhir/Condition?code:missing=true").outcome(400);
        gateway.caller().get("/fhir/Condition?CANARY=CANARY").outcome(503);
        assert_eq!(
            openemr.state()["last_fhir_request"]["target"].as_str().map(|target| target.contains("category")),
            Some(false)
        );
        assert!(openemr.count("fhir_requests") <= before + 1, "at most the CapabilityStatement was asked for");
    }
    gateway.logs(&["WARN", "CapabilityStatement"]);
    let told = gateway.log().matches("its CapabilityStatement cannot be had").count();
    assert!(told == 1 && !gateway.log().contains("CANARY"), "{}", gateway.log());
}

/// So long the gateway itself waits for a CapabilityStatement; a request waits for less.
const FETCH: Duration = Duration::from_secs(30);

#[test]
fn an_openemr_that_is_slow_to_say_what_it_can_do_holds_nobody_up_for_long() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Condition"]);
    openemr.order(&json!({"fhir": {"delay_ms": 60_000, "target": "/metadata"}}));
    let began = Instant::now();
    assert_eq!(gateway.caller().get("/fhir/Condition?_count=5&_offset=2").status, 200);
    assert_eq!(received(&openemr), "/Condition");
    assert!(began.elapsed() < FETCH, "{:?}", began.elapsed());
}

#[test]
fn each_switch_leaves_alone_what_it_does_not_name() {
    let openemr = OpenEmr::start();
    let asked = "/Patient?name:exact=A&&_count=5&_format=json&_sort=family";
    for (site, expected) in [
        (json!({"repairs": {"search": false, "bundles": false}, "paging": "off"}), asked),
        (json!({"repairs": {"search": false}, "paging": "slice"}), "/Patient?name:exact=A&_format=json&_sort=family"),
        (json!({"paging": "off"}), "/Patient?name:exact=A&_sort=family&_count=5"),
        (json!({"paging": "native"}), "/Patient?name:exact=A&_sort=family&_count=5"),
    ] {
        let mut config = config(&openemr);
        // Whether `_format` comes this far is another switch's business.
        config["sites"]["default"]["repairs"] = json!({"content": false});
        for (key, value) in site.as_object().unwrap() {
            let place = &mut config["sites"]["default"][key];
            match (place.as_object_mut(), value.as_object()) {
                (Some(place), Some(value)) => place.extend(value.clone()),
                _ => *place = value.clone(),
            }
        }
        let gateway = Gateway::with(config);
        assert_eq!(gateway.caller().get(&format!("/fhir{asked}")).status, 200);
        assert_eq!(received(&openemr), expected, "{site}");
    }
}

#[test]
fn no_parameter_is_logged() {
    let openemr = OpenEmr::start();
    let gateway = gateway_for(&openemr, &["Patient"]);
    let query = "/fhir/Patient?CANARY=1&name:CANARY=x&x=CANARY&_count=CANARY&_sort=CANARY&_id=CANARY";
    for fields in [&[][..], &[STRICT]] {
        gateway.caller().send("GET", query, fields, b"");
    }
    post(&gateway, "/fhir/Patient/_search?a=CANARY", "name=CANARY&x=CANARY");
    gateway.caller().post("/fhir/Patient/_search", &[("Content-Type", "text/CANARY")], b"CANARY");
    let mut leaves = gateway.caller().connect();
    leaves.write(&request("POST", "/fhir/Patient/_search", &[FORM, ("Content-Length", "90")], b"")[..]);
    drop(leaves);
    let last = gateway.caller().get("/fhir/Patient?name=CANARY");
    gateway.access_line(last.field("x-request-id").unwrap());
    eventually("five access lines", || (gateway.log().matches("access").count() >= 5).then_some(()));
    assert!(!gateway.log().contains("CANARY"), "{}", gateway.log());
}

//! Searches are answered with a `searchset` that a client can page through, whatever OpenEMR sent.

use std::collections::BTreeSet;

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::openemr::{OpenEmr, mended, without_times};
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["8.0", "7.0.3"];

/// Before anything is made of it.
fn untouched(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["conformance"] = json!("pass_through");
    config["sites"]["default"]["paging"] = json!("off");
    Gateway::with(config)
}

fn started(version: &str) -> (OpenEmr, Gateway) {
    let openemr = OpenEmr::with(&["--openemr", version, "--patients", "30"]);
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] =
        json!(["system/Patient.read", "system/Observation.read", "system/Provenance.read", "system/Binary.read"]);
    let gateway = Gateway::with(config);
    (openemr, gateway)
}

/// Checks a searchset by FHIR's own rules, and gives it.
fn searchset(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    let bundle = answer.json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("searchset")), "{bundle}");
    let updated = bundle["meta"]["lastUpdated"].as_str().unwrap();
    let updated: jiff::Timestamp = updated.parse().unwrap_or_else(|error| panic!("{updated}: {error}"));
    let away = updated.as_second() - jiff::Timestamp::now().as_second();
    assert!(away.abs() < 300, "{updated} is {away} s away from now");
    assert!(link(&bundle, "self").is_some(), "{bundle}");
    let entries = bundle["entry"].as_array();
    assert!(entries.is_none_or(|entries| !entries.is_empty()), "an empty array is no FHIR: {bundle}");
    let mut urls = BTreeSet::new();
    for entry in entries.into_iter().flatten() {
        let mode = entry["search"]["mode"].as_str().unwrap();
        let resource = &entry["resource"];
        let (resource_type, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str());
        assert_eq!(mode == "outcome", resource_type == "OperationOutcome", "{entry}");
        if mode != "outcome" {
            let url = entry["fullUrl"].as_str().unwrap();
            assert!(url.ends_with(&format!("/fhir/{resource_type}/{}", id.unwrap())), "{url} of {resource}");
            assert!(urls.insert(url.to_owned()), "{url} twice");
        }
    }
    bundle
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let mut urls = links.iter().filter(|link| link["relation"] == relation).map(|link| link["url"].as_str().unwrap().to_owned());
    let url = urls.next();
    assert_eq!(urls.next(), None, "{relation} twice: {bundle}");
    url
}

/// The request target that a link of the gateway's leads to.
fn target(link: &str) -> String {
    let (_, path) = link.split_once("/fhir/").unwrap_or_else(|| panic!("{link} leads nowhere"));
    format!("/fhir/{path}")
}

/// The ids of the entries of one mode, in order.
fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let of_mode = entries.filter(|entry| entry["search"]["mode"] == mode);
    of_mode.map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The entries without the time of each resource, for which OpenEMR takes that of the request.
fn timeless(bundle: &Value) -> Vec<Value> {
    let mut entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    for entry in &mut entries {
        entry["resource"]["meta"]["lastUpdated"].take();
    }
    entries
}

/// Every page from there on.
fn pages(gateway: &Gateway, first: &str) -> Vec<Value> {
    let mut pages = vec![searchset(&gateway.caller().get(first))];
    while let Some(next) = link(pages.last().unwrap(), "next") {
        pages.push(searchset(&gateway.caller().get(&target(&next))));
        assert!(pages.len() < 1000, "no end of pages");
    }
    pages
}

#[test]
fn a_search_brings_a_searchset_with_what_openemr_has() {
    for version in VERSIONS {
        let (openemr, gateway) = started(version);
        let original = untouched(&openemr).caller().get("/fhir/Patient").json();
        assert_eq!(original["type"], "collection");
        let bundle = searchset(&gateway.caller().get("/fhir/Patient"));
        assert_eq!((&bundle["total"], ids(&bundle, "match").len()), (&json!(30), 30), "{version}");
        assert_eq!(target(&link(&bundle, "self").unwrap()), "/fhir/Patient");
        let resources = |bundle: &Value| -> Vec<Value> {
            bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect()
        };
        assert_eq!(resources(&bundle), resources(&mended(&original)), "{version}");
        let nobody = searchset(&gateway.caller().get("/fhir/Patient?family=nobody"));
        assert_eq!((&nobody["total"], nobody.get("entry")), (&json!(0), None));
        assert_eq!(target(&link(&nobody, "self").unwrap()), "/fhir/Patient?family=nobody");
    }
}

#[test]
fn a_search_by_post_is_the_same_search() {
    for version in VERSIONS {
        let (_openemr, gateway) = started(version);
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let posted = searchset(&gateway.caller().post("/fhir/Patient/_search", &form, b"gender=female"));
        let got = searchset(&gateway.caller().get("/fhir/Patient?gender=female"));
        assert!(!ids(&got, "match").is_empty());
        for member in ["entry", "total", "link"] {
            assert_eq!(posted[member], got[member], "{version} {member}");
        }
    }
}

#[test]
fn pages_hold_every_match_once_with_what_is_included() {
    for version in VERSIONS {
        let (_openemr, gateway) = started(version);
        for search in ["Patient", "Patient?_revinclude=Provenance:target", "Observation?code=8867-4", "Patient?gender=male"] {
            let everything = searchset(&gateway.caller().get(&format!("/fhir/{search}")));
            let all: Vec<_> = ["match", "include"].map(|mode| ids(&everything, mode)).to_vec();
            assert!(all[0].len() > 5, "{version} {search}");
            assert_eq!(!all[1].is_empty(), search.contains("_revinclude"), "{version} {search}");
            for count in [1, 4, 7, all[0].len(), 300] {
                let mark = if search.contains('?') { '&' } else { '?' };
                let first = format!("/fhir/{search}{mark}_count={count}");
                let pages = pages(&gateway, &first);
                assert_eq!(pages.len(), all[0].len().div_ceil(count), "{version} {first}");
                let seen: Vec<Vec<String>> =
                    ["match", "include"].map(|mode| pages.iter().flat_map(|page| ids(page, mode)).collect()).to_vec();
                assert_eq!(seen, all, "{version} {first}");
                for (number, page) in pages.iter().enumerate() {
                    assert!(ids(page, "match").len() <= count);
                    // What is included speaks of a match on its own page.
                    for entry in page["entry"].as_array().unwrap().iter().filter(|entry| entry["search"]["mode"] == "include") {
                        let about = entry["resource"]["target"][0]["reference"].as_str().unwrap();
                        assert!(ids(page, "match").contains(&about.replace("Patient/", "")), "{about}");
                    }
                    let total = page.get("total");
                    assert!(total.is_none_or(|total| *total == json!(all[0].len())), "{version} {first}: {total:?}");
                    let previous = link(page, "previous").map(|link| searchset(&gateway.caller().get(&target(&link))));
                    assert_eq!(
                        previous.map(|page| without_times(&page["entry"])),
                        number.checked_sub(1).map(|at| without_times(&pages[at]["entry"]))
                    );
                    let first = searchset(&gateway.caller().get(&target(&link(page, "first").unwrap())));
                    assert_eq!(timeless(&first), timeless(&pages[0]));
                }
            }
        }
    }
}

#[test]
fn the_total_alone_is_a_count_of_matches() {
    for version in VERSIONS {
        let (_openemr, gateway) = started(version);
        for query in ["_summary=count", "_count=0"] {
            let counted = searchset(&gateway.caller().get(&format!("/fhir/Patient?_revinclude=Provenance:target&{query}")));
            assert_eq!((&counted["total"], ids(&counted, "match").len()), (&json!(30), 0), "{version} {query}: {counted}");
        }
        let silent = searchset(&gateway.caller().get("/fhir/Patient?_total=none"));
        assert_eq!((silent.get("total"), ids(&silent, "match").len()), (None, 30));
    }
}

#[test]
fn what_was_not_used_is_said() {
    let (_openemr, gateway) = started("8.0");
    let lenient = [("Prefer", "handling=lenient")];
    let bundle = searchset(&gateway.caller().send("GET", "/fhir/Patient?birthdate=ge1900&nonsense=1&_count=2", &lenient, b""));
    assert_eq!((ids(&bundle, "match").len(), ids(&bundle, "outcome").len()), (2, 1), "{bundle}");
    assert!(!link(&bundle, "self").unwrap().contains("nonsense"), "{bundle}");
}

#[test]
fn however_the_body_is_cut_it_is_the_same_bundle() {
    for version in VERSIONS {
        let (openemr, gateway) = started(version);
        for target in
            ["/fhir/Patient?_revinclude=Provenance:target&_count=3&_offset=2", "/fhir/Patient", "/fhir/Patient?_summary=true"]
        {
            let expected = searchset(&gateway.caller().get(target));
            for (framing, piece) in
                [("chunked", 1), ("chunked", 7), ("content_length", 1000), ("http10", 333), ("chunked", 65_536)]
            {
                openemr.order(&json!({"fhir": {"framing": framing, "piece_bytes": piece}}));
                let mut told = searchset(&gateway.caller().get(target));
                told["meta"] = expected["meta"].clone();
                assert_eq!(told, expected, "{version} {target} {framing} {piece}");
            }
            openemr.order(&json!({"fhir": null}));
        }
    }
}

#[test]
fn a_body_that_was_cut_short_does_not_arrive_as_a_whole_bundle() {
    let (openemr, gateway) = started("8.0");
    for target in ["/fhir/Patient", "/fhir/Patient?_count=1", "/fhir/Patient?_summary=count"] {
        for framing in ["chunked", "content_length", "http10"] {
            openemr.order(&json!({"fhir": {"framing": framing, "truncate_after": 20_000}}));
            let answer = gateway.caller().get(target);
            let is_whole = answer.status == 200 && answer.end == End::Whole;
            assert!(!is_whole, "{target} {framing}: {}", answer.text());
            assert!(answer.status != 200 || serde_json::from_slice::<Value>(&answer.body).is_err(), "{target} {framing}");
        }
    }
    // PHP can die within a body whose end is marked all the same.
    let whole = untouched(&openemr).caller().get("/fhir/Patient").text();
    openemr.order(&json!({"fhir": {"answer": {"status": 200, "body": &whole[..whole.len() - 30]}}}));
    for target in ["/fhir/Patient", "/fhir/Patient?_count=1", "/fhir/Patient?_summary=count"] {
        let answer = gateway.caller().get(target);
        let is_whole =
            answer.status == 200 && (answer.end == End::Whole || serde_json::from_slice::<Value>(&answer.body).is_ok());
        assert!(!is_whole, "{target}: {}", answer.text());
    }
}

#[test]
fn parts_of_resources_are_marked_as_parts() {
    for version in VERSIONS {
        let (_openemr, gateway) = started(version);
        let members = |resource: &Value| -> BTreeSet<String> { resource.as_object().unwrap().keys().cloned().collect() };
        let is_marked = |resource: &Value| {
            resource["meta"]["tag"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag["code"] == "SUBSETTED"))
        };
        let whole = searchset(&gateway.caller().get("/fhir/Patient?_count=1"))["entry"][0]["resource"].clone();
        assert!(whole["text"].is_object() && whole["communication"].is_array() && !is_marked(&whole));
        let id = whole["id"].as_str().unwrap();
        for (query, expected) in [
            ("_elements=birthDate,gender", &["birthDate", "gender", "id", "meta", "resourceType"][..]),
            ("_summary=text", &["id", "meta", "resourceType", "text"]),
        ] {
            let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
            let found = searchset(&gateway.caller().get(&format!("/fhir/Patient?_count=2&{query}")));
            assert_eq!(found["entry"].as_array().unwrap().len(), 2);
            let read = gateway.caller().get(&format!("/fhir/Patient/{id}?{query}"));
            assert_eq!((read.status, read.end), (200, End::Whole));
            for resource in [&found["entry"][0]["resource"], &found["entry"][1]["resource"], &read.json()] {
                assert_eq!(members(resource), expected, "{version} {query}");
                assert!(is_marked(resource), "{version} {query}: {resource}");
            }
            assert_eq!(found["entry"][0]["resource"], read.json());
        }
        let summary = gateway.caller().get(&format!("/fhir/Patient/{id}?_summary=true")).json();
        assert!(summary["name"].is_array() && summary.get("text").is_none() && summary.get("communication").is_none());
        let data = gateway.caller().get(&format!("/fhir/Patient/{id}?_summary=data")).json();
        assert!(data.get("text").is_none() && data["communication"].is_array());
        let plain = gateway.caller().get(&format!("/fhir/Patient/{id}")).json();
        assert_eq!(plain, whole);
    }
}

#[test]
fn pretty_is_for_people() {
    let (_openemr, gateway) = started("8.0");
    for target in ["/fhir/Patient?_count=2", "/fhir/Observation?_count=1"] {
        let dense = gateway.caller().get(target);
        let pretty = gateway.caller().get(&format!("{target}&_pretty=true"));
        assert!(!dense.text().contains('\n') && pretty.text().lines().count() > 50);
        assert_eq!(searchset(&dense)["entry"], searchset(&pretty)["entry"]);
    }
    let id = ids(&searchset(&gateway.caller().get("/fhir/Patient?_count=1")), "match").remove(0);
    let read = gateway.caller().get(&format!("/fhir/Patient/{id}?_pretty=true"));
    assert!(read.text().starts_with("{\n  \"") && read.json()["id"] == json!(id), "{}", read.text());
}

#[test]
fn what_is_no_bundle_does_not_answer_a_search_that_was_changed() {
    let (openemr, gateway) = started("8.0");
    for body in [
        r#"{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Bundle"}}]}"#,
        r#"{"resourceType":"Bundle","type":"history","entry":[]}"#,
        r#"{"resourceType":"Patient","id":"1"}"#,
        "[1]",
    ] {
        openemr.order(&json!({"fhir": {"target": "Patient", "answer": {"status": 200, "body": body}}}));
        let answer = gateway.caller().get("/fhir/Patient?_count=5");
        assert_eq!((answer.status, answer.end), (502, End::Whole), "{body}: {}", answer.text());
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
        // Without repairs and pages nothing was changed.
        let untouched = untouched(&openemr).caller().get("/fhir/Patient?_count=5");
        assert_eq!((untouched.status, untouched.text().as_str()), (200, body));
    }
}

#[test]
fn each_repair_can_be_switched_off_alone() {
    let (openemr, _) = started("8.0");
    let with = |repairs: Value| {
        let mut config = config(&openemr);
        config["sites"]["default"]["repairs"] = repairs;
        Gateway::with(config)
    };
    // A page is cut whether or not the rest is repaired.
    let bundle = with(json!({"bundles": false})).caller().get("/fhir/Observation?_count=3&_offset=3").json();
    assert_eq!((&bundle["type"], bundle["entry"].as_array().unwrap().len()), (&json!("collection"), 3), "{bundle}");
    assert!(bundle["entry"][0].get("search").is_none() && link(&bundle, "next").is_some());
    let bundle = searchset(&with(json!({"search": false})).caller().get("/fhir/Patient"));
    assert_eq!(ids(&bundle, "match").len(), 30);
    let bundle = untouched(&openemr).caller().get("/fhir/Patient?_count=3").json();
    assert_eq!((&bundle["type"], &bundle["total"]), (&json!("collection"), &json!(3)));
}

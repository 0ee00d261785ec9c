//! `share_pages`: the pages of one walk are cut out of one answer of OpenEMR's, for one client and for a moment.

use serde_json::{Value, json};

use crate::access::api_keys::{client, digest_of, key_of};
use crate::admin::Admin;
use crate::audit::trail::Trail;
use crate::support::eventually;
use crate::support::gateway::config;
use crate::support::http::{Answer, End};
use crate::support::openemr::OpenEmr;

const BYTES: &str = r#"openemr_gateway_kept_pages_bytes{site="default"}"#;
const VITALS: &str = "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

/// An OpenEMR with a few hundred Observations, and a gateway whose clients walk through them.
struct Walks {
    openemr: OpenEmr,
    admin: Admin,
    trail: Trail,
}

impl Walks {
    fn start(version: &str, share: &Value) -> Self {
        Self::with(version, share, |_| {})
    }

    fn with(version: &str, share: &Value, change: impl FnOnce(&mut Value)) -> Self {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", "80"]);
        let trail = Trail::new();
        let mut config = config(&openemr);
        let site = &mut config["sites"]["default"];
        site["scopes"] = json!(["system/Patient.read", "system/Observation.read"]);
        site["share_pages"] = share.clone();
        config["access"]["clients"] = json!({
            "walker": client("walker"), "other": client("other"),
            "vitals": {"scopes": [VITALS], "api_keys": [digest_of("vitals")]},
        });
        trail.keep_with(&mut config, &json!({"ids": "plain"}));
        change(&mut config);
        Self { openemr, admin: Admin::start(config), trail }
    }

    fn ask(&self, name: &str, target: &str) -> Answer {
        self.ask_with(name, target, &[])
    }

    fn ask_with(&self, name: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let key = key_of(name);
        let fields = [&[("X-API-Key", key.as_str())][..], fields].concat();
        let answer = self.admin.gateway.caller().send("GET", target, &fields, b"");
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{target}: {}", answer.text());
        answer
    }

    /// The pages from this one on.
    fn walk(&self, name: &str, target: &str) -> Vec<Answer> {
        let mut pages = vec![self.ask(name, target)];
        while let Some(next) = next(pages.last().unwrap()) {
            pages.push(self.ask(name, &next));
        }
        pages
    }

    /// How many searches for Observations OpenEMR has had.
    fn asked(&self) -> u64 {
        self.openemr.came("GET /apis/default/fhir/Observation")
    }

    fn kept_bytes(&self) -> f64 {
        let metrics = self.admin.get("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(BYTES)).unwrap_or_else(|| panic!("{metrics}"));
        line.trim().parse().unwrap()
    }
}

fn next(page: &Answer) -> Option<String> {
    let bundle = page.json();
    let link = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next")?.clone();
    let (_, path) = link["url"].as_str().unwrap().split_once("/fhir/").unwrap();
    Some(format!("/fhir/{path}"))
}

fn ids(pages: &[Answer]) -> Vec<String> {
    let bundles = pages.iter().map(Answer::json);
    let entries = bundles.flat_map(|bundle| bundle["entry"].as_array().cloned().unwrap_or_default());
    entries.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

const FIRST: &str = "/fhir/Observation?_count=50";
const SHARED: &str = "30s";

#[test]
fn a_walk_is_asked_for_twice_at_most_and_each_page_is_recorded() {
    for (version, share, asked) in
        [("8.0", Value::Null, None), ("8.0", json!(SHARED), Some(2)), ("7.0.3", json!(SHARED), Some(1))]
    {
        let walks = Walks::start(version, &share);
        let whole = ids(&walks.walk("walker", "/fhir/Observation"));
        let before = walks.asked();
        let pages = walks.walk("walker", FIRST);
        assert!(pages.len() > 5, "{}", pages.len());
        assert_eq!(ids(&pages), whole, "{version}");
        let expected = asked.unwrap_or(pages.len() as u64);
        assert_eq!(walks.asked() - before, expected, "{version} {share}");
        for (number, page) in pages.iter().enumerate() {
            let id = page.field("x-request-id").unwrap();
            let line = walks.admin.gateway.access_line(id);
            assert_eq!(line.contains(" shared=true "), number as u64 >= expected, "page {number}: {line}");
            let record = walks.trail.of_request(id);
            assert_eq!((&record["status"], &record["client"]), (&json!(200), &json!("walker")), "{record}");
            assert!(!record["patients"].as_array().unwrap().is_empty(), "{record}");
        }
        assert_eq!(walks.kept_bytes() > 0.0, asked.is_some());
        // Who begins again gets what is there now.
        let before = walks.asked();
        walks.ask("walker", FIRST);
        assert_eq!(walks.asked() - before, 1);
        // What fits on the page is not kept for another one.
        let kept = walks.kept_bytes();
        walks.ask("walker", "/fhir/Observation?code=8867-4&_count=1000");
        assert_eq!(walks.kept_bytes(), kept);
        let log = walks.admin.gateway.log();
        assert!(!log.contains(&whole[0]), "no resource is named in the log");
    }
}

#[test]
fn who_begins_again_gets_no_page_of_an_older_set() {
    for (version, asked) in [("8.0", 2), ("7.0.3", 1)] {
        let walks = Walks::start(version, &json!(SHARED));
        let second = next(&walks.ask("walker", FIRST)).unwrap();
        let third = next(&walks.ask("walker", &second)).unwrap();
        // On 8.0, OpenEMR is asked for the first page alone, which is nothing that could be kept in its place.
        let before = walks.asked();
        for page in [FIRST, &second, &third] {
            walks.ask("walker", page);
        }
        assert_eq!(walks.asked() - before, asked, "{version}");
        // The walks of other searches go on.
        let other = next(&walks.ask("walker", "/fhir/Observation?code=8867-4&_count=10&_offset=10")).unwrap();
        walks.ask("walker", FIRST);
        let before = walks.asked();
        walks.ask("walker", &other);
        assert_eq!(walks.asked(), before, "{version}");
    }
}

#[test]
fn a_page_that_shall_be_fresh_is_asked_for_and_those_behind_it_are_cut_of_it() {
    let walks = Walks::start("8.0", &json!(SHARED));
    let second = next(&walks.ask("walker", FIRST)).unwrap();
    walks.ask("walker", &second);
    for (value, more) in [("no-cache", 1), ("Max-Age=0", 1), ("private, no-store", 1), ("max-age=60", 0), ("only-if-cached", 0)] {
        let before = walks.asked();
        walks.ask_with("walker", &second, &[("Cache-Control", value)]);
        walks.ask("walker", &second);
        assert_eq!(walks.asked() - before, more, "{value}");
    }
}

#[test]
fn nobody_else_gets_a_page_of_it() {
    let walks = Walks::start("8.0", &json!(SHARED));
    let second = next(&walks.ask("walker", FIRST)).unwrap();
    let third = next(&walks.ask("walker", &second)).unwrap();
    let mut asked = walks.asked();
    walks.ask("walker", &third);
    assert_eq!(walks.asked(), asked, "its own");
    for (name, target, more) in [
        ("other", third.clone(), 1),
        ("walker", third.replace("Observation?", "Observation?code=8867-4&"), 1),
        ("walker", format!("{third}&_elements=status"), 0),
        ("vitals", third.clone(), 1),
        ("vitals", third.clone(), 0),
    ] {
        walks.ask(name, &target);
        asked += more;
        assert_eq!(walks.asked(), asked, "{name} {target}");
    }
    // What is left of it for a client that may have a part is tested for each page.
    let (all, vitals) = (walks.walk("other", FIRST), walks.walk("vitals", FIRST));
    let is_vital = |resource: &Value| resource["category"].to_string().contains("vital-signs");
    let resources = |pages: &[Answer]| -> Vec<Value> {
        let bundles = pages.iter().map(Answer::json);
        bundles
            .flat_map(|bundle| bundle["entry"].as_array().cloned().unwrap_or_default())
            .map(|entry| entry["resource"].clone())
            .collect()
    };
    let (all, vitals) = (resources(&all), resources(&vitals));
    assert!(vitals.iter().all(is_vital) && vitals.len() < all.len(), "{} of {}", vitals.len(), all.len());
    assert_eq!(vitals.len(), all.iter().filter(|resource| is_vital(resource)).count());
}

#[test]
fn a_write_its_time_and_a_reload_end_it() {
    let walks = Walks::with("8.0", &json!(SHARED), |config| {
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Observation.read"]);
    });
    let keep_again = || {
        let second = next(&walks.ask("walker", FIRST)).unwrap();
        let third = next(&walks.ask("walker", &second)).unwrap();
        assert!(walks.kept_bytes() > 0.0);
        third
    };
    let third = keep_again();
    let patient = json!({"resourceType": "Patient", "gender": "male", "birthDate": "1980-01-01",
        "name": [{"use": "official", "family": "Abel", "given": ["A"]}]});
    let fields = [("X-API-Key", &*key_of("other")), ("Content-Type", "application/fhir+json")];
    let written = walks.admin.gateway.caller().send("POST", "/fhir/Patient", &fields, patient.to_string().as_bytes());
    assert_eq!(written.status, 201, "{}", written.text());
    assert_eq!(walks.kept_bytes(), 0.0, "whoever has written");
    let asked = walks.asked();
    walks.ask("walker", &third);
    assert_eq!(walks.asked(), asked + 1);

    assert!(walks.kept_bytes() > 0.0);
    let mut config = walks.admin.gateway.config.clone();
    config["sites"]["default"]["share_pages"] = json!("1s");
    let log = walks.admin.gateway.reload(&config);
    assert!(log.contains("is in force"), "{log}");
    assert_eq!(walks.kept_bytes(), 0.0);
    let asked = walks.asked();
    walks.ask("walker", &third);
    assert_eq!(walks.asked(), asked + 1);
    // No request is needed for its end.
    eventually("its second is over", || (walks.kept_bytes() == 0.0).then_some(()));
    walks.ask("walker", &third);
    assert_eq!(walks.asked(), asked + 2);
}

#[test]
fn a_search_that_is_asked_in_parts_is_asked_once_for_all_pages() {
    for (share, is_shared) in [(Value::Null, false), (json!(SHARED), true)] {
        let walks = Walks::start("8.0", &share);
        let search = "/fhir/Observation?code=8867-4,9279-1";
        let whole = ids(&walks.walk("walker", search));
        let asked = || walks.openemr.came("POST /apis/default/fhir/Observation/_search");
        let before = asked();
        let pages = walks.walk("walker", &format!("{search}&_count=20"));
        assert!(pages.len() > 5 && ids(&pages) == whole, "{} pages", pages.len());
        assert_eq!(asked() - before, if is_shared { 2 } else { 2 * pages.len() as u64 });
        let before = asked();
        walks.ask("other", &next(&pages[0]).unwrap());
        assert_eq!(asked() - before, 2, "another client");
        for (number, page) in pages.iter().enumerate() {
            let id = page.field("x-request-id").unwrap();
            assert_eq!(walks.admin.gateway.access_line(id).contains(" shared=true "), is_shared && number > 0, "page {number}");
            assert!(!walks.trail.of_request(id)["patients"].as_array().unwrap().is_empty());
        }
    }
}

#[test]
fn what_has_no_room_is_asked_for_each_page() {
    let walks = Walks::with("8.0", &json!(SHARED), |config| config["limits"] = json!({"shared_pages": "64KiB"}));
    let pages = walks.walk("walker", FIRST);
    assert_eq!(walks.asked(), pages.len() as u64);
    assert_eq!(walks.kept_bytes(), 0.0);
}

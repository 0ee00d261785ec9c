//! The values of a search: what PHP would read otherwise than it is meant, and what OpenEMR announces and does wrong, is not
//! asked; it is refused with a sentence that names the parameter.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

struct Site {
    openemr: OpenEmr,
    gateway: Gateway,
}

impl Site {
    fn start(version: &str) -> Self {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", "60"]);
        let mut config = config(&openemr);
        let types = [
            "Patient",
            "Observation",
            "Condition",
            "Encounter",
            "Provenance",
            "Practitioner",
            "Organization",
            "Goal",
            "ValueSet",
        ];
        config["sites"]["default"]["scopes"] = types.iter().map(|name| json!(format!("system/{name}.read"))).collect();
        let gateway = Gateway::with(config);
        // The capabilities are known from here on.
        assert_eq!(gateway.caller().get("/fhir/metadata").status, 200);
        Self { openemr, gateway }
    }

    fn get(&self, target: &str) -> Answer {
        self.gateway.caller().get(&format!("/fhir{target}"))
    }

    fn post(&self, target: &str, form: &str) -> Answer {
        self.gateway.caller().post(&format!("/fhir{target}"), &[FORM], form.as_bytes())
    }

    /// What OpenEMR was asked: the target behind its FHIR base.
    fn received(&self) -> String {
        let target = self.openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned();
        target.strip_prefix("/apis/default/fhir").unwrap().to_owned()
    }

    fn has_received_form(&self, form: &str) -> bool {
        let sha256: String = digest(&SHA256, form.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.openemr.state()["last_fhir_request"]["body_sha256"] == sha256
    }

    /// That the request is refused, OpenEMR is not asked, and the sentence has these words.
    fn refuses(&self, answer: impl FnOnce() -> Answer, code: &str, words: &[&str], what: &str) {
        let before = self.openemr.count("fhir_requests");
        let answer = answer();
        let told = answer.outcome(400);
        assert_eq!(answer.json()["issue"][0]["code"], code, "{what}: {told}");
        assert!(words.iter().all(|word| told.contains(word)), "{what}: {told}");
        assert!(!answer.text().contains("CANARY"), "{what}");
        assert_eq!(self.openemr.count("fhir_requests"), before, "{what}");
    }
}

fn total(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["total"].as_u64().unwrap()
}

#[test]
fn what_is_about_the_answer_has_one_value_wherever_it_stands() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        for (first, second, name) in [
            ("_count=5", "_count=6", "_count"),
            ("_summary=true", "_summary=text", "_summary"),
            ("_elements=id", "_elements=name", "_elements"),
            ("_total=none", "_total=accurate", "_total"),
            ("_pretty=true", "_pretty=false", "_pretty"),
            ("_format=json", "_format=application/fhir%2Bjson", "_format"),
            ("_sort=family", "_sort=given", "_sort"),
            ("x.y=CANARY", "x_y=1", "x"),
        ] {
            let both = format!("{first}&gender=male&{second}");
            let more_than_once = ["more than once", "Ask once", name];
            site.refuses(|| site.get(&format!("/Patient?{both}")), "not-supported", &more_than_once, &both);
            site.refuses(|| site.post("/Patient/_search", &both), "not-supported", &more_than_once, &both);
            let apart = ["in the query and in the form", name];
            site.refuses(|| site.post(&format!("/Patient/_search?{first}"), second), "not-supported", &apart, &both);
        }
        for (query, form) in [("birthdate[]=ge1960", ""), ("birthdate%5B0%5D=a&birthdate[1]=b", ""), ("", "birthdate[x]=CANARY")]
        {
            let words = ["brackets", "Ask once"];
            match form {
                "" => site.refuses(|| site.get(&format!("/Patient?{query}")), "not-supported", &words, query),
                form => site.refuses(|| site.post("/Patient/_search", form), "not-supported", &words, form),
            }
        }
    }
}

#[test]
fn what_says_the_same_twice_is_asked_once() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        let born = total(&site.get("/Patient?birthdate=lt1980-01-01"));
        assert!(born > 0 && born < 60);
        assert_eq!(
            total(&site.get("/Patient?birthdate=lt1980-01-01&%62irthdate=lt1980-01-01&_summary=count&_summary=count")),
            born
        );
        assert_eq!(site.received(), "/Patient?birthdate=lt1980-01-01");
        assert_eq!(total(&site.post("/Patient/_search?birthdate=lt1980-01-01", "birthdate=lt1980-01-01")), born);
        assert!(site.has_received_form("birthdate=lt1980-01-01"));
        assert_eq!(site.received(), "/Patient/_search");
        let both = site.get("/Condition?_revinclude=Provenance:target&_revinclude=Provenance:target");
        assert_eq!(total(&both), 30);
        assert_eq!(site.received(), "/Condition?_revinclude=Provenance:target");
    }
}

#[test]
fn no_interaction_has_a_name_with_two_values() {
    let site = Site::start("8.0");
    let caller = site.gateway.caller();
    let json = ("Content-Type", "application/fhir+json");
    let async_ = ("Prefer", "respond-async");
    for (method, target, fields) in [
        ("GET", "/Patient/1?_pretty=true&_pretty=false", &[][..]),
        ("GET", "/metadata?_format=json&_format=xml", &[]),
        ("GET", "/Patient/1/_history?_since=2024-01-01T00:00:00Z&_since=2025-01-01T00:00:00Z", &[]),
        ("POST", "/Patient?_pretty=true&_pretty=false", &[json]),
        ("POST", "/DocumentReference/$docref?patient=1&patient=2", &[]),
        ("GET", "/Patient/$export?_since=2024-01-01T00:00:00Z&_since=2025-01-01T00:00:00Z", &[async_]),
        ("GET", "/$export?_outputFormat=ndjson&_outputFormat=csv", &[async_]),
    ] {
        let told = caller.send(method, &format!("/fhir{target}"), fields, b"{}");
        assert_eq!(told.json()["issue"][0]["code"], "not-supported", "{target}: {}", told.text());
        assert!(told.outcome(400).contains("more than once"), "{target}");
    }
    // Lists that the gateway reads itself may be repeated.
    let told = caller.send("GET", "/fhir/Patient/$export?_type=Patient&_type=Observation", &[async_], b"").outcome(403);
    assert!(told.contains("scope"), "{told}");
}

#[test]
fn a_plus_that_was_not_encoded_is_the_one_of_a_zone() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        let all = total(&site.get("/Observation"));
        for written in ["+", "%20", "%2B"] {
            let date = format!("date=ge2010-01-01T00:00:00{written}00:00");
            assert_eq!(total(&site.get(&format!("/Observation?{date}"))), all, "{written}");
            assert_eq!(site.received(), "/Observation?date=ge2010-01-01T00:00:00%2B00:00");
            assert_eq!(total(&site.post("/Observation/_search", &date)), all, "{written}");
            assert!(site.has_received_form("date=ge2010-01-01T00:00:00%2B00:00"));
        }
        // A blank elsewhere is none.
        site.refuses(|| site.get("/Observation?date=ge2010-01-01+00:00:00"), "value", &["date"], "a blank");
    }
}

#[test]
fn an_export_reads_a_plus_that_was_not_encoded_too() {
    let site = Site::start("8.0");
    let asked = "/fhir/Patient/$export?_type=Patient&_since=2026-11-24T02:28:30+01:00";
    let told = site.gateway.caller().send("GET", asked, &[("Prefer", "respond-async")], b"");
    assert_eq!(told.status, 403, "the scopes of an export are missing, and nothing else: {}", told.text());
}

#[test]
fn a_date_that_is_none_is_refused_and_named() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        for bad in [
            "CANARY",
            "1950-13-01",
            "1930-01-01..1940-01-01",
            "2023-02-29",
            "2024-02-30",
            "%202024",
            "ge+2024",
            "2024-01-01T24:00:00Z",
            "2024-01-01T23:59:60Z",
            "2024-01-01T23:59Z",
            "2024,1950-13-01",
        ] {
            for name in ["birthdate", "_lastUpdated"] {
                site.refuses(|| site.get(&format!("/Patient?gender=male&{name}={bad}")), "value", &[name, "2024-02-29"], bad);
                site.refuses(|| site.post("/Patient/_search", &format!("{name}={bad}")), "value", &[name], bad);
            }
        }
        assert_eq!(site.get("/Patient?birthdate=1950-12-01,ge2024-02-29").status, 200);
    }
}

#[test]
fn what_openemr_announces_and_does_wrong_is_not_asked() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        for (target, code, words) in [
            ("/Provenance", "too-costly", ["Provenance", "_id"]),
            ("/Provenance?_count=1", "too-costly", ["Provenance", "_id"]),
            ("/Observation?code=1,2,3,4,5,6,7,8,9,10,11", "not-supported", ["code", "system|code"]),
            ("/Observation?code=http://loinc.org|1,2,3,4,5,6,7,8,9,10,11", "not-supported", ["code", "system|code"]),
            ("/Observation?date=2024-01-01T10:00Z", "value", ["date", "patient or _id"]),
        ] {
            site.refuses(|| site.get(target), code, &words, target);
            let (path, query) = target.split_once('?').unwrap_or((target, "_count=5"));
            site.refuses(|| site.post(&format!("{path}/_search"), query), code, &words, target);
        }
        let codes = "code=http://loinc.org|8867-4,http://loinc.org|9279-1";
        assert_eq!(total(&site.get(&format!("/Observation?{codes}"))), 120, "{version}");
        assert_eq!(site.get("/Practitioner?family=A&given=B").status, 200);
        let before = site.openemr.count("fhir_requests");
        let told = site.get("/ValueSet/language").outcome(501);
        assert!(told.contains("ValueSet") && site.openemr.count("fhir_requests") == before, "{told}");
        // OpenEMR gives all, and the gateway cuts the page.
        assert_eq!(site.get("/ValueSet?_count=5").status, 200);
        assert_eq!(site.received(), "/ValueSet");
    }
    let site = Site::start("8.0");
    for (target, word) in [("/Goal?description=x", "description"), ("/Goal?target-date=2024", "target-date")] {
        site.refuses(|| site.get(target), "not-supported", &[word, "patient or _id"], target);
    }
}

#[test]
fn what_openemr_does_wrong_with_little_is_asked_otherwise() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        for (asked, received) in [
            ("/Practitioner?name=nobody", "/Practitioner"),
            ("/Organization?address=nowhere&address-state=CA", "/Organization?address-state=CA"),
            ("/Observation?_id=nonsense", "/Observation?_id=ffffffff-ffff-4fff-bfff-ffffffffffff"),
            ("/Encounter?identifier=nonsense", "/Encounter?_id=ffffffff-ffff-4fff-bfff-ffffffffffff"),
        ] {
            assert_eq!(total(&site.get(asked)), 0, "{version} {asked}");
            assert_eq!(site.received(), received);
        }
        let practitioners = site.get("/Practitioner").json();
        let practitioner = practitioners["entry"].as_array().unwrap().last().unwrap()["resource"].clone();
        let family = practitioner["name"][0]["family"].as_str().unwrap();
        let found = site.get(&format!("/Practitioner?name={family}")).json();
        let ids: Vec<_> = found["entry"].as_array().unwrap().iter().map(|entry| entry["resource"]["id"].clone()).collect();
        assert!(ids.contains(&practitioner["id"]), "{found}");
    }
}

/// The values of a member of all patients that an answer holds, in order.
fn values(answer: &Answer, pointer: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let bundle = answer.json();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"].pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_filters_of_a_kind_mean_and_wherever_they_stand() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version);
        let all = values(&site.get("/Patient"), "/birthDate");
        let expected: Vec<_> = all.iter().filter(|date| ("1960-01-01".."1980-01-01").contains(&date.as_str())).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len());
        let (since, until) = ("birthdate=ge1960-01-01", "birthdate=lt1980-01-01");
        for (query, form) in [
            (format!("{since}&{until}"), None),
            (format!("{until}&%62irthdate=ge1960-01-01"), None),
            (String::new(), Some(format!("{since}&{until}"))),
            (since.to_owned(), Some(until.to_owned())),
            (until.to_owned(), Some(format!("birthdate:missing=false&{since}"))),
        ] {
            let answer = match &form {
                None => site.get(&format!("/Patient?{query}")),
                Some(form) => site.post(&format!("/Patient/_search?{query}"), form),
            };
            assert_eq!(values(&answer, "/birthDate"), expected, "{version} {query} {form:?}");
            let bundle = answer.json();
            assert_eq!(bundle["total"], expected.len(), "{query}");
            let of_self = bundle["link"][0]["url"].as_str().unwrap().to_owned();
            assert!(of_self.contains(since) && of_self.contains(until), "{of_self}");
            match form {
                None => assert_eq!(site.received(), format!("/Patient?{since}")),
                Some(_) => assert!(site.has_received_form(since), "{query}"),
            }
        }
        // In pages, too.
        let mut walked = Vec::new();
        let mut target = format!("/Patient?{since}&{until}&_count=3");
        loop {
            let answer = site.get(&target);
            walked.extend(values(&answer, "/birthDate"));
            let links = answer.json()["link"].clone();
            let next = links.as_array().unwrap().iter().find(|link| link["relation"] == "next").cloned();
            let Some(next) = next else { break };
            target = next["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
        }
        assert_eq!(walked, expected);
        let (one, other) = ("patient=Patient/f9af7275-0000-4000-8000-000000000001", "subject=Patient/other");
        assert_eq!(total(&site.get(&format!("/Condition?{one}&{other}"))), 0);
        let families = values(&site.get("/Patient"), "/name/0/family");
        let (family, start) = (&families[0], &families[0][..1]);
        let found = values(&site.get(&format!("/Patient?family={start}&family:exact={family}")), "/name/0/family");
        assert!(!found.is_empty() && found.iter().all(|found| found == family), "{found:?}");
        assert_eq!(site.received(), format!("/Patient?family:exact={family}"));
    }
}

#[test]
fn there_is_an_end_to_parameters_in_the_query_in_the_form_and_in_both() {
    let site = Site::start("8.0");
    let many = |count: usize| vec!["name=A"; count].join("&");
    let others = |count: usize| vec!["gender=male"; count].join("&");
    for (query, form, limit) in [
        (many(201), String::new(), "200 parameters"),
        (String::new(), many(201), "200 parameters"),
        (many(101), others(100), "200 parameters"),
        (many(1000), String::new(), "1000 parameters"),
        (String::new(), many(1000), "1000 parameters"),
    ] {
        let what = format!("{} and {} bytes", query.len(), form.len());
        let ask = || match form.as_str() {
            "" => site.get(&format!("/Patient?{query}")),
            form => site.post(&format!("/Patient/_search?{query}"), form),
        };
        site.refuses(ask, "too-costly", &[limit], &what);
    }
    assert_eq!(site.get(&format!("/Patient?{}", many(200))).status, 200);
    assert_eq!(site.post(&format!("/Patient/_search?{}", many(100)), &others(100)).status, 200);
    let read = site.get(&format!("/Patient/1?{}", vec!["_pretty=true"; 1000].join("&")));
    assert!(read.outcome(400).contains("1000 parameters"));
}

//! Several codes without systems: OpenEMR finds nothing by them, so the gateway asks for one after the other, and the client gets
//! one searchset.

use std::collections::BTreeSet;

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received};
use crate::support::told_openemr::{Framing, framed};
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const CODES: &str = "code=8867-4,9279-1";

fn gateway(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Observation.read", "system/Provenance.read"]);
    Gateway::with(config)
}

/// The ids of the entries of a mode, in order.
fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let of_mode = entries.iter().filter(|entry| entry["search"]["mode"] == mode);
    of_mode.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

fn next(bundle: &Value) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next")?;
    Some(format!("/fhir/{}", next["url"].as_str().unwrap().split_once("/fhir/").unwrap().1))
}

fn good(answer: &Answer) -> Value {
    assert_eq!(
        (answer.status, answer.field("content-type")),
        (200, Some("application/fhir+json; charset=utf-8")),
        "{}",
        answer.text()
    );
    answer.json()
}

#[test]
fn bare_codes_find_what_each_of_them_finds_once() {
    for version in ["8.0", "7.0.3", "next"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let get = |query: &str| good(&gateway.caller().get(&format!("/fhir/Observation?{query}")));
        let one_by_one: Vec<String> =
            ["8867-4", "9279-1"].iter().flat_map(|code| ids(&get(&format!("code={code}")), "match")).collect();
        assert!(one_by_one.len() > 2, "{version}");
        let bundle = get(CODES);
        assert_eq!(ids(&bundle, "match"), one_by_one, "{version}");
        assert_eq!((&bundle["type"], &bundle["total"]), (&json!("searchset"), &json!(one_by_one.len())));
        let base = "http://gateway.example/fhir";
        assert_eq!(bundle["link"][0], json!({"relation": "self", "url": format!("{base}/Observation?{CODES}")}));
        let full_url = bundle["entry"][0]["fullUrl"].as_str().unwrap();
        assert_eq!(full_url, format!("{base}/Observation/{}", one_by_one[0]));
        assert!(!bundle.to_string().contains("/apis/default"));

        // By POST, with one code twice, and with one that nobody has.
        let form = "code=http://loinc.org|8867-4,9279-1,9279-1,none";
        let posted = good(&gateway.caller().post("/fhir/Observation/_search", &[FORM], form.as_bytes()));
        assert_eq!(ids(&posted, "match").into_iter().collect::<BTreeSet<_>>(), one_by_one.iter().cloned().collect());
        assert_eq!(posted["total"], json!(one_by_one.len()));

        // Page by page.
        let (mut met, mut page) = (Vec::new(), get(&format!("{CODES}&_count=7")));
        loop {
            assert_eq!(page["total"], json!(one_by_one.len()), "{version}");
            let found = ids(&page, "match");
            assert!(!found.is_empty() && found.len() <= 7);
            met.extend(found);
            let Some(link) = next(&page) else { break };
            page = good(&gateway.caller().get(&link));
        }
        assert_eq!(met, one_by_one, "{version}");

        let count = get(&format!("{CODES}&_summary=count"));
        assert_eq!((&count["total"], &count["entry"]), (&json!(one_by_one.len()), &Value::Null));
        let elements = get(&format!("{CODES}&_elements=status&_count=1"));
        let resource = &elements["entry"][0]["resource"];
        assert!(resource["subject"].is_null() && resource["status"].is_string(), "{resource}");
        assert_eq!(get(&format!("{CODES}&code=9279-1"))["total"], get("code=9279-1")["total"]);
        assert!(!gateway.log().contains("8867-4"));
    }
}

#[test]
fn what_is_included_comes_with_its_match() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr);
    let get = |query: &str| good(&gateway.caller().get(&format!("/fhir/Observation?{query}&_revinclude=Provenance:target")));
    let one_by_one: Vec<String> =
        ["8867-4", "9279-1"].iter().flat_map(|code| ids(&get(&format!("code={code}")), "include")).collect();
    assert!(!one_by_one.is_empty());
    assert_eq!(ids(&get(CODES), "include"), one_by_one);
    let page = get(&format!("{CODES}&_count=3"));
    assert_eq!((ids(&page, "match").len(), ids(&page, "include")), (3, one_by_one[..3].to_vec()));
}

#[test]
fn head_and_codings_are_those_of_any_search() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr);
    let target = format!("/fhir/Observation?{CODES}");
    let whole = gateway.caller().get(&target);
    let head = gateway.caller().send("HEAD", &target, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length").map(str::to_owned), Some(whole.body.len().to_string()));
    let coded = gateway.caller().send("GET", &target, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(coded.field("content-encoding"), Some("gzip"));
    assert!(coded.body.len() < whole.body.len() / 2);
    let pretty = gateway.caller().get(&format!("{target}&_pretty=true"));
    assert!(pretty.text().starts_with("{\n  \"resourceType\": \"Bundle\""), "{}", pretty.text());
}

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// A FHIR server that answers the search for the second code so; with the gateway in front of it.
fn with_second(status: u16, body: &str) -> (RawOpenEmr, Gateway, OpenEmr) {
    let body = body.to_owned();
    let raw = RawOpenEmr::start(move |request| {
        if request.head.contains("/metadata ") {
            return framed(200, JSON, statement(request).as_bytes(), Framing::Length);
        }
        match request.body.ends_with(b"code=9279-1") {
            true => framed(status, JSON, body.as_bytes(), Framing::Length),
            false => framed(200, JSON, bundle(&["1", "2"]).as_bytes(), Framing::Length),
        }
    });
    let tokens = OpenEmr::start();
    let mut config = config(&tokens);
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(raw.fhir_base());
    site["scopes"] = json!(["system/Observation.read"]);
    (raw, Gateway::with(config), tokens)
}

fn statement(request: &Received) -> String {
    let parameter = json!({"name": "code", "type": "token"});
    let resource = json!({"type": "Observation", "interaction": [{"code": "search-type"}], "searchParam": [parameter]});
    let base = format!("http://{}/fhir", request.field("host").unwrap());
    json!({
        "resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1", "kind": "instance",
        "software": {"name": "OpenEMR", "version": "8.0.0"}, "implementation": {"url": base},
        "rest": [{"mode": "server", "resource": [resource]}],
    })
    .to_string()
}

fn bundle(ids: &[&str]) -> String {
    let code = json!({"coding": [{"code": "8867-4"}, {"code": "9279-1"}]});
    let entry = |id: &&str| json!({"resource": {"resourceType": "Observation", "id": id, "code": code, "method": null}});
    let entry: Vec<Value> = ids.iter().map(entry).collect();
    json!({"resourceType": "Bundle", "type": "collection", "total": entry.len(), "entry": entry}).to_string()
}

#[test]
fn what_both_codes_find_comes_once() {
    let (raw, gateway, _tokens) = with_second(200, &bundle(&["2", "3"]));
    let found = good(&gateway.caller().get(&format!("/fhir/Observation?{CODES}")));
    assert_eq!((ids(&found, "match"), &found["total"]), (["1", "2", "3"].map(str::to_owned).to_vec(), &json!(3)));
    assert!(!found.to_string().contains("method"), "it is mended as any answer: {found}");
    let asked = raw.received("/Observation/_search ");
    let forms: Vec<_> = asked.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert_eq!(forms, ["code=8867-4", "code=9279-1"]);
}

#[test]
fn where_a_part_is_missing_there_is_no_answer() {
    let next =
        bundle(&["2"]).replacen('{', r#"{"link":[{"relation":"next","url":"http://127.0.0.1/fhir/Observation?_offset=1"}],"#, 1);
    let cut = &bundle(&["2"])[..40];
    let long = format!(r#"{{"resourceType":"Bundle","entry":[],"x":"{}"}}"#, "x".repeat(17 << 20));
    for (status, body, expected, word) in [
        (500, "SECRET", 502, "part of the search"),
        (403, "{}", 403, "system/Observation.read"),
        (401, "{}", 403, "system/Observation.read"),
        (200, "SECRET", 502, "could not be read"),
        (200, r#"{"resourceType":"OperationOutcome","issue":[]}"#, 502, "could not be read"),
        (200, cut, 502, "could not be read"),
        (200, &next, 413, "one of the values at a time"),
        (200, &long, 413, "one of the values at a time"),
        (
            200,
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Observation","id":"9","code":1,"code":2}}]}"#,
            502,
            "could not be read",
        ),
    ] {
        let (_raw, gateway, _tokens) = with_second(status, body);
        let told = gateway.caller().get(&format!("/fhir/Observation?{CODES}")).outcome(expected);
        assert!(told.contains(word) && !told.contains("SECRET") && !told.contains("8867-4"), "{status}: {told}");
    }
}

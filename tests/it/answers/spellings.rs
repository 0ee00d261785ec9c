//! A search Bundle means the same however OpenEMR writes it, and whatever OpenEMR writes instead does not go on.

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received};
use openemr_gateway::fuzzing::sandbox::CAPABILITY_STATEMENT;
use serde_json::{Value, json};

const CONTAINED: &str = include_str!("inputs/contained-bundle.json");
const PRETTY: &str = include_str!("inputs/pretty-bundle.json");
const JSON: &str = "application/json";

/// What the server sends for a search. `@BASE@` in the body stands for its FHIR base.
#[derive(Clone)]
struct Sent {
    media_type: &'static str,
    body: String,
    /// How many pieces come behind the head; a single one comes with it.
    pieces: usize,
    is_cut: bool,
}

impl Sent {
    fn new(body: &str, pieces: usize) -> Self {
        Self { media_type: JSON, body: body.to_owned(), pieces, is_cut: false }
    }

    fn answer(&self, base: &str) -> Vec<Vec<u8>> {
        let body = self.body.replace("@BASE@", base);
        let mut out =
            vec![format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n", self.media_type).into()];
        out.extend(body.as_bytes().chunks(body.len().div_ceil(self.pieces).max(1)).map(|piece| {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            chunk
        }));
        out.push(if self.is_cut { Vec::new() } else { b"0\r\n\r\n".to_vec() });
        if self.pieces == 1 { vec![out.concat()] } else { out }
    }
}

/// A gateway in front of a server that answers every search with the one of these that `name=N` says.
fn in_front_of(openemr: &OpenEmr, answers: Vec<Sent>) -> (Gateway, RawOpenEmr) {
    let raw = RawOpenEmr::in_pieces(move |request: &Received| {
        if request.head.contains("/metadata") {
            return vec![http(&format!("Content-Length: {}\r\n", CAPABILITY_STATEMENT.len()), CAPABILITY_STATEMENT)];
        }
        let named = request.head.split_once("name=").and_then(|(_, rest)| rest.split(['&', ' ']).next()?.parse::<usize>().ok());
        answers[named.unwrap_or(0)].answer(&format!("http://{}/fhir", request.field("host").unwrap()))
    });
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(raw.fhir_base());
    site["scopes"] = json!(["system/Patient.read", "system/OperationDefinition.read"]);
    (Gateway::with(config), raw)
}

fn http(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n{body}").into()
}

/// The document in other spellings of the same.
fn spellings(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    let mut spelled = vec![text.to_owned(), serde_json::to_string_pretty(&value).unwrap(), format!("\u{feff}{text}\r\n")];
    let reversed = reversed(&value);
    spelled.push(reversed.to_string());
    spelled.push(serde_json::to_string_pretty(&reversed).unwrap().replace('\n', "\r\n\t"));
    spelled.push(text.replace('/', "\\/"));
    let names = ["resourceType", "entry", "resource", "fullUrl", "type", "link", "meta", "lastUpdated"];
    let escaped = |text: String, name: &str| {
        let (first, rest) = name.split_at(1);
        text.replace(&format!("\"{name}\""), &format!("\"\\u{:04x}{rest}\"", first.as_bytes()[0]))
    };
    spelled.push(names.iter().fold(text.to_owned(), |text, name| escaped(text, name)));
    spelled
}

/// The members of all objects in the opposite order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect(),
        Value::Array(items) => items.iter().map(reversed).collect(),
        other => other.clone(),
    }
}

fn bundle(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    let bundle = answer.json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("searchset")), "{bundle}");
    for entry in bundle["entry"].as_array().into_iter().flatten().filter(|entry| entry["search"]["mode"] == "match") {
        let url = entry["fullUrl"].as_str().unwrap();
        assert!(url.contains("/fhir/Patient/") && url.ends_with(entry["resource"]["id"].as_str().unwrap()), "{url}");
    }
    bundle
}

fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten().filter(|entry| entry["search"]["mode"] == mode);
    entries.map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn link<'a>(bundle: &'a Value, relation: &str) -> Option<&'a str> {
    bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == relation)?["url"].as_str()
}

#[test]
fn a_contained_bundle_stays_what_it_is_in_every_spelling_and_split() {
    let openemr = OpenEmr::start();
    let mut answers = Vec::new();
    for text in spellings(CONTAINED) {
        answers.extend([1, 2, 5].map(|count| Sent::new(&text, count)));
    }
    answers.push(Sent { media_type: "text/json; charset=utf-8", ..Sent::new(CONTAINED, 1) });
    answers.push(Sent { media_type: "application/fhir+json", ..Sent::new(CONTAINED, 3) });
    let count = answers.len();
    let original: Value = serde_json::from_str(CONTAINED).unwrap();
    let resources: Vec<&Value> = original["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]).collect();
    let (_, contained) = CONTAINED.split_once(r#""contained":"#).unwrap();
    let (contained, _) = contained.split_once("}},{\"fullUrl\":\"@BASE@/Patient/p2").unwrap();
    let (gateway, _raw) = in_front_of(&openemr, answers);
    for nth in 0..count {
        let target = format!("/fhir/Patient?name={nth}");
        let answer = gateway.caller().get(&target);
        let whole = bundle(&answer);
        assert_eq!((&whole["total"], ids(&whole, "match").len()), (&json!(3), 3), "{nth}");
        let found: Vec<&Value> = whole["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]).collect();
        assert_eq!(found, resources, "{nth}");
        assert!(nth > 2 || answer.text().contains(contained), "{nth}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/fhir+json; charset=utf-8"));

        let page = bundle(&gateway.caller().get(&format!("{target}&_count=2")));
        assert_eq!(ids(&page, "match"), ["p0", "p1"], "{nth}");
        assert_eq!(page["entry"][1]["resource"], *resources[1]);
        assert!(link(&page, "next").is_some() && page.get("total").is_none(), "{page}");

        let counted = bundle(&gateway.caller().get(&format!("{target}&_summary=count")));
        assert_eq!((&counted["total"], counted.get("entry")), (&json!(3), None));

        let elements = bundle(&gateway.caller().get(&format!("{target}&_elements=name&_pretty=true")));
        for resource in elements["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]) {
            assert!(
                resource.get("contained").is_none() && resource["meta"]["tag"][0]["code"] == "SUBSETTED",
                "{nth}: {resource}"
            );
        }
    }
    let client = Http2::plain(gateway.address);
    for nth in 0..count {
        let answer = client.get(&format!("/fhir/Patient?name={nth}&_count=2"));
        assert_eq!((answer.status, ids(&answer.json(), "match")), (200, vec!["p0".to_owned(), "p1".to_owned()]), "{nth}");
    }
}

#[test]
fn a_searchset_that_was_written_for_people_is_cut_and_complemented_as_any_other() {
    let openemr = OpenEmr::start();
    let answers: Vec<Sent> = spellings(PRETTY).iter().flat_map(|text| [Sent::new(text, 1), Sent::new(text, 4)]).collect();
    let count = answers.len();
    let (gateway, _raw) = in_front_of(&openemr, answers);
    for nth in 0..count {
        let page = bundle(&gateway.caller().get(&format!("/fhir/Patient?name={nth}&_count=1&_total=none&utm_source=x")));
        assert_eq!((ids(&page, "match"), &page["id"]), (vec!["p0".to_owned()], &json!("s1")), "{nth}");
        let lenient = [("Prefer", "handling=lenient")];
        let page =
            bundle(&gateway.caller().send("GET", &format!("/fhir/Patient?name={nth}&shoe-size=44&_count=1"), &lenient, b""));
        assert_eq!((ids(&page, "match").len(), ids(&page, "outcome").len()), (1, 1), "{nth}: {page}");
    }
}

#[test]
fn a_next_page_of_openemrs_is_neither_lost_nor_counted_in() {
    let openemr = OpenEmr::start();
    let more = CONTAINED
        .replace("\"collection\",\"total\"", "\"searchset\",\"total\"")
        .replace(r#""link":["#, r#""link":[{"relation":"next","url":"@BASE@/Patient?_count=3&_offset=3"},"#);
    let (gateway, _raw) = in_front_of(&openemr, vec![Sent::new(&more, 1)]);
    let whole = bundle(&gateway.caller().get("/fhir/Patient"));
    assert_eq!((ids(&whole, "match").len(), whole.get("total")), (3, None), "{whole}");
    let next = link(&whole, "next").unwrap();
    assert!(next.ends_with("/Patient?_count=3&_offset=3"), "{next}");
    let page = bundle(&gateway.caller().get("/fhir/Patient?_count=5"));
    assert_eq!((ids(&page, "match").len(), page.get("total")), (3, None));
    assert!(link(&page, "next").unwrap().ends_with("/fhir/Patient?_count=5&_offset=3"), "{page}");
}

#[test]
fn what_is_no_bundle_is_a_502_however_late_that_shows_and_what_breaks_later_is_not_whole() {
    let openemr = OpenEmr::start();
    let bodies = [
        "[]",
        "null",
        "{}",
        " ",
        r#"{"resourceType":"Patient","id":"1"}"#,
        r#"{"resourceType":"OperationOutcome","issue":[]}"#,
        r#"{"entry":[],"resourceType":"List"}"#,
        r#"{"resourceType":"Bundle","type":"history","entry":[]}"#,
        "<br />\n<b>Deprecated</b>: in /var/www/x.php {\"resourceType\":\"Bundle\"}",
    ];
    let mut answers: Vec<Sent> = bodies.iter().flat_map(|body| [Sent::new(body, 1), Sent::new(body, 3)]).collect();
    let first_broken = answers.len();
    let whole = CONTAINED.trim_end();
    let broken = [
        format!("{whole}<br />"),
        format!("{whole}{whole}"),
        whole.replace(r#"],"entry""#, r#"],"entry":[{"fullUrl":"x"}],"entry""#),
        whole.replace("p2\",\"resourceType\":\"Patient\"}}]}", "p2\"}}}"),
        whole[..whole.len() - 1].to_owned(),
    ];
    answers.extend(broken.iter().flat_map(|body| [Sent::new(body, 1), Sent::new(body, 3)]));
    answers.push(Sent { is_cut: true, ..Sent::new(&whole[..400], 3) });
    let count = answers.len();
    let (gateway, _raw) = in_front_of(&openemr, answers);
    let client = Http2::plain(gateway.address);
    for nth in 0..count {
        for search in ["", "&_count=2", "&_summary=count", "&_elements=name"] {
            let target = format!("/fhir/Patient?name={nth}{search}");
            let answer = gateway.caller().get(&target);
            if nth < first_broken {
                assert_eq!((answer.status, answer.end), (502, End::Whole), "{nth}: {}", answer.text());
            }
            let is_told = answer.status == 502 && answer.json()["resourceType"] == "OperationOutcome";
            assert!(is_told || answer.end != End::Whole, "{nth}{search}: {}", answer.text());
            assert!(!answer.text().contains("/var/www"), "{}", answer.text());
            if nth < first_broken {
                assert_eq!(client.get(&target).status, 502, "{nth}");
            }
        }
    }
}

#[test]
fn a_resource_in_the_place_of_its_entry_becomes_one() {
    let openemr = OpenEmr::start();
    let inline = r#"{"meta":{"lastUpdated":"2026-11-23T22:25:34"},"resourceType":"Bundle","type":"collection","total":1,"entry":[{"resourceType":"OperationDefinition","name":"$bulkdata-status","status":"active","kind":"operation","parameter":[{"name":"job"}]},{"fullUrl":"https://emr/OperationDefinition/x"}]}"#;
    let (gateway, _raw) = in_front_of(&openemr, vec![Sent::new(inline, 1), Sent::new(inline, 7)]);
    for _ in 0..2 {
        let answer = gateway.caller().get("/fhir/OperationDefinition");
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
        let bundle = answer.json();
        let resource = json!({"resourceType": "OperationDefinition", "name": "$bulkdata-status", "status": "active", "kind": "operation", "parameter": [{"name": "job"}]});
        assert_eq!(bundle["entry"][0], json!({"resource": resource, "search": {"mode": "match"}}));
        assert_eq!((&bundle["total"], &bundle["entry"][1]["search"]["mode"]), (&json!(1), &json!("outcome")), "{bundle}");
        assert_eq!(bundle["entry"][1]["resource"]["issue"][0]["code"], "incomplete");
    }
}

#[test]
fn a_resource_that_openemr_lists_twice_comes_once_on_any_page() {
    let openemr = OpenEmr::with(&["--patients", "12"]);
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Immunization.read"]);
    let gateway = Gateway::with(config.clone());
    config["sites"]["default"]["conformance"] = json!("pass_through");
    config["sites"]["default"]["paging"] = json!("off");
    let untouched = Gateway::with(config).caller().get("/fhir/Immunization").json();
    let of = |bundle: &Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().into_iter().flatten();
        entries.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = of(&untouched);
    let rows = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(rows, 2 * all.len());
    let once = gateway.caller().get("/fhir/Immunization").json();
    let mut found = of(&once);
    assert_eq!(once["total"], json!(all.len()));
    found.sort_unstable();
    assert_eq!(found, all);
    for count in [1, 5, 7] {
        let mut pages = Vec::new();
        let mut target = Some(format!("/fhir/Immunization?_count={count}"));
        while let Some(next) = target.take() {
            let page = gateway.caller().get(&next).json();
            assert!(of(&page).len() <= count);
            pages.extend(of(&page));
            target = link(&page, "next").map(|url| format!("/fhir{}", url.split_once("/fhir").unwrap().1));
        }
        pages.sort_unstable();
        assert_eq!(pages, all, "{count}");
    }
}

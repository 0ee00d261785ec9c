//! Bulk exports, to the last byte: an export that fails at OpenEMR succeeds through the gateway, whatever happens to
//! tokens, to OpenEMR and to the gateway itself meanwhile.

mod files;
mod provenance;
mod question;
mod shared;
mod type_filter;
mod type_filter_files;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime};

use crate::support::gateway::{Gateway, config, free_address, site};
use crate::support::http::{Answer, Caller, End, request};
use crate::support::openemr::{OpenEmr, mended, without_times};
use crate::support::{Process, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

const TYPES: [&str; 8] =
    ["Patient", "Provenance", "Observation", "Encounter", "Condition", "Organization", "Location", "Practitioner"];
const OPERATIONS: [&str; 5] =
    ["system/Binary.read", "system/*.$export", "system/Patient.$export", "system/Group.$export", "system/*.$bulkdata-status"];
const KICK_OFF: [(&str, &str); 2] = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];

/// A configuration with the scopes of an export of these types, and a folder for its plans.
fn exporting(openemr: &OpenEmr, types: &[&str], folder: &TempDir) -> Value {
    let mut config = config(openemr);
    let default = &mut config["sites"]["default"];
    default["scopes"] = scopes(types);
    default["bulk_data"] = json!({"folder": folder.path().join("bulk")});
    config
}

fn scopes(types: &[&str]) -> Value {
    let read = types.iter().map(|name| format!("system/{name}.read"));
    read.chain(OPERATIONS.map(str::to_owned)).collect::<Vec<_>>().into()
}

/// Kicks an export off, and gives the path of its status.
fn kick_off(caller: &Caller, target: &str) -> String {
    let answer = caller.send("GET", target, &KICK_OFF, b"");
    accepted(&answer)
}

fn accepted(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.end, answer.body.len()), (202, End::Whole, 0), "{}", answer.text());
    let location = answer.field("content-location").expect("Content-Location").to_owned();
    let path = location.strip_prefix("http://gateway.example").unwrap_or_else(|| panic!("{location}"));
    assert!(path.contains("/fhir/$bulkdata-status?job="), "{location}");
    path.to_owned()
}

/// Asks until the export is at its end.
fn ended(caller: &Caller, status: &str) -> Answer {
    eventually("the export ends", || {
        let answer = caller.get(status);
        match answer.status {
            202 => None,
            200 => Some(answer),
            other => panic!("{other}: {}", answer.text()),
        }
    })
}

/// The files of a manifest: type, and what the gateway serves for it.
fn files(caller: &Caller, manifest: &Value) -> BTreeMap<String, String> {
    let listed = manifest["output"].as_array().unwrap().iter();
    listed
        .map(|entry| {
            let url = entry["url"].as_str().unwrap().strip_prefix("http://gateway.example").expect("a URL of the gateway");
            let answer = caller.get(url);
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{url}");
            assert!(answer.field("content-type").unwrap().starts_with("application/fhir+ndjson"), "{:?}", answer.fields);
            (entry["type"].as_str().unwrap().to_owned(), answer.text())
        })
        .collect()
}

/// What OpenEMR has of a type, by its own search.
fn population(openemr: &OpenEmr, gateway: &Gateway, resource_type: &str) -> Vec<Value> {
    let answer = direct(openemr, gateway, "GET", &format!("/apis/default/fhir/{resource_type}"), &[]);
    let bundle = mended(&answer.json());
    bundle["entry"].as_array().map(|entries| entries.iter().map(|entry| entry["resource"].clone()).collect()).unwrap_or_default()
}

/// Asks OpenEMR without the gateway, with the gateway's token.
fn direct(openemr: &OpenEmr, gateway: &Gateway, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let token = gateway.token("").json()["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let mut fields = fields.to_vec();
    fields.push(("Authorization", &bearer));
    Caller::new(openemr.address).send(method, target, &fields, b"")
}

/// What an export's `error` says, by the OperationOutcomes behind its URLs.
fn errors(caller: &Caller, manifest: &Value) -> Vec<String> {
    let mut said = Vec::new();
    for entry in manifest["error"].as_array().unwrap() {
        assert_eq!(entry["type"], "OperationOutcome");
        let url = entry["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap();
        let answer = caller.get(url);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/fhir+ndjson")), "{}", answer.text());
        for line in answer.text().lines() {
            let outcome: Value = serde_json::from_str(line).unwrap();
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            said.push(outcome["issue"][0]["diagnostics"].as_str().unwrap().to_owned());
        }
    }
    said
}

/// The kick-offs that came to OpenEMR: the types of each, and its status.
fn kick_offs(openemr: &OpenEmr) -> Vec<(Vec<String>, u64)> {
    let state = openemr.state();
    let listed = state["exports"]["kick_offs"].as_array().unwrap().iter();
    let types = |one: &Value| one["types"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    listed.map(|one| (types(one), one["status"].as_u64().unwrap())).collect()
}

/// None began before the one before it was over.
fn assert_one_at_a_time(openemr: &OpenEmr) {
    let state = openemr.state();
    let listed = state["exports"]["kick_offs"].as_array().unwrap();
    for pair in listed.windows(2) {
        let ends = pair[0]["began_ms"].as_u64().unwrap() + pair[0]["takes_ms"].as_u64().unwrap();
        assert!(pair[1]["began_ms"].as_u64().unwrap() >= ends, "{pair:?}");
    }
}

fn instant(text: &Value) -> SystemTime {
    let text = text.as_str().unwrap();
    assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text} is no instant");
    text.parse::<jiff::Timestamp>().unwrap().into()
}

#[test]
fn an_export_that_fails_at_openemr_succeeds_here_with_all_but_what_openemr_cannot_do() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"most_types": 3, "apache_waits_ms": 300, "provenance": "timeout", "polls": 1}}));
    let straight = direct(&openemr, &gateway, "GET", "/apis/default/fhir/$export", &KICK_OFF);
    assert_eq!((straight.status, straight.field("content-type")), (504, Some("text/html; charset=iso-8859-1")));
    openemr.reset();
    const APACHE_WAITS: Duration = Duration::from_secs(5);
    let waits = APACHE_WAITS.as_millis() as u64;
    openemr.order(&json!({"export": {"most_types": 3, "apache_waits_ms": waits, "provenance": "timeout", "polls": 1}}));
    let begun = SystemTime::now();
    let asked = Instant::now();
    let status = kick_off(&caller, "/fhir/$export?_outputFormat=ndjson");
    assert!(asked.elapsed() < APACHE_WAITS, "it waited for OpenEMR");
    let kicked_off = SystemTime::now();
    let answer = ended(&caller, &status);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let expires = httpdate::parse_http_date(answer.field("expires").expect("Expires")).unwrap();
    let hour = Duration::from_secs(3600);
    let seconds = Duration::from_secs(10);
    assert!((begun + hour - seconds..=SystemTime::now() + hour + seconds).contains(&expires), "{expires:?}");
    let manifest = answer.json();
    let members: Vec<&str> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["transactionTime", "request", "requiresAccessToken", "output", "deleted", "error"]);
    let transaction = instant(&manifest["transactionTime"]);
    assert!((begun - Duration::from_secs(2)..=kicked_off + Duration::from_secs(2)).contains(&transaction));
    assert_eq!(manifest["request"], "http://gateway.example/fhir/$export?_outputFormat=ndjson");
    assert_eq!((&manifest["requiresAccessToken"], &manifest["deleted"]), (&json!(false), &json!([])));
    let said = errors(&caller, &manifest);
    let has = |words: &str| said.iter().filter(|said| said.starts_with("Provenance of ") && said.contains(words)).count();
    assert_eq!((has("failed with status 504. It was not tried again."), has("may still be at work")), (1, 6), "{said:?}");

    let files = files(&caller, &manifest);
    let expected: Vec<&str> = TYPES.iter().copied().filter(|name| *name != "Provenance").collect();
    assert_eq!(files.len(), expected.len());
    for resource_type in expected {
        let lines: Vec<Value> = files[resource_type].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["resourceType"] == *resource_type));
        assert!(files[resource_type].is_empty() || files[resource_type].ends_with("}\n"));
        assert_eq!(
            without_times(&json!(lines)),
            without_times(&json!(population(&openemr, &gateway, resource_type))),
            "{resource_type}"
        );
    }
    // One type a kick-off, each once, the one that fails at the end.
    let mut came = kick_offs(&openemr);
    let (types, status) = came.pop().unwrap();
    assert_eq!((types.len(), types.contains(&"Provenance".to_owned()), status), (2, true, 504), "{types:?}");
    assert!(came.iter().all(|(types, _)| types.len() == 1), "{came:?}");
    assert_eq!(came.len(), TYPES.len() - 1);
    assert_one_at_a_time(&openemr);
}

#[test]
fn openemr_gets_the_spelling_that_it_compares_with_whatever_the_caller_wrote() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition"], &folder));
    let caller = gateway.caller();
    for fields in [
        &[("Prefer", "respond-async")][..],
        &[("accept", "application/fhir+json; fhirVersion=4.0, */*;q=0.1"), ("prefer", "Respond-Async; wait=10, handling=strict")],
        &[("Accept", "application/json"), ("Prefer", "handling=lenient"), ("Prefer", "respond-async")],
    ] {
        let status = accepted(&caller.send("GET", "/fhir/Patient/$export?_type=Patient", fields, b""));
        let manifest = ended(&caller, &status).json();
        assert_eq!(manifest["output"][0]["type"], "Patient");
        assert_eq!(manifest["output"].as_array().unwrap().len(), 1);
    }
    for (types, status) in kick_offs(&openemr) {
        assert_eq!((types, status), (vec!["Patient".to_owned()], 202));
    }
    let state = openemr.state();
    assert_eq!(state["exports"]["kick_offs"][0]["target"], "/apis/default/fhir/Patient/$export?_type=Patient");
}

#[test]
fn what_cannot_be_done_is_refused_in_fhirs_words_and_never_reaches_openemr() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let asynchronous = ("Prefer", "respond-async");
    for (method, target, fields, status, words) in [
        ("GET", "/fhir/$export", &[][..], 400, "respond-async"),
        ("GET", "/fhir/$export?_since=2026-01-01", &[asynchronous], 400, "_since"),
        ("GET", "/fhir/$export?_outputFormat=csv", &[asynchronous], 400, "_outputFormat"),
        ("GET", "/fhir/$export?_type=Patient,Goal", &[asynchronous], 403, "system/Goal.read"),
        ("GET", "/fhir/$export?_type=Patient,Binary", &[asynchronous], 400, "Binary"),
        ("GET", "/fhir/$export?_typeFilter=x", &[asynchronous], 400, "_typeFilter"),
        ("GET", "/fhir/$export?_elements=id", &[("Prefer", "respond-async, handling=strict")], 400, "_elements"),
        ("PUT", "/fhir/$export", &[asynchronous], 405, "Allow"),
        ("POST", "/fhir/$bulkdata-status?job=1", &[], 405, "Allow"),
        ("GET", "/fhir/$bulkdata-status?job=6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11", &[], 404, "no such export"),
        ("GET", "/fhir/$bulkdata-status?job=../../x", &[], 404, "no such export"),
        ("DELETE", "/fhir/$bulkdata-status?job=6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11", &[], 404, "no such export"),
        ("GET", "/fhir/$bulkdata-errors?job=x", &[], 404, "no such export"),
        ("GET", "/fhir/$bulkdata-file/6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11/Patient-1.ndjson", &[], 404, "no such export"),
        ("GET", "/fhir/$bulkdata-file/x/Patient-1.ndjson", &[], 404, "no such export"),
        ("DELETE", "/fhir/$bulkdata-file/x/Patient-1.ndjson", &[], 405, "Allow"),
        ("POST", "/fhir/$export", &[asynchronous, ("Content-Type", "text/plain")], 415, "Parameters"),
        ("POST", "/fhir/$export", &[asynchronous, ("Content-Type", "application/fhir+json")], 400, "Parameters"),
    ] {
        let body = if method == "POST" { &b"{\"resourceType\":\"Patient\"}"[..] } else { b"" };
        let told = caller.send(method, target, fields, body).outcome(status);
        assert!(told.contains(words), "{method} {target}: {told}");
    }
    for (target, accept) in [("/fhir/$export", "application/fhir+xml"), ("/fhir/$export?_format=xml", "*/*")] {
        // Said in the XML that the client asks for.
        assert_eq!(caller.send("GET", target, &[asynchronous, ("Accept", accept)], b"").status, 406);
    }
    let large = vec![b' '; 65 * 1024];
    caller.send("POST", "/fhir/$export", &[asynchronous, ("Content-Type", "application/fhir+json")], &large).outcome(413);
    assert!(kick_offs(&openemr).is_empty());
    assert!(!folder.path().join("bulk").exists(), "nothing was taken on");
}

#[test]
fn leniency_leaves_out_what_cannot_be_done_and_says_so() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let lenient = [("Prefer", "respond-async, handling=lenient")];
    let target = "/fhir/Patient/$export?_type=Patient,Goal&includeAssociatedData=Jane&_elements=id";
    let manifest = ended(&caller, &accepted(&caller.send("GET", target, &lenient, b""))).json();
    assert_eq!(manifest["request"], "http://gateway.example/fhir/Patient/$export?_type=Patient,Goal");
    assert_eq!(files(&caller, &manifest)["Patient"].lines().count(), 20);
    let said = errors(&caller, &manifest);
    assert_eq!(said.len(), 3);
    for words in ["includeAssociatedData", "_elements", "system/Goal.read"] {
        assert!(said.iter().any(|text| text.contains(words)), "{words} in {said:?}");
    }
}

#[test]
fn a_kick_off_by_post_says_the_same_in_a_parameters_resource() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition", "Encounter"], &folder));
    let caller = gateway.caller();
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueString": "Condition"}, {"name": "_type", "valueString": "Encounter"},
        {"name": "_since", "valueInstant": "2020-01-01T00:00:00Z"},
    ]});
    let fields = [("Prefer", "respond-async"), ("Content-Type", "application/fhir+json")];
    let status = accepted(&caller.send("POST", "/fhir/Group/g-1/$export", &fields, body.to_string().as_bytes()));
    let manifest = ended(&caller, &status).json();
    assert_eq!(manifest["request"], "http://gateway.example/fhir/Group/g-1/$export");
    assert_eq!(files(&caller, &manifest).keys().collect::<Vec<_>>(), ["Condition", "Encounter"]);
    let target = openemr.state()["exports"]["kick_offs"][0]["target"].as_str().unwrap().to_owned();
    assert_eq!(target, "/apis/default/fhir/Group/g-1/$export?_type=Condition&_since=2020-01-01T00%3A00%3A00Z");
}

#[test]
fn since_reaches_openemr() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    for (since, count) in
        [("2001-01-01T00:00:00%2B01:00", 20), ("2001-01-01T00:00:00+01:00", 20), ("2099-01-01T00:00:00.123456Z", 0)]
    {
        let status = kick_off(&caller, &format!("/fhir/Patient/$export?_since={since}"));
        let manifest = ended(&caller, &status).json();
        assert_eq!(files(&caller, &manifest)["Patient"].lines().count(), count, "{since}");
        assert_eq!(manifest["request"], format!("http://gateway.example/fhir/Patient/$export?_since={since}"));
    }
}

#[test]
fn the_status_tells_how_many_types_are_done_and_the_token_may_end_meanwhile() {
    let openemr = OpenEmr::with(&["--token-lifetime", "2"]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"type_takes_ms": 700, "provenance": "error", "polls": 2}}));
    let status = kick_off(&caller, "/fhir/$export");
    let mut seen = Vec::new();
    let manifest = eventually("the export ends", || {
        let answer = caller.get(&status);
        if answer.status == 200 {
            return Some(answer.json());
        }
        assert_eq!((answer.status, answer.field("retry-after")), (202, Some("2")), "{}", answer.text());
        let progress = answer.field("x-progress").unwrap();
        let done: usize = progress.strip_suffix(" of 8 types done").unwrap_or_else(|| panic!("{progress}")).parse().unwrap();
        assert!(seen.last().is_none_or(|last| *last <= done), "{seen:?} {done}");
        seen.push(done);
        None
    });
    seen.dedup();
    assert!(seen.len() >= 4, "{seen:?}");
    assert_eq!(files(&caller, &manifest).len(), 7);
    let said = errors(&caller, &manifest);
    let text = |said: &&String| said.ends_with(": OpenEMR failed with status 500. It was not tried again.");
    assert_eq!((said.len(), said.iter().filter(text).count()), (7, 7), "{said:?}");
    assert_one_at_a_time(&openemr);
    assert!(openemr.count("tokens_issued") > 8);
}

#[test]
fn a_deleted_export_is_deleted_at_openemr_too() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    let jobs = || openemr.state()["exports"]["jobs"].as_u64().unwrap();
    // One that is at its end.
    let status = kick_off(&caller, "/fhir/$export?_type=Patient,Condition");
    let manifest = ended(&caller, &status).json();
    assert_eq!(jobs(), 2);
    let deleted = caller.send("DELETE", &status, &[], b"");
    assert_eq!(deleted.status, 202, "{}", deleted.text());
    caller.get(&status).outcome(404);
    caller.send("DELETE", &status, &[], b"").outcome(404);
    eventually("OpenEMR's jobs are deleted", || (jobs() == 0).then_some(()));
    let url = manifest["output"][0]["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap();
    assert_eq!(caller.get(url).status, 404);
    // One that is under way: what waits is not begun.
    openemr.reset();
    openemr.order(&json!({"export": {"type_takes_ms": 400}}));
    let status = kick_off(&caller, "/fhir/$export");
    eventually("the second type is under way", || (kick_offs(&openemr).len() == 2).then_some(()));
    assert_eq!(caller.send("DELETE", &status, &[], b"").status, 202);
    caller.get(&status).outcome(404);
    let folder = folder.path().join("bulk/default");
    eventually("nothing is left", || (jobs() == 0 && fs::read_dir(&folder).unwrap().count() == 0).then_some(()));
    assert_eq!(kick_offs(&openemr).len(), 2);
}

#[test]
fn exports_wait_for_each_other_and_only_so_many_do() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"type_takes_ms": 300}}));
    let statuses: Vec<String> = (0..8).map(|_| kick_off(&caller, "/fhir/$export")).collect();
    let refused = caller.send("GET", "/fhir/$export", &KICK_OFF, b"");
    refused.outcome(429);
    assert!(refused.field("retry-after").is_some());
    for status in &statuses {
        assert_eq!(ended(&caller, status).json()["output"].as_array().unwrap().len(), 2);
    }
    assert_one_at_a_time(&openemr);
    assert_eq!(kick_offs(&openemr).len(), 16);
    // There is room again.
    ended(&caller, &kick_off(&caller, "/fhir/$export"));
}

#[test]
fn one_client_with_many_exports_keeps_no_other_out() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let from = |source: &str, target: &str| {
        let mut connection = gateway.caller().connect_from(source.parse().unwrap());
        connection.write(&request("GET", target, &KICK_OFF, b""));
        connection.read("GET")
    };
    openemr.order(&json!({"export": {"type_takes_ms": 2_000}}));
    let flood: Vec<Answer> = (0..12).map(|_| from("127.0.0.1", "/fhir/$export")).collect();
    assert_eq!(flood.iter().filter(|answer| answer.status == 429).count(), 4);
    let other = accepted(&from("127.0.0.2", "/fhir/$export"));
    // It does not wait for the eight before it.
    ended(&gateway.caller(), &other);
    let last = accepted(&flood[7]);
    assert_eq!(gateway.caller().get(&last).status, 202, "the flood is still under way");
}

#[test]
fn a_list_full_of_finished_exports_takes_a_further_one_in_place_of_the_oldest() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let first = kick_off(&caller, "/fhir/$export");
    ended(&caller, &first);
    let plans = folder.path().join("bulk/default");
    let file = fs::read_dir(&plans).unwrap().next().unwrap().unwrap().path();
    let mut plan: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // Others have the rest of the thousand, and theirs are older.
    let write = |plan: &mut Value, owner: &str, age: i64| {
        let job = uuid::Uuid::new_v4();
        plan["job"] = json!(job);
        plan["asked_by"] = json!(owner);
        plan["finished_at"] = json!(now_ms() - age);
        fs::write(plans.join(format!("{job}.json")), plan.to_string()).unwrap();
        format!("/fhir/$bulkdata-status?job={job}")
    };
    let theirs = write(&mut plan, "192.0.2.1", 900_000);
    for number in 0..600 {
        write(&mut plan, &format!("192.0.2.{}", number % 200), 800_000);
    }
    let oldest = write(&mut plan, "127.0.0.1", 700_000);
    for _ in 0..397 {
        write(&mut plan, "127.0.0.1", 600_000);
    }
    assert_eq!(fs::read_dir(&plans).unwrap().count(), 1000);
    let further = kick_off(&caller, "/fhir/$export");
    ended(&caller, &further);
    caller.get(&oldest).outcome(404);
    for kept in [&theirs, &first] {
        assert_eq!(caller.get(kept).status, 200, "{kept}");
    }
    eventually("the forgotten one is removed", || (fs::read_dir(&plans).unwrap().count() == 1000).then_some(()));
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn a_killed_gateway_goes_on_and_kicks_nothing_off_twice() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient", "Observation", "Encounter", "Condition", "Location"], &folder);
    config["listen"] = json!([{"address": free_address().to_string()}]);
    let gateway = Gateway::with(config.clone());
    openemr.order(&json!({"export": {"type_takes_ms": 600}}));
    let status = kick_off(&gateway.caller(), "/fhir/Patient/$export");
    eventually("the third type is under way", || (kick_offs(&openemr).len() == 3).then_some(()));
    let progress = gateway.caller().get(&status).field("x-progress").unwrap().to_owned();
    assert_eq!(progress, "2 of 5 types done");
    drop(gateway);

    let plan = fs::read_dir(folder.path().join("bulk/default")).unwrap().next().unwrap().unwrap();
    assert_eq!(plan.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for part in ["bulk", "bulk/default"] {
        assert_eq!(fs::metadata(folder.path().join(part)).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let kept = fs::read_to_string(plan.path()).unwrap();
    assert!(!kept.contains("eyJ") && !kept.contains("family"), "{kept}");

    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let manifest = ended(&caller, &status).json();
    let names: Vec<String> = files(&caller, &manifest).into_keys().collect();
    assert_eq!(names, ["Condition", "Location", "Observation", "Patient"]);
    let said = errors(&caller, &manifest);
    assert!(said.len() == 1 && said[0].starts_with("Encounter: The gateway was restarted"), "{said:?}");
    let mut types: Vec<String> = kick_offs(&openemr).into_iter().flat_map(|(types, _)| types).collect();
    types.sort();
    assert_eq!(types, ["Condition", "Encounter", "Location", "Observation", "Patient"], "each once");
}

#[test]
fn a_successor_takes_the_exports_over_with_the_listeners() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Observation", "Encounter", "Condition", "Location"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"type_takes_ms": 4_000}}));
    let status = kick_off(&caller, "/fhir/Patient/$export");
    eventually("the second type is under way", || (kick_offs(&openemr).len() == 2).then_some(()));
    let mut old = gateway;
    let successor: Process = old.successor();
    eventually("the successor asks for the listeners", || successor.log().contains("token 1 for").then_some(()));
    old.process.signal("QUIT");
    let manifest = ended(&caller, &status).json();
    assert_eq!(files(&caller, &manifest).len(), 5, "none was lost: {manifest}");
    assert_eq!(manifest["error"], json!([]));
    assert_eq!(kick_offs(&openemr).len(), 5);
    assert_one_at_a_time(&openemr);
    eventually("the old one ends", || old.process.ended());
    eventually("one of the two logs the end", || {
        [successor.log(), old.log()].iter().any(|log| log.contains("is at its end")).then_some(())
    });
}

#[test]
fn a_stopped_gateway_ends_with_the_type_that_is_under_way_and_a_new_one_goes_on() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient", "Observation", "Encounter", "Condition"], &folder);
    config["listen"] = json!([{"address": free_address().to_string()}]);
    config["drain_delay"] = json!("10ms");
    let mut gateway = Gateway::with(config.clone());
    openemr.order(&json!({"export": {"type_takes_ms": 4_000}}));
    let status = kick_off(&gateway.caller(), "/fhir/Patient/$export");
    eventually("the second type is under way", || (kick_offs(&openemr).len() == 2).then_some(()));
    gateway.process.signal("TERM");
    let how = eventually("it ends", || gateway.process.ended());
    assert!(how.success(), "{how}");
    drop(gateway);
    assert_eq!(kick_offs(&openemr).len(), 2, "no other was begun");
    openemr.order(&json!({"export": {}}));
    let gateway = Gateway::with(config);
    let manifest = ended(&gateway.caller(), &status).json();
    assert_eq!(files(&gateway.caller(), &manifest).len(), 4);
    assert_eq!(manifest["error"], json!([]), "nothing was lost");
    assert_eq!(kick_offs(&openemr).len(), 4);
}

#[test]
fn a_reload_changes_what_comes_next_and_loses_nothing() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Observation", "Encounter"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"type_takes_ms": 700}}));
    let status = kick_off(&caller, "/fhir/Patient/$export");
    eventually("the first type is under way", || (kick_offs(&openemr).len() == 1).then_some(()));
    let mut config = gateway.config.clone();
    config["sites"]["default"]["scopes"] = scopes(&["Patient", "Encounter"]);
    config["sites"]["default"]["timeouts"] = json!({"read": "20s"});
    let log = gateway.reload(&config);
    assert!(log.contains("is in force"), "{log}");
    let manifest = ended(&caller, &status).json();
    assert_eq!(files(&caller, &manifest).into_keys().collect::<Vec<_>>(), ["Encounter", "Patient"]);
    let said = errors(&caller, &manifest);
    assert_eq!(said, ["Observation: OpenEMR does not let the gateway's client export this type."]);
}

#[test]
fn two_sites_export_side_by_side_and_know_nothing_of_each_other() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic"]);
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient", "Condition"], &folder);
    config["sites"]["clinic"] = site(&openemr.base, "RS384");
    config["sites"]["clinic"]["scopes"] = scopes(&["Patient", "Condition"]);
    config["sites"]["clinic"]["bulk_data"] = json!({"folder": folder.path().join("bulk")});
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"type_takes_ms": 300}}));
    let first = kick_off(&caller, "/fhir/$export");
    let second = kick_off(&caller, "/clinic/fhir/$export");
    assert!(second.starts_with("/clinic/fhir/"), "{second}");
    caller.get(&second.replacen("/clinic", "", 1)).outcome(404);
    let (first, second) = (ended(&caller, &first).json(), ended(&caller, &second).json());
    assert!(second["output"][0]["url"].as_str().unwrap().starts_with("http://gateway.example/clinic/fhir/$bulkdata-file/"));
    assert_eq!((files(&caller, &first).len(), files(&caller, &second).len()), (2, 2));
    let paths = openemr.state()["paths"].clone();
    for site in ["default", "clinic"] {
        assert_eq!(paths[format!("GET /apis/{site}/fhir/$export")], 2, "{paths}");
    }
}

#[test]
fn openemr_7_0_3_exports_too_and_v2_scopes_stay_v2() {
    let openemr = OpenEmr::with(&["--openemr", "7.0.3"]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition", "Provenance"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"export": {"most_types": 1, "apache_waits_ms": 100, "provenance": "error"}}));
    let status = kick_off(&caller, "/fhir/Patient/$export");
    let manifest = ended(&caller, &status).json();
    instant(&manifest["transactionTime"]);
    assert_eq!(files(&caller, &manifest).len(), 2);
    assert_eq!(errors(&caller, &manifest).len(), 2);
    assert_eq!(caller.send("DELETE", &status, &[], b"").status, 202);
    caller.get(&status).outcome(404);

    let openemr = OpenEmr::start();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["sites"]["default"]["scopes"] = json!([
        "system/Patient.rs",
        "system/Condition.rs",
        "system/Binary.read",
        "system/*.$export",
        "system/*.$bulkdata-status"
    ]);
    let gateway = Gateway::with(config);
    let manifest = ended(&gateway.caller(), &kick_off(&gateway.caller(), "/fhir/$export?_type=Patient")).json();
    assert_eq!(files(&gateway.caller(), &manifest).len(), 1);
    let scope = openemr.state()["last_token_request"]["scope"].as_str().unwrap().to_owned();
    assert_eq!(scope, "system/Patient.rs system/Binary.read system/*.$export system/*.$bulkdata-status");
}

#[test]
fn what_changed_up_to_the_transaction_time_is_in_it_by_openemrs_clock() {
    let openemr = OpenEmr::with(&["--clock-offset", "-100"]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/Patient/$export")).json();
    let behind = SystemTime::now().duration_since(instant(&manifest["transactionTime"])).unwrap().as_secs();
    assert!((99..=110).contains(&behind), "{behind}");
    // The next export begins there.
    let since = manifest["transactionTime"].as_str().unwrap();
    let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/Patient/$export?_since={since}"))).json();
    assert_eq!((manifest["output"].as_array().unwrap().len(), &manifest["error"]), (1, &json!([])));
}

#[test]
fn a_missing_scope_of_the_export_is_named() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let told = gateway.caller().send("GET", "/fhir/Patient/$export", &KICK_OFF, b"").outcome(403);
    assert!(told.contains("system/Patient.$export") && told.contains("system/*.$bulkdata-status"), "{told}");
}

#[test]
fn what_openemr_loses_on_the_way_is_not_asked_for_again() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient", "Condition", "Encounter"], &folder);
    config["sites"]["default"]["timeouts"] = json!({"export": "4s"});
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    openemr.order(&json!({"fhir": [
        {"target": "_type=Patient", "lose_answer": true}, {"target": "_type=Encounter", "delay_ms": 12_000},
    ]}));
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
    assert_eq!(files(&caller, &manifest).into_keys().collect::<Vec<_>>(), ["Condition"]);
    let said = errors(&caller, &manifest);
    assert!(said[0].starts_with("Patient: The connection broke"), "{said:?}");
    assert!(said[1].starts_with("Encounter: OpenEMR did not come to an end in time"), "{said:?}");
    assert_eq!(openemr.came("GET /apis/default/fhir/$export"), 3, "each once");
}

#[test]
fn a_refused_token_is_replaced_and_an_openemr_that_is_away_is_waited_for() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"fhir": {"target": "$export", "refuse": "revoked", "times": 1}}));
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Patient")).json();
    assert_eq!(files(&caller, &manifest).len(), 1);

    openemr.reset();
    openemr.order(&json!({"export": {"type_takes_ms": 60_000}}));
    let status = kick_off(&caller, "/fhir/$export");
    eventually("the first type is under way", || (kick_offs(&openemr).len() == 1).then_some(()));
    openemr.order(&json!({"listener": "down"}));
    gateway.logs(&["export of Patient failed"]);
    // Where it stands is told all the same.
    eventually("no node can be reached", || (caller.get("/fhir/Patient").status == 503).then_some(()));
    assert_eq!(caller.get(&status).field("x-progress"), Some("1 of 2 types done"));
    openemr.order(&json!({"listener": "up", "export": {"type_takes_ms": 0}}));
    let manifest = ended(&caller, &status).json();
    assert_eq!(files(&caller, &manifest).into_keys().collect::<Vec<_>>(), ["Condition"]);
    assert!(errors(&caller, &manifest)[0].starts_with("Patient: The connection broke"));
}

#[test]
fn every_url_is_where_the_caller_finds_the_gateway() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["public_url"] = json!("https://fhir.example.org/emr");
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let answer = caller.send("GET", "/fhir/Patient/$export?_elements=id", &[("Prefer", "respond-async,handling=lenient")], b"");
    let status = answer.field("content-location").unwrap().strip_prefix("https://fhir.example.org/emr").unwrap().to_owned();
    let manifest = ended(&caller, &status).json();
    assert_eq!(manifest["request"], "https://fhir.example.org/emr/fhir/Patient/$export");
    for entry in [&manifest["output"][0], &manifest["error"][0]] {
        assert!(entry["url"].as_str().unwrap().starts_with("https://fhir.example.org/emr/fhir/"), "{manifest}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named_in_the_log_alone() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    config["sites"]["default"]["bulk_data"]["folder"] = json!(file);
    let gateway = Gateway::with(config);
    let told = gateway.caller().send("GET", "/fhir/$export", &KICK_OFF, b"").outcome(500);
    assert!(!told.contains(file.to_str().unwrap()), "{told}");
    gateway.logs(&[file.to_str().unwrap(), "bulk_data.folder"]);
}

#[test]
fn a_damaged_plan_is_set_aside_and_the_others_go_on() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let first = kick_off(&caller, "/fhir/Patient/$export");
    ended(&caller, &first);
    let job = "6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11";
    let plans = folder.path().join("bulk/default");
    fs::write(plans.join(format!("{job}.json")), "{\"version\":1").unwrap();
    gateway.logs(&[job, "set aside"]);
    eventually("it is set aside", || plans.join(format!("{job}.damaged")).exists().then_some(()));
    caller.get(&format!("/fhir/$bulkdata-status?job={job}")).outcome(404);
    assert_eq!(caller.get(&first).status, 200);
    ended(&caller, &kick_off(&caller, "/fhir/Patient/$export"));
}

#[test]
fn an_export_that_is_too_old_is_forgotten() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["sites"]["default"]["bulk_data"]["keep"] = json!("5s");
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let status = kick_off(&caller, "/fhir/Patient/$export");
    ended(&caller, &status);
    eventually("it is forgotten", || (caller.get(&status).status == 404).then_some(()));
    eventually("OpenEMR has forgotten it, too", || (openemr.state()["exports"]["jobs"] == 0).then_some(()));
}

#[test]
fn an_export_as_openemr_does_it_passes_where_the_repair_is_off() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient", "Condition"], &folder);
    config["sites"]["default"]["repairs"] = json!({"bulk_data": false});
    let gateway = Gateway::with(config);
    let answer = gateway.caller().send("GET", "/fhir/Patient/$export", &KICK_OFF, b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(kick_offs(&openemr), [(vec!["Condition".to_owned(), "Patient".to_owned()], 202)]);
    assert!(!folder.path().join("bulk").exists());
}

#[test]
fn a_large_export_arrives_whole() {
    let openemr = OpenEmr::with(&["--patients", "6000"]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Observation"], &folder));
    let caller = gateway.caller();
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
    let files = files(&caller, &manifest);
    let size = files["Observation"].len();
    assert!(size > 20_000_000, "{size}");
    assert_eq!(files["Observation"].lines().count(), 30_200);
}

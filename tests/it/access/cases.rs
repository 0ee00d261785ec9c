//! Every policy case, end to end: the answer, what OpenEMR was asked, and what `access explain` says.

use serde_json::{Value, json};

use super::api_keys::key_of;
use super::case_rows::{CASES, Case, Expected, filled, names};
use super::limited::Clinic;
use crate::support::http::{Answer, Caller, request};

const EXPORT: [(&str, &str); 2] = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
const NOBODY: &str = "10000000-0000-4000-8000-00000000ffff";

fn id(name: &str) -> String {
    names().find(|(known, _)| *known == name).unwrap().1
}

fn ask(clinic: &Clinic, case: &Case) -> Answer {
    let (method, target) = case.request.split_once(' ').unwrap();
    let mut fields: Vec<(&str, &str)> = case.field.into_iter().collect();
    if let Some((kind, _)) = case.body {
        fields.push(("Content-Type", kind));
    }
    if target.contains("$export") {
        fields.extend(EXPORT);
    }
    let target = filled(target).replace('|', "%7C");
    let body = filled(case.body.map_or("", |(_, text)| text));
    let body = if case.body.is_some_and(|(kind, _)| kind.contains("form")) { body.replace('|', "%7C") } else { body };
    clinic.ask(case.client, method, &target, &fields, &body)
}

/// Says what is wrong with an answer; `asked` is how often OpenEMR was asked for it.
fn wrong(clinic: &Clinic, case: &Case, answer: &Answer, asked: u64) -> Option<String> {
    let text = answer.text();
    let status = answer.status;
    for name in case.hides.split_whitespace() {
        // An error that is decided without asking never repeats the request; a `self` link does.
        let shown = entries(answer).iter().any(|resource| resource["id"] == json!(id(name)));
        if shown || (status >= 400 && text.contains(&id(name))) {
            return Some(format!("{name} is in the answer"));
        }
    }
    if let Some(name) = case.shows.split_whitespace().find(|name| !text.contains(&id(name))) {
        return Some(format!("{name} is not in the answer"));
    }
    if let Some(total) = answer.field("content-type").filter(|kind| kind.contains("json")).and_then(|_| total(&text)) {
        let is_match = |entry: &&Value| entry["search"]["mode"].as_str().is_none_or(|mode| mode == "match");
        let shown = parsed(&text)["entry"].as_array().into_iter().flatten().filter(is_match).count() as u64;
        if shown > 0 && total < shown || (shown == 0 && total > 0 && !case.request.contains("_summary=count")) {
            return Some(format!("total is {total}, and {shown} are shown"));
        }
    }
    let unasked = |due: u16| match (status == due, asked) {
        (true, 0) => None,
        (true, asked) => Some(format!("OpenEMR was asked {asked} times")),
        (false, _) => Some(format!("{status} in place of {due}: {text}")),
    };
    let success = || (!(200..300).contains(&status)).then(|| format!("{status}: {text}"));
    match case.expected {
        Expected::Allow | Expected::Check => success(),
        Expected::Permitted => matches!(status, 401 | 403).then(|| format!("{status}: {text}")),
        Expected::Narrow(parameter) => success().or_else(|| {
            let query = own_query(&text);
            let (name, value) = parameter.split_once('=').unwrap();
            let value = filled(value);
            let has = |wanted: &str| query.iter().any(|(known, shown)| known == name && shown == wanted);
            // The ids of a list come in any order.
            let mut turned = value.split(',').rev().collect::<Vec<_>>().join(",");
            (!has(&value) && !has(&std::mem::take(&mut turned))).then(|| format!("self is {query:?}"))
        }),
        Expected::Refused => unasked(403),
        Expected::Bad => unasked(400),
        Expected::Early(due) => unasked(due),
        Expected::BadOrNarrow => {
            if matches!(status, 400 | 403) {
                unasked(status)
            } else {
                success()
            }
        }
        Expected::Hidden => {
            let (_, target) = case.request.split_once(' ').unwrap();
            let (resource_type, _) = target[1..].split_once('/').unwrap();
            let unknown = clinic.get(case.client, &format!("/{resource_type}/{NOBODY}"));
            let same = (status, nameless(answer), lasting(answer)) == (unknown.status, nameless(&unknown), lasting(&unknown));
            (status != 404 || !same).then(|| format!("{status} {text} is not {} {}", unknown.status, unknown.text()))
        }
    }
}

/// The body without the name of the request itself.
fn nameless(answer: &Answer) -> String {
    answer.text().replace(answer.field("x-request-id").unwrap(), "")
}

/// The fields that do not name the request itself.
fn lasting(answer: &Answer) -> Vec<(String, String)> {
    let names_it = |name: &str| ["date", "x-request-id", "traceparent", "server-timing"].contains(&name);
    let mut fields = answer.fields.clone();
    fields.retain(|(name, _)| !names_it(&name.to_ascii_lowercase()));
    fields
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn total(text: &str) -> Option<u64> {
    parsed(text)["total"].as_u64()
}

/// The resource, or those of a Bundle's entries.
fn entries(answer: &Answer) -> Vec<Value> {
    let whole = parsed(&answer.text());
    match whole["entry"].as_array() {
        Some(entries) => entries
            .iter()
            .map(|entry| entry["resource"].clone())
            .filter(|one| one["resourceType"] != "OperationOutcome")
            .collect(),
        None if whole["resourceType"] == "Bundle" => Vec::new(),
        None => vec![whole],
    }
}

/// The parameters of a Bundle's `self`.
fn own_query(text: &str) -> Vec<(String, String)> {
    let bundle = parsed(text);
    let links = bundle["link"].as_array().cloned().unwrap_or_default();
    let own = links.iter().find(|link| link["relation"] == "self").and_then(|link| link["url"].as_str().map(str::to_owned));
    let query = own.unwrap_or_default().split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

#[test]
fn every_case_is_decided_as_the_table_says() {
    let clinic = Clinic::open();
    // What the gateway asks for itself is asked by now.
    assert_eq!(clinic.get("all", "/metadata").status, 200);
    assert_eq!(clinic.get("all", "/Observation?_count=1").status, 200);
    let mut faults = Vec::new();
    // Exports that begin go on after their answers, and so come last.
    let begins = |case: &&Case| case.request.contains("$export") && case.expected == Expected::Allow;
    let (exports, others): (Vec<_>, Vec<_>) = CASES.iter().partition(begins);
    for case in others.into_iter().chain(exports) {
        let before = clinic.asked();
        let answer = ask(&clinic, case);
        let asked = clinic.asked() - before;
        if let Some(wrong) = wrong(&clinic, case, &answer, asked) {
            faults.push(format!("{} {} {}: {wrong}", case.number, case.client, case.request));
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}

#[test]
fn explain_says_of_every_case_what_is_decided() {
    let clinic = Clinic::open();
    let config = clinic.gateway.config_file();
    let mut faults = Vec::new();
    for case in CASES.iter().filter(|case| case.body.is_none() && !matches!(case.expected, Expected::Early(_))) {
        let (method, target) = case.request.split_once(' ').unwrap();
        let line = format!("{method} /fhir{}", filled(target).replace('|', "%7C"));
        let program = std::process::Command::new(crate::support::binary())
            .args(["access", "explain", "--config", config.to_str().unwrap(), "--client", case.client, "--request", &line])
            .output()
            .unwrap();
        let said = String::from_utf8(program.stdout).unwrap().to_lowercase();
        let words: &[&str] = match case.expected {
            Expected::Allow => &["allowed"],
            Expected::Permitted => &["allowed", "narrowed", "checked"],
            Expected::Narrow(_) => &["narrowed"],
            Expected::Check | Expected::Hidden => &["checked", "narrowed"],
            Expected::Refused => &["refused"],
            Expected::Bad => &["refused", "400"],
            Expected::BadOrNarrow => &["refused", "400", "narrowed", "checked"],
            Expected::Early(_) => continue,
        };
        if !words.iter().any(|word| said.contains(word)) {
            let error = String::from_utf8_lossy(&program.stderr).into_owned();
            faults.push(format!("{} {} {line}: {said}{error}", case.number, case.client));
        }
    }
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_who_is_asking() {
    let clinic = Clinic::open();
    let caller = clinic.gateway.caller();
    let send = |target: &str, fields: &[(&str, &str)]| caller.send("GET", target, fields, b"");
    let good = key_of("pat");
    let target = format!("/fhir/Patient/{}", id("P1"));
    let status = |name: &str, value: &str| send(&target, &[(name, value)]).status;
    let basic = |name: &str, password: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}")))
    };
    let before = clinic.asked();
    // A1
    let none = send(&target, &[]);
    none.outcome(401);
    assert_eq!(none.json()["issue"][0]["code"], "login");
    assert!(none.field("www-authenticate").is_some(), "{:?}", none.fields);
    // A2 and A3: a key of nobody, and each character of a good one changed
    assert_eq!(status("Authorization", &format!("Bearer {}", key_of("nobody"))), 401);
    for at in 5..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        if bytes != good.as_bytes() {
            assert_eq!(status("X-API-Key", std::str::from_utf8(&bytes).unwrap()), 401, "at {at}");
        }
    }
    // A6: two different ones
    let two = [("Authorization", format!("Bearer {good}")), ("X-API-Key", key_of("all"))];
    let two = two.each_ref().map(|(name, value)| (*name, value.as_str()));
    send(&target, &two).outcome(400);
    // A13 and A14: the address
    assert_eq!(status("X-API-Key", &key_of("far")), 403);
    assert_eq!(clinic.asked(), before, "none of these reached OpenEMR");
    // A4 and A5
    for (name, value) in [
        ("X-API-Key", good.clone()),
        ("Authorization", format!("bearer {good}")),
        ("Authorization", format!("BEARER {good}")),
        ("Authorization", basic("pat", &good)),
    ] {
        assert_eq!(status(name, &value), 200, "{name}");
    }
    // A15 and A16
    for client in ["pat", "none", "vit", "panel"] {
        assert_eq!(clinic.get(client, "/metadata").status, 200, "{client}");
    }
    assert_eq!(send("/fhir/metadata", &[]).status, 200);
}

#[test]
fn c19_d13_a_filter_that_openemr_ignores_shows_nobody_elses() {
    let clinic = Clinic::open();
    let ignore = |names: &[&str]| clinic.openemr.order(&json!({"fhir": {"ignore_parameters": names}}));
    let all = &["category", "patient", "subject", "_id"][..];
    for (ignored, client, target, shows, total) in [
        (&["category"][..], "vit", format!("/Observation?patient={}", id("P1")), vec!["O1"], 1),
        (all, "panel", format!("/CareTeam?patient={}", id("P1")), vec!["T1"], 1),
        (all, "panel", "/Patient?name=Abel".to_owned(), vec!["P1", "P2"], 2),
        (all, "panel", format!("/Patient?_id={}", id("P1")), vec!["P1"], 1),
        (
            &["patient", "subject"],
            "panel",
            format!("/Observation?patient={}&category={}", id("P1"), filled("{LAB}").replace('|', "%7C")),
            vec!["O2"],
            1,
        ),
    ] {
        ignore(ignored);
        let answer = clinic.get(client, &target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let found: Vec<_> = entries(&answer).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        let due: Vec<_> = shows.iter().map(|name| id(name)).collect();
        assert!(due.iter().all(|due| found.contains(due)), "{target}: {found:?}");
        assert!(found.iter().all(|found| *found != id("P9") && *found != id("O9") && *found != id("T9")), "{target}");
        assert_eq!(answer.json()["total"], json!(total), "{target}");
    }
}

#[test]
fn d21_a_link_of_an_old_page_gives_no_right() {
    let clinic = Clinic::open();
    let first = clinic.get("panel", "/Observation?_count=1").json();
    let next = first["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next").unwrap()["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut config = clinic.gateway.config.clone();
    config["access"]["clients"]["panel"]["patients"]["ids"] = json!([id("P2")]);
    assert!(clinic.gateway.reload(&config).contains("is in force"));
    let target = next.split_once("/fhir").unwrap().1;
    let answer = clinic.get("panel", target);
    assert!(!answer.text().contains(&format!("Patient/{}", id("P1"))), "{}", answer.text());
}

#[test]
fn f_an_export_belongs_to_its_client() {
    let clinic = Clinic::open();
    let kicked = clinic.ask("exp", "GET", "/Patient/$export?_type=Patient", &EXPORT, "");
    assert_eq!(kicked.status, 202, "{}", kicked.text());
    let status = kicked.field("content-location").unwrap().split_once("/fhir").unwrap().1.to_owned();
    let unknown = clinic.get("grp", "/$bulkdata-status?job=10000000-0000-4000-8000-00000000ffff");
    for client in ["grp", "all", "none"] {
        assert_eq!(clinic.get(client, &status).status, 404, "{client} polls");
        assert_eq!(clinic.ask(client, "DELETE", &status, &[], "").status, 404, "{client} deletes");
    }
    assert_eq!(unknown.status, 404);
    let ended =
        crate::support::eventually("the export ends", || Some(clinic.get("exp", &status)).filter(|answer| answer.status != 202));
    let manifest = ended.json();
    let file = manifest["output"][0]["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
    assert_eq!(clinic.get("exp", &file).status, 200);
    for client in ["grp", "all", "none", "panel"] {
        assert!(matches!(clinic.get(client, &file).status, 403 | 404), "{client} fetches the file");
    }
    // F9 and F15: what is constrained is filtered, or refused
    for client in ["vexp", "pexp"] {
        let kicked = clinic.ask(client, "GET", "/Patient/$export?_type=Observation", &EXPORT, "");
        if kicked.status != 202 {
            assert_eq!(kicked.status, 403, "{client}: {}", kicked.text());
            continue;
        }
        let status = kicked.field("content-location").unwrap().split_once("/fhir").unwrap().1.to_owned();
        let ended =
            crate::support::eventually("it ends", || Some(clinic.get(client, &status)).filter(|answer| answer.status != 202));
        for output in ended.json()["output"].as_array().unwrap() {
            let file = clinic.get(client, output["url"].as_str().unwrap().split_once("/fhir").unwrap().1).text();
            let foreign = if client == "vexp" { id("O2") } else { id("O9") };
            assert!(file.contains(&id("O1")) && !file.contains(&foreign), "{client}: {file}");
        }
    }
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "patient", "valueReference": {"reference": format!("Patient/{}", id("P1"))}},
        {"name": "patient", "valueReference": {"reference": format!("Patient/{}", id("P9"))}},
    ]});
    let fields = [EXPORT[0], EXPORT[1], ("Content-Type", "application/fhir+json")];
    let answer = clinic.ask("pexp", "POST", "/Patient/$export", &fields, &parameters.to_string());
    assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
}

#[test]
fn h_what_openemr_would_understand_otherwise() {
    let clinic = Clinic::open();
    let authorization = format!("Bearer {}", key_of("pat"));
    let fields = [("Authorization", authorization.as_str())];
    let caller: Caller = clinic.gateway.caller();
    let before = clinic.asked();
    // H13: the last of many parameters
    let many: String = (0..200).map(|at| format!("a{at}=1&")).collect();
    let vit = format!("Bearer {}", key_of("vit"));
    let target = format!("/fhir/Observation?{many}_revinclude=Provenance:target");
    let answer = caller.send("GET", &target, &[("Authorization", &vit)], b"");
    assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
    // H11: another host in the absolute form
    let answer = caller.send("GET", &format!("http://evil.example/fhir/Observation/{}", id("O1")), &fields, b"");
    assert!(matches!(answer.status, 400 | 403 | 421), "{}", answer.text());
    assert_eq!(clinic.asked(), before);
}

#[test]
fn i_local_routes_and_side_channels() {
    let clinic = Clinic::open();
    let authorization = format!("Bearer {}", key_of("pat"));
    let fields = [("Authorization", authorization.as_str())];
    // I1
    let exchanges = clinic.openemr.exchanges().len();
    assert_eq!(clinic.gateway.caller().send("POST", "/oauth/token?force=true", &fields, b"").status, 403);
    assert_eq!(clinic.openemr.exchanges().len(), exchanges);
    // I3 and I5
    let before = clinic.asked();
    let answer = clinic.get("pat", "/Observation?patient=secret-value");
    let text = answer.outcome(403);
    assert!(text.contains("system/Observation.s") && !answer.text().contains("secret-value"), "{text}");
    assert_eq!(clinic.asked(), before);
    assert!(!clinic.gateway.log().contains("secret-value"));
    // I7: the next request of an open connection
    let mut open = clinic.connect();
    let bytes = request("GET", &format!("/fhir/Patient/{}", id("P1")), &fields, b"");
    open.write(&bytes);
    assert_eq!(open.read("GET").status, 200);
    let mut config = clinic.gateway.config.clone();
    config["access"]["clients"]["pat"]["scopes"] = json!(["system/Organization.r"]);
    assert!(clinic.gateway.reload(&config).contains("is in force"));
    open.write(&bytes);
    assert_eq!(open.read("GET").status, 403);
}

#[test]
fn scopes_that_cannot_be_enforced_are_configuration_errors() {
    let folder = crate::support::command::Folder::good();
    for (scope, word) in [
        ("patient/Patient.rs", "system/"),
        ("user/Patient.rs", "system/"),
        ("system/Observation.rs?code:in=http://example.org/vs", ":in"),
        ("system/Observation.rs?patient.name=Smith", "patient.name"),
        ("system/Observation.rs?nosuch=1", "nosuch"),
        ("system/Observation.sr", "order"),
        ("system/Observatoin.rs", "Observation"),
        ("openid", "openid"),
    ] {
        let text = format!(
            "{}\naccess:\n  clients: {{a: {{scopes: [\"{scope}\"]}}}}\n  allow_from: [127.0.0.0/8]\n",
            crate::support::command::GOOD
        );
        folder.write("conf/gateway.yaml", &text);
        let ended = folder.run(&["config", "check"]);
        assert_eq!(ended.code, 1, "{scope}: {}", ended.out);
        assert!(ended.err.contains(word) && ended.err.contains("access.clients.a.scopes"), "{scope}: {}", ended.err);
    }
}

//! PHP reads many spellings of a parameter's name as one, and OpenEMR takes its route from such names. None of them reaches OpenEMR,
//! in a query or in a form, whatever is repaired.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");
/// What PHP reads as `_REWRITE_COMMAND`, or as an array of that name.
const SPELLINGS: [&str; 14] = [
    "_REWRITE_COMMAND",
    "%5FREWRITE%5fCOMMAND",
    "_REWRITE.COMMAND",
    ".REWRITE.COMMAND",
    "_REWRITE%20COMMAND",
    "_REWRITE+COMMAND",
    "%20_REWRITE_COMMAND",
    "+%20_REWRITE_COMMAND",
    "_REWRITE[COMMAND",
    "_REWRITE%5BCOMMAND",
    "_REWRITE_COMMAND%00x",
    "_REWRITE_COMMAND[]",
    "_REWRITE_COMMAND%5B0%5D",
    "_REWRITE_COMMAND[a][b]",
];
/// Requests of every kind.
const REQUESTS: [(&str, &str); 20] = [
    ("GET", "/Patient/1"),
    ("HEAD", "/Patient/1"),
    ("GET", "/Organization/1"),
    ("GET", "/Patient/1/_history/1"),
    ("GET", "/Patient/1/_history"),
    ("GET", "/metadata"),
    ("GET", "/.well-known/smart-configuration"),
    ("POST", "/Patient"),
    ("PUT", "/Patient/1"),
    ("PUT", "/Patient"),
    ("PATCH", "/Patient/1"),
    ("DELETE", "/Patient/1"),
    ("GET", "/Patient"),
    ("POST", "/Patient/_search"),
    ("GET", "/Nonsense"),
    ("GET", ""),
    ("POST", ""),
    ("GET", "/Patient/$export"),
    ("GET", "/Patient/1/$everything"),
    ("POST", "/DocumentReference/$docref"),
];

/// A gateway in each way that makes a difference, in front of either version.
fn each_gateway(test: impl Fn(&OpenEmr, &Gateway, &str)) {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let mut without_search = config(&openemr);
        without_search["sites"]["default"]["repairs"] = json!({"search": false, "interactions": false, "bulk_data": false});
        for (name, config) in
            [("repair", config(&openemr)), ("pass_through", pass_through(&openemr)), ("without search repair", without_search)]
        {
            let gateway = Gateway::with(config);
            // Asks for the CapabilityStatement, which is not what is counted.
            assert_eq!(gateway.caller().get("/fhir/Patient?_id=1").status, 200);
            test(&openemr, &gateway, &format!("{version}, {name}"));
        }
        let unknown = OpenEmr::with(&["--openemr", version]);
        unknown.order(&json!({"fhir": {"target": "metadata", "answer": {"status": 500}}}));
        test(&unknown, &Gateway::start(&unknown), &format!("{version}, CapabilityStatement unknown"));
    }
}

/// How many requests came to OpenEMR but for those of the gateway's own.
fn came(openemr: &OpenEmr) -> u64 {
    let state = openemr.state();
    let own = |path: &str| path.ends_with("/fhir/metadata") || path.contains("/oauth2/");
    let paths = state["paths"].as_object().unwrap().iter();
    paths.filter(|(path, _)| !own(path)).map(|(_, count)| count.as_u64().unwrap()).sum()
}

fn refused(answer: &Answer, method: &str, what: &str) {
    if method == "HEAD" {
        assert_eq!(answer.status, 400, "{what}");
    } else {
        answer.outcome(400);
    }
}

#[test]
fn no_spelling_of_openemrs_own_names_leaves_in_a_query() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        for (method, path) in REQUESTS {
            for spelling in SPELLINGS {
                let target = format!("/fhir{path}?_format=json&{spelling}=default/fhir/Patient");
                let answer = gateway.caller().send(method, &target, &[JSON], b"");
                refused(&answer, method, &format!("{how}: {method} {target}"));
            }
            for own in ["site=other", "auth=logout", "_method=DELETE", "%20site=x", "auth[]=x", "PHPSESSID=1", "authUser=admin"] {
                let target = format!("/fhir{path}?{own}");
                refused(&gateway.caller().send(method, &target, &[JSON], b""), method, &format!("{how}: {method} {target}"));
            }
        }
        assert_eq!((came(openemr), openemr.count("rerouted")), (before, 0), "{how}: nothing arrives");
    });
}

#[test]
fn no_spelling_of_openemrs_own_names_leaves_in_a_form() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        for path in [
            "/Patient/_search",
            "/Observation/_search",
            "/DocumentReference/$docref",
            "/Nonsense/_search",
            "/_search",
            "/Patient/1/$everything",
            "/Patient/1/Observation/_search",
            "/Patient/1",
            "",
        ] {
            for spelling in SPELLINGS {
                let form = format!("_format=json&{spelling}=default/api/patient");
                let answer = gateway.caller().post(&format!("/fhir{path}"), &[FORM], form.as_bytes());
                // What OpenEMR does not offer may be told first.
                let is_offered = path.starts_with("/Patient/_") || path.starts_with("/Observation") || path.starts_with("/Doc");
                let expected = if is_offered { &[400][..] } else { &[400, 404, 405, 501] };
                assert!(expected.contains(&answer.status), "{how}: {path} {form}: {}", answer.text());
            }
        }
        for media_type in [
            "application/x-www-form-urlencoded; charset=utf-8",
            "APPLICATION/x-www-form-urlencoded,application/json",
            "application/x-www-form-urlencoded application/json",
        ] {
            let fields = [("Content-Type", media_type)];
            let form = b"_REWRITE.COMMAND=default/api/patient";
            gateway.caller().post("/fhir/Patient/_search", &fields, form).outcome(400);
            // OpenEMR takes no form for a resource, and two types in one field are refused before that.
            let status = if media_type.ends_with("json") { 400 } else { 415 };
            gateway.caller().post("/fhir/Patient", &fields, form).outcome(status);
            gateway.caller().send("PUT", "/fhir/Patient/1", &fields, form).outcome(status);
        }
        assert_eq!(came(openemr), before, "{how}: nothing arrives");
    });
}

#[test]
fn a_form_that_cannot_be_read_does_not_arrive() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        let form = b"name=x";
        let long = format!("name=x&x={}&_REWRITE_COMMAND=default/api/patient", "x".repeat(70_000));
        for target in ["/fhir/Patient/_search", "/fhir/DocumentReference/$docref"] {
            let post = |fields: &[(&str, &str)], body: &[u8]| gateway.caller().post(target, fields, body);
            for coding in ["gzip", "deflate", "identity, gzip", "x"] {
                post(&[FORM, ("Content-Encoding", coding)], form).outcome(415);
            }
            post(&[("Content-Type", "multipart/form-data; boundary=x")], b"--x--").outcome(415);
            post(&[FORM, JSON], form).outcome(400);
            post(&[FORM], long.as_bytes()).outcome(413);
        }
        for fields in [&[JSON][..], &[("Content-Type", "text/plain")]] {
            gateway.caller().post("/fhir/Patient/_search", fields, br#"{"_sort":"x"}"#).outcome(415);
        }
        for (method, target) in [("POST", "/fhir/Patient"), ("PUT", "/fhir/Patient/1")] {
            let fields = [("Content-Type", "multipart/form-data; boundary=x")];
            gateway.caller().send(method, target, &fields, b"--x--").outcome(415);
        }
        assert_eq!(came(openemr), before, "{how}: nothing arrives");
    });
}

#[test]
fn an_interaction_has_its_own_parameters_alone() {
    let openemr = OpenEmr::start();
    for config in [config(&openemr), pass_through(&openemr)] {
        let gateway = Gateway::with(config);
        let patients = gateway.caller().get("/fhir/Patient?_count=1").json();
        let id = patients["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
        let before = came(&openemr);
        for (method, target) in [
            ("GET", format!("/fhir/Patient/{id}?name=x")),
            ("GET", format!("/fhir/Patient/{id}?_format=json&_=17")),
            ("GET", format!("/fhir/Patient/{id}?%00_format=json")),
            ("PUT", format!("/fhir/Patient/{id}?identifier=1")),
            ("POST", "/fhir/Patient?_count=1".to_owned()),
        ] {
            let words = gateway.caller().send(method, &target, &[JSON], b"{}").outcome(400);
            assert!(!words.contains(&id), "{target}: {words}");
        }
        assert_eq!(came(&openemr), before);
        for query in ["", "?", "?_format=json&_pretty=true", "?_summary=true", "?_elements=name,gender"] {
            let answer = gateway.caller().get(&format!("/fhir/Patient/{id}{query}"));
            assert_eq!((answer.status, answer.json()["id"].clone()), (200, json!(id)), "{query}");
        }
    }
}

#[test]
fn a_name_that_php_reads_as_another_does_not_arrive() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        for query in ["%20name=x", "name[]=x", "birthdate%5B%5D=ge1960-01-01", ".count=5", "_count%00=5", "a%20b=1", "a[b=1"] {
            gateway.caller().get(&format!("/fhir/Patient?{query}")).outcome(400);
            gateway.caller().post("/fhir/Patient/_search", &[FORM], query.as_bytes()).outcome(400);
        }
        assert_eq!(came(openemr), before, "{how}: nothing arrives");
        // `;` separates nothing, and a value may hold anything.
        for query in ["family=x;site=y", "family:exact=_REWRITE_COMMAND", "family=%00%5B%20site"] {
            let answer = gateway.caller().get(&format!("/fhir/Patient?{query}"));
            assert_eq!(answer.status, 200, "{how}: {query}: {}", answer.text());
        }
    });
}

#[test]
fn what_php_would_drop_is_too_much() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        let many = vec!["a=1"; 1000].join("&");
        gateway.caller().get(&format!("/fhir/Patient?{many}")).outcome(400);
        gateway.caller().post("/fhir/Patient/_search", &[FORM], many.as_bytes()).outcome(400);
        assert_eq!(came(openemr), before, "{how}: nothing arrives");
    });
}

#[test]
fn sort_has_nothing_but_names_of_parameters() {
    each_gateway(|openemr, gateway, how| {
        let before = came(openemr);
        for key in ["birthdate%20desc", "birthdate;", "(select%201)", "birthdate,1", "a'b", "a%60b", "--birthdate", "-"] {
            for name in ["_sort", "%5Fsort", "_sort:asc"] {
                for resource_type in ["Patient", "Observation", "Nonsense"] {
                    gateway.caller().get(&format!("/fhir/{resource_type}?{name}={key}")).outcome(400);
                }
                gateway.caller().post("/fhir/Patient/_search", &[FORM], format!("{name}={key}").as_bytes()).outcome(400);
            }
        }
        assert_eq!(came(openemr), before, "{how}: nothing arrives");
        for sort in ["birthdate", "-birthdate,family", "", "_lastUpdated"] {
            // What cannot be sorted by is otherwise refused.
            let lenient = [("Prefer", "handling=lenient")];
            let answer = gateway.caller().send("GET", &format!("/fhir/Patient?_sort={sort}"), &lenient, b"");
            // Without a CapabilityStatement nobody knows whether OpenEMR sorts.
            let expected = if how.contains("unknown") && !sort.is_empty() { 503 } else { 200 };
            assert_eq!(answer.status, expected, "{how}: {sort}: {}", answer.text());
        }
    });
}

/// A gateway whose token may write, in front of OpenEMR 8.0.
fn writing(openemr: &OpenEmr, config: Value) -> Gateway {
    let mut config = config;
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    openemr.reset();
    gateway
}

/// A patient with these members before and after the others; `padding` bytes long and more.
fn patient(before: &str, after: &str, padding: usize) -> String {
    let name = r#""name":[{"use":"official","family":"Sample","given":["Ada"]}],"gender":"female","birthDate":"1984-02-29""#;
    format!(r#"{{{before}{name},"language":"{}"{after}}}"#, "x".repeat(padding))
}

#[test]
fn a_body_that_is_not_the_resource_of_its_url_does_not_arrive() {
    let openemr = OpenEmr::start();
    let of_patient = r#""resourceType":"Patient","#;
    for config in [config(&openemr), pass_through(&openemr)] {
        let gateway = writing(&openemr, config);
        for (method, target, before, after) in [
            ("PUT", "/fhir/Patient/1", of_patient, r#","id":"2""#),
            ("PUT", "/fhir/Patient/1", r#""resourceType":"Patient","id":"2","#, ""),
            ("PUT", "/fhir/Patient/1", of_patient, r#","id":1"#),
            ("PUT", "/fhir/Patient/1", of_patient, r#","id":"1","id":"1""#),
            ("PUT", "/fhir/Patient/1", of_patient, r#","id":"1","\u0069d":"2""#),
            ("PUT", "/fhir/Patient/1", "", r#","resourceType":"Observation""#),
            ("POST", "/fhir/Patient", "", r#","resourceType":"Observation""#),
            ("POST", "/fhir/Patient", of_patient, r#","resourceType":"Patient""#),
            ("POST", "/fhir/Patient", of_patient, r#","resource\u0054ype":"Practitioner""#),
            ("POST", "/fhir/Patient", of_patient, r#"}{"a":"b""#),
            ("POST", "/fhir/Patient", of_patient, r#","id":"1","\u0069\u0064":"1""#),
        ] {
            for padding in [0, 70_000, 400_000] {
                let body = patient(before, after, padding);
                let what = format!("{method} {before}…{after}, {} bytes", body.len());
                gateway.caller().send(method, target, &[JSON], body.as_bytes()).outcome(400);
                let mut chunked = gateway.caller().connect();
                let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
                chunked.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
                for piece in body.as_bytes().chunks(9_000) {
                    let piece = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                    let _ = chunked.try_write(&piece);
                }
                let _ = chunked.try_write(b"0\r\n\r\n");
                chunked.read(method).outcome(400);
                assert_eq!(openemr.state()["last_fhir_request"], Value::Null, "{what}: none arrives whole");
            }
        }
        for body in ["[]", "\"x\"", "some text", r#"[{"resourceType":"Patient"}]"#] {
            gateway.caller().post("/fhir/Patient", &[JSON], body.as_bytes()).outcome(400);
        }
        gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+xml")], b"<Patient/>").outcome(415);
        gateway.caller().post("/fhir/Patient", &[JSON, ("Content-Encoding", "gzip")], b"{}").outcome(415);
        assert_eq!(openemr.state()["last_fhir_request"], Value::Null);
    }
}

/// How many writes have come to OpenEMR.
fn writes(openemr: &OpenEmr) -> u64 {
    let state = openemr.state();
    let paths = state["paths"].as_object().unwrap().iter();
    paths
        .filter(|(path, _)| path.starts_with("POST /apis") || path.starts_with("PUT /apis"))
        .map(|(_, n)| n.as_u64().unwrap())
        .sum()
}

#[test]
fn a_body_that_is_the_resource_of_its_url_arrives_whatever_its_size() {
    let openemr = OpenEmr::start();
    for config in [config(&openemr), pass_through(&openemr)] {
        let gateway = writing(&openemr, config);
        for padding in [0, 70_000, 400_000] {
            let body =
                patient(r#""resourceType":"Patient","#, r#","contact":[{"id":"7"},{"id":"8","resourceType":"x"}]"#, padding);
            let created = gateway.caller().post("/fhir/Patient", &[JSON], body.as_bytes());
            assert_eq!(created.status, 201, "{}", created.text());
            let created = created.json();
            let id = created["uuid"].as_str().or(created["id"].as_str()).unwrap();
            let target = format!("/fhir/Patient/{}", id.replace('-', "%2D"));
            for after in [String::new(), format!(r#","id":"{id}""#), format!(r#","\u0069d":"{id}""#)] {
                let body = patient(r#""resourceType":"Patient","#, &after, padding);
                let updated = gateway.caller().send("PUT", &target, &[JSON], body.as_bytes());
                assert_eq!(updated.status, 200, "{after}: {}", updated.text());
            }
        }
        assert_eq!(writes(&openemr), 12);
    }
}

#[test]
fn an_id_that_would_leave_the_type_is_not_followed() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr, config(&openemr));
    for id in ["..", ".", "a/../..", "1?_REWRITE_COMMAND=x", "1%26site=x"] {
        let body = json!({"pid": 1, "uuid": id}).to_string();
        openemr.order(&json!({"fhir": {"method": "POST", "answer": {"status": 201, "body": body}}}));
        let created = gateway.caller().post("/fhir/Patient", &[JSON], patient(r#""resourceType":"Patient","#, "", 0).as_bytes());
        assert!(created.field("location").is_none_or(|location| !location.contains(id)), "{id}: {:?}", created.fields);
        let state = openemr.state();
        let mut paths = state["paths"].as_object().unwrap().keys();
        assert!(paths.all(|path| !path.contains("/Patient/")), "{id}: {}", state["paths"]);
    }
}

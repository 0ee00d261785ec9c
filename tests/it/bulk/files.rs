//! The files of an export: each line ends, no resource comes twice, and a broken file does not look whole.

use super::{ended, exporting, kick_off, population};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, End};
use crate::support::http2::Http2;
use crate::support::openemr::{OpenEmr, without_times};
use serde_json::{Value, json};

const NDJSON: &str = "application/fhir+ndjson";

/// What the gateway makes of a Binary with this content, which comes so many bytes at a time.
fn binary(openemr: &OpenEmr, gateway: &Gateway, content_type: &str, body: &str, piece_bytes: u64) -> Answer {
    let answer = json!({"status": 200, "body": body, "content_type": content_type});
    openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer, "piece_bytes": piece_bytes}}));
    gateway.caller().get("/fhir/Binary/100001")
}

#[test]
fn each_line_ends_and_no_resource_comes_twice_however_the_file_is_cut_on_its_way() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Immunization"], &folder));
    let a = r#"{"id":"a","resourceType":"Immunization","note":[{"text":"x"}]}"#;
    let b = r#"{"resourceType" : "Immunization", "contained":[{"resourceType":"Immunization","id":"a"}], "id":"b"}"#;
    let body = [a, a, b, b].join("\n");
    for piece_bytes in [1, 7, 100_000] {
        let answer = binary(&openemr, &gateway, NDJSON, &body, piece_bytes);
        assert_eq!((answer.status, answer.end, answer.text()), (200, End::Whole, format!("{a}\n{b}\n")), "{piece_bytes}");
    }
    let empty = binary(&openemr, &gateway, NDJSON, "", 100);
    assert_eq!((empty.status, empty.end, empty.body.len()), (200, End::Whole, 0));
}

#[test]
fn links_of_a_file_lead_to_the_gateway() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["DocumentReference"], &folder));
    let attachment = format!("{}/apis/default/fhir/Binary/7", openemr.base);
    let line = json!({"id": "a", "resourceType": "DocumentReference", "url": attachment}).to_string();
    for piece_bytes in [3, 100_000] {
        let answer = binary(&openemr, &gateway, NDJSON, &line, piece_bytes);
        let expected = line.replace(&attachment, "http://gateway.example/fhir/Binary/7") + "\n";
        assert_eq!(answer.text(), expected, "{piece_bytes}");
    }
}

#[test]
fn a_broken_file_does_not_look_whole() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let a = r#"{"id":"a","resourceType":"Patient"}"#;
    for bad in [r#"{"id":"b","resourceTy"#, "<br />\n<b>Warning</b>: /var/www/openemr/x.php"] {
        for rest in ["", "\n{\"id\":\"c\",\"resourceType\":\"Patient\"}"] {
            let answer = binary(&openemr, &gateway, NDJSON, &format!("{a}\n{bad}{rest}"), 20);
            assert!(answer.end != End::Whole || answer.status == 502, "{bad}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("Warning") && !answer.text().contains("\"c\""), "{}", answer.text());
        }
    }
    gateway.logs(&["a line of the export's file is no JSON object"]);
    // The same over HTTP/2, and compressed.
    binary(&openemr, &gateway, NDJSON, &format!("{a}\n<br />"), 20);
    let answer = Http2::plain(gateway.address).get("/fhir/Binary/100001");
    assert!(matches!((answer.status, answer.end), (200, End::Cut) | (502, _)), "{} {}", answer.status, answer.text());
    let answer = gateway.caller().send("GET", "/fhir/Binary/100001", &[("Accept-Encoding", "gzip")], b"");
    assert!(answer.end != End::Whole || answer.status == 502, "{} {:?}", answer.status, answer.fields);
}

#[test]
fn a_file_that_was_interrupted_does_not_look_whole() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let line = |id: usize| format!("{{\"id\":\"{id:04}\",\"resourceType\":\"Patient\"}}\n");
    let body: String = (0..100).map(line).collect();
    let lines = line(0).len() * 40;
    // Without a length, nothing but the line itself tells that it was cut.
    for (framing, bytes) in [
        ("chunked", lines),
        ("chunked", lines + 5),
        ("content_length", lines),
        ("content_length", lines - 1),
        ("http10", lines - 5),
    ] {
        let answer = json!({"status": 200, "body": body, "content_type": NDJSON});
        let fault = json!({"target": "/Binary/", "answer": answer, "framing": framing, "truncate_after": bytes});
        openemr.order(&json!({"fhir": fault}));
        let answer = gateway.caller().get("/fhir/Binary/100001");
        assert!(answer.end != End::Whole || answer.status == 502, "{framing} {bytes}: {}", answer.status);
    }
}

#[test]
fn a_binary_that_is_no_file_of_an_export_stays_as_it_is() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let body = "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n{\"resourceType\":\"Patient\",\"id\":\"a\"}";
    for content_type in ["application/octet-stream", "text/plain"] {
        assert_eq!(binary(&openemr, &gateway, content_type, body, 100).text(), body, "{content_type}");
    }
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["sites"]["default"]["repairs"] = json!({"bulk_data": false});
    let gateway = Gateway::with(config);
    assert_eq!(binary(&openemr, &gateway, NDJSON, body, 100).text(), body, "the repair is off");
}

#[test]
fn the_files_of_openemr_come_out_with_each_resource_once_and_a_newline_at_their_end() {
    for version in ["8.0", "7.0.3", "next"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::with(exporting(&openemr, &["Patient", "Immunization", "Location"], &folder));
        let caller = gateway.caller();
        let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
        for (name, file) in super::files(&caller, &manifest) {
            assert!(file.ends_with("}\n"), "{version} {name}");
            let mut expected: Vec<Value> = population(&openemr, &gateway, &name).iter().map(without_times).collect();
            let doubled = expected.len();
            // OpenEMR itself gives the two of an Immunization one after the other.
            expected.dedup();
            assert_eq!(doubled != expected.len(), name == "Immunization", "{version} {name}: {doubled}");
            let lines: Vec<Value> = file.lines().map(|line| without_times(&serde_json::from_str(line).unwrap())).collect();
            assert_eq!(lines, expected, "{version} {name}");
        }
    }
}

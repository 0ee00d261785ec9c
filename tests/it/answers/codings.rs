//! Content codings that OpenEMR, or a server before it, was not asked for.

use std::io::Write;

use crate::support::told_openemr::{FRAMINGS, Told};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn packed(body: &[u8], codings: &str) -> Vec<u8> {
    codings.split(", ").fold(body.to_vec(), |body, coding| match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&body).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4096, 4, 19).write_all(&body).unwrap();
            out
        }
        "zstd" => zstd::stream::encode_all(&body[..], 3).unwrap(),
        _ => body,
    })
}

#[test]
fn every_coding_is_undone_and_the_links_are_the_gateways() {
    let told = Told::start();
    let resource = format!(r#"{{"resourceType":"Patient","id":"1","url":"{}/Patient/1"}}"#, told.base());
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"collection","total":1,"link":[{{"relation":"self","url":"{0}/Patient"}}],"entry":[{{"fullUrl":"{0}/Patient/1","resource":{resource}}}]}}"#,
        told.base()
    );
    for coding in ["identity", "none", "", "Identity, none", "gzip", "br", "zstd", "gzip, br", "identity, zstd"] {
        for framing in FRAMINGS {
            for (target, body) in [("/fhir/Patient/1", &resource), ("/fhir/Patient", &bundle)] {
                told.tell(200, &[JSON, ("Content-Encoding", coding)], packed(body.as_bytes(), coding), framing);
                let answer = told.gateway.caller().get(target);
                assert_eq!((answer.status, answer.field("content-encoding")), (200, None), "{coding:?} {framing:?}");
                assert!(!answer.text().contains(&told.base()), "{coding:?} {framing:?}: {}", answer.text());
                let json = answer.json();
                if target == "/fhir/Patient" {
                    assert_eq!(json["type"], "searchset", "{coding:?} {framing:?}");
                    assert_eq!(json["entry"][0]["fullUrl"], format!("{}/Patient/1", told.public_base()));
                } else {
                    assert_eq!(json["url"], format!("{}/Patient/1", told.public_base()), "{coding:?} {framing:?}");
                }
            }
        }
    }
}

#[test]
fn a_coding_that_cannot_be_undone_is_an_error() {
    let told = Told::start();
    let body = br#"{"resourceType":"Patient","id":"1"}"#;
    for coding in ["compress", "sdch", "gzip, x", "gzip, gzip, gzip, gzip"] {
        for framing in FRAMINGS {
            told.tell(200, &[JSON, ("Content-Encoding", coding)], body, framing);
            told.gateway.caller().get("/fhir/Patient/1").outcome(502);
            told.tell(404, &[JSON, ("Content-Encoding", coding)], body, framing);
            told.gateway.caller().get("/fhir/Patient/1").outcome(404);
        }
    }
    // In none of the codings that are declared.
    for coding in ["gzip", "br", "zstd"] {
        for framing in FRAMINGS {
            told.tell(200, &[JSON, ("Content-Encoding", coding)], body, framing);
            told.gateway.caller().get("/fhir/Patient/1").outcome(502);
        }
    }
}

#[test]
fn a_page_is_known_in_any_coding() {
    let told = Told::start();
    for coding in ["gzip", "br", "zstd", "identity"] {
        for framing in FRAMINGS {
            let body = packed(b"<b>Notice</b>: x{\"resourceType\":\"Patient\"}", coding);
            told.tell(200, &[JSON, ("Content-Encoding", coding)], body, framing);
            told.gateway.caller().get("/fhir/Patient/1").outcome(502);
        }
    }
}

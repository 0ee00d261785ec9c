//! Binary: documents come as they were stored, Binary resources like any other, and an unknown one is 404.

use crate::support::told_openemr::{FRAMINGS, Told};

const ATTACHMENT: (&str, &str) = ("Content-Disposition", "attachment; filename=a");

#[test]
fn a_document_comes_as_it_was_stored() {
    let told = Told::start();
    let base = told.base();
    let ccda = format!("<?xml version=\"1.0\"?><ClinicalDocument><id root=\"{base}/Patient/1\"/></ClinicalDocument>");
    let json = format!("{{\"id\" : \"{base}/Patient/1\",\"text\":{{}},\"list\":[1]}}");
    for (content_type, body, disposition) in [
        ("text/xml", &ccda, false),
        ("application/xml", &ccda, true),
        ("application/hl7-cda+xml", &ccda, false),
        ("text/plain", &ccda, false),
        ("text/html", &ccda, true),
        ("application/json", &json, true),
        ("application/json", &json, false),
        ("application/octet-stream", &ccda, false),
    ] {
        for framing in FRAMINGS {
            let fields = [("Content-Type", content_type), ATTACHMENT];
            told.tell(200, if disposition { &fields } else { &fields[..1] }, body, framing);
            for target in ["/fhir/Binary/1", "/fhir/Binary/1?_pretty=true"] {
                let answer = told.gateway.caller().get(target);
                assert_eq!((answer.status, answer.text().as_str()), (200, body.as_str()), "{content_type} {framing:?} {target}");
                assert_eq!(answer.field("content-type"), Some(content_type));
            }
        }
    }
}

#[test]
fn a_binary_resource_is_fhir() {
    let told = Told::start();
    let body = format!(
        r#"{{"id":"1","contentType":"text/plain","securityContext":{{"reference":"{}/Patient/1"}},"resourceType":"Binary"}}"#,
        told.base()
    );
    for fields in [&[("Content-Type", "application/json")][..], &[("Content-Type", "application/fhir+json")], &[]] {
        for framing in FRAMINGS {
            told.tell(200, fields, &body, framing);
            let answer = told.gateway.caller().get("/fhir/Binary/1");
            assert_eq!((answer.status, answer.text()), (200, body.replace(&told.base(), &told.public_base())), "{framing:?}");
            assert_eq!(answer.field("content-type"), Some("application/fhir+json; charset=utf-8"));
        }
    }
}

#[test]
fn an_unknown_binary_is_not_found() {
    let told = Told::start();
    for framing in FRAMINGS {
        told.tell(200, &[], "", framing);
        let answer = told.gateway.caller().get("/fhir/Binary/1");
        answer.outcome(404);
        assert_eq!(answer.json()["issue"][0]["code"], "not-found", "{framing:?}");
        // A page where a document was due.
        for fields in [&[("Content-Type", "text/html")][..], &[], &[("Content-Type", "application/json")]] {
            told.tell(200, fields, "<html>Login</html>", framing);
            told.gateway.caller().get("/fhir/Binary/1").outcome(502);
        }
        told.tell(200, &[("Content-Type", "application/json")], r#"{"error":"x","message":"y"}"#, framing);
        told.gateway.caller().get("/fhir/Binary/1").outcome(502);
    }
}

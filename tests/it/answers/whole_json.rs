//! An answer whose JSON ends in the middle, or has something behind it, is none, although HTTP says that it is whole: an error while
//! nothing of it has gone out, and visibly cut off afterwards.

use std::io::Write;

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::told_openemr::{FRAMINGS, Framing, Told};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");
const MENDING: [&str; 10] = [
    "empty_members",
    "misplaced_objects",
    "numbers_for_text",
    "nameless_extensions",
    "oid_systems",
    "absent_reasons",
    "prefixed_codes",
    "narratives",
    "value_set_status",
    "groups",
];
const PATIENT: &str = r#"{"resourceType":"Patient","id":"1","name":[{"family":"Testing","given":["Tessa"]}],"gender":"female"}"#;
const MESSAGE: &str = "<br />\n<b>Fatal error</b>:  Allowed memory size in <b>/var/www/x.php</b> on line <b>8</b><br />\n";

fn bundle() -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"collection","total":1,"link":[],"entry":[{{"fullUrl":"x/Patient/1","resource":{PATIENT}}}]}}"#
    )
}

/// What can be asked that OpenEMR answers with a resource, and the answer.
fn asked() -> [(&'static str, String); 6] {
    [
        ("/fhir/Patient/1", PATIENT.to_owned()),
        ("/fhir/Patient/1/_history/1", PATIENT.to_owned()),
        ("/fhir/Patient/1/_history", bundle()),
        ("/fhir/Patient", bundle()),
        ("/fhir/Patient?name=a&_count=2", bundle()),
        ("/fhir/DocumentReference/$docref?patient=1", bundle()),
    ]
}

/// One that is asked everything, and has these repairs as well.
fn told(repairs: &Value) -> Told {
    Told::with(|site| {
        site["scopes"] =
            json!(["system/Patient.read", "system/Patient.write", "system/DocumentReference.read", "system/Binary.read"]);
        site["repairs"] = repairs.clone();
        site["repairs"]["interactions"] = json!(false);
    })
}

fn is_refused(told: &Told, answer: &Answer, reason: &str, what: &str) {
    assert_eq!(answer.status, 502, "{what}: {}", answer.text());
    answer.outcome(502);
    assert!(!answer.text().contains("Testing") && !answer.text().contains("/var/www"), "{what}: {}", answer.text());
    let line = told.gateway.access_line(answer.field("x-request-id").unwrap());
    assert!(line.contains("status=502") && line.contains(&format!("reason={reason}")), "{what}: {line}");
}

/// Whether a client notices that this is not the whole of it.
fn is_cut_off(answer: &Answer) -> bool {
    answer.status == 200 && answer.end == End::Cut
}

/// Whether it notices, or gets an error.
fn is_visible(answer: &Answer) -> bool {
    answer.status == 502 || is_cut_off(answer)
}

#[test]
fn a_half_of_an_answer_is_an_error_whatever_was_asked() {
    for repairs in [json!({}), MENDING.iter().map(|name| ((*name).to_owned(), json!(false))).collect::<Value>()] {
        let told = told(&repairs);
        let http2 = Http2::plain(told.gateway.address);
        for (target, whole) in asked() {
            for framing in FRAMINGS {
                let what = format!("{target} {framing:?} {repairs}");
                for half in [whole.len() - 1, whole.len() - 30, whole.len() / 2] {
                    told.tell(200, &[JSON], &whole[..half], framing);
                    is_refused(&told, &told.gateway.caller().get(target), "cut_short", &what);
                    is_refused(&told, &http2.get(target), "cut_short", &what);
                }
                for behind in [MESSAGE, "}", &whole, "\0"] {
                    told.tell(200, &[JSON], format!("{whole}{behind}"), framing);
                    is_refused(&told, &told.gateway.caller().get(target), "not_fhir", &what);
                    is_refused(&told, &http2.get(target), "not_fhir", &what);
                }
                told.tell(200, &[JSON], format!("{whole}\r\n \t"), framing);
                let answer = told.gateway.caller().get(target);
                assert_eq!((answer.status, answer.end), (200, End::Whole), "{what}: {}", answer.text());
                answer.json();
            }
        }
    }
}

#[test]
fn a_message_in_the_middle_is_an_error() {
    let told = told(&json!({}));
    for (target, whole) in asked() {
        let (half, _) = whole.split_at(whole.len() - 30);
        for framing in FRAMINGS {
            told.tell(200, &[JSON], format!("{half}{MESSAGE}"), framing);
            let answer = told.gateway.caller().get(target);
            answer.outcome(502);
            assert!(!answer.text().contains("/var/www"), "{target} {framing:?}: {}", answer.text());
        }
    }
}

#[test]
fn a_long_answer_is_cut_off_where_its_head_has_left() {
    let long =
        |length: usize| format!(r#"{{"resourceType":"Patient","id":"1","address":[{{"text":"{}"}}]}}"#, "x".repeat(length));
    let (kept, streams) = (told(&json!({})), told(&json!({"validators": false})));
    for (told, length, is_held) in
        [(&kept, 200_000, true), (&kept, 3_000_000, false), (&streams, 11_000, true), (&streams, 200_000, false)]
    {
        let whole = long(length);
        for framing in FRAMINGS {
            if framing == Framing::Chunks && length > 20_000 {
                continue;
            }
            for (body, reason) in [(whole[..whole.len() - 1].to_owned(), "cut_short"), (format!("{whole}{MESSAGE}"), "not_fhir")]
            {
                let what = format!("{length} {framing:?} {reason}");
                told.tell(200, &[JSON], body, framing);
                for answer in
                    [told.gateway.caller().get("/fhir/Patient/1"), Http2::plain(told.gateway.address).get("/fhir/Patient/1")]
                {
                    if is_held {
                        is_refused(told, &answer, reason, &what);
                        continue;
                    }
                    assert!(is_cut_off(&answer), "{what}: {} {:?} {}", answer.status, answer.end, answer.body.len());
                    let line = told.gateway.access_line(answer.field("x-request-id").unwrap());
                    assert!(line.contains("whole=false") && line.contains(&format!("reason={reason}")), "{what}: {line}");
                }
            }
            told.tell(200, &[JSON], &whole, framing);
            let answer = told.gateway.caller().get("/fhir/Patient/1");
            assert!((answer.status, answer.end) == (200, End::Whole) && answer.text() == whole, "{length} {framing:?}");
        }
    }
}

#[test]
fn without_repairs_the_bytes_pass_and_with_mending_alone_a_half_is_visible() {
    let plain = Told::with(|site| {
        site["conformance"] = json!("pass_through");
        site["paging"] = json!("off");
    });
    let mending = Told::with(|site| {
        site["conformance"] = json!("pass_through");
        site["paging"] = json!("off");
        site["repairs"] = json!({"empty_members": true});
    });
    let half = &PATIENT[..PATIENT.len() - 20];
    for framing in [Framing::Length, Framing::Chunks] {
        for body in [half.to_owned(), format!("{PATIENT}{MESSAGE}")] {
            plain.tell(200, &[JSON], &body, framing);
            let answer = plain.gateway.caller().get("/fhir/Patient/1");
            assert_eq!((answer.status, answer.end, answer.text()), (200, End::Whole, body.clone()), "{framing:?}");
            mending.tell(200, &[JSON], &body, framing);
            let answer = mending.gateway.caller().get("/fhir/Patient/1");
            assert!(is_visible(&answer), "{framing:?}: {} {:?} {}", answer.status, answer.end, answer.text());
        }
        for body in ["", "null", "[1"] {
            mending.tell(200, &[JSON], body, framing);
            let answer = mending.gateway.caller().get("/fhir/Patient/1");
            assert_eq!((answer.status, answer.end, answer.text().as_str()), (200, End::Whole, body), "{framing:?}");
        }
    }
}

#[test]
fn what_is_packed_is_judged_unpacked() {
    let told = told(&json!({}));
    for (target, whole) in asked() {
        for (body, status) in [(whole.as_str(), 200), (&whole[..whole.len() - 20], 502), (&format!("{whole}x"), 502)] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body.as_bytes()).unwrap();
            let packed = encoder.finish().unwrap();
            for framing in FRAMINGS {
                told.tell(200, &[JSON, ("Content-Encoding", "gzip")], &packed, framing);
                let answer = told.gateway.caller().get(target);
                assert_eq!((answer.status, answer.end), (status, End::Whole), "{target} {framing:?}: {}", answer.text());
            }
        }
    }
}

#[test]
fn what_need_not_have_a_body_goes_on_without_one() {
    let told = told(&json!({}));
    let caller = told.gateway.caller();
    for body in [PATIENT, &PATIENT[..60], ""] {
        told.tell(200, &[JSON], body, Framing::Length);
        let head = caller.send("HEAD", "/fhir/Patient/1", &[], b"");
        assert!(head.status == if body.is_empty() { 502 } else { 200 } && head.body.is_empty(), "{body}: {head:?}");
    }
    told.tell(304, &[("ETag", "W/\"1\"")], "", Framing::Length);
    assert_eq!(caller.get("/fhir/Patient/1").status, 304);
    for (status, framing) in [(204, Framing::Length), (202, Framing::Length), (202, Framing::Chunks)] {
        told.tell(status, &[JSON], "", framing);
        let updated = caller.send("PUT", "/fhir/Patient/1", &[JSON], PATIENT.as_bytes());
        assert_eq!((updated.status, updated.end, updated.body.len()), (status, End::Whole, 0), "{framing:?}");
    }
    let half = &PATIENT[..40];
    for status in [400, 404, 409, 500, 503] {
        for framing in [Framing::Length, Framing::Chunks] {
            for body in [half.to_owned(), format!("{{\"error\":\"x\"}}{MESSAGE}")] {
                told.tell(status, &[JSON], body, framing);
                let answer = caller.get("/fhir/Patient/1");
                answer.outcome(status);
                assert!(!answer.text().contains("/var/www"), "{}", answer.text());
            }
        }
    }
    let document = "{\"half\":";
    told.tell(
        200,
        &[("Content-Type", "application/json"), ("Content-Disposition", "attachment; filename=a")],
        document,
        Framing::Length,
    );
    assert_eq!(caller.get("/fhir/Binary/1").text(), document);
}

#[test]
fn a_half_of_the_answer_to_a_write_is_not_taken_for_the_resource() {
    let told = told(&json!({}));
    let caller = told.gateway.caller();
    let half = &PATIENT[..PATIENT.len() - 20];
    let behind = format!("{PATIENT}{MESSAGE}");
    for framing in [Framing::Length, Framing::Chunks] {
        for (body, reason) in [(half, "cut_short"), (behind.as_str(), "not_fhir")] {
            told.tell(200, &[JSON], body, framing);
            let updated = caller.send("PUT", "/fhir/Patient/1", &[JSON], PATIENT.as_bytes());
            is_refused(&told, &updated, reason, "an update");
            // It is not shown, so that it does not matter.
            let minimal = caller.send("PUT", "/fhir/Patient/1", &[JSON, ("Prefer", "return=minimal")], PATIENT.as_bytes());
            assert_eq!((minimal.status, minimal.end, minimal.body.len()), (200, End::Whole, 0));
            // The status says that the resource was created.
            told.tell(201, &[JSON], body, framing);
            let created = caller.post("/fhir/Patient", &[JSON], PATIENT.as_bytes());
            assert_eq!((created.status, created.end), (201, End::Whole), "{}", created.text());
            assert_eq!(created.json()["resourceType"], "OperationOutcome", "{}", created.text());
        }
    }
}

#[test]
fn what_cannot_be_read_back_whole_is_not_shown() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let new = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Testing", "given": ["Tessa"]}],
        "gender": "female", "birthDate": "1980-02-03",
    });
    for framing in ["chunked", "content_length"] {
        openemr.order(&json!({"fhir": {"method": "GET", "target": "/Patient/", "framing": framing, "shorten_to": 500}}));
        let created = gateway.caller().post("/fhir/Patient", &[JSON], new.to_string().as_bytes());
        assert_eq!((created.status, created.end), (201, End::Whole), "{}", created.text());
        assert!(created.text().contains("cannot be read back"), "{}", created.text());
        let location = created.field("location").unwrap();
        let target = &location[location.find("/fhir/").unwrap()..];
        assert!(gateway.caller().get(target).outcome(502).contains("ended too soon"));
        for body in ["", MESSAGE, "[]", "{\"error\":\"x\"}"] {
            let answer = json!({"status": 200, "body": body});
            openemr.order(&json!({"fhir": {"method": "GET", "target": "/Patient/", "framing": framing, "answer": answer}}));
            let created = gateway.caller().post("/fhir/Patient", &[JSON], new.to_string().as_bytes());
            assert!(created.status == 201 && created.text().contains("cannot be read back"), "{body}: {}", created.text());
        }
        openemr.order(&json!({"fhir": {"target": "/Patient/", "framing": framing, "append": MESSAGE}}));
        gateway.caller().get(target).outcome(502);
        openemr.order(&json!({"fhir": null}));
        assert_eq!(gateway.caller().get(target).json()["gender"], "female");
    }
    gateway.logs(&["cannot be read back", "ends in the middle"]);
}

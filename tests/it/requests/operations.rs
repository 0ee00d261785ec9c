//! Operations that change nothing may be called by GET (FHIR R4, "Extended operations"); OpenEMR takes `$docref` by POST alone, and reads its
//! parameters from the query.

use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http2_front::Front;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received};
use crate::support::told_openemr::{Framing, Told, framed};

const DOCREF: &str = "/fhir/DocumentReference/$docref";
const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"collection","total":0}"#;

fn scopes(site: &mut serde_json::Value) {
    site["scopes"] = json!(["system/Patient.read", "system/DocumentReference.read", "system/DocumentReference.$docref"]);
}

#[test]
fn docref_by_get_is_sent_by_post_with_its_query_and_an_empty_body() {
    let told = Told::with(scopes);
    told.tell(200, &[("Content-Type", "application/json")], BUNDLE, Framing::Length);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for (method, target, fields, body) in [
        ("GET", "?patient=1&start=2024-01-01&end=2024-12-31&type=http%3A%2F%2Floinc.org%7C34133-9", &[][..], &b""[..]),
        ("GET", "", &[], b""),
        ("GET", "/?patient=2", &[], b""),
        ("HEAD", "?patient=3", &[], b""),
        // The body of a GET means nothing.
        ("GET", "?patient=4", &form, b"patient=5"),
        ("POST", "?patient=6", &[], b""),
    ] {
        let before = told.raw.received("docref").len();
        let answer = told.gateway.caller().send(method, &format!("{DOCREF}{target}"), fields, body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {target}");
        assert_eq!(told.raw.received("docref").len(), before + 1);
        let sent = format!("POST /fhir/DocumentReference/$docref{} HTTP/1.1\r\n", target.trim_start_matches('/'));
        let received = told.raw.received(&sent);
        let [Received { head, body, .. }] = received.as_slice() else { panic!("{method} {target}: {received:?}") };
        assert!(head.to_lowercase().contains("\r\ncontent-length: 0\r\n") && body.is_empty(), "{method} {target}: {head}");
        assert!(method == "POST" || !head.to_lowercase().contains("content-type"), "{method} {target}: {head}");
    }
    // Its rules are those of the operation, by whatever method it is called.
    let before = told.raw.received("docref").len();
    for target in ["?subject=1", "?patient=1&patient=2", "?patient[]=1", "?_REWRITE_COMMAND=default/fhir/Patient"] {
        told.gateway.caller().get(&format!("{DOCREF}{target}")).outcome(400);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = told.gateway.caller().send(method, DOCREF, &[], b"");
        answer.outcome(405);
        assert_eq!(answer.field("allow"), Some("GET, HEAD, POST"), "{method}");
    }
    assert_eq!(told.raw.received("docref").len(), before);
}

#[test]
fn a_post_that_the_client_did_not_send_is_not_repeated_after_it_was_sent() {
    let raw = RawOpenEmr::start(|request| match request.head.contains("dies") {
        true => Vec::new(),
        false => framed(200, &[("Content-Type", "application/json")], BUNDLE.as_bytes(), Framing::Length),
    });
    let tokens = OpenEmr::start();
    let mut config = config(&tokens);
    scopes(&mut config["sites"]["default"]);
    config["sites"]["default"]["fhir_base"] = json!(raw.fhir_base());
    let gateway = Gateway::with(config);
    let times = ["/fhir/DocumentReference/dies", "/fhir/DocumentReference/$docref?patient=dies"].map(|target| {
        eventually("a request meets a connection that has served another one, and dies", || {
            gateway.caller().get(&format!("{DOCREF}?patient=1"));
            let before = raw.received("dies").len();
            gateway.caller().get(target).outcome(502);
            let received = raw.received("dies").split_off(before);
            let is_pooled =
                |one: &Received| raw.received("").iter().filter(|other| other.connection == one.connection).count() > 1;
            received.first().is_some_and(is_pooled).then_some(received.len())
        })
    });
    assert_eq!(times, [2, 1], "the read is sent twice, the operation once");
}

#[test]
fn http_2_makes_no_difference() {
    let (raw, tokens) = (Told::with(scopes).raw, OpenEmr::start());
    let front = Front::of(raw.address);
    let mut config = config(&tokens);
    let site = &mut config["sites"]["default"];
    scopes(site);
    site["fhir_base"] = json!(format!("{}/fhir", front.base()));
    site["token_url"] = json!(format!("{}/oauth2/default/token", tokens.base));
    site["ca_file"] = json!(front.certificate.certificate);
    let gateway = Gateway::with(config);
    gateway.caller().get(&format!("{DOCREF}?patient=1"));
    assert!(front.seen.streams() > 0);
    let received = raw.received("docref");
    assert_eq!(received.len(), 1);
    assert!(received[0].head.starts_with("POST /fhir/DocumentReference/$docref?patient=1 HTTP/1.1\r\n"), "{}", received[0].head);
}

#[test]
fn without_the_repair_it_goes_out_as_it_came() {
    let told = Told::with(|site| {
        scopes(site);
        site["repairs"] = json!({"interactions": false});
    });
    told.tell(404, &[("Content-Type", "application/json")], "{}", Framing::Length);
    told.gateway.caller().get(&format!("{DOCREF}?patient=1")).outcome(404);
    assert_eq!(told.raw.received("GET /fhir/DocumentReference/$docref?patient=1 ").len(), 1);
}

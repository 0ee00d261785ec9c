//! Reads have a strong entity tag, and one that the client has already is 304.

use serde_json::{Value, json};

use super::held_openemr::{Held, observation, resource};
use crate::access::api_keys::key_of;
use crate::access::case_rows::filled;
use crate::audit::trail::Trail;
use crate::support::http::{Answer, End, request};
use crate::support::http2::Http2;

const IF_NONE_MATCH: &str = "If-None-Match";

/// A resource that is long enough to be compressed.
fn long(id: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "gender": "female", "name": [{"text": "x".repeat(4000)}]}).to_string()
}

/// The answer to a GET, to which OpenEMR answers with this body.
fn read(held: &Held, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    held.give(&[], body);
    held.ask("GET", target, fields).answer()
}

fn tag(answer: &Answer) -> String {
    answer.field("etag").unwrap_or_else(|| panic!("no tag: {answer:?}")).to_owned()
}

#[test]
fn what_the_client_has_is_304_in_the_coding_in_which_it_has_it() {
    let held = Held::start();
    let (body, gzip) = (long("1"), ("Accept-Encoding", "gzip"));
    let whole = read(&held, "/Patient/1", &[], &body);
    assert_eq!((whole.status, whole.end), (200, End::Whole));
    assert_eq!(whole.field("content-length"), Some(whole.body.len().to_string().as_str()));
    let plain = tag(&whole);
    assert!(plain.starts_with("\"gw-"), "{plain}");
    let coded = read(&held, "/Patient/1", &[gzip], &body);
    assert_eq!(coded.field("content-encoding"), Some("gzip"));
    assert_eq!(coded.field("content-length"), Some(coded.body.len().to_string().as_str()));
    let zipped = tag(&coded);
    assert_ne!(plain, zipped);
    let weak = format!("W/{plain}");
    let list = format!("\"other\", {plain}");
    for (fields, status, expected) in [
        (vec![(IF_NONE_MATCH, plain.as_str())], 304, &plain),
        (vec![(IF_NONE_MATCH, &weak)], 304, &plain),
        (vec![(IF_NONE_MATCH, &list)], 304, &plain),
        (vec![(IF_NONE_MATCH, "*")], 304, &plain),
        (vec![(IF_NONE_MATCH, &zipped), gzip], 304, &zipped),
        (vec![(IF_NONE_MATCH, &zipped)], 200, &plain),
        (vec![(IF_NONE_MATCH, &plain), gzip], 200, &zipped),
        (vec![(IF_NONE_MATCH, "\"other\"")], 200, &plain),
    ] {
        let answer = read(&held, "/Patient/1", &fields, &body);
        assert_eq!((answer.status, &tag(&answer)), (status, expected), "{fields:?}");
        assert_eq!(answer.field("vary"), Some("Accept-Encoding"), "{fields:?}");
        if status == 304 {
            for gone in ["content-type", "content-length", "content-encoding", "transfer-encoding"] {
                assert_eq!(answer.field(gone), None, "{fields:?}");
            }
        }
    }
    let changed = read(&held, "/Patient/1", &[(IF_NONE_MATCH, &plain)], &long("1").replace("female", "male"));
    assert_eq!(changed.status, 200);
    assert_ne!(tag(&changed), plain);
}

#[test]
fn a_connection_goes_on_after_a_304() {
    let held = Held::start();
    let known = tag(&read(&held, "/Patient/1", &[], &resource("1")));
    let mut connection = held.gateway.caller().connect();
    for fields in [&[(IF_NONE_MATCH, known.as_str())][..], &[], &[(IF_NONE_MATCH, &known)]] {
        held.give(&[], &resource("1"));
        connection.write(&request("GET", "/fhir/Patient/1", fields, b""));
        let answer = connection.read("GET");
        assert_eq!((answer.status == 304, &tag(&answer)), (!fields.is_empty(), &known));
    }
    let client = Http2::plain(held.gateway.address);
    for fields in [&[("if-none-match", known.as_str())][..], &[]] {
        held.give(&[], &resource("1"));
        let answer = client.send("GET", "/fhir/Patient/1", fields, b"");
        assert_eq!((answer.status == 304, answer.body.is_empty()), (!fields.is_empty(), !fields.is_empty()));
        assert_eq!((tag(&answer), answer.end), (known.clone(), End::Whole));
    }
}

#[test]
fn openemr_hears_of_its_own_tags_alone() {
    let held = Held::start();
    let known = tag(&read(&held, "/Patient/1", &[], &resource("1")));
    let mixed = format!("{known}, W/\"3\"");
    for (sent, received) in [(known.as_str(), None), (&mixed, Some("W/\"3\"")), ("W/\"3\"", Some("W/\"3\""))] {
        read(&held, "/Patient/1", &[(IF_NONE_MATCH, sent)], &resource("1"));
        let all = held.raw.received("GET /fhir/Patient/1");
        assert_eq!(all.last().unwrap().field("if-none-match"), received, "{sent}");
    }
}

#[test]
fn what_is_no_resource_that_was_read_has_no_tag() {
    let held = Held::start();
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": []}).to_string();
    let too_long =
        json!({"resourceType": "Patient", "id": "1", "text": {"status": "generated", "div": "x".repeat(1 << 20)}}).to_string();
    for (method, target, body) in
        [("GET", "/Patient?name=x", &bundle), ("HEAD", "/Patient/1", &resource("1")), ("GET", "/Patient/1", &too_long)]
    {
        held.give(&[], body);
        let answer = held.ask(method, target, &[(IF_NONE_MATCH, "*")]).answer();
        assert_eq!((answer.status, answer.field("etag"), answer.end), (200, None, End::Whole), "{method} {target}");
    }
    for repairs in [json!({"conformance": "pass_through"}), json!({"repairs": {"validators": false}})] {
        let held = Held::with(false, |config| {
            for (key, value) in repairs.as_object().unwrap() {
                config["sites"]["default"][key] = value.clone();
            }
        });
        let answer = read(&held, "/Patient/1", &[(IF_NONE_MATCH, "*")], &resource("1"));
        assert_eq!((answer.status, answer.field("etag")), (200, None), "{repairs}");
    }
}

#[test]
fn a_write_cannot_be_conditional_on_a_tag_of_the_gateways() {
    let held = Held::start();
    let known = tag(&read(&held, "/Patient/1", &[], &resource("1")));
    let fields = [("Content-Type", "application/fhir+json"), ("If-Match", known.as_str())];
    let answer = held.gateway.caller().send("PUT", "/fhir/Patient/1", &fields, resource("1").as_bytes());
    assert!(answer.outcome(412).contains("no versions"), "{}", answer.text());
    assert!(held.raw.received("PUT ").is_empty());
}

#[test]
fn versions_of_a_server_that_has_them_pass() {
    let held = Held::with(true, |_| {});
    assert_eq!(held.gateway.caller().get("/fhir/metadata").status, 200);
    for (theirs, passes) in [("W/\"3\"", true), ("\"bytes\"", false)] {
        held.give(&[("ETag", theirs)], &resource("1"));
        let answer = held.ask("GET", "/Patient/1", &[]).answer();
        assert_eq!(answer.field("etag"), passes.then_some(theirs));
    }
    let limited = read(&held, &filled("/Patient/{P1}"), &[("X-API-Key", &key_of("panel"))], &resource(&filled("{P1}")));
    assert_eq!((limited.status, limited.field("etag")), (200, None));
}

#[test]
fn a_304_is_recorded_as_the_read_that_it_is_for_every_client() {
    let trail = Trail::new();
    let held = Held::with(false, |config| trail.keep_with(config, &json!({"ids": "plain"})));
    let id = filled("{P1}");
    let target = format!("/Patient/{id}");
    for client in ["all", "panel"] {
        let key = key_of(client);
        let known = tag(&read(&held, &target, &[("X-API-Key", &key)], &long(&id)));
        let answer = read(&held, &target, &[("X-API-Key", &key), (IF_NONE_MATCH, &known)], &long(&id));
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{client}");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let record: Value = trail.of_request(answer.field("x-request-id").unwrap());
        assert_eq!(
            (&record["status"], &record["outcome"], &record["bytes"]),
            (&json!(304), &json!("success"), &json!(0)),
            "{record}"
        );
        assert_eq!(record["patients"], json!([id]), "{record}");
    }
    let fields = [("X-API-Key", &*key_of("vit")), (IF_NONE_MATCH, "*")];
    let hidden = read(&held, "/Observation/o2", &fields, &observation("o2", "laboratory"));
    assert_eq!((hidden.status, hidden.field("etag")), (404, None), "whether there is one shows nowhere");
}

//! Identical GETs that are at OpenEMR at the same time share one of its answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::held_openemr::{Asked, Held, observation, resource};
use crate::access::api_keys::key_of;
use crate::audit::trail::Trail;
use crate::support::eventually;
use crate::support::http2::Http2;
use crate::support::told_openemr::{Framing, framed};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn all_who_ask_the_same_get_the_answer_that_one_of_them_has_asked_for() {
    const CALLERS: usize = 6;
    let trail = Trail::new();
    let held = Held::with(false, |config| trail.keep_with(config, &json!({"ids": "plain"})));
    let key = key_of("all");
    let names = ["gateway.example", "gw.example", "fhir.example.org"];
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "total": 1,
        "entry": [{"fullUrl": format!("{}/Patient/1", held.raw.fhir_base()), "resource": {"resourceType": "Patient", "id": "1"}}]});
    let (mut asked, mut followed) = (0, 0);
    for (target, body) in [("/Patient/1", resource("1")), ("/Patient?name=Abel", bundle.to_string())] {
        // An answer that has gone is not kept: the second round asks again.
        for _ in 0..2 {
            let ask = |number: usize| {
                let coding = if number.is_multiple_of(2) { "identity" } else { "gzip" };
                held.ask("GET", target, &[("X-API-Key", &key), ("Host", names[number % 3]), ("Accept-Encoding", coding)])
            };
            let first = ask(0);
            asked += 1;
            held.until(asked, followed);
            let others: Vec<Asked> = (1..CALLERS).map(ask).collect();
            followed += CALLERS - 1;
            held.until(asked, followed);
            held.give(&[], &body);
            let answers: Vec<_> = [first].into_iter().chain(others).map(Asked::answer).collect();
            let mut ids = BTreeSet::new();
            for (number, answer) in answers.iter().enumerate() {
                assert_eq!(
                    (answer.status, answer.field("cache-control")),
                    (200, Some("no-store")),
                    "{target}: {}",
                    answer.text()
                );
                assert_eq!(answer.field("content-type"), Some("application/fhir+json; charset=utf-8"));
                assert_eq!(answer.field("via"), answers[0].field("via"));
                if target.contains('?') {
                    let own = format!("http://{}/fhir/Patient/1", names[number % 3]);
                    assert_eq!(answer.json()["entry"][0]["fullUrl"], own.as_str(), "its own links");
                }
                let id = answer.field("x-request-id").unwrap();
                assert!(ids.insert(id.to_owned()), "an id of its own");
                let line = held.gateway.access_line(id);
                assert_eq!(line.contains(" shared=true "), number > 0, "{line}");
                let record = trail.of_request(id);
                assert_eq!((&record["status"], &record["patients"]), (&json!(200), &json!(["1"])), "{record}");
                assert_eq!(record["bytes"], answer.body.len(), "{record}");
            }
        }
    }
}

#[test]
fn requests_that_differ_in_anything_that_matters_are_asked_apart() {
    let held = Held::start();
    let (all, pat) = (key_of("all"), key_of("pat"));
    let read = "/Patient/1";
    let body = resource("1");
    let mut asked = 0;
    for (one, other) in [
        (("GET", read, ("X-API-Key", all.as_str())), ("GET", read, ("X-API-Key", pat.as_str()))),
        (("GET", read, ("X-API-Key", &all)), ("GET", read, ("X-Nothing", "anonymous"))),
        (("GET", read, ("Accept", "application/json")), ("GET", read, ("Accept", "application/fhir+json"))),
        (("GET", read, ("If-None-Match", "W/\"1\"")), ("GET", read, ("X-Nothing", ""))),
        (("GET", read, ("If-Modified-Since", "Tue, 24 Nov 2026 02:28:26 GMT")), ("GET", read, ("X-Nothing", ""))),
        (("GET", read, ("X-Nothing", "")), ("GET", "/Patient/2", ("X-Nothing", ""))),
        (("GET", read, ("X-Nothing", "")), ("HEAD", read, ("X-Nothing", ""))),
    ] {
        let begun = [one, other].map(|(method, target, field)| held.ask(method, target, &[field]));
        asked += 2;
        held.until(asked, 0);
        held.give(&[], &body);
        held.give(&[], &body);
        for answer in begun.map(Asked::answer) {
            assert_eq!(answer.status, 200, "{one:?} {other:?}: {}", answer.text());
        }
    }
    let documents = [(); 2].map(|()| held.ask("GET", "/Binary/1", &[]));
    held.raw.until("/Binary/1", 2);
    let binary = json!({"resourceType": "Binary", "id": "1", "contentType": "text/plain"}).to_string();
    held.give(&[], &binary);
    held.give(&[], &binary);
    assert!(documents.map(Asked::answer).iter().all(|answer| answer.status == 200));
}

#[test]
fn where_it_is_switched_off_every_request_is_asked() {
    for change in [json!({"share_answers": false}), json!({"conformance": "pass_through"})] {
        let held = Held::with(false, |config| {
            for (key, value) in change.as_object().unwrap() {
                config["sites"]["default"][key] = value.clone();
            }
        });
        let begun = [(); 2].map(|()| held.ask("GET", "/Patient/1", &[]));
        held.until(2, 0);
        held.give(&[], &resource("1"));
        held.give(&[], &resource("1"));
        assert!(begun.map(Asked::answer).iter().all(|answer| answer.status == 200));
    }
}

#[test]
fn an_answer_that_cannot_be_shared_is_asked_for_again() {
    let long =
        json!({"resourceType": "Patient", "id": "1", "text": {"status": "generated", "div": "x".repeat(1 << 20)}}).to_string();
    let error = framed(500, &[JSON], b"{}", Framing::Length);
    let cut = framed(200, &[JSON], b"{\"resourceType\":\"Patient\",", Framing::Close);
    for (bytes, status) in
        [(error, 500..600), (cut, 502..503), (framed(200, &[JSON], long.as_bytes(), Framing::Length), 200..201)]
    {
        let held = Held::start();
        let first = held.ask("GET", "/Patient/1", &[]);
        held.until(1, 0);
        let others = [(); 2].map(|()| held.ask("GET", "/Patient/1", &[]));
        held.until(1, 2);
        held.give_bytes(bytes);
        let first = first.answer();
        assert!(status.contains(&first.status), "{}", first.status);
        // One of them leads the other.
        held.until(2, 3);
        held.give(&[], &resource("1"));
        for answer in others.map(Asked::answer) {
            assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some("1")));
        }
        assert_eq!(held.asked(), 2);
    }
}

#[test]
fn who_followed_often_enough_goes_alone() {
    let held = Held::start();
    let first = held.ask("GET", "/Patient/1", &[]);
    held.until(1, 0);
    let others = [(); 4].map(|()| held.ask("GET", "/Patient/1", &[]));
    held.until(1, 4);
    let error = || framed(500, &[JSON], b"{}", Framing::Length);
    held.give_bytes(error());
    held.until(2, 7);
    held.give_bytes(error());
    // Those that are left have met two failures: each asks for itself.
    held.until(5, 7);
    for _ in 0..3 {
        held.give(&[], &resource("1"));
    }
    let mut all: Vec<u16> = [first].into_iter().chain(others).map(|asked| asked.answer().status).collect();
    all.sort_unstable();
    assert_eq!(all[..3], [200; 3], "{all:?}");
    assert!(all[3..].iter().all(|status| *status >= 500), "{all:?}");
}

#[test]
fn a_client_that_hangs_up_leaves_the_others_to_themselves() {
    let held = Held::start();
    let first = held.send("GET", "/Patient/1", &[]);
    held.until(1, 0);
    let gone = held.send("GET", "/Patient/1", &[]);
    let other = held.ask("GET", "/Patient/1", &[]);
    held.until(1, 2);
    drop(gone);
    eventually("the follower is gone", || (held.gateway.log().matches(" access ").count() == 1).then_some(()));
    drop(first);
    held.until(2, 2);
    held.give(&[], &resource("1"));
    held.give(&[], &resource("1"));
    assert_eq!(other.answer().status, 200);
}

#[test]
fn what_is_asked_after_a_write_is_not_answered_from_before_it() {
    let held = Held::start();
    let before = held.ask("GET", "/Patient/1", &[]);
    held.until(1, 0);
    let fields = [("X-API-Key", &*key_of("all")), ("Content-Type", "application/fhir+json")];
    let patient = json!({"resourceType": "Patient", "id": "1", "gender": "male", "birthDate": "1980-01-01",
        "name": [{"use": "official", "family": "Abel", "given": ["A"]}]});
    let written = held.gateway.caller().send("PUT", "/fhir/Patient/1", &fields, patient.to_string().as_bytes());
    assert_eq!(written.status, 200, "{}", written.text());
    let puts = held.raw.received("PUT ").len();
    let after = held.ask("GET", "/Patient/1", &[]);
    let gets = || held.raw.received("GET /fhir/Patient/1").len();
    eventually("it is asked for again", || (gets() == 2).then_some(()));
    assert_eq!(puts, 1);
    held.give(&[], &resource("1"));
    held.give(&[], &resource("1"));
    assert_eq!((before.answer().status, after.answer().status), (200, 200));
}

#[test]
fn limited_clients_share_a_read_and_each_is_tested() {
    let held = Held::start();
    let key = key_of("vit");
    let (mut asked, mut followed) = (0, 0);
    for (id, category, status) in [("o1", "vital-signs", 200), ("o2", "laboratory", 404)] {
        let target = format!("/Observation/{id}");
        let ask = || held.ask("GET", &target, &[("X-API-Key", &key)]);
        let first = ask();
        asked += 1;
        held.until(asked, followed);
        let others = [(); 2].map(|()| ask());
        followed += 2;
        held.until(asked, followed);
        // Another client, whose policy is another, does not share it.
        let other = held.ask("GET", &target, &[("X-API-Key", &key_of("all"))]);
        asked += 1;
        held.until(asked, followed);
        held.give(&[], &observation(id, category));
        held.give(&[], &observation(id, category));
        assert_eq!(other.answer().status, 200);
        for answer in [first].into_iter().chain(others).map(Asked::answer) {
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!(answer.text().contains("Heart rate"), status == 200);
        }
    }
}

#[test]
fn streams_of_http2_share_an_answer() {
    let held = Held::start();
    let client = Http2::plain(held.gateway.address);
    let begin = || client.begin("GET", "/fhir/Patient/1", &[], true);
    let first = begin();
    held.until(1, 0);
    let second = begin();
    let third = held.ask("GET", "/Patient/1", &[("Host", "gateway.example")]);
    held.until(1, 2);
    held.give(&[], &resource("1"));
    let expected: Value = serde_json::from_str(&resource("1")).unwrap();
    for answer in [client.read(first), client.read(second), third.answer()] {
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    }
}

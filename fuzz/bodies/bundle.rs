//! The steps of a body: however a body is cut into pieces, the same comes out, and JSON stays JSON.
//!
//! Input: a byte that chooses the steps, one that chooses the pieces, the body.

use bytes::Bytes;
use openemr_gateway::bench::{
    BodyStep, BundleStream, LinkRewriter, Links, Page, Pretty, Projection, Projector, Replacement, SearchTerms, Verdict, Window,
};
use openemr_gateway::fuzzing;
use serde_json::Value;

const BASE: &str = "https://emr/apis/default/fhir";

fn stream(page: Option<Page>, entries: bool, outcome: bool) -> Box<dyn BodyStep> {
    let terms = SearchTerms {
        page,
        entries,
        outcome: outcome.then(|| r#"{"resourceType":"OperationOutcome","issue":[]}"#.to_owned()),
        ..SearchTerms::whole("Patient", "/Patient?name=x".to_owned())
    };
    Box::new(BundleStream::new(terms, true, BASE, Some(1_795_487_306)))
}

fn step(choice: u8) -> Box<dyn BodyStep> {
    let page = |offset, window| Some(Page { offset, count: 1, window });
    match choice % 10 {
        0 => stream(None, true, false),
        1 => stream(page(0, Window::Whole), true, true),
        2 => stream(page(1, Window::First(3)), true, false),
        3 => stream(page(1, Window::FromOffset(2)), true, false),
        4 => stream(None, false, true),
        5 => Box::new(Projector::bundle(Projection::Elements(vec!["name".to_owned(), "a".to_owned()]), Some("Patient"))),
        6 => Box::new(Projector::bundle(Projection::Summary, Some("Patient"))),
        7 => Box::new(Projector::bundle(Projection::Data, None)),
        8 => Box::new(Pretty::default()),
        _ => Box::new(LinkRewriter::new(
            Links::to([BASE, "http://10.0.0.7/apis/default/fhir"]).into(),
            Replacement::new("https://gw.example/fhir").into(),
        )),
    }
}

/// What comes out, and whether the answer may go on.
fn run(mut step: Box<dyn BodyStep>, pieces: &[&[u8]]) -> (Vec<u8>, Verdict) {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&step.feed(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&step.finish());
    (out, step.verdict())
}

/// Cuts a body into pieces of lengths that differ.
fn pieces(body: &[u8], choice: u8) -> Vec<&[u8]> {
    let lengths = [usize::from(choice % 7) + 1, usize::from(choice) + 1, 1];
    let mut pieces = Vec::new();
    let mut rest = body;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

pub fn check(input: &[u8]) {
    let ([choice, cut], body) = super::choices(input);
    let pieces = pieces(body, cut);
    let (whole, verdict) = run(step(choice), &[body]);
    let split = run(step(choice), &pieces);
    assert_eq!(split.1, verdict, "another split, another verdict");
    assert_eq!(fuzzing::is_complete([body]), fuzzing::is_complete(pieces.iter().copied()));
    if verdict != Verdict::Good {
        // How much goes out before a fault shows depends on the split.
        return;
    }
    assert_eq!(split.0, whole, "another split, another body");

    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    if !value.is_object() && !value.is_array() {
        return;
    }
    let changed: Value = serde_json::from_slice(&whole).expect("JSON became something else");
    if choice % 10 == 8 {
        assert_eq!(changed, value, "more than white space changed");
    }
    // No part of a document is taken for a whole one.
    assert!(fuzzing::is_complete([body]));
    let end = body.trim_ascii_end().len();
    for cut in [usize::from(cut), end / 2, end.saturating_sub(1)] {
        let part = &body[..cut.min(end.saturating_sub(1))];
        assert!(!fuzzing::is_complete([part]), "a part was taken for the whole");
    }
}

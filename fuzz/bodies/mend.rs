//! The repairs of resources: however a body is cut, the same comes out, JSON stays JSON, and what was mended stays as it is.
//!
//! Input: a byte that chooses between one document and lines, one that chooses the pieces, the body.

use std::sync::Arc;

use bytes::Bytes;
use openemr_gateway::bench::{BodyStep, Mender, Repairs};
use serde_json::Value;

fn mender(choice: u8) -> Mender {
    let mender = Mender::new(Repairs::all(), &Arc::default());
    if choice % 2 == 1 { mender.of_lines() } else { mender }
}

fn mended(choice: u8, body: &[u8], length: usize) -> Vec<u8> {
    let mut mender = mender(choice);
    let mut out = Vec::new();
    for piece in body.chunks(length) {
        out.extend_from_slice(&mender.feed(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&mender.finish());
    out
}

/// Whether there is a null or something empty in what has a name, but for lists: there, a null can hold a place.
fn has_empty_member(value: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match value {
        Value::Array(items) => items.iter().any(has_empty_member),
        Value::Object(members) => members.values().any(|value| is_empty(value) || has_empty_member(value)),
        _ => false,
    }
}

pub fn check(input: &[u8]) {
    let ([choice, cut], body) = super::choices(input);
    let whole = mended(choice, body, body.len().max(1));
    assert_eq!(mended(choice, body, usize::from(cut) % 40 + 1), whole, "another split, another body");
    assert!(whole.len() <= body.len() * 40 + 64, "it grows without end");
    if choice % 2 == 1 {
        return;
    }
    if serde_json::from_slice::<Value>(body).is_ok_and(|value| value.is_object()) {
        let value: Value = serde_json::from_slice(&whole).expect("JSON became something else");
        assert!(!has_empty_member(&value), "something empty is left: {value}");
        assert_eq!(mended(choice, &whole, 7), whole, "mended twice, changed twice");
    }
}

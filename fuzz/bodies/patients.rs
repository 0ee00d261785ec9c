//! The search for patients: however a body is cut, the same are found, and none to whom a reference of a legible document leads is missing.
//!
//! Input: a byte that chooses between one document and lines, one that chooses the pieces, the body.

use std::collections::BTreeSet;

use openemr_gateway::bench::{Form, PatientsFound};
use serde_json::Value;

/// The patients, the number of resources, and whether the body is legible.
type Found = (BTreeSet<String>, u64, bool);

fn found(choice: u8, body: &[u8], length: usize) -> Found {
    let mut patients = PatientsFound::new(if choice % 2 == 1 { Form::Lines } else { Form::Document });
    body.chunks(length).for_each(|piece| patients.read(piece));
    patients.finish();
    let ids = patients.take().into_iter().map(|id| id.into_owned()).collect();
    (ids, patients.entries(), patients.is_legible())
}

/// The ids in plain references to patients, at any depth.
fn referenced(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| referenced(item, ids)),
        Value::Object(members) => {
            let reference = members.get("reference").and_then(Value::as_str);
            let id = reference.and_then(|reference| reference.strip_prefix("Patient/"));
            ids.extend(id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())).map(str::to_owned));
            members.values().for_each(|member| referenced(member, ids));
        }
        _ => {}
    }
}

pub fn check(input: &[u8]) {
    let ([choice, cut], body) = super::choices(input);
    let whole = found(choice, body, body.len().max(1));
    for length in [1, usize::from(cut) % 40 + 1] {
        assert_eq!(found(choice, body, length), whole, "another split, other patients");
    }
    let (ids, _, is_legible) = whole;
    assert!(ids.iter().all(|id| (1..=64).contains(&id.len())), "{ids:?}");
    let mut due = BTreeSet::new();
    let (documents, legal): (Vec<Value>, bool) = if choice % 2 == 1 {
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
        let read: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let legal = read.len() == lines.len();
        (read, legal)
    } else {
        let read: Vec<Value> = serde_json::from_slice(body).into_iter().collect();
        let legal = !read.is_empty();
        (read, legal)
    };
    documents.iter().filter(|document| document.is_object()).for_each(|document| referenced(document, &mut due));
    assert!(!is_legible || !legal || due.is_subset(&ids), "{due:?} and {ids:?}");
}

//! Resources in bodies: one that passes is of its URL's type and id, to every reader of JSON.
//!
//! Input: a byte that chooses the pieces, the body.

use openemr_gateway::fuzzing;
use serde_json::Value;

pub fn check(input: &[u8]) {
    let ([cut], body) = super::choices(input);
    let passes = fuzzing::is_resource([body], "Patient", "1");
    assert_eq!(passes, fuzzing::is_resource(body.chunks(usize::from(cut % 16) + 1), "Patient", "1"), "another split");
    // The last of equal members counts here, as for PHP.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let Some(resource) = value.as_object() else {
        assert!(!passes, "no object passes");
        return;
    };
    let is = |name: &str, expected: &str| resource.get(name).is_none_or(|value| value == expected);
    assert!((is("resourceType", "Patient") && is("id", "1")) || !passes, "another resource passes: {value}");
}

//! Searches: what goes to OpenEMR means one thing to PHP, and nothing that the search does not know.
//!
//! Input: a byte that chooses the handling, the query, a line feed, the form.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use openemr_gateway::fuzzing::{self, sandbox};
use serde_json::Value;

/// Result parameters of OpenEMR's.
const RESULT: [&str; 4] = ["_count", "_offset", "_sort", "_revinclude"];

/// The search parameters that OpenEMR announces for Patient.
static ANNOUNCED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let statement: Value = serde_json::from_str(sandbox::CAPABILITY_STATEMENT).expect("JSON");
    let resources = statement["rest"][0]["resource"].as_array().expect("resources");
    let patient = resources.iter().find(|resource| resource["type"] == "Patient").expect("Patient");
    let parameters = patient["searchParam"].as_array().expect("parameters");
    parameters.iter().map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
});

pub fn check(input: &[u8]) {
    let ([choice], rest) = super::choices(input);
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (query, form) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
    let Some(search) = fuzzing::search(query, form, sandbox::CAPABILITY_STATEMENT, choice & 1 != 0) else { return };
    let sent = String::from_utf8_lossy(&search.sent);

    let pairs = search.sent.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    // A parameter that the client repeats is sent as often, and PHP keeps the last.
    let names: BTreeSet<&[u8]> = pairs.filter_map(|pair| pair.split(|byte| *byte == b'=').next()).collect();
    let variables = sandbox::query(&search.sent);
    assert_eq!(variables.len(), names.len(), "PHP drops a parameter of {sent}");
    assert_eq!(sandbox::form(&search.sent), variables, "PHP reads {sent} otherwise in a form");
    for (name, value) in &variables {
        let name = std::str::from_utf8(name).expect("a name that is text");
        assert!(value.is_some(), "{name} is an array in {sent}");
        let parameter = name.split(':').next().unwrap_or(name);
        let is_known = RESULT.contains(&name) || ANNOUNCED.iter().any(|announced| announced == parameter);
        assert!(is_known, "{name} is unknown in {sent}");
        if name == "_sort" {
            let value = value.as_deref().unwrap_or_default();
            let is_key =
                |key: &[u8]| !key.is_empty() && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
            assert!(value.split(|byte| *byte == b',').all(is_key), "{sent} sorts by more than names");
        }
    }
    assert!(search.self_target.bytes().all(|byte| byte.is_ascii_graphic()), "no URL: {}", search.self_target);
    assert!(search.self_target.starts_with("/Patient"));
}

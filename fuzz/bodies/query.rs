//! Queries: the gateway's model of PHP and the sandbox's own reading agree, and what passes changes neither the route nor who asks.
//!
//! Input: the query.

use std::collections::BTreeMap;

use openemr_gateway::fuzzing::{self, sandbox};

const ROUTE: &[u8] = b"_REWRITE_COMMAND";
/// Names by which OpenEMR, PHP or Symfony is directed.
const OPENEMRS_OWN: [&str; 8] =
    ["_rewrite_command", "site", "auth", "authuser", "_method", "globals", "phpsessid", "apicsrftoken"];

/// PHP drops what has more brackets than this; no name with one passes.
fn is_deep(query: &[u8]) -> bool {
    let brackets = query.iter().filter(|byte| **byte == b'[').count();
    let encoded = query.windows(3).filter(|three| three.eq_ignore_ascii_case(b"%5b")).count();
    brackets + encoded > 60
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn check(input: &[u8]) {
    let theirs = sandbox::query(input);
    // Names that are no text become one in the model, which knows none of them.
    if !is_deep(input) && theirs.iter().all(|(name, _)| std::str::from_utf8(name).is_ok()) {
        let ours: BTreeMap<String, Option<String>> =
            fuzzing::php_parameters(input).into_iter().map(|(key, value)| (text(&key), value)).collect();
        let theirs = theirs.iter().map(|(name, value)| (text(name), value.as_deref().map(text))).collect();
        assert_eq!(ours, theirs, "the model and the sandbox read {:?}", text(input));
    }
    for with_a_read in [true, false] {
        if !fuzzing::may_pass(input, with_a_read) {
            continue;
        }
        let rewritten = [ROUTE, b"=default/fhir/Patient/1&", input].concat();
        let variables = sandbox::query(&rewritten);
        let route = variables.iter().find(|(name, _)| name == ROUTE).and_then(|(_, value)| value.as_deref());
        assert_eq!(route, Some(b"default/fhir/Patient/1".as_slice()), "another route");
        for (name, value) in variables.iter().filter(|(name, _)| name != ROUTE) {
            let name = text(name);
            assert!(value.is_some(), "{name} is an array");
            assert!(!OPENEMRS_OWN.contains(&name.to_ascii_lowercase().as_str()), "{name} directs OpenEMR");
            if with_a_read {
                assert!(
                    ["_format", "_pretty", "_summary", "_elements"].contains(&name.as_str()),
                    "{name} is no parameter of a read"
                );
            }
            if name == "_sort" {
                let value = value.as_deref().unwrap_or_default();
                assert!(value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_,".contains(byte)), "SQL in _sort");
            }
        }
        let pairs = rewritten.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).count();
        assert!(pairs <= 1000, "PHP leaves parameters out");
    }
}

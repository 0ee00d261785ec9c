//! Request targets: what goes to OpenEMR names one route, below the FHIR base, for Apache and PHP too.
//!
//! Input: the request target.

use openemr_gateway::fuzzing::{self, sandbox};

/// Decodes once.
fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| byte == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

pub fn check(input: &[u8]) {
    let Some(target) = fuzzing::upstream_target(input) else { return };
    let target = String::from_utf8(target).expect("ASCII");
    assert!(target.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{target:?}");
    let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    assert!(path == "/apis/default/fhir" || path.starts_with("/apis/default/fhir/"), "{path}");

    // Apache refuses a blank in a path.
    let Some((route, rewritten)) = sandbox::rewritten(path, "") else {
        assert!(path.contains("%20") || path.contains(' '), "Apache refuses {path}");
        return;
    };
    assert_eq!(route, decoded(path.strip_prefix("/apis/").expect("the base")), "Apache takes {path} for another");
    let expected = vec![(b"_REWRITE_COMMAND".to_vec(), Some(route))];
    assert_eq!(sandbox::query(&rewritten), expected, "PHP takes {path} for another");
    // A query that the client sends follows as it is.
    if let Some(query) = query.filter(|query| !query.is_empty() && !query.contains(' ')) {
        let (_, with_query) = sandbox::rewritten(path, query).expect("the same path");
        assert_eq!(with_query, [rewritten.as_slice(), b"&", query.as_bytes()].concat());
    }
}

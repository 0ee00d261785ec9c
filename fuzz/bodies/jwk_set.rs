//! JWK Sets: what is published is public, and reads as the same set.
//!
//! Input: the document.

use openemr_gateway::key_files::JwkSet;
use serde_json::Value;

/// RFC 7518, sections 6.2.2, 6.3.2 and 6.4.
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

pub fn check(input: &[u8]) {
    let Ok(set) = JwkSet::parse(input) else { return };
    let published = set.to_json();
    let again = JwkSet::parse(published.as_bytes()).expect("what is published can be read");
    assert_eq!(again.keys(), set.keys());
    assert!(again.private_members().is_empty());
    let value: Value = serde_json::from_str(&published).expect("JSON");
    for key in value["keys"].as_array().expect("a set") {
        assert_ne!(key["kty"], "oct", "a symmetric key was published");
        assert!(PRIVATE.iter().all(|member| key.get(member).is_none()), "a private member was published");
    }
    for key in set.keys() {
        if let Some(kid) = key.kid() {
            assert_eq!(set.find(kid).map(|found| found.kid()), Some(key.kid()));
        }
    }
}

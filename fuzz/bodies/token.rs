//! Token responses: a token is one that fits a header field, and no error repeats one.
//!
//! Input: a byte that chooses the status, the body.

use openemr_gateway::fuzzing;
use serde_json::Value;

const STATUSES: [u16; 4] = [200, 400, 401, 500];

pub fn check(input: &[u8]) {
    let ([choice], body) = super::choices(input);
    let status = STATUSES[usize::from(choice) % STATUSES.len()];
    match fuzzing::token_response(status, body) {
        Ok((token, seconds, scope)) => {
            assert_eq!(status, 200);
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "no token: {token:?}");
            assert!(seconds >= 1);
            assert!(!scope.trim().is_empty() && !scope.chars().any(char::is_control));
        }
        Err((log, public)) => {
            assert!(log.len() < 8 * 1024 && !log.chars().any(char::is_control), "the log gets {log:?}");
            assert!(!public.is_empty());
            let value: Value = serde_json::from_slice(body).unwrap_or_default();
            if let Some(token) = value["access_token"].as_str().filter(|token| token.len() > 8) {
                let elsewhere = ["error", "error_description", "message", "hint"].map(|name| value[name].as_str().unwrap_or(""));
                assert!(elsewhere.iter().any(|text| text.contains(token)) || !log.contains(token), "the log gets a token");
            }
        }
    }
}

//! Faults on demand: what tests and demonstrations can make the stand-in do wrong.
//!
//! Each side (token endpoint, FHIR side) has sets of faults, and a request meets the first one that is meant for it;
//! new sets replace all of that side. With `times` a set applies to that many requests and is then gone, so that a
//! list is a sequence.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http1::{Ending, Framing};

/// What the token endpoint does wrong.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct TokenFaults {
    /// Close the connection without an answer and without looking at the request.
    pub down: bool,
    /// Read the request and say nothing until the caller gives up.
    pub silent: bool,
    /// Milliseconds to wait before anything else.
    pub delay_ms: u64,
    /// Answer this, whatever was asked.
    pub answer: Option<FixedAnswer>,
    /// Answer 200 with an HTML page.
    pub html: bool,
    /// Answer with one of OpenEMR's refusals.
    pub refuse: Option<Refusal>,
    /// Do everything, use up the jti, and close the connection without an answer.
    pub lose_answer: bool,
    /// Cut the answer's body in the middle.
    pub truncate: bool,
    /// Bytes of blanks put in front of the answer's JSON.
    pub oversize_bytes: usize,
    /// Bytes by which the access token is made longer. It stays valid.
    pub pad_token_bytes: usize,
    /// What `expires_in` claims, a number of seconds or any other JSON; the token's real life is unchanged.
    pub expires_in: Option<Value>,
    /// What `token_type` claims, any JSON.
    pub token_type: Option<Value>,
    /// What the `Date` field says; it is left out when this is empty.
    pub date: Option<String>,
    /// Drop these scopes from what is granted.
    pub drop_scopes: Vec<String>,
    /// How many requests; without it, until cleared.
    pub times: Option<u64>,
}

/// A given answer.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FixedAnswer {
    /// Status code, 200 to 599.
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// The Content-Type.
    #[serde(default = "json_type")]
    pub content_type: String,
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// The refusals of the token endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 401 invalid_client: client unknown, disabled, or its keys out of reach.
    UnknownClient,
    /// 400 invalid_client: signature, key, clock, aud or jti.
    BadAssertion,
    /// 400 invalid_request: iat too old.
    IssuedTooLongAgo,
    /// 400 invalid_request: no jti.
    MissingJti,
    /// 400 invalid_scope, naming the first scope asked.
    InvalidScope,
    /// 400 unsupported_grant_type.
    UnsupportedGrantType,
    /// 500 server_error: `Server was not properly setup`.
    NotSetUp,
    /// 500 with the bare text of an exception.
    Exception,
}

/// What the FHIR side does wrong.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct FhirFaults {
    /// Applies only to requests whose target contains this.
    pub target: Option<String>,
    /// Applies only to requests of this method.
    pub method: Option<String>,
    /// Read the request and say nothing until the caller gives up. No worker is kept busy.
    pub silent: bool,
    /// Milliseconds to wait before answering.
    pub delay_ms: u64,
    /// Answer as if the token did not count or did not reach, whatever it is; nothing is done.
    pub refuse: Option<Denial>,
    /// Do everything, and close the connection without an answer.
    pub lose_answer: bool,
    /// Answer with a server error as OpenEMR words it.
    pub error: Option<ServerError>,
    /// Answer this, whatever was asked.
    pub answer: Option<FixedAnswer>,
    /// Answer 200 with an HTML page.
    pub html: bool,
    /// Close the connection without an answer.
    pub hang_up: bool,
    /// How the body is framed.
    pub framing: Option<Framing>,
    /// Stop after so many bytes of the body and close.
    pub truncate_after: Option<u64>,
    /// Send the body so many bytes at a time.
    pub piece_bytes: Option<u64>,
    /// How the connection is closed after a truncation or an HTTP/1.0 answer.
    pub ending: Ending,
    /// Close the connection after each answer, without having said so.
    pub close_idle: bool,
    /// Close the connection without an answer when the request came on one that had served another.
    pub close_reused: bool,
    /// How many requests; without it, until cleared.
    pub times: Option<u64>,
}

/// The ways in which the FHIR side turns a token down.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// 401: not a JWT.
    Unparsable,
    /// 401: bad signature, or expired.
    NotVerified,
    /// 401: revoked by an administrator.
    Revoked,
    /// 400 `Refresh Token revoked or logged out`: the trusted-user row is gone.
    NoTrustedUser,
    /// 401: not in the token table.
    NotInDatabase,
    /// 8.0 401, 7.0.3 400: issued for another site.
    OtherSite,
    /// 401: the token's scopes do not reach.
    ScopeMissing,
    /// 8.0 403, 7.0.3 401: the access control list forbids it.
    Policy,
}

/// The FHIR side's server errors.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ServerError {
    /// 500: 8.0 `System error occurred`, 7.0.3 empty.
    System,
    /// 500 with the database down: 8.0 says JSON, but puts a line of text before it; 7.0.3 empty.
    Database,
    /// 503 from Apache: php-fpm is down.
    PhpFpmDown,
    /// 504 from Apache: php-fpm took longer than 60 s.
    PhpFpmTimeout,
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    token: Mutex<Vec<TokenFaults>>,
    fhir: Mutex<Vec<FhirFaults>>,
}

impl Faults {
    /// Replaces the token endpoint's.
    pub fn set_token(&self, faults: Vec<TokenFaults>) {
        *lock(&self.token) = faults;
    }

    /// Replaces the FHIR side's.
    pub fn set_fhir(&self, faults: Vec<FhirFaults>) {
        *lock(&self.fhir) = faults;
    }

    /// What is in force, for people to read.
    pub fn describe(&self) -> serde_json::Value {
        json!({"token": *lock(&self.token), "fhir": *lock(&self.fhir)})
    }

    /// The faults that one token request meets.
    pub fn for_token_request(&self) -> TokenFaults {
        meet(&mut lock(&self.token), |_| true, |faults| &mut faults.times)
    }

    /// The faults that one FHIR request meets. `reused`: the connection has served another request before.
    pub fn for_fhir_request(&self, method: &str, target: &str, reused: bool) -> FhirFaults {
        let is_meant = |faults: &FhirFaults| {
            faults.target.as_ref().is_none_or(|part| target.contains(part.as_str()))
                && faults.method.as_ref().is_none_or(|only| only == method)
                && (reused || !faults.close_reused)
        };
        meet(&mut lock(&self.fhir), is_meant, |faults| &mut faults.times)
    }
}

/// The first set that is meant, used once; none is a set without faults.
fn meet<T: Clone + Default>(sets: &mut Vec<T>, is_meant: impl Fn(&T) -> bool, times: impl Fn(&mut T) -> &mut Option<u64>) -> T {
    let Some(index) = sets.iter().position(is_meant) else {
        return T::default();
    };
    let met = sets.get(index).cloned().unwrap_or_default();
    if sets.get_mut(index).is_some_and(|set| spend(times(set))) {
        sets.remove(index);
    }
    met
}

/// Counts one use; true when that was the last.
fn spend(times: &mut Option<u64>) -> bool {
    match times {
        None => false,
        Some(left) => {
            *left = left.saturating_sub(1);
            *left == 0
        }
    }
}

/// A lock that a panic elsewhere does not poison: what is behind it is replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_counts_down_and_clears() {
        let faults = Faults::default();
        let twice = TokenFaults { down: true, times: Some(2), ..TokenFaults::default() };
        let once = TokenFaults { html: true, times: Some(1), ..TokenFaults::default() };
        faults.set_token(vec![twice, once]);
        let met: Vec<_> = (0..4).map(|_| faults.for_token_request()).map(|met| (met.down, met.html)).collect();
        assert_eq!(met, [(true, false), (true, false), (false, true), (false, false)]);
    }

    #[test]
    fn a_request_meets_the_set_that_is_meant_for_it() {
        let faults = Faults::default();
        let at = |target: &str, method: Option<&str>, delay_ms| FhirFaults {
            target: Some(target.to_owned()),
            method: method.map(str::to_owned),
            delay_ms,
            ..FhirFaults::default()
        };
        let all = FhirFaults { delay_ms: 4, ..FhirFaults::default() };
        faults.set_fhir(vec![at("/metadata", None, 1), at("$export", None, 2), at("/Patient", Some("POST"), 3), all]);
        for (method, target, delay_ms) in
            [("GET", "/fhir/metadata", 1), ("GET", "/fhir/$export", 2), ("POST", "/fhir/Patient", 3), ("GET", "/fhir/Patient", 4)]
        {
            assert_eq!(faults.for_fhir_request(method, target, false).delay_ms, delay_ms, "{method} {target}");
        }
    }

    #[test]
    fn a_fault_for_reused_connections_waits_for_one() {
        let faults = Faults::default();
        faults.set_fhir(vec![FhirFaults { close_reused: true, times: Some(1), ..FhirFaults::default() }]);
        assert!(!faults.for_fhir_request("GET", "/a", false).close_reused);
        assert!(faults.for_fhir_request("GET", "/a", true).close_reused);
        assert!(!faults.for_fhir_request("GET", "/a", true).close_reused);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<TokenFaults>(r#"{"dwon": true}"#).unwrap_err();
        assert!(error.to_string().contains("dwon"));
    }
}

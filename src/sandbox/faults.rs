//! Faults on demand: what tests and demonstrations can make the stand-in do wrong.
//!
//! Each side (token endpoint, FHIR side) has at most one set of faults at a time; setting a new one replaces it. With
//! `times` it applies to that many requests and is then gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::http1::{Ending, Framing};

/// What the token endpoint does wrong.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct TokenFaults {
    /// Close the connection without an answer and without looking at the request.
    pub down: bool,
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
    /// What `expires_in` claims, in seconds; the token's real life is unchanged.
    pub expires_in: Option<i64>,
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
    /// Milliseconds to wait before answering.
    pub delay_ms: u64,
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
    /// How the connection is closed after a truncation or an HTTP/1.0 answer.
    pub ending: Ending,
    /// Close the connection after each answer, without having said so.
    pub close_idle: bool,
    /// Close the connection without an answer when the request came on one that had served another.
    pub close_reused: bool,
    /// How many requests; without it, until cleared.
    pub times: Option<u64>,
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
    token: Mutex<Option<TokenFaults>>,
    fhir: Mutex<Option<FhirFaults>>,
}

impl Faults {
    /// Replaces the token endpoint's.
    pub fn set_token(&self, faults: Option<TokenFaults>) {
        *lock(&self.token) = faults;
    }

    /// Replaces the FHIR side's.
    pub fn set_fhir(&self, faults: Option<FhirFaults>) {
        *lock(&self.fhir) = faults;
    }

    /// What is in force, for people to read.
    pub fn describe(&self) -> serde_json::Value {
        serde_json::json!({"token": *lock(&self.token), "fhir": *lock(&self.fhir)})
    }

    /// The faults that one token request meets.
    pub fn for_token_request(&self) -> TokenFaults {
        let mut slot = lock(&self.token);
        let Some(faults) = slot.as_mut() else {
            return TokenFaults::default();
        };
        let met = faults.clone();
        if spend(&mut faults.times) {
            *slot = None;
        }
        met
    }

    /// The faults that one FHIR request meets. `reused`: the connection has served another request before.
    pub fn for_fhir_request(&self, target: &str, reused: bool) -> FhirFaults {
        let mut slot = lock(&self.fhir);
        let Some(faults) = slot.as_mut() else {
            return FhirFaults::default();
        };
        let elsewhere = faults.target.as_ref().is_some_and(|part| !target.contains(part.as_str()));
        if elsewhere || (faults.close_reused && !reused) {
            return FhirFaults::default();
        }
        let met = faults.clone();
        if spend(&mut faults.times) {
            *slot = None;
        }
        met
    }
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
        faults.set_token(Some(TokenFaults { down: true, times: Some(2), ..TokenFaults::default() }));
        let met: Vec<bool> = (0..3).map(|_| faults.for_token_request().down).collect();
        assert_eq!(met, [true, true, false]);
    }

    #[test]
    fn a_fault_for_reused_connections_waits_for_one() {
        let faults = Faults::default();
        faults.set_fhir(Some(FhirFaults { close_reused: true, times: Some(1), ..FhirFaults::default() }));
        assert!(!faults.for_fhir_request("/a", false).close_reused);
        assert!(faults.for_fhir_request("/a", true).close_reused);
        assert!(!faults.for_fhir_request("/a", true).close_reused);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<TokenFaults>(r#"{"dwon": true}"#).unwrap_err();
        assert!(error.to_string().contains("dwon"));
    }
}

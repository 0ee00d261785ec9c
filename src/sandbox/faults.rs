//! Faults on demand, for tests and demonstrations.
//!
//! The token endpoint and the FHIR side each have a list of fault sets. A request gets the first set that applies to it;
//! a new list replaces the old one. A set with `times` applies to that many requests and is then removed, so that a list
//! can be a sequence.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    audit_repository::RepositoryFaults,
    response::{Ending, Framing},
};

/// The faults of a token request.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TokenFaults {
    /// Close the connection without reading the body or answering.
    pub(super) down: bool,
    /// Read the request and do not answer until the client gives up.
    pub(super) silent: bool,
    /// Milliseconds to wait before anything else.
    pub(super) delay_ms: u64,
    /// Answer with this, whatever the request.
    pub(super) answer: Option<FixedAnswer>,
    /// Answer 200 with an HTML page.
    pub(super) html: bool,
    /// Answer with one of OpenEMR's OAuth errors.
    pub(super) refuse: Option<ForcedOAuthError>,
    /// Handle the request, jti included, and close the connection without an answer.
    pub(super) lose_answer: bool,
    /// Cut the body of the answer in the middle.
    pub(super) truncate: bool,
    /// The number of spaces put in front of the JSON of the answer.
    pub(super) oversize_bytes: usize,
    /// The bytes by which the access token is made longer. It stays valid.
    pub(super) pad_token_bytes: usize,
    /// The value of `expires_in`, a number of seconds or any other JSON; the token's real lifetime is unchanged.
    pub(super) expires_in: Option<Value>,
    /// The value of `token_type`, any JSON.
    pub(super) token_type: Option<Value>,
    /// The value of the `Date` field; empty omits the field.
    pub(super) date: Option<String>,
    /// The scopes to drop from those that are granted.
    pub(super) drop_scopes: Vec<String>,
    /// The number of requests that this applies to; until cleared if `None`.
    pub(super) times: Option<u64>,
}

/// An answer given by its content.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct FixedAnswer {
    /// The status code, 200 to 599.
    pub(super) status: u16,
    /// The body.
    #[serde(default)]
    pub(super) body: String,
    /// The Content-Type field.
    #[serde(default = "json_type")]
    pub(super) content_type: String,
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// The error answers of the token endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ForcedOAuthError {
    /// 401 invalid_client: the client is unknown, disabled, or its keys cannot be had.
    UnknownClient,
    /// 400 invalid_client: the signature, key, clock, aud or jti is wrong.
    BadAssertion,
    /// 400 invalid_request: the iat is too old.
    IssuedTooLongAgo,
    /// 400 invalid_request: there is no jti.
    MissingJti,
    /// 400 invalid_scope, naming the first scope of the request.
    InvalidScope,
    /// 400 unsupported_grant_type.
    UnsupportedGrantType,
    /// 500 server_error: `Server was not properly setup`.
    NotSetUp,
    /// 500 because the database is down.
    Database,
    /// 500 with the bare text of an exception.
    Exception,
}

/// The faults of a FHIR request.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FhirFaults {
    /// Apply to requests only whose target contains this.
    pub(super) target: Option<String>,
    /// Apply to requests with this method only.
    pub(super) method: Option<String>,
    /// Read the request and do not answer until the client gives up. No worker is kept busy.
    pub(super) silent: bool,
    /// Milliseconds to wait before answering.
    pub(super) delay_ms: u64,
    /// Reject the token, whatever it is; the request is not handled.
    pub(super) refuse: Option<ForcedRejection>,
    /// Handle the request and close the connection without an answer.
    pub(super) lose_answer: bool,
    /// Answer with one of OpenEMR's server errors.
    pub(super) error: Option<ServerError>,
    /// Answer with this, whatever the request.
    pub(super) answer: Option<FixedAnswer>,
    /// Answer 200 with an HTML page.
    pub(super) html: bool,
    /// Close the connection without an answer.
    pub(super) hang_up: bool,
    /// The patient, by id, with whose resources reads and searches are answered, beside what was asked for or in its place.
    pub(super) foreign_patient: Option<String>,
    /// The search parameters that are ignored.
    pub(super) ignore_parameters: Vec<String>,
    /// The framing of the body.
    pub(super) framing: Option<Framing>,
    /// The number of bytes that are left of the body, which ends there as if that were all of it.
    pub(super) shorten_to: Option<u64>,
    /// The text that is put behind the body, as a part of it.
    pub(super) append: Option<String>,
    /// The number of body bytes after which the connection is closed.
    pub(super) truncate_after: Option<u64>,
    /// The number of body bytes sent at a time.
    pub(super) piece_bytes: Option<u64>,
    /// How the connection is closed after a truncation or an HTTP/1.0 answer.
    pub(super) ending: Ending,
    /// Close the connection after the answer, without `Connection: close`.
    pub(super) close_idle: bool,
    /// Close the connection without an answer if it has served another request before.
    pub(super) close_reused: bool,
    /// The number of requests that this applies to; until cleared if `None`.
    pub(super) times: Option<u64>,
}

/// The ways in which the FHIR side rejects a token.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ForcedRejection {
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
    /// 401: the token's scopes do not allow the request.
    ScopeMissing,
    /// 8.0 403, 7.0.3 401: the access control list forbids it.
    Policy,
}

/// The FHIR side's server errors.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServerError {
    /// 500: 8.0 `System error occurred`, 7.0.3 empty.
    System,
    /// 500 because the database is down: 8.0 a line of text before its JSON, 7.0.3 empty.
    Database,
    /// 400 as for a site that does not exist, on 8.0 with the JSON object twice, as some installations answer.
    NoSite,
    /// 503 from Apache: php-fpm is down.
    PhpFpmDown,
    /// 504 from Apache: php-fpm took longer than 60 s.
    PhpFpmTimeout,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    token: Mutex<Vec<TokenFaults>>,
    fhir: Mutex<Vec<FhirFaults>>,
    repository: Mutex<Vec<RepositoryFaults>>,
}

impl Faults {
    /// Replaces the faults of the token endpoint.
    pub(super) fn set_token(&self, faults: Vec<TokenFaults>) {
        *self.token.lock() = faults;
    }

    /// Replaces the faults of the FHIR side.
    pub(super) fn set_fhir(&self, faults: Vec<FhirFaults>) {
        *self.fhir.lock() = faults;
    }

    /// Replaces the faults of the repository for AuditEvents.
    pub(super) fn set_repository(&self, faults: Vec<RepositoryFaults>) {
        *self.repository.lock() = faults;
    }

    /// Takes the faults of one request to the repository for AuditEvents.
    pub(super) fn for_repository_request(&self) -> RepositoryFaults {
        take(&mut self.repository.lock(), |_| true, |faults| &mut faults.times)
    }

    /// Returns the faults in force as JSON.
    pub(super) fn describe(&self) -> Value {
        json!({"token": *self.token.lock(), "fhir": *self.fhir.lock(), "audit_repository": *self.repository.lock()})
    }

    /// Takes the faults of one token request.
    pub(super) fn for_token_request(&self) -> TokenFaults {
        take(&mut self.token.lock(), |_| true, |faults| &mut faults.times)
    }

    /// Takes the faults of one FHIR request. `reused` tells whether its connection has served another before.
    pub(super) fn for_fhir_request(&self, method: &str, target: &str, reused: bool) -> FhirFaults {
        let applies = |faults: &FhirFaults| {
            faults.target.as_ref().is_none_or(|part| target.contains(part.as_str()))
                && faults.method.as_ref().is_none_or(|only| only == method)
                && (reused || !faults.close_reused)
        };
        take(&mut self.fhir.lock(), applies, |faults| &mut faults.times)
    }
}

/// Takes the first set that applies and counts its use; the default when there is none.
fn take<T: Clone + Default>(sets: &mut Vec<T>, applies: impl Fn(&T) -> bool, times: impl Fn(&mut T) -> &mut Option<u64>) -> T {
    let Some(index) = sets.iter().position(applies) else {
        return T::default();
    };
    let taken = sets.get(index).cloned().unwrap_or_default();
    if sets.get_mut(index).is_some_and(|set| count_down(times(set))) {
        sets.remove(index);
    }
    taken
}

/// Counts one use; returns true when that was the last one.
fn count_down(times: &mut Option<u64>) -> bool {
    match times {
        None => false,
        Some(left) => {
            *left = left.saturating_sub(1);
            *left == 0
        }
    }
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

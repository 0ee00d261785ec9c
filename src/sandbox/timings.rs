//! How long OpenEMR works on a request: OpenEMR's own times, as measured on running installs with two processors.
//!
//! A worker that waits uses no processor, so that a sandbox with five workers can be loaded as OpenEMR is on a machine that has the
//! gateway and the clients on it as well.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    answer::{Answer, HeaderSet},
    fhir_request::FhirRequest,
    personality::Personality,
};

/// How long a worker is busy with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timings {
    /// As long as the sandbox needs for the answer.
    #[default]
    None,
    /// As long as OpenEMR needs.
    OpenEmr,
}

impl fmt::Display for Timings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Timings::None => "none",
            Timings::OpenEmr => "openemr",
        })
    }
}

/// Timings that there are not.
#[derive(Debug, thiserror::Error)]
#[error("there are no timings {0:?}: use none or openemr")]
pub struct UnknownTimings(String);

impl FromStr for Timings {
    type Err = UnknownTimings;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Timings::None),
            "openemr" => Ok(Timings::OpenEmr),
            other => Err(UnknownTimings(other.to_owned())),
        }
    }
}

impl Timings {
    /// Waits until a worker that began at `begun` has been busy for as long as `takes` says for `personality`, more or less.
    pub(super) async fn fill(self, personality: Personality, takes: Takes, begun: Instant) {
        static LATEST: AtomicU32 = AtomicU32::new(0);
        if self == Timings::OpenEmr {
            let takes = takes.on(personality).mul_f64(variation(LATEST.fetch_add(1, Ordering::Relaxed)));
            tokio::time::sleep_until(begun + takes).await;
        }
    }
}

/// How many times as long as usual a request takes, by its number: 0.85 to 1.15, evenly spread. Workers that always took the same time
/// would go in step, as those of no OpenEMR do.
fn variation(number: u32) -> f64 {
    /// The golden ratio as a part of 2^32.
    const STEP: u32 = 0x9E37_79B9;
    0.85 + 0.3 * f64::from(number.wrapping_mul(STEP)) / f64::from(u32::MAX)
}

/// What takes a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: PHP has no part in it.
    Nothing,
    /// A token exchange.
    Exchange,
    /// The CapabilityStatement.
    Metadata,
    /// A read, and whatever else is cheap.
    Read,
    /// A search for patients, with this many entries in its answer.
    PatientSearch(u16),
    /// A search for Observations of one patient.
    ObservationsOfAPatient,
    /// A search for Observations of everybody.
    Observations,
    /// A search for Encounters.
    Encounters,
    /// Another search.
    Search,
    /// A create or an update.
    Write,
}

impl Takes {
    /// Returns what a request takes that is answered with `answer`.
    pub(super) fn of(request: &FhirRequest<'_>, answer: &Answer) -> Takes {
        if answer.header_set == HeaderSet::Apache {
            return Takes::Nothing;
        }
        let (_, rest) = request.site_and_rest();
        let segments: Vec<&str> = rest.strip_prefix("fhir/").unwrap_or_default().split('/').collect();
        let method = &*request.method;
        match (method, &*segments) {
            ("GET", ["metadata"]) => Takes::Metadata,
            ("POST", ["DocumentReference", "$docref"]) => Takes::Search,
            ("GET", [resource_type]) | ("POST", [resource_type, "_search"]) if is_type(resource_type) => {
                search(resource_type, request, answer)
            }
            ("POST" | "PUT" | "PATCH" | "DELETE", [resource_type, ..]) if is_type(resource_type) => Takes::Write,
            _ => Takes::Read,
        }
    }

    fn on(self, personality: Personality) -> Duration {
        let on_8_0 = match self {
            Takes::Nothing => 0,
            Takes::Read => 30,
            // Measured by itself; it is four times as long as on 8.0.
            Takes::Exchange if personality == Personality::V7_0_3 => return Duration::from_millis(140),
            Takes::Exchange => 35,
            Takes::Metadata => 290,
            Takes::PatientSearch(entries) => 30 + u64::from(entries) / 5,
            Takes::ObservationsOfAPatient => 57,
            Takes::Observations => 650,
            Takes::Encounters => 890,
            Takes::Search => 60,
            Takes::Write => 40,
        };
        Duration::from_millis(match personality {
            Personality::V8_0 | Personality::Next => on_8_0,
            Personality::V7_0_3 => on_8_0 * 4 / 3,
        })
    }
}

fn search(resource_type: &str, request: &FhirRequest<'_>, answer: &Answer) -> Takes {
    match resource_type {
        "Patient" => Takes::PatientSearch(answer.entries),
        "Observation" if request.search_parameters().iter().any(|(name, _)| name == "patient") => Takes::ObservationsOfAPatient,
        "Observation" => Takes::Observations,
        "Encounter" => Takes::Encounters,
        _ => Takes::Search,
    }
}

fn is_type(segment: &str) -> bool {
    segment.starts_with(|first: char| first.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::sandbox::{
        error_answers, faults::FhirFaults, faults::ServerError, http1::ReceivedBody, request_head::RequestHead, rewrite,
    };

    fn takes(method: &str, path: &str, answer: &Answer, personality: Personality) -> u128 {
        let fields = vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        let head =
            RequestHead { method: method.to_owned(), target: format!("/apis/default/fhir/{path}"), minor_version: 1, fields };
        let body = ReceivedBody::default();
        let rewritten = rewrite::rewrite(head.path(), head.query()).ok().unwrap();
        let faults = FhirFaults::default();
        let request = FhirRequest::new(personality, &head, &body, &rewritten, &faults);
        Takes::of(&request, answer).on(personality).as_millis()
    }

    #[test]
    fn requests_take_as_long_on_average_and_no_two_the_same() {
        let all: Vec<f64> = (0..1000).map(variation).collect();
        assert!(all.iter().all(|one| (0.85..=1.15).contains(one)));
        assert!((all.iter().sum::<f64>() / 1000.0 - 1.0).abs() < 0.01);
        assert!(all.windows(2).all(|two| (two[0] - two[1]).abs() > 0.05));
    }

    #[test]
    fn a_request_takes_as_long_as_it_takes_openemr() {
        let ok = Answer::json(200, "{}");
        let mut fifty = ok.clone();
        fifty.entries = 50;
        let down = error_answers::server_error(Personality::V8_0, ServerError::PhpFpmDown);
        for (method, path, answer, on_8_0, on_7_0_3) in [
            ("GET", "metadata", &ok, 290, 386),
            ("GET", "Patient/1", &ok, 30, 40),
            ("GET", "Patient?name=x", &ok, 30, 40),
            ("GET", "Patient?name=x", &fifty, 40, 53),
            ("POST", "Patient/_search", &fifty, 40, 53),
            ("GET", "Observation/1", &ok, 30, 40),
            ("GET", "Observation?code=1", &fifty, 650, 866),
            ("GET", "Observation?patient=1", &fifty, 57, 76),
            ("GET", "Encounter", &ok, 890, 1186),
            ("GET", "Encounter?patient=1", &ok, 890, 1186),
            ("GET", "Condition?patient=1", &ok, 60, 80),
            ("POST", "Condition/_search", &ok, 60, 80),
            ("POST", "DocumentReference/$docref", &ok, 60, 80),
            ("POST", "Patient", &ok, 40, 53),
            ("PUT", "Patient/1", &ok, 40, 53),
            ("GET", "Binary/1", &ok, 30, 40),
            ("GET", "$bulkdata-status", &ok, 30, 40),
            ("GET", "Patient/1", &down, 0, 0),
        ] {
            assert_eq!(takes(method, path, answer, Personality::V8_0), on_8_0, "{method} {path}");
            assert_eq!(takes(method, path, answer, Personality::V7_0_3), on_7_0_3, "7.0.3 {method} {path}");
        }
        assert_eq!(Takes::Exchange.on(Personality::V8_0).as_millis(), 35);
        assert_eq!(Takes::Exchange.on(Personality::V7_0_3).as_millis(), 140);
    }
}

//! The OpenEMR releases that the sandbox can behave like.

use std::{fmt, str::FromStr};

use super::php_json::Escapes;

/// An OpenEMR release line. The dividing line is 7.0.4, where its API was moved onto Symfony's HttpKernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Personality {
    /// 8.0.0: errors as `{"error":"An error occurred",…}`, SMART v2 scopes, a system client may write Patient.
    #[default]
    V8_0,
    /// 7.0.3: league's errors or empty bodies, SMART v1 scopes compared as strings, no writing.
    V7_0_3,
    /// What OpenEMR's tracker announces, on top of 8.0: pages and `searchset`, errors as OperationOutcomes, `kid` and `exp`
    /// required, writing of many types. No release does this yet.
    Next,
}

impl Personality {
    /// Returns the types that a client with their `write` scopes creates and updates.
    pub(super) fn written_types(self) -> &'static [&'static str] {
        match self {
            Personality::V8_0 => &["Patient", "Practitioner", "Organization"],
            Personality::V7_0_3 => &[],
            Personality::Next => &[
                "AllergyIntolerance",
                "Appointment",
                "Condition",
                "Encounter",
                "Goal",
                "Immunization",
                "Location",
                "MedicationRequest",
                "Observation",
                "Organization",
                "Patient",
                "Practitioner",
                "Procedure",
            ],
        }
    }

    /// Returns the escapes with which the FHIR side writes resources and Bundles.
    pub(super) fn fhir_escapes(self) -> Escapes {
        match self {
            Personality::V8_0 | Personality::Next => Escapes::Hex,
            Personality::V7_0_3 => Escapes::BareSlashes,
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Personality::V8_0 => "8.0",
            Personality::V7_0_3 => "7.0.3",
            Personality::Next => "next",
        })
    }
}

/// An OpenEMR version that the sandbox cannot behave like.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot behave like OpenEMR {0:?}: use 8.0, 7.0.3 or next")]
pub struct UnknownVersion(String);

impl FromStr for Personality {
    type Err = UnknownVersion;

    fn from_str(version: &str) -> Result<Self, Self::Err> {
        match version {
            "8.0" | "8.0.0" => Ok(Personality::V8_0),
            "7.0.3" => Ok(Personality::V7_0_3),
            "next" => Ok(Personality::Next),
            other => Err(UnknownVersion(other.to_owned())),
        }
    }
}

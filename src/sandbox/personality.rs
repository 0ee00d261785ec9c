//! Which OpenEMR the stand-in plays.

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
}

impl Personality {
    /// How the FHIR side writes resources and Bundles.
    pub fn fhir_escapes(self) -> Escapes {
        match self {
            Personality::V8_0 => Escapes::Hex,
            Personality::V7_0_3 => Escapes::BareSlashes,
        }
    }

    /// The system scopes a SMART Backend Services client of this version can be given: those for FHIR resources, the
    /// export's, and on 8.0 `system/Patient.write`.
    pub fn system_scopes(self) -> Vec<String> {
        let mut scopes: Vec<String> = super::scopes::KnownScopes::of(self)
            .listed()
            .filter(|scope| {
                scope.strip_prefix("system/").is_some_and(|rest| {
                    let listed_for_fhir = rest.starts_with(|first: char| first.is_ascii_uppercase() || first == '*');
                    // The v2 forms say the same again, and the restricted ones less.
                    listed_for_fhir && (rest.ends_with(".read") || rest.contains(".$") || is_only_v2(rest))
                })
            })
            .map(str::to_owned)
            .collect();
        if self == Personality::V8_0 {
            scopes.push("system/Patient.write".to_owned());
        }
        scopes
    }
}

/// The types that 8.0 lists in the v2 syntax alone.
fn is_only_v2(rest: &str) -> bool {
    ["Media", "MedicationDispense", "Questionnaire", "QuestionnaireResponse", "RelatedPerson", "ServiceRequest", "Specimen"]
        .iter()
        .any(|only| rest.strip_suffix(".rs") == Some(only))
}

impl fmt::Display for Personality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Personality::V8_0 => "8.0",
            Personality::V7_0_3 => "7.0.3",
        })
    }
}

/// A version that the stand-in does not play.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no OpenEMR version the stand-in plays: use 8.0 or 7.0.3")]
pub struct UnknownVersion(String);

impl FromStr for Personality {
    type Err = UnknownVersion;

    fn from_str(version: &str) -> Result<Self, Self::Err> {
        match version {
            "8.0" | "8.0.0" => Ok(Personality::V8_0),
            "7.0.3" => Ok(Personality::V7_0_3),
            other => Err(UnknownVersion(other.to_owned())),
        }
    }
}

//! The kick-off of a bulk export: what a client asks for (Bulk Data Access IG 2.0, "Bulk Data Kick-off Request"), and what
//! of it OpenEMR can do.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::fhir::export_level::Level;
use crate::fhir::instant;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_type;
use crate::openemr::export::level::can_hold;

/// The most parameters that a kick-off may have.
const MAX_PARAMETERS: usize = 100;
/// The names that the IG lists for the only format of exports.
const NDJSON: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// Parameters of the IG that OpenEMR does not have.
const NOT_SUPPORTED: [&str; 6] =
    ["_elements", "_typeFilter", "patient", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests"];

/// A part of the request that is left out of the export, to be reported in the manifest. It quotes nothing that the client
/// wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LeftOut {
    /// A parameter of the IG that OpenEMR does not have.
    #[error("The parameter {0} is not supported and was left out.")]
    Parameter(String),
    /// A parameter that the IG does not have.
    #[error("A parameter is unknown and was left out.")]
    UnknownParameter,
    /// A type that the gateway's token does not grant.
    #[error("{0} is not exported: the gateway's token lacks the scope system/{0}.read.")]
    NotGranted(String),
    /// A type that is not exported at this level.
    #[error("{0} is not exported at this level.")]
    NotExported(String),
    /// A name in `_type` that is no resource type.
    #[error("_type has a name that is no resource type, which was left out.")]
    UnknownType,
}

/// The reason why a kick-off starts no export. The text is a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KickOffError {
    /// More than [`MAX_PARAMETERS`].
    #[error("The request has too many parameters.")]
    TooManyParameters,
    /// `_since` has another value than an instant.
    #[error("_since is no FHIR instant, such as 2024-02-29T12:00:00Z.")]
    Since,
    /// `_outputFormat` names another format than NDJSON.
    #[error("_outputFormat must be application/fhir+ndjson, application/ndjson or ndjson.")]
    OutputFormat,
    /// Parts of the request cannot be done, and the client has not asked for lenient handling.
    #[error("{}", sentences(.0))]
    NotSupported(Vec<LeftOut>),
    /// Types are named that the gateway's token does not grant.
    #[error("{}", sentences(.0))]
    NotGranted(Vec<LeftOut>),
    /// No type is left to export.
    #[error("The gateway's token grants none of the resource types that this export could hold.")]
    NothingGranted,
}

impl KickOffError {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooManyParameters | Self::Since | Self::OutputFormat | Self::NotSupported(_) => StatusCode::BAD_REQUEST,
            Self::NotGranted(_) | Self::NothingGranted => StatusCode::FORBIDDEN,
        }
    }

    fn code(&self) -> IssueCode {
        match self {
            Self::TooManyParameters | Self::Since => IssueCode::Invalid,
            Self::OutputFormat | Self::NotSupported(_) => IssueCode::NotSupported,
            Self::NotGranted(_) | Self::NothingGranted => IssueCode::Forbidden,
        }
    }
}

impl From<KickOffError> for Rejection {
    fn from(error: KickOffError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

/// A valid kick-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KickOff {
    /// The level, which says whose data is exported.
    pub(crate) level: Level,
    /// The types, each with whether the client named it.
    pub(crate) types: Vec<(&'static str, bool)>,
    /// A FHIR instant: only what changed since then is exported.
    pub(crate) since: Option<String>,
    /// What was left out.
    pub(crate) left_out: Vec<LeftOut>,
}

impl KickOff {
    /// Checks the parameters of a kick-off. `granted` holds the types that the token lets be read, in the order in which they
    /// are exported.
    ///
    /// Parts that cannot be done are left out only with `handling=lenient`: without them the export would hold more than was
    /// asked for, or less (the IG's rule for what a server does not support).
    ///
    /// # Errors
    /// The first problem of the request; all parts that cannot be done count as one problem.
    pub(crate) fn validate(
        level: Level,
        parameters: &[(String, String)],
        handling: Option<Handling>,
        granted: &[&'static str],
    ) -> Result<Self, KickOffError> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(KickOffError::TooManyParameters);
        }
        let (mut since, mut requested, mut left_out) = (None, None::<Vec<&str>>, Vec::new());
        for (name, value) in parameters {
            match name.as_str() {
                "_since" if value.is_empty() => {}
                "_since" => since = Some(instant::parse(value).ok_or(KickOffError::Since)?),
                "_type" => {
                    requested.get_or_insert_default().extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()))
                }
                "_outputFormat" => check_format(value)?,
                // These are about the answer to the kick-off, not about the export.
                "_format" | "_pretty" => {}
                other => leave_out(
                    &mut left_out,
                    match NOT_SUPPORTED.iter().find(|name| **name == other) {
                        Some(name) => LeftOut::Parameter((*name).to_owned()),
                        None => LeftOut::UnknownParameter,
                    },
                ),
            }
        }
        let types = match requested.filter(|names| !names.is_empty()) {
            Some(names) => named(&level, &names, granted, &mut left_out),
            None => granted.iter().copied().filter(|name| can_hold(&level, name)).map(|name| (name, false)).collect(),
        };
        let is_lenient = handling == Some(Handling::Lenient);
        let (not_granted, not_supported): (Vec<LeftOut>, Vec<LeftOut>) =
            left_out.iter().cloned().partition(|left| matches!(left, LeftOut::NotGranted(_)));
        if !is_lenient && !not_supported.is_empty() {
            return Err(KickOffError::NotSupported(not_supported));
        }
        if !not_granted.is_empty() && (!is_lenient || types.is_empty()) {
            return Err(KickOffError::NotGranted(not_granted));
        }
        if types.is_empty() {
            return Err(KickOffError::NothingGranted);
        }
        Ok(Self { level, types, since, left_out })
    }
}

/// Returns the types of `_type` that can be exported, each once, in the order of `granted`.
fn named(level: &Level, names: &[&str], granted: &[&'static str], left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
    let mut found = BTreeMap::new();
    for name in names {
        match resource_type::known(name.as_bytes()) {
            None => leave_out(left_out, LeftOut::UnknownType),
            Some(name) if !can_hold(level, name) => leave_out(left_out, LeftOut::NotExported(name.to_owned())),
            Some(name) => match granted.iter().position(|granted| *granted == name) {
                Some(place) => drop(found.insert(place, (name, true))),
                None => leave_out(left_out, LeftOut::NotGranted(name.to_owned())),
            },
        }
    }
    found.into_values().collect()
}

fn leave_out(left_out: &mut Vec<LeftOut>, part: LeftOut) {
    if !left_out.contains(&part) {
        left_out.push(part);
    }
}

fn sentences(left_out: &[LeftOut]) -> String {
    left_out.iter().map(LeftOut::to_string).collect::<Vec<_>>().join(" ")
}

fn check_format(value: &str) -> Result<(), KickOffError> {
    // A `+` that was not percent-encoded in the query has become a space.
    let value = value.trim().replace(' ', "+");
    if NDJSON.iter().any(|name| name.eq_ignore_ascii_case(&value)) { Ok(()) } else { Err(KickOffError::OutputFormat) }
}

/// Returns the parts of a raw query (without its `?`) that name an export's own parameters, byte for byte. The others could
/// hold a patient's name, and must not be stored.
#[must_use]
pub(crate) fn honoured_query(query: &str) -> String {
    let is_honoured = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
        matches!(name.as_str(), "_since" | "_type" | "_outputFormat")
    };
    query.split('&').filter(is_honoured).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRANTED: [&str; 4] = ["Patient", "Observation", "ValueSet", "Provenance"];

    fn validate(query: &str, handling: Option<Handling>) -> Result<KickOff, KickOffError> {
        validate_at(Level::Patient, query, handling)
    }

    fn validate_at(level: Level, query: &str, handling: Option<Handling>) -> Result<KickOff, KickOffError> {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        KickOff::validate(level, &parameters, handling, &GRANTED)
    }

    fn names(kick_off: &KickOff) -> Vec<&'static str> {
        kick_off.types.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn no_types_means_all_that_are_granted_and_exported_there() {
        assert_eq!(names(&validate("", None).unwrap()), ["Patient", "Observation", "Provenance"]);
        assert_eq!(names(&validate_at(Level::System, "_type=", None).unwrap()), GRANTED);
        assert!(validate("", None).unwrap().types.iter().all(|(_, named)| !named));
    }

    #[test]
    fn types_may_be_listed_and_repeated() {
        for query in
            ["_type=Observation,Patient", "_type=Observation&_type=Patient", "_type=Observation%2CPatient,%20Observation"]
        {
            let kick_off = validate(query, Some(Handling::Strict)).unwrap();
            assert_eq!(kick_off.types, [("Patient", true), ("Observation", true)], "{query}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_unless_leniency_is_asked_for() {
        for (query, status, left_out) in [
            ("_typeFilter=Patient%3Fname%3DJane", 400, LeftOut::Parameter("_typeFilter".to_owned())),
            ("_elements=id", 400, LeftOut::Parameter("_elements".to_owned())),
            ("patient=Patient/1", 400, LeftOut::Parameter("patient".to_owned())),
            ("includeAssociatedData=x", 400, LeftOut::Parameter("includeAssociatedData".to_owned())),
            ("Jane=Doe", 400, LeftOut::UnknownParameter),
            ("_type=Patient,Jane", 400, LeftOut::UnknownType),
            ("_type=Patient,ValueSet", 400, LeftOut::NotExported("ValueSet".to_owned())),
            ("_type=Patient,Goal", 403, LeftOut::NotGranted("Goal".to_owned())),
        ] {
            for handling in [None, Some(Handling::Strict)] {
                let refusal = validate(query, handling).unwrap_err();
                assert_eq!((refusal.status().as_u16(), refusal.to_string()), (status, left_out.to_string()), "{query}");
            }
            let kick_off = validate(query, Some(Handling::Lenient)).unwrap();
            assert_eq!(kick_off.left_out, [left_out], "{query}");
        }
        let nothing_left = validate("_type=Goal,CarePlan", Some(Handling::Lenient)).unwrap_err();
        assert_eq!(nothing_left.status().as_u16(), 403);
        assert!(
            nothing_left.to_string().contains("system/Goal.read") && nothing_left.to_string().contains("system/CarePlan.read")
        );
        assert_eq!(validate("_type=Jane", Some(Handling::Lenient)).unwrap_err().status().as_u16(), 403);
    }

    #[test]
    fn formats_are_ndjson_in_three_spellings() {
        for good in ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson", "ndjson", "NDJSON"] {
            assert!(validate(&format!("_outputFormat={good}"), None).is_ok(), "{good}");
        }
        for bad in ["text/csv", "", "application/fhir%2Bjson"] {
            assert_eq!(
                validate(&format!("_outputFormat={bad}"), Some(Handling::Lenient)).unwrap_err().status().as_u16(),
                400,
                "{bad}"
            );
        }
    }

    #[test]
    fn since_is_an_instant() {
        let since = |query: &str| validate(query, Some(Handling::Lenient)).map(|kick_off| kick_off.since);
        let zoned = Some("2026-11-24T02:28:30+01:00".to_owned());
        assert_eq!(since("_since=2026-11-24T02:28:30+01:00"), Ok(zoned));
        assert_eq!(since("_since="), Ok(None));
        assert_eq!(since("_since=2026-11-24").unwrap_err().status().as_u16(), 400);
    }

    #[test]
    fn what_could_name_a_patient_is_not_kept() {
        for (query, kept) in [
            ("_type=Patient&_since=2026-11-24T02:28:30Z", "_type=Patient&_since=2026-11-24T02:28:30Z"),
            ("%5Ftype=a%2Cb&_typeFilter=Patient%3Fname%3DJane&_outputFormat=ndjson", "%5Ftype=a%2Cb&_outputFormat=ndjson"),
            ("Jane", ""),
            ("", ""),
        ] {
            assert_eq!(honoured_query(query), kept, "{query}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics_or_is_kept(query in ".{0,60}", lenient in any::<bool>()) {
            let _ = honoured_query(&query);
            if let Ok(kick_off) = validate(&query, lenient.then_some(Handling::Lenient)) {
                prop_assert!(kick_off.types.iter().all(|(name, _)| GRANTED.contains(name)));
            }
        }
    }
}

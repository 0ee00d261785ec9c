//! What a bulk export is asked for (Bulk Data Access IG 2.0, "Bulk Data Kick-off Request"), and what of it can be done.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::fhir::export_level::Level;
use crate::fhir::export_parameters::instant;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_type;

/// More parameters than this are refused.
const MOST_PARAMETERS: usize = 100;
/// What every answer is written in, by the names that the IG lists.
const NDJSON: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// Parameters of the IG that OpenEMR knows nothing of.
const NOT_SUPPORTED: [&str; 6] =
    ["_elements", "_typeFilter", "patient", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests"];

/// Something of the request that was left out, to be said in the manifest. It quotes nothing of the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// A parameter of the IG that OpenEMR does not have.
    Parameter(String),
    /// A parameter that the IG does not have.
    UnknownParameter,
    /// A type that the gateway's token does not grant.
    NotGranted(String),
    /// A type that is not exported at this level.
    NotExported(String),
    /// A name in `_type` that is no resource type.
    UnknownType,
}

impl LeftOut {
    /// A sentence for a human.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Parameter(name) => format!("The parameter {name} is not supported and was left out."),
            Self::UnknownParameter => "A parameter is unknown and was left out.".to_owned(),
            Self::NotGranted(name) => format!("{name} is not exported: the gateway's token lacks the scope system/{name}.read."),
            Self::NotExported(name) => format!("{name} is not exported at this level."),
            Self::UnknownType => "_type names something that is no resource type; it was left out.".to_owned(),
        }
    }

    fn is_scope(&self) -> bool {
        matches!(self, Self::NotGranted(_))
    }
}

/// A kick-off that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KickOff {
    /// Whose data.
    pub level: Level,
    /// The types, each with whether the caller named it.
    pub types: Vec<(&'static str, bool)>,
    /// Only what changed since then: a FHIR instant.
    pub since: Option<String>,
    /// What was left out.
    pub left_out: Vec<LeftOut>,
}

impl KickOff {
    /// Judges a kick-off. `granted` are the types that the token lets be read, in the order in which they are to be
    /// exported.
    ///
    /// Without `handling=lenient` nothing is left out, because that would export more than was asked for, or less (the
    /// IG's own rule for what a server does not support).
    ///
    /// # Errors
    /// Everything that is wrong of the first kind that is.
    pub fn judge(
        level: Level,
        parameters: &[(String, String)],
        handling: Option<Handling>,
        granted: &[&'static str],
    ) -> Result<Self, Rejection> {
        if parameters.len() > MOST_PARAMETERS {
            return Err(Rejection::invalid("The request has too many parameters."));
        }
        let (mut since, mut asked, mut left_out) = (None, None::<Vec<&str>>, Vec::new());
        for (name, value) in parameters {
            match name.as_str() {
                "_since" if value.is_empty() => {}
                "_since" => since = Some(instant(value).ok_or_else(|| Rejection::invalid("_since is no instant."))?),
                "_type" => asked.get_or_insert_default().extend(value.split(',').map(str::trim).filter(|name| !name.is_empty())),
                "_outputFormat" => check_format(value)?,
                // What the answers to the kick-off itself are written in.
                "_format" | "_pretty" => {}
                known => note(
                    &mut left_out,
                    match NOT_SUPPORTED.iter().find(|name| **name == known) {
                        Some(name) => LeftOut::Parameter((*name).to_owned()),
                        None => LeftOut::UnknownParameter,
                    },
                ),
            }
        }
        let types = match asked.filter(|names| !names.is_empty()) {
            Some(names) => named(&level, &names, granted, &mut left_out),
            None => granted.iter().copied().filter(|name| level.has(name)).map(|name| (name, false)).collect(),
        };
        let (scopes, others): (Vec<&LeftOut>, Vec<&LeftOut>) = left_out.iter().partition(|left| left.is_scope());
        let texts = |of: Vec<&LeftOut>| of.iter().map(|left| left.text()).collect::<Vec<_>>().join(" ");
        if handling != Some(Handling::Lenient) && !others.is_empty() {
            return Err(Rejection::new(StatusCode::BAD_REQUEST, IssueCode::NotSupported, texts(others)));
        }
        if !scopes.is_empty() && (handling != Some(Handling::Lenient) || types.is_empty()) {
            return Err(Rejection::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, texts(scopes)));
        }
        if types.is_empty() {
            let text = "None of the resource types that this export could hold is among the gateway's scopes.".to_owned();
            return Err(Rejection::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, text));
        }
        Ok(Self { level, types, since, left_out })
    }
}

/// The types of `_type` that can be exported, each once, in the order of `granted`.
fn named(level: &Level, names: &[&str], granted: &[&'static str], left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
    let mut found = BTreeMap::new();
    for name in names {
        match resource_type::known(name.as_bytes()) {
            None => note(left_out, LeftOut::UnknownType),
            Some(name) if !level.has(name) => note(left_out, LeftOut::NotExported(name.to_owned())),
            Some(name) => match granted.iter().position(|granted| *granted == name) {
                Some(place) => drop(found.insert(place, (name, true))),
                None => note(left_out, LeftOut::NotGranted(name.to_owned())),
            },
        }
    }
    found.into_values().collect()
}

fn note(left_out: &mut Vec<LeftOut>, left: LeftOut) {
    if !left_out.contains(&left) {
        left_out.push(left);
    }
}

fn check_format(value: &str) -> Result<(), Rejection> {
    // An unencoded `+` of the query has become a space.
    let value = value.trim().replace(' ', "+");
    if NDJSON.iter().any(|name| name.eq_ignore_ascii_case(&value)) {
        return Ok(());
    }
    let text = "_outputFormat is none of application/fhir+ndjson, application/ndjson and ndjson.".to_owned();
    Err(Rejection::new(StatusCode::BAD_REQUEST, IssueCode::NotSupported, text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRANTED: [&str; 4] = ["Patient", "Observation", "ValueSet", "Provenance"];

    fn judge(query: &str, handling: Option<Handling>) -> Result<KickOff, Rejection> {
        judge_at(Level::Patient, query, handling)
    }

    fn judge_at(level: Level, query: &str, handling: Option<Handling>) -> Result<KickOff, Rejection> {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        KickOff::judge(level, &parameters, handling, &GRANTED)
    }

    fn names(kick_off: &KickOff) -> Vec<&'static str> {
        kick_off.types.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn no_types_means_all_that_are_granted_and_exported_there() {
        assert_eq!(names(&judge("", None).unwrap()), ["Patient", "Observation", "Provenance"]);
        assert_eq!(names(&judge_at(Level::System, "_type=", None).unwrap()), GRANTED);
        assert!(judge("", None).unwrap().types.iter().all(|(_, named)| !named));
    }

    #[test]
    fn types_may_be_listed_and_repeated() {
        for query in
            ["_type=Observation,Patient", "_type=Observation&_type=Patient", "_type=Observation%2CPatient,%20Observation"]
        {
            let kick_off = judge(query, Some(Handling::Strict)).unwrap();
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
                let refusal = judge(query, handling).unwrap_err();
                assert_eq!((refusal.status.as_u16(), refusal.text.as_ref()), (status, left_out.text().as_str()), "{query}");
            }
            let kick_off = judge(query, Some(Handling::Lenient)).unwrap();
            assert_eq!(kick_off.left_out, [left_out], "{query}");
        }
        let nothing_left = judge("_type=Goal,CarePlan", Some(Handling::Lenient)).unwrap_err();
        assert_eq!(nothing_left.status, 403);
        assert!(nothing_left.text.contains("system/Goal.read") && nothing_left.text.contains("system/CarePlan.read"));
        assert_eq!(judge("_type=Jane", Some(Handling::Lenient)).unwrap_err().status, 403);
    }

    #[test]
    fn formats_are_ndjson_in_three_spellings() {
        for good in ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson", "ndjson", "NDJSON"] {
            assert!(judge(&format!("_outputFormat={good}"), None).is_ok(), "{good}");
        }
        for bad in ["text/csv", "", "application/fhir%2Bjson"] {
            assert_eq!(judge(&format!("_outputFormat={bad}"), Some(Handling::Lenient)).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn since_is_an_instant() {
        let since = |query: &str| judge(query, Some(Handling::Lenient)).map(|kick_off| kick_off.since);
        let zoned = Some("2026-11-24T02:28:30+01:00".to_owned());
        assert_eq!(since("_since=2026-11-24T02:28:30+01:00"), Ok(zoned));
        assert_eq!(since("_since="), Ok(None));
        assert_eq!(since("_since=2026-11-24").unwrap_err().status, 400);
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics_or_is_kept(query in ".{0,60}", lenient in any::<bool>()) {
            if let Ok(kick_off) = judge(&query, lenient.then_some(Handling::Lenient)) {
                prop_assert!(kick_off.types.iter().all(|(name, _)| GRANTED.contains(name)));
            }
        }
    }
}

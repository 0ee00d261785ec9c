//! What a bulk export is asked for (Bulk Data Access IG 2.0, "Bulk Data Kick-off Request"), and what of it can be done.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bulk_fields::Handling;
use super::operation_outcome::IssueCode;
use super::resource_type;

/// The largest body of a kick-off by POST that is read, in bytes.
pub const MAX_PARAMETERS: usize = 64 * 1024;
/// More parameters than this are refused.
const MOST_PARAMETERS: usize = 100;
/// What every answer is written in, by the names that the IG lists.
const NDJSON: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// Parameters of the IG that OpenEMR knows nothing of.
const NOT_SUPPORTED: [&str; 6] =
    ["_elements", "_typeFilter", "patient", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests"];
/// Types that no export of OpenEMR has: files, and definitions of the server's own.
const NEVER_EXPORTED: [&str; 2] = ["Binary", "OperationDefinition"];
/// Types that say nothing about a patient, and help to read nothing about one.
const NOT_OF_PATIENTS: [&str; 2] = ["Questionnaire", "ValueSet"];

/// Whose data is exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `[base]/$export`
    System,
    /// `[base]/Patient/$export`
    Patient,
    /// `[base]/Group/[id]/$export`
    Group(String),
}

impl Level {
    /// The level that a path names, which stands behind the FHIR base; `None` when it is no export.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.trim_end_matches('/').split('/').collect();
        let (operation, before) = segments.split_last()?;
        if !matches!(*operation, "$export" | "%24export") {
            return None;
        }
        match *before {
            [] => Some(Self::System),
            ["Patient"] => Some(Self::Patient),
            ["Group", id] if is_id(id) => Some(Self::Group(id.to_owned())),
            _ => None,
        }
    }

    /// The path below the FHIR base.
    #[must_use]
    pub fn path(&self) -> Cow<'static, str> {
        match self {
            Self::System => "/$export".into(),
            Self::Patient => "/Patient/$export".into(),
            Self::Group(id) => format!("/Group/{id}/$export").into(),
        }
    }

    /// The scope of its operation, as OpenEMR names it.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        match self {
            Self::System => "system/*.$export",
            Self::Patient => "system/Patient.$export",
            Self::Group(_) => "system/Group.$export",
        }
    }

    /// Whether an export of this level can hold resources of a type.
    #[must_use]
    pub fn has(&self, resource_type: &str) -> bool {
        !NEVER_EXPORTED.contains(&resource_type) && (*self == Self::System || !NOT_OF_PATIENTS.contains(&resource_type))
    }
}

/// An id as FHIR and OpenEMR write it, which can stand in a path.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let is_mark = |byte: u8| matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
        && !text.bytes().all(|byte| byte == b'.')
}

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

/// Why there is no export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The OperationOutcome's code.
    pub code: IssueCode,
    /// Its sentence.
    pub text: String,
}

impl Refusal {
    fn invalid(text: impl Into<String>) -> Self {
        Self { status: 400, code: IssueCode::Invalid, text: text.into() }
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
    ) -> Result<Self, Refusal> {
        if parameters.len() > MOST_PARAMETERS {
            return Err(Refusal::invalid("The request has too many parameters."));
        }
        let (mut since, mut asked, mut left_out) = (None, None::<Vec<&str>>, Vec::new());
        for (name, value) in parameters {
            match name.as_str() {
                "_since" if value.is_empty() => {}
                "_since" => since = Some(instant(value).ok_or_else(|| Refusal::invalid("_since is no instant."))?),
                "_type" => asked.get_or_insert_default().extend(value.split(',').map(str::trim).filter(|name| !name.is_empty())),
                "_outputFormat" => check_format(value)?,
                "_format" if is_json(value) => {}
                "_pretty" => {}
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
            return Err(Refusal { status: 400, code: IssueCode::NotSupported, text: texts(others) });
        }
        if !scopes.is_empty() && (handling != Some(Handling::Lenient) || types.is_empty()) {
            return Err(Refusal { status: 403, code: IssueCode::Forbidden, text: texts(scopes) });
        }
        if types.is_empty() {
            let text = "None of the resource types that this export could hold is among the gateway's scopes.".to_owned();
            return Err(Refusal { status: 403, code: IssueCode::Forbidden, text });
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

fn check_format(value: &str) -> Result<(), Refusal> {
    // An unencoded `+` of the query has become a space.
    let value = value.trim().replace(' ', "+");
    if NDJSON.iter().any(|name| name.eq_ignore_ascii_case(&value)) {
        return Ok(());
    }
    let text = "_outputFormat is none of application/fhir+ndjson, application/ndjson and ndjson.".to_owned();
    Err(Refusal { status: 400, code: IssueCode::NotSupported, text })
}

fn is_json(value: &str) -> bool {
    matches!(value.trim().replace(' ', "+").as_str(), "json" | "application/json" | "application/fhir+json" | "text/json")
}

/// A FHIR instant (FHIR R4, "Data Types", instant); `None` for anything else. A date is none.
#[must_use]
pub fn instant(text: &str) -> Option<String> {
    // An unencoded `+` of the query has become a space.
    let text = text.trim().replace(' ', "+");
    let (date_and_time, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, "Z"),
        None => text.split_at_checked(text.len().checked_sub(6)?)?,
    };
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let (seconds, fraction) = date_and_time.split_once('.').unwrap_or((date_and_time, "0"));
    let is_shaped = fits(seconds, "0000-00-00T00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || fits(zone, "+00:00"));
    (is_shaped && text.parse::<jiff::Timestamp>().is_ok()).then_some(text)
}

/// The part of a raw query (without its `?`) that was honoured, byte for byte. The rest could name a patient, and is not
/// kept.
#[must_use]
pub fn honoured(query: &str) -> String {
    let is_honoured = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
        matches!(name.as_str(), "_since" | "_type" | "_outputFormat")
    };
    query.split('&').filter(is_honoured).collect::<Vec<_>>().join("&")
}

/// The parameters of a kick-off by POST: a Parameters resource, whose values are of any primitive type.
///
/// # Errors
/// A body that is no Parameters resource. What is too deep or too large to read is none either.
pub fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let refusal = || Refusal::invalid("The body is no Parameters resource.");
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let Value::Object(resource) = serde_json::from_slice(body).map_err(|_| refusal())? else { return Err(refusal()) };
    if resource.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
        return Err(refusal());
    }
    let listed = match resource.get("parameter") {
        None => return Ok(Vec::new()),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(refusal()),
    };
    listed
        .iter()
        .map(|parameter| {
            let name = parameter.get("name").and_then(Value::as_str).ok_or_else(refusal)?;
            let members = parameter.as_object().ok_or_else(refusal)?;
            let value = members.iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| value);
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                // A reference, or parts: of a parameter that is not supported in any case.
                Some(Value::Object(_) | Value::Array(_) | Value::Null) | None => String::new(),
            };
            Ok((name.to_owned(), text))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRANTED: [&str; 4] = ["Patient", "Observation", "ValueSet", "Provenance"];

    fn judge(query: &str, handling: Option<Handling>) -> Result<KickOff, Refusal> {
        judge_at(Level::Patient, query, handling)
    }

    fn judge_at(level: Level, query: &str, handling: Option<Handling>) -> Result<KickOff, Refusal> {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        KickOff::judge(level, &parameters, handling, &GRANTED)
    }

    fn names(kick_off: &KickOff) -> Vec<&'static str> {
        kick_off.types.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn three_paths_are_exports() {
        for (path, level) in [
            ("/$export", Some(Level::System)),
            ("/%24export", Some(Level::System)),
            ("/Patient/$export", Some(Level::Patient)),
            ("/Patient/$export/", Some(Level::Patient)),
            ("/Group/a34c-1/$export", Some(Level::Group("a34c-1".to_owned()))),
            ("/Group/..../$export", None),
            ("/Group/a%20b/$export", None),
            ("/Group/$export", None),
            ("/Observation/$export", None),
            ("/Patient/1/$export", None),
            ("/$exports", None),
            ("$export", None),
            ("", None),
        ] {
            assert_eq!(Level::of(path), level, "{path}");
        }
        assert_eq!(Level::Group("7".to_owned()).path(), "/Group/7/$export");
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
            ("_format=xml", 400, LeftOut::UnknownParameter),
            ("_type=Patient,Jane", 400, LeftOut::UnknownType),
            ("_type=Patient,ValueSet", 400, LeftOut::NotExported("ValueSet".to_owned())),
            ("_type=Patient,Goal", 403, LeftOut::NotGranted("Goal".to_owned())),
        ] {
            for handling in [None, Some(Handling::Strict)] {
                let refusal = judge(query, handling).unwrap_err();
                assert_eq!((refusal.status, &refusal.text), (status, &left_out.text()), "{query}");
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
        for good in
            ["2026-11-24T02:28:30Z", "2026-11-24T02:28:30.123456Z", "2026-11-24T02:28:30+01:00", "2026-11-24T02:28:30-05:30"]
        {
            assert_eq!(instant(good).as_deref(), Some(good));
        }
        assert_eq!(judge("_since=2026-11-24T02:28:30+01:00", None).unwrap().since.as_deref(), Some("2026-11-24T02:28:30+01:00"));
        for bad in [
            "2026-11-24",
            "2026",
            "2026-11-24T02:28:30",
            "2026-13-24T02:28:30Z",
            "2026-11-24T02:28Z",
            "2026-11-24t02:28:30Z",
            "x",
            "ä€Z",
            "2026-11-24T02:28:30.Z",
        ] {
            assert_eq!(instant(bad), None, "{bad}");
            assert_eq!(judge(&format!("_since={bad}"), Some(Handling::Lenient)).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn what_could_name_a_patient_is_not_kept() {
        for (query, kept) in [
            ("_type=Patient&_since=2026-11-24T02:28:30Z", "_type=Patient&_since=2026-11-24T02:28:30Z"),
            ("%5Ftype=a%2Cb&_typeFilter=Patient%3Fname%3DJane&_outputFormat=ndjson", "%5Ftype=a%2Cb&_outputFormat=ndjson"),
            ("Jane", ""),
            ("", ""),
        ] {
            assert_eq!(honoured(query), kept, "{query}");
        }
    }

    #[test]
    fn a_parameters_resource_says_the_same() {
        let body = r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"},{"name":"_type","valueCode":"Goal"},
            {"name":"_since","valueInstant":"2026-11-24T02:28:30Z"},{"name":"patient","valueReference":{"reference":"Patient/1"}}]}"#;
        let expected = [("_type", "Patient"), ("_type", "Goal"), ("_since", "2026-11-24T02:28:30Z"), ("patient", "")];
        assert_eq!(parameters(body.as_bytes()).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(parameters(b" ").unwrap().is_empty());
        for bad in ["[]", "{}", r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Parameters","parameter":[1]}"#, "{"] {
            assert_eq!(parameters(bad.as_bytes()).unwrap_err().status, 400, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics_or_is_kept(query in ".{0,60}", lenient in any::<bool>()) {
            let _ = (Level::of(&query), instant(&query), honoured(&query), parameters(query.as_bytes()));
            if let Ok(kick_off) = judge(&query, lenient.then_some(Handling::Lenient)) {
                prop_assert!(kick_off.types.iter().all(|(name, _)| GRANTED.contains(name)));
            }
        }
    }
}

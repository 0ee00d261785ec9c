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
use crate::openemr::export::level::{PROVENANCE, can_hold, is_exported};
use crate::openemr::export::since::is_same_moment;
use crate::openemr::version::Version;

/// The most parameters that a kick-off may have.
const MAX_PARAMETERS: usize = 100;
/// The names that the IG lists for the only format of exports.
const NDJSON: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// Parameters of the IG that select resources, and that OpenEMR does not have. Without them an export would hold more than was
/// asked for, so that they are never left out.
const FILTERS: [&str; 2] = ["_typeFilter", "patient"];
/// Other parameters of the IG that OpenEMR does not have.
const NOT_SUPPORTED: [&str; 4] = ["_elements", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests"];

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
    /// A type that OpenEMR does not export at any level; the client named it.
    #[error("{0} is not exported: OpenEMR's export does not have this type.")]
    Unsupported(String),
    /// A type that OpenEMR does not export at any level. The client named no types, and the token grants this one.
    #[error("{0} is not exported: OpenEMR's export does not have this type.")]
    UnsupportedUnnamed(String),
    /// A name in `_type` that is no resource type.
    #[error("_type has a name that is no resource type, which was left out.")]
    UnknownType,
}

impl LeftOut {
    /// Returns the sentence for a client whose kick-off is refused for it.
    fn refusal(&self) -> String {
        match self {
            Self::Parameter(name) => {
                format!("The parameter {name} is not supported; with Prefer: handling=lenient the export leaves it out.")
            }
            Self::UnknownParameter => {
                "A parameter is unknown to this operation; with Prefer: handling=lenient the export leaves it out.".to_owned()
            }
            Self::UnknownType => "_type has a name that is no resource type.".to_owned(),
            Self::NotGranted(_) | Self::NotExported(_) | Self::Unsupported(_) | Self::UnsupportedUnnamed(_) => self.to_string(),
        }
    }

    /// Whether it is a type that the client named.
    fn is_named_type(&self) -> bool {
        matches!(self, Self::NotGranted(_) | Self::NotExported(_) | Self::Unsupported(_))
    }

    /// Whether the kick-off is refused for it unless `handling` lets it be left out.
    fn is_refused(&self, handling: Option<Handling>) -> bool {
        match self {
            Self::UnsupportedUnnamed(_) => false,
            // The manifest says which type it is, so that one of many takes no other with it.
            Self::Unsupported(_) => handling == Some(Handling::Strict),
            _ => handling != Some(Handling::Lenient),
        }
    }
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
    /// `_since` is given more than once, with different values.
    #[error("_since is given more than once, with different values.")]
    SinceTwice,
    /// `_outputFormat` names another format than NDJSON.
    #[error("_outputFormat must be application/fhir+ndjson, application/ndjson or ndjson.")]
    OutputFormat,
    /// A parameter that selects resources is not supported.
    #[error("The parameter {0} is not supported, and cannot be left out: the export would hold more than was asked for.")]
    Filter(&'static str),
    /// Parts of the request cannot be done, and the client has not asked for lenient handling.
    #[error("{}", refusals(.0))]
    NotSupported(Vec<LeftOut>),
    /// Types are named that the gateway's token does not grant.
    #[error("{}", refusals(.0))]
    NotGranted(Vec<LeftOut>),
    /// No type is left to export.
    #[error("The gateway's token grants none of the resource types that this export could hold.")]
    NothingGranted,
    /// Provenance alone is asked for, and no type is granted that it could be made from.
    #[error("Provenance is made from other types, and the gateway's token grants none of them for this export.")]
    NothingForProvenance,
}

impl KickOffError {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooManyParameters
            | Self::Since
            | Self::SinceTwice
            | Self::OutputFormat
            | Self::Filter(_)
            | Self::NotSupported(_) => StatusCode::BAD_REQUEST,
            Self::NotGranted(_) | Self::NothingGranted | Self::NothingForProvenance => StatusCode::FORBIDDEN,
        }
    }

    fn code(&self) -> IssueCode {
        match self {
            Self::TooManyParameters | Self::Since | Self::SinceTwice => IssueCode::Invalid,
            Self::OutputFormat | Self::Filter(_) | Self::NotSupported(_) => IssueCode::NotSupported,
            Self::NotGranted(_) | Self::NothingGranted | Self::NothingForProvenance => IssueCode::Forbidden,
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
    /// The types, each with whether the client named it. Provenance is not among them.
    pub(crate) types: Vec<(&'static str, bool)>,
    /// The types whose Provenance is exported.
    pub(crate) provenance_of: Vec<&'static str>,
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
        version: Option<Version>,
    ) -> Result<Self, KickOffError> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(KickOffError::TooManyParameters);
        }
        let (mut since, mut requested, mut left_out) = (None, None::<Vec<&str>>, Vec::new());
        for (name, value) in parameters {
            match name.as_str() {
                "_since" if value.is_empty() => {}
                "_since" => since = Some(one_since(since, value)?),
                "_type" => {
                    requested.get_or_insert_default().extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()))
                }
                "_outputFormat" => check_format(value)?,
                // These are about the answer to the kick-off, not about the export.
                "_format" | "_pretty" => {}
                other => {
                    let is = |name: &&&str| **name == other;
                    if let Some(name) = FILTERS.iter().find(is) {
                        return Err(KickOffError::Filter(name));
                    }
                    let known = NOT_SUPPORTED.iter().find(is).map(|name| LeftOut::Parameter((*name).to_owned()));
                    leave_out(&mut left_out, known.unwrap_or(LeftOut::UnknownParameter));
                }
            }
        }
        let exported = Exported { level: &level, version, granted };
        let mut types = match requested.filter(|names| !names.is_empty()) {
            Some(names) => exported.named(&names, &mut left_out),
            None => exported.all(&mut left_out),
        };
        let (not_granted, not_supported) = by_grant(left_out.iter().filter(|left| left.is_refused(handling)));
        if !not_supported.is_empty() {
            return Err(KickOffError::NotSupported(not_supported));
        }
        if !not_granted.is_empty() {
            return Err(KickOffError::NotGranted(not_granted));
        }
        // Provenance is that of the types that were named with it.
        let is_left_alone = types.iter().all(|(name, _)| *name == PROVENANCE) && left_out.iter().any(LeftOut::is_named_type);
        if types.is_empty() || is_left_alone {
            return Err(nothing_left(&left_out));
        }
        let provenance_of = exported.provenance_of(&types)?;
        types.retain(|(name, _)| *name != PROVENANCE);
        Ok(Self { level, types, provenance_of, since, left_out })
    }
}

/// What can be exported.
struct Exported<'a> {
    level: &'a Level,
    version: Option<Version>,
    granted: &'a [&'static str],
}

impl Exported<'_> {
    /// Returns the types of `_type` that can be exported, each once, in the order of `granted`.
    fn named(&self, names: &[&str], left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
        let mut found = BTreeMap::new();
        for name in names {
            match resource_type::known(name.as_bytes()) {
                None => leave_out(left_out, LeftOut::UnknownType),
                Some(name) if !can_hold(self.level, name) => leave_out(left_out, LeftOut::NotExported(name.to_owned())),
                Some(name) if !is_exported(self.version, name) => leave_out(left_out, LeftOut::Unsupported(name.to_owned())),
                Some(name) => match self.granted.iter().position(|granted| *granted == name) {
                    Some(place) => drop(found.insert(place, (name, true))),
                    None => leave_out(left_out, LeftOut::NotGranted(name.to_owned())),
                },
            }
        }
        found.into_values().collect()
    }

    /// Returns all types that can be exported.
    fn all(&self, left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
        let held = self.granted.iter().copied().filter(|name| can_hold(self.level, name));
        let (types, others): (Vec<_>, Vec<_>) = held.partition(|name| is_exported(self.version, name));
        for name in others {
            leave_out(left_out, LeftOut::UnsupportedUnnamed(name.to_owned()));
        }
        types.into_iter().map(|name| (name, false)).collect()
    }

    /// Returns the types whose Provenance is exported: those of the export, or all others where it is the only type that was
    /// asked for.
    fn provenance_of(&self, types: &[(&'static str, bool)]) -> Result<Vec<&'static str>, KickOffError> {
        let without = |types: &[(&'static str, bool)]| -> Vec<&'static str> {
            types.iter().map(|(name, _)| *name).filter(|name| *name != PROVENANCE).collect()
        };
        if types.iter().all(|(name, _)| *name != PROVENANCE) {
            return Ok(Vec::new());
        }
        let others = without(types);
        let of = if others.is_empty() { without(&self.all(&mut Vec::new())) } else { others };
        if of.is_empty() { Err(KickOffError::NothingForProvenance) } else { Ok(of) }
    }
}

/// Tells what is not granted from the rest.
fn by_grant<'a>(left_out: impl Iterator<Item = &'a LeftOut>) -> (Vec<LeftOut>, Vec<LeftOut>) {
    left_out.cloned().partition(|left| matches!(left, LeftOut::NotGranted(_)))
}

/// Why no type is left to export.
fn nothing_left(left_out: &[LeftOut]) -> KickOffError {
    let (not_granted, others) = by_grant(left_out.iter());
    let unsupported: Vec<_> = others.into_iter().filter(LeftOut::is_named_type).collect();
    match (not_granted.is_empty(), unsupported.is_empty()) {
        (false, _) => KickOffError::NotGranted(not_granted),
        (true, false) => KickOffError::NotSupported(unsupported),
        (true, true) => KickOffError::NothingGranted,
    }
}

/// Reads `_since`, which must not contradict one that was read before.
fn one_since(before: Option<String>, value: &str) -> Result<String, KickOffError> {
    let since = instant::parse(value).ok_or(KickOffError::Since)?;
    match before {
        Some(before) if !is_same_moment(&before, &since) => Err(KickOffError::SinceTwice),
        _ => Ok(since),
    }
}

fn leave_out(left_out: &mut Vec<LeftOut>, part: LeftOut) {
    if !left_out.contains(&part) {
        left_out.push(part);
    }
}

fn refusals(left_out: &[LeftOut]) -> String {
    left_out.iter().map(LeftOut::refusal).collect::<Vec<_>>().join(" ")
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
mod tests;

//! The kick-off of a bulk export: what a client asks for (Bulk Data Access IG 2.0, "Bulk Data Kick-off Request"), and what
//! of it OpenEMR can do.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::fhir::export_level::Level;
use crate::fhir::instant;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_type;
use crate::openemr::export::left_out::LeftOut;
use crate::openemr::export::level::{PROVENANCE, can_hold, is_exported};
use crate::openemr::export::since::is_same_moment;
use crate::openemr::export::type_filter::{BadFilter, TypeFilter};
use crate::openemr::version::Version;

/// The most parameters that a kick-off may have.
const MAX_PARAMETERS: usize = 100;
/// The names that the IG lists for the only format of exports.
const NDJSON: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// The parameter of the IG that selects resources and that nobody can do. Without it an export would hold more than was asked for,
/// so that it is never left out.
const PATIENT: &str = "patient";
/// Other parameters of the IG that OpenEMR does not have.
const NOT_SUPPORTED: [&str; 4] = ["_elements", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests"];

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
    #[error("The parameter {PATIENT} is not supported, and cannot be left out: the export would hold more than was asked for.")]
    Patient,
    /// `_typeFilter` cannot be done as it stands.
    #[error(transparent)]
    Filter(#[from] BadFilter),
    /// Parts of the request cannot be done, and the client has not asked for lenient handling.
    #[error("{}", refusals(.0))]
    NotSupported(Vec<LeftOut>),
    /// Types are named that the gateway's token does not grant, or the policy of the client does not permit.
    #[error("{}", refusals(.0))]
    NotGranted(Vec<LeftOut>),
    /// A patient is named whose data the client may not have.
    #[error("The parameter {PATIENT} names a patient whose data the client may not have, or names none clearly.")]
    ForeignPatient,
    /// The policy of the client permits none of the types that could be exported.
    #[error(
        "The policy of the client permits none of the resource types that this export could hold: each needs a scope such as system/Patient.rs."
    )]
    NothingPermitted,
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
            | Self::Patient
            | Self::Filter(_)
            | Self::NotSupported(_) => StatusCode::BAD_REQUEST,
            Self::NotGranted(_)
            | Self::ForeignPatient
            | Self::NothingPermitted
            | Self::NothingGranted
            | Self::NothingForProvenance => StatusCode::FORBIDDEN,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::TooManyParameters
            | Self::Since
            | Self::SinceTwice
            | Self::OutputFormat
            | Self::Patient
            | Self::Filter(_)
            | Self::NotSupported(_) => Reason::Parameter,
            Self::ForeignPatient | Self::NothingPermitted => Reason::Policy,
            Self::NotGranted(_) | Self::NothingGranted | Self::NothingForProvenance => Reason::Scope,
        }
    }

    fn code(&self) -> IssueCode {
        match self {
            Self::TooManyParameters | Self::Since | Self::SinceTwice => IssueCode::Invalid,
            Self::OutputFormat | Self::Patient | Self::Filter(_) | Self::NotSupported(_) => IssueCode::NotSupported,
            Self::NotGranted(_)
            | Self::ForeignPatient
            | Self::NothingPermitted
            | Self::NothingGranted
            | Self::NothingForProvenance => IssueCode::Forbidden,
        }
    }
}

impl From<KickOffError> for Rejection {
    fn from(error: KickOffError) -> Self {
        Self::new(error.status(), error.code(), error.reason(), error.to_string())
    }
}

/// What the export of a client may hold.
pub(crate) struct May<'a> {
    /// The types that the token lets be read, in the order in which they are exported.
    pub(crate) granted: &'a [&'static str],
    /// OpenEMR's version, which decides what it exports.
    pub(crate) version: Option<Version>,
    /// Whether the policy of the client permits a type.
    pub(crate) have_type: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether the client may have the data of the patient that a value of `patient` names.
    pub(crate) have_patient: &'a (dyn Fn(&str) -> bool + Sync),
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
    /// What is exported of some of the types.
    pub(crate) filters: Vec<TypeFilter>,
    /// What was left out.
    pub(crate) left_out: Vec<LeftOut>,
}

impl KickOff {
    /// Checks the parameters of a kick-off.
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
        may: &May<'_>,
    ) -> Result<Self, KickOffError> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(KickOffError::TooManyParameters);
        }
        // Whatever else is wrong: nobody learns whether such a patient exists.
        if parameters.iter().any(|(name, value)| name == PATIENT && !(may.have_patient)(value)) {
            return Err(KickOffError::ForeignPatient);
        }
        let (mut since, mut requested, mut left_out) = (None, None::<Vec<&str>>, Vec::new());
        let mut searches = Vec::new();
        for (name, value) in parameters {
            match name.as_str() {
                "_since" if value.is_empty() => {}
                "_since" => since = Some(one_since(since, value)?),
                "_type" => {
                    requested.get_or_insert_default().extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()))
                }
                "_outputFormat" => check_format(value)?,
                "_typeFilter" => searches.push(value.as_str()),
                PATIENT => return Err(KickOffError::Patient),
                // These are about the answer to the kick-off, not about the export.
                "_format" | "_pretty" => {}
                other => {
                    let known =
                        NOT_SUPPORTED.iter().find(|name| **name == other).map(|name| LeftOut::Parameter((*name).to_owned()));
                    leave_out(&mut left_out, known.unwrap_or(LeftOut::UnknownParameter));
                }
            }
        }
        let exported = Exported { level: &level, may };
        let names = requested.filter(|names| !names.is_empty());
        let mut types = match &names {
            Some(names) => exported.named(names, &mut left_out),
            None => exported.all(&mut left_out),
        };
        let mut filters = read_filters(&searches, names.as_deref(), &types, handling, &mut left_out)?;
        refuse(&left_out, handling)?;
        // Provenance is that of the types that were named with it.
        let is_left_alone = types.iter().all(|(name, _)| *name == PROVENANCE) && left_out.iter().any(LeftOut::is_named_type);
        if types.is_empty() || is_left_alone {
            let is_permitted = may.granted.iter().any(|name| (may.have_type)(name));
            return Err(if is_permitted || !left_out.is_empty() {
                nothing_left(&left_out)
            } else {
                KickOffError::NothingPermitted
            });
        }
        let mut provenance_of = exported.provenance_of(&types)?;
        types.retain(|(name, _)| *name != PROVENANCE);
        let is_filtered = |name: &str| filters.iter().any(|filter| filter.resource_type == name);
        for name in provenance_of.extract_if(.., |name| is_filtered(name)).map(str::to_owned) {
            let left = if names.is_some() { LeftOut::FilteredProvenance(name) } else { LeftOut::FilteredProvenanceUnnamed(name) };
            leave_out(&mut left_out, left);
        }
        refuse(&left_out, handling)?;
        if types.is_empty() && provenance_of.is_empty() {
            return Err(KickOffError::NothingForProvenance);
        }
        filters.retain(|filter| match filter.resource_type.as_str() {
            PROVENANCE => !provenance_of.is_empty(),
            name => types.iter().any(|(known, _)| *known == name),
        });
        Ok(Self { level, types, provenance_of, since, filters, left_out })
    }
}

/// Reads `_typeFilter`. `names`: those in `_type`, if there are any; `types`: those of them that are exported.
fn read_filters(
    searches: &[&str],
    names: Option<&[&str]>,
    types: &[(&'static str, bool)],
    handling: Option<Handling>,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<TypeFilter>, BadFilter> {
    let read = TypeFilter::read(searches, handling)?;
    for name in read.of_the_answer {
        leave_out(left_out, LeftOut::InFilter(name));
    }
    for TypeFilter { resource_type, .. } in &read.filters {
        let is_exported = types.iter().any(|(name, _)| name == resource_type);
        // A type that was named, and is not exported, is told of already.
        let is_named = names.is_some_and(|names| names.contains(&resource_type.as_str()));
        if !is_exported && !is_named {
            leave_out(left_out, LeftOut::FilterOfOther(resource_type.clone()));
        }
    }
    Ok(read.filters)
}

/// Refuses a kick-off for what `handling` does not let be left out.
fn refuse(left_out: &[LeftOut], handling: Option<Handling>) -> Result<(), KickOffError> {
    let (not_granted, not_supported) = by_grant(left_out.iter().filter(|left| left.is_refused(handling)));
    if !not_supported.is_empty() {
        return Err(KickOffError::NotSupported(not_supported));
    }
    if !not_granted.is_empty() {
        return Err(KickOffError::NotGranted(not_granted));
    }
    Ok(())
}

/// What can be exported at a level.
struct Exported<'a> {
    level: &'a Level,
    may: &'a May<'a>,
}

impl Exported<'_> {
    /// Returns the types of `_type` that can be exported, each once, in the order of `granted`.
    fn named(&self, names: &[&str], left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
        let mut found = BTreeMap::new();
        for name in names {
            match resource_type::known(name.as_bytes()) {
                None => leave_out(left_out, LeftOut::UnknownType),
                Some(name) if !(self.may.have_type)(name) => leave_out(left_out, LeftOut::NotPermitted(name.to_owned())),
                Some(name) if !can_hold(self.level, name) => leave_out(left_out, LeftOut::NotExported(name.to_owned())),
                Some(name) if !is_exported(self.may.version, name) => leave_out(left_out, LeftOut::Unsupported(name.to_owned())),
                Some(name) => match self.may.granted.iter().position(|granted| *granted == name) {
                    Some(place) => drop(found.insert(place, (name, true))),
                    None => leave_out(left_out, LeftOut::NotGranted(name.to_owned())),
                },
            }
        }
        found.into_values().collect()
    }

    /// Returns all types that can be exported.
    fn all(&self, left_out: &mut Vec<LeftOut>) -> Vec<(&'static str, bool)> {
        let may_have = |name: &&str| can_hold(self.level, name) && (self.may.have_type)(name);
        let held = self.may.granted.iter().copied().filter(may_have);
        let (types, others): (Vec<_>, Vec<_>) = held.partition(|name| is_exported(self.may.version, name));
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
    left_out.cloned().partition(LeftOut::is_forbidden)
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
        matches!(name.as_str(), "_since" | "_type" | "_typeFilter" | "_outputFormat")
    };
    query.split('&').filter(is_honoured).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests;

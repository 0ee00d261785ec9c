//! What a server offers, by its CapabilityStatement. A request for anything else is rejected in FHIR's words, until the
//! server announces it.
//!
//! OpenEMR's statement does not list everything that works. So a request is rejected only where OpenEMR has nothing that
//! could answer it: for unknown types, and for interactions other than search, read and OpenEMR's operations.

use std::fmt;

use http::{HeaderValue, Method, StatusCode};

use crate::fhir::capabilities::{Capabilities, TypeCapabilities};
use crate::fhir::interaction::{Interaction, Kind, operation_name};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_type;

/// Types that OpenEMR serves even where its statement does not list them.
const UNLISTED_TYPES: [&[u8]; 3] = [b"Binary", b"OperationDefinition", b"DocumentReference"];
/// Operations that OpenEMR serves even where its statement does not list them.
const UNLISTED_OPERATIONS: [&[u8]; 3] = [b"export", b"bulkdata-status", b"docref"];
/// Operations that OpenEMR takes by POST alone, although they change nothing: each of the type at which it is, by its name.
const BY_POST_ALONE: [(&str, &str); 1] = [("DocumentReference", "docref")];

/// The methods that an address takes, as the field Allow lists them (RFC 9110 section 10.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Allowed {
    get: bool,
    post: bool,
    put: bool,
    patch: bool,
    delete: bool,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            [(self.get, "GET, HEAD"), (self.post, "POST"), (self.put, "PUT"), (self.patch, "PATCH"), (self.delete, "DELETE")];
        let mut separator = "";
        for (_, name) in names.into_iter().filter(|(is_allowed, _)| *is_allowed) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A request for something that the server does not offer. The text is a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOffered {
    /// FHIR R4 has no such resource type; with the name that was probably meant.
    #[error("FHIR R4 has no such resource type.{}", Suggestion(*.0))]
    NoSuchType(Option<&'static str>),
    /// The server does not have this resource type.
    #[error("OpenEMR's FHIR API does not have the resource type {0}; metadata lists those that it has.")]
    Type(&'static str),
    /// The address takes other methods.
    #[error("{}", method_sentence(*.0, *.1))]
    Method(Kind, Allowed),
    /// The server does not have the interaction at any address.
    #[error("{}", interaction_sentence(*.0))]
    Interaction(Kind),
}

impl NotOffered {
    fn status(self) -> StatusCode {
        match self {
            Self::NoSuchType(_) | Self::Type(_) => StatusCode::NOT_FOUND,
            Self::Method(..) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Interaction(_) => StatusCode::NOT_IMPLEMENTED,
        }
    }

    fn code(self) -> IssueCode {
        match self {
            Self::NoSuchType(_) => IssueCode::NotFound,
            Self::Type(_) | Self::Method(..) | Self::Interaction(_) => IssueCode::NotSupported,
        }
    }

    /// Returns the methods that the address takes, where that is known.
    fn allowed(self) -> Option<Allowed> {
        match self {
            Self::Method(_, allowed) => Some(allowed),
            Self::NoSuchType(_) | Self::Type(_) | Self::Interaction(_) => None,
        }
    }
}

impl From<NotOffered> for Rejection {
    fn from(refused: NotOffered) -> Self {
        let allow = refused.allowed().and_then(|allowed| HeaderValue::from_str(&allowed.to_string()).ok());
        Self {
            allow: allow.map(Box::new),
            ..Self::new(refused.status(), refused.code(), Reason::NotSupported, refused.to_string())
        }
    }
}

/// Writes the name that was probably meant, as a question after a sentence.
struct Suggestion(Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(meant) => write!(f, " Is {meant} meant?"),
            None => Ok(()),
        }
    }
}

fn method_sentence(kind: Kind, allowed: Allowed) -> String {
    match kind {
        Kind::Other => format!("This address does not take that method; it takes {allowed}."),
        kind => format!("OpenEMR does not offer the interaction {} here; this address takes {allowed}.", kind.code()),
    }
}

fn interaction_sentence(kind: Kind) -> String {
    match kind {
        Kind::Operation => "OpenEMR does not offer this operation.".to_owned(),
        kind => format!("OpenEMR does not offer the interaction {}.", kind.code()),
    }
}

/// Whether OpenEMR takes an operation by POST alone that FHIR lets a client call by GET, too, because it changes nothing.
#[must_use]
pub(crate) fn is_by_post_alone(interaction: Interaction) -> bool {
    let at = interaction.resource_type.zip(interaction.operation);
    at.is_some_and(|at| BY_POST_ALONE.contains(&at))
}

/// Checks the method of an operation whose address is known to take GET and POST alone.
///
/// # Errors
/// Another method.
pub(crate) fn check_method(method: &Method, interaction: Interaction) -> Result<(), NotOffered> {
    let is_taken = matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::OPTIONS);
    if is_taken || !is_by_post_alone(interaction) {
        return Ok(());
    }
    Err(NotOffered::Method(interaction.kind, Allowed { get: true, post: true, ..Allowed::default() }))
}

/// Whether [`check`] needs the CapabilityStatement to decide. It never does for searches and reads of FHIR's own types.
#[must_use]
pub(crate) fn needs_capabilities(interaction: Interaction) -> bool {
    match interaction.kind {
        Kind::Capabilities | Kind::SmartConfiguration | Kind::Export | Kind::ExportStatus => false,
        Kind::Search | Kind::Read => interaction.resource_type.is_none(),
        Kind::Operation => interaction.operation != Some("docref"),
        Kind::SearchSystem
        | Kind::SearchCompartment
        | Kind::VersionRead
        | Kind::HistoryInstance
        | Kind::HistoryType
        | Kind::HistorySystem
        | Kind::Create
        | Kind::Update
        | Kind::ConditionalUpdate
        | Kind::Patch
        | Kind::ConditionalPatch
        | Kind::Delete
        | Kind::ConditionalDelete
        | Kind::Batch
        | Kind::Other => true,
    }
}

/// Checks that the server offers what a request asks for. `path` is the part of the path below the FHIR base.
///
/// # Errors
/// What the server does not offer.
pub(crate) fn check(method: &Method, path: &[u8], interaction: Interaction, offered: &Capabilities) -> Result<(), NotOffered> {
    if !needs_capabilities(interaction) || *method == Method::OPTIONS {
        return Ok(());
    }
    let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let (first, second) = (segments.next(), segments.next());
    let kind = interaction.kind;
    let at_base = |code: &str| require(offered.interactions.contains(code), kind);
    match (kind, first) {
        (Kind::Batch, _) => require(["batch", "transaction"].iter().any(|code| offered.interactions.contains(*code)), kind),
        (Kind::SearchSystem | Kind::HistorySystem, _) => at_base(kind.code()),
        (_, None) => Err(NotOffered::Interaction(kind)),
        (Kind::Operation, Some(_)) => check_operation(path, offered),
        (_, Some(b"metadata")) => Err(NotOffered::Method(kind, Allowed { get: true, ..Allowed::default() })),
        (_, Some(name)) if name.starts_with(b".") => Ok(()),
        (_, Some(name)) => check_type(kind, name, second.is_none_or(|second| second == b"_search"), offered),
    }
}

fn check_operation(path: &[u8], offered: &Capabilities) -> Result<(), NotOffered> {
    let mut types = offered.types.values();
    let name = path.split(|byte| *byte == b'/').find_map(operation_name).unwrap_or_default();
    let text = std::str::from_utf8(name).unwrap_or_default();
    let is_offered = UNLISTED_OPERATIONS.contains(&name)
        || offered.operations.contains(text)
        || types.any(|type_| type_.operations.contains(text));
    require(is_offered, Kind::Operation)
}

/// Checks an interaction with a type, or with one resource of it unless `is_type_level` is set.
fn check_type(kind: Kind, name: &[u8], is_type_level: bool, offered: &Capabilities) -> Result<(), NotOffered> {
    let listed = std::str::from_utf8(name).ok().and_then(|name| offered.types.get(name));
    let nothing = TypeCapabilities::default();
    let type_ = match (listed, resource_type::known(name)) {
        (Some(type_), _) => type_,
        (None, Some(_)) if UNLISTED_TYPES.contains(&name) => &nothing,
        (None, Some(known)) => return Err(NotOffered::Type(known)),
        (None, None) => return Err(NotOffered::NoSuchType(resource_type::meant(name))),
    };
    let has = |code: &str| type_.interactions.contains(code);
    let allowed = if is_type_level {
        Allowed {
            get: true,
            post: has("create"),
            put: has("conditional-update"),
            patch: has("conditional-patch"),
            delete: has("conditional-delete"),
        }
    } else {
        Allowed { get: true, post: false, put: has("update"), patch: has("patch"), delete: has("delete") }
    };
    match kind {
        Kind::Search | Kind::Read => Ok(()),
        Kind::Create
        | Kind::Update
        | Kind::ConditionalUpdate
        | Kind::Patch
        | Kind::ConditionalPatch
        | Kind::Delete
        | Kind::ConditionalDelete => {
            if has(kind.code()) {
                Ok(())
            } else {
                Err(NotOffered::Method(kind, allowed))
            }
        }
        Kind::VersionRead | Kind::HistoryInstance | Kind::HistoryType => require(has(kind.code()), kind),
        Kind::SearchCompartment => Err(NotOffered::Interaction(kind)),
        Kind::Other => Err(NotOffered::Method(kind, allowed)),
        Kind::Capabilities
        | Kind::SmartConfiguration
        | Kind::SearchSystem
        | Kind::HistorySystem
        | Kind::Batch
        | Kind::Export
        | Kind::ExportStatus
        | Kind::Operation => Ok(()),
    }
}

/// Rejects an interaction that is not offered.
fn require(is_offered: bool, kind: Kind) -> Result<(), NotOffered> {
    if is_offered { Ok(()) } else { Err(NotOffered::Interaction(kind)) }
}

#[cfg(test)]
mod tests;

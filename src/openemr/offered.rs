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
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_type;

/// Types that OpenEMR serves even where its statement does not list them.
const UNLISTED_TYPES: [&[u8]; 3] = [b"Binary", b"OperationDefinition", b"DocumentReference"];
/// Operations that OpenEMR serves even where its statement does not list them.
const UNLISTED_OPERATIONS: [&[u8]; 3] = [b"export", b"bulkdata-status", b"docref"];

/// The methods that an address takes, as the field Allow lists them (RFC 9110 section 10.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
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
pub enum NotOffered {
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
        Self { allow, ..Self::new(refused.status(), refused.code(), refused.to_string()) }
    }
}

/// A name that was probably meant, as a question behind a sentence.
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

/// Whether [`check`] needs the CapabilityStatement to decide. It never does for searches and reads of FHIR's own types.
#[must_use]
pub fn needs_capabilities(interaction: Interaction) -> bool {
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
pub fn check(method: &Method, path: &[u8], interaction: Interaction, offered: &Capabilities) -> Result<(), NotOffered> {
    if !needs_capabilities(interaction) || *method == Method::OPTIONS {
        return Ok(());
    }
    let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let (first, second) = (segments.next(), segments.next());
    let kind = interaction.kind;
    let at_base = |code: &str| done(offered.interactions.contains(code), kind);
    match (kind, first) {
        (Kind::Batch, _) => done(["batch", "transaction"].iter().any(|code| offered.interactions.contains(*code)), kind),
        (Kind::SearchSystem | Kind::HistorySystem, _) => at_base(kind.code()),
        (_, None) => Err(NotOffered::Interaction(kind)),
        (Kind::Operation, Some(_)) => operation(path, offered),
        (_, Some(b"metadata")) => Err(NotOffered::Method(kind, Allowed { get: true, ..Allowed::default() })),
        (_, Some(name)) if name.starts_with(b".") => Ok(()),
        (_, Some(name)) => of_type(kind, name, second.is_none_or(|second| second == b"_search"), offered),
    }
}

fn operation(path: &[u8], offered: &Capabilities) -> Result<(), NotOffered> {
    let mut types = offered.types.values();
    let name = path.split(|byte| *byte == b'/').find_map(operation_name).unwrap_or_default();
    let text = std::str::from_utf8(name).unwrap_or_default();
    let is_offered = UNLISTED_OPERATIONS.contains(&name)
        || offered.operations.contains(text)
        || types.any(|type_| type_.operations.contains(text));
    done(is_offered, Kind::Operation)
}

fn of_type(kind: Kind, name: &[u8], is_of_the_type: bool, offered: &Capabilities) -> Result<(), NotOffered> {
    let listed = std::str::from_utf8(name).ok().and_then(|name| offered.types.get(name));
    let nothing = TypeCapabilities::default();
    let type_ = match (listed, resource_type::known(name)) {
        (Some(type_), _) => type_,
        (None, Some(_)) if UNLISTED_TYPES.contains(&name) => &nothing,
        (None, Some(known)) => return Err(NotOffered::Type(known)),
        (None, None) => return Err(NotOffered::NoSuchType(resource_type::meant(name))),
    };
    let has = |code: &str| type_.interactions.contains(code);
    let allowed = if is_of_the_type {
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
        Kind::VersionRead | Kind::HistoryInstance | Kind::HistoryType => done(has(kind.code()), kind),
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

fn done(is_offered: bool, kind: Kind) -> Result<(), NotOffered> {
    if is_offered { Ok(()) } else { Err(NotOffered::Interaction(kind)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As OpenEMR 8.0 announces itself, in parts; `more` is announced besides.
    fn offered(more: &str) -> Capabilities {
        let statement = format!(
            r#"{{"resourceType":"CapabilityStatement","software":{{"name":"OpenEMR"}},"rest":[{{"mode":"server","resource":[
                {{"type":"Patient","interaction":[{{"code":"create"}},{{"code":"update"}},{{"code":"search-type"}},{{"code":"read"}}],"operation":[{{"name":"export"}}]}},
                {{"type":"Observation","interaction":[{{"code":"search-type"}},{{"code":"read"}}]}},
                {{"type":"Questionnaire","interaction":[{{"code":"search-type"}}]}}
            ]}}{more}]}}"#
        );
        Capabilities::parse(statement.as_bytes()).unwrap()
    }

    fn refusal(method: &Method, path: &str, offered: &Capabilities) -> Option<(u16, String)> {
        let interaction = Interaction::of(method, path.as_bytes());
        let refusal = check(method, path.as_bytes(), interaction, offered).err()?;
        Some((refusal.status().as_u16(), refusal.allowed().map(|allowed| allowed.to_string()).unwrap_or_default()))
    }

    #[test]
    fn what_openemr_does_not_do_is_refused() {
        for (method, path, status, allow) in [
            ("PATCH", "/Patient/1", 405, "GET, HEAD, PUT"),
            ("DELETE", "/Patient/1", 405, "GET, HEAD, PUT"),
            ("POST", "/Patient/1", 405, "GET, HEAD, PUT"),
            ("PUT", "/Observation/1", 405, "GET, HEAD"),
            ("POST", "/Observation", 405, "GET, HEAD"),
            ("PUT", "/Patient", 405, "GET, HEAD, POST"),
            ("DELETE", "/Patient", 405, "GET, HEAD, POST"),
            ("PATCH", "/Patient", 405, "GET, HEAD, POST"),
            ("FROB", "/Patient", 405, "GET, HEAD, POST"),
            ("PUT", "/metadata", 405, "GET, HEAD"),
            ("GET", "/Patient/_search", 405, "GET, HEAD, POST"),
            ("GET", "/Patient/1/_history", 501, ""),
            ("GET", "/Patient/1/_history/1", 501, ""),
            ("GET", "/Patient/_history", 501, ""),
            ("GET", "/Patient/1/Observation", 501, ""),
            ("GET", "/_history", 501, ""),
            ("POST", "", 501, ""),
            ("GET", "", 501, ""),
            ("PUT", "", 501, ""),
            ("GET", "/Patient/1/$everything", 501, ""),
            ("GET", "/Patient/$jane", 501, ""),
            ("GET", "/Nonsense", 404, ""),
            ("GET", "/patient/1", 404, ""),
            ("POST", "/Claim", 404, ""),
        ] {
            let found = refusal(&method.parse().unwrap(), path, &offered(""));
            assert_eq!(found, Some((status, allow.to_owned())), "{method} {path}");
        }
    }

    #[test]
    fn what_works_passes_listed_or_not() {
        for (method, path) in [
            ("GET", "/Patient"),
            ("HEAD", "/Patient/1"),
            ("POST", "/Patient"),
            ("PUT", "/Patient/1"),
            ("POST", "/Observation/_search"),
            ("GET", "/Questionnaire/1"),
            ("GET", "/Claim"),
            ("GET", "/Binary/1"),
            ("GET", "/$export"),
            ("GET", "/Group/1/$export"),
            ("GET", "/Patient/%24export"),
            ("GET", "/$bulkdata-status"),
            ("DELETE", "/$bulkdata-status"),
            ("POST", "/DocumentReference/$docref"),
            ("GET", "/DocumentReference/$docref"),
            ("GET", "/OperationDefinition"),
            ("GET", "/OperationDefinition/$export"),
            ("GET", "/metadata"),
            ("GET", "/.well-known/smart-configuration"),
            ("GET", "/.well-known/other"),
            ("OPTIONS", "/Patient"),
            ("OPTIONS", "/Nonsense"),
        ] {
            assert_eq!(refusal(&method.parse().unwrap(), path, &offered("")), None, "{method} {path}");
        }
    }

    #[test]
    fn what_a_newer_openemr_announces_passes() {
        let newer = offered(
            r#",{"interaction":[{"code":"transaction"},{"code":"history-system"},{"code":"search-system"}],"operation":[{"name":"$jane"}],"resource":[
                {"type":"Patient","interaction":[{"code":"patch"},{"code":"delete"},{"code":"vread"},{"code":"history-instance"},{"code":"history-type"}],"conditionalUpdate":true,"conditionalDelete":"single","operation":[{"name":"everything"}]},
                {"type":"Observation","interaction":[{"code":"create"}]},{"type":"NutritionIntake","interaction":[{"code":"read"}]},{"type":"Claim","interaction":[{"code":"create"}]}]}"#,
        );
        for (method, path) in [
            ("PATCH", "/Patient/1"),
            ("DELETE", "/Patient/1"),
            ("GET", "/Patient/1/_history"),
            ("GET", "/Patient/1/_history/1"),
            ("GET", "/Patient/_history"),
            ("GET", "/_history"),
            ("GET", ""),
            ("POST", ""),
            ("PUT", "/Patient"),
            ("DELETE", "/Patient"),
            ("POST", "/Observation"),
            ("POST", "/Claim"),
            ("GET", "/NutritionIntake/1"),
            ("GET", "/Patient/1/$everything"),
            ("POST", "/$jane"),
        ] {
            assert_eq!(refusal(&method.parse().unwrap(), path, &newer), None, "{method} {path}");
        }
        assert_eq!(refusal(&Method::PATCH, "/Observation/1", &newer), Some((405, "GET, HEAD".to_owned())));
    }

    #[test]
    fn a_misspelt_type_is_guessed() {
        let hint = |path: &str| {
            check(&Method::GET, path.as_bytes(), Interaction::of(&Method::GET, path.as_bytes()), &offered(""))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(hint("/patient"), "FHIR R4 has no such resource type. Is Patient meant?");
        assert_eq!(hint("/Patients/1"), "FHIR R4 has no such resource type. Is Patient meant?");
        assert_eq!(hint("/Obsevation"), "FHIR R4 has no such resource type. Is Observation meant?");
        assert_eq!(hint("/jane-doe"), "FHIR R4 has no such resource type.");
    }

    proptest! {
        #[test]
        fn nothing_of_the_callers_own_words_is_said(word in "[a-z]{12,20}", method in "GET|PUT|POST|DELETE", tail in "(/[a-z]{12,20})?(/[$][a-z]{12,20})?") {
            let path = format!("/{word}{tail}");
            let method: Method = method.parse().unwrap();
            if let Err(refusal) = check(&method, path.as_bytes(), Interaction::of(&method, path.as_bytes()), &offered("")) {
                let said = refusal.to_string();
                prop_assert!(!path.split(['/', '$']).filter(|part| !part.is_empty()).any(|part| said.contains(part)));
                prop_assert!(matches!(refusal.status().as_u16(), 404 | 405 | 501));
            }
        }

        #[test]
        fn no_bytes_panic(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = check(&Method::PUT, &path, Interaction::of(&Method::PUT, &path), &offered(""));
        }
    }
}

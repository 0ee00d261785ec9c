//! The interaction that a request asks for (FHIR R4, "RESTful API"), from its method and path alone.

use http::Method;

use crate::fhir::resource_type;

/// The kinds of interaction in FHIR's RESTful API, Bulk Data Access and SMART App Launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `GET [base]/metadata`.
    Capabilities,
    /// `GET [base]/.well-known/smart-configuration`.
    SmartConfiguration,
    /// `GET [base]/[type]` and `POST [base]/[type]/_search`.
    Search,
    /// `GET [base]` and `POST [base]/_search`, over all types.
    SearchSystem,
    /// `GET [base]/Patient/[id]/[type]`, within a compartment.
    SearchCompartment,
    /// `GET [base]/[type]/[id]`.
    Read,
    /// `GET [base]/[type]/[id]/_history/[version]`.
    VersionRead,
    /// `GET [base]/[type]/[id]/_history`.
    HistoryInstance,
    /// `GET [base]/[type]/_history`.
    HistoryType,
    /// `GET [base]/_history`.
    HistorySystem,
    /// `POST [base]/[type]`, conditional with If-None-Exist.
    Create,
    /// `PUT [base]/[type]/[id]`.
    Update,
    /// `PUT [base]/[type]?…`.
    ConditionalUpdate,
    /// `PATCH [base]/[type]/[id]`.
    Patch,
    /// `PATCH [base]/[type]?…`.
    ConditionalPatch,
    /// `DELETE [base]/[type]/[id]`.
    Delete,
    /// `DELETE [base]/[type]?…`.
    ConditionalDelete,
    /// `POST [base]`: a batch or a transaction, as its body says.
    Batch,
    /// `[base]/$export`, `[base]/Patient/$export`, `[base]/Group/[id]/$export` (FHIR Bulk Data Access).
    Export,
    /// `GET` and `DELETE [base]/$bulkdata-status`, the progress of an export; and at the gateway its errors and files,
    /// `GET [base]/$bulkdata-errors` and `GET [base]/$bulkdata-file/…`.
    ExportStatus,
    /// Any other operation: a path segment begins with `$`.
    Operation,
    /// Anything else.
    Other,
}

impl Kind {
    /// All kinds, in the order of their declaration.
    pub(crate) const ALL: &[Self] = &[
        Self::Capabilities,
        Self::SmartConfiguration,
        Self::Search,
        Self::SearchSystem,
        Self::SearchCompartment,
        Self::Read,
        Self::VersionRead,
        Self::HistoryInstance,
        Self::HistoryType,
        Self::HistorySystem,
        Self::Create,
        Self::Update,
        Self::ConditionalUpdate,
        Self::Patch,
        Self::ConditionalPatch,
        Self::Delete,
        Self::ConditionalDelete,
        Self::Batch,
        Self::Export,
        Self::ExportStatus,
        Self::Operation,
        Self::Other,
    ];

    /// How many kinds there are.
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    /// Whether it creates, changes or deletes a resource.
    #[must_use]
    pub(crate) fn is_write(self) -> bool {
        use Kind::{ConditionalDelete, ConditionalPatch, ConditionalUpdate, Create, Delete, Patch, Update};
        matches!(self, Create | Update | Patch | Delete | ConditionalUpdate | ConditionalPatch | ConditionalDelete)
    }

    /// Returns the code of FHIR's value sets type-restful-interaction and system-restful-interaction, or one like those where they
    /// have none.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::SmartConfiguration => "smart-configuration",
            Self::Search => "search-type",
            Self::SearchSystem => "search-system",
            Self::SearchCompartment => "search-compartment",
            Self::Read => "read",
            Self::VersionRead => "vread",
            Self::HistoryInstance => "history-instance",
            Self::HistoryType => "history-type",
            Self::HistorySystem => "history-system",
            Self::Create => "create",
            Self::Update => "update",
            Self::ConditionalUpdate => "conditional-update",
            Self::Patch => "patch",
            Self::ConditionalPatch => "conditional-patch",
            Self::Delete => "delete",
            Self::ConditionalDelete => "conditional-delete",
            Self::Batch => "batch",
            Self::Export => "export",
            Self::ExportStatus => "export-status",
            Self::Operation => "operation",
            Self::Other => "other",
        }
    }
}

/// An interaction with its resource type and operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Interaction {
    /// The kind of interaction.
    pub(crate) kind: Kind,
    /// The resource type: a name of the specification, never a word of the client's.
    pub(crate) resource_type: Option<&'static str>,
    /// The operation's name without its `$`: a name that the gateway knows, never a word of the client's.
    pub(crate) operation: Option<&'static str>,
}

impl Interaction {
    /// Classifies a request. `path` is the part of the path below the FHIR base, without the query.
    #[must_use]
    pub(crate) fn of(method: &Method, path: &[u8]) -> Self {
        let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        let all = [(); 6].map(|()| segments.next());
        let reads = *method == Method::GET || *method == Method::HEAD;
        // An OperationDefinition may have the operation's name, with its `$`, for an id.
        let is_definition = reads && all[0] == Some(b"OperationDefinition") && all[2].is_none();
        let called = if is_definition { None } else { all.iter().flatten().find_map(|segment| operation_name(segment)) };
        let kind = match called {
            Some(b"export") => Kind::Export,
            Some(b"bulkdata-status" | b"bulkdata-errors" | b"bulkdata-file") => Kind::ExportStatus,
            Some(_) => Kind::Operation,
            None => rest(method, reads, all),
        };
        Self {
            kind,
            resource_type: all[0].and_then(resource_type::known),
            operation: called.and_then(|name| OPERATIONS.iter().find(|known| known.as_bytes() == name)).copied(),
        }
    }
}

/// Classifies a request that calls no operation.
fn rest(method: &Method, reads: bool, segments: [Option<&[u8]>; 6]) -> Kind {
    let is = |other: Method| *method == other;
    match segments {
        [_, _, _, _, _, Some(_)] => Kind::Other,
        [None, ..] if reads => Kind::SearchSystem,
        [None, ..] if is(Method::POST) => Kind::Batch,
        [Some(b"metadata"), None, ..] if reads => Kind::Capabilities,
        [Some(b".well-known"), Some(b"smart-configuration"), None, ..] if reads => Kind::SmartConfiguration,
        [Some(b".well-known" | b"metadata"), ..] => Kind::Other,
        [Some(b"_history"), None, ..] if reads => Kind::HistorySystem,
        [Some(b"_search"), None, ..] if is(Method::POST) => Kind::SearchSystem,
        [Some(b"_history" | b"_search"), ..] => Kind::Other,
        [Some(_), None, ..] if reads => Kind::Search,
        [Some(_), None, ..] if is(Method::POST) => Kind::Create,
        [Some(_), None, ..] if is(Method::PUT) => Kind::ConditionalUpdate,
        [Some(_), None, ..] if is(Method::PATCH) => Kind::ConditionalPatch,
        [Some(_), None, ..] if is(Method::DELETE) => Kind::ConditionalDelete,
        [Some(_), Some(b"_search"), None, ..] if is(Method::POST) => Kind::Search,
        [Some(_), Some(b"_history"), None, ..] if reads => Kind::HistoryType,
        [Some(_), Some(b"_search" | b"_history"), ..] => Kind::Other,
        [Some(_), Some(_), None, ..] if reads => Kind::Read,
        [Some(_), Some(_), None, ..] if is(Method::PUT) => Kind::Update,
        [Some(_), Some(_), None, ..] if is(Method::PATCH) => Kind::Patch,
        [Some(_), Some(_), None, ..] if is(Method::DELETE) => Kind::Delete,
        [Some(_), Some(_), Some(b"_history"), None, ..] if reads => Kind::HistoryInstance,
        [Some(_), Some(_), Some(b"_history"), Some(_), None, ..] if reads => Kind::VersionRead,
        [Some(_), Some(_), Some(b"_history"), ..] => Kind::Other,
        [Some(_), Some(_), Some(_), None, ..] if reads => Kind::SearchCompartment,
        [Some(_), Some(_), Some(_), Some(b"_search"), None, ..] if is(Method::POST) => Kind::SearchCompartment,
        _ => Kind::Other,
    }
}

/// Returns the name of an operation without its `$`, which some clients percent-encode; `None` for another segment.
#[must_use]
pub(crate) fn operation_name(segment: &[u8]) -> Option<&[u8]> {
    segment.strip_prefix(b"$").or_else(|| segment.strip_prefix(b"%24"))
}

/// The operations of FHIR R4, Bulk Data Access and US Core, and `bulkdata-errors` and `bulkdata-file`, at which the gateway serves
/// the errors and the files of an export.
static OPERATIONS: &[&str] = &[
    "apply",
    "bulkdata-errors",
    "bulkdata-file",
    "bulkdata-status",
    "closure",
    "compose",
    "conforms",
    "convert",
    "current-canonical",
    "data-requirements",
    "davinci-data-export",
    "docref",
    "document",
    "evaluate-measure",
    "everything",
    "expand",
    "export",
    "find",
    "find-matches",
    "graph",
    "graphql",
    "implements",
    "import",
    "lastn",
    "lookup",
    "match",
    "meta",
    "meta-add",
    "meta-delete",
    "populate",
    "preferred-id",
    "process-message",
    "questionnaire",
    "snapshot",
    "stats",
    "subset",
    "subsumes",
    "transform",
    "translate",
    "validate",
    "validate-code",
    "versions",
];

/// Whether a request can be repeated without effect on the server: one with a safe method (RFC 9110 section 9.2.1), or a
/// search by POST. An export never can: the server may still be working on the first one.
#[must_use]
pub(crate) fn is_repeatable(method: &Method, interaction: Option<Interaction>) -> bool {
    match interaction.map(|interaction| interaction.kind) {
        Some(Kind::Export) => false,
        Some(Kind::Search) if *method == Method::POST => true,
        _ => matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS),
    }
}

#[cfg(test)]
mod tests;

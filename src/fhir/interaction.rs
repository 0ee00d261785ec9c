//! What a request asks for: FHIR R4, "RESTful API", from the method and the path alone.

use http::Method;

use crate::fhir::resource_type;

/// An interaction of FHIR's RESTful API, of FHIR Bulk Data Access or of SMART App Launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `GET [base]/metadata`.
    Capabilities,
    /// `GET [base]/.well-known/smart-configuration`.
    SmartConfiguration,
    /// `GET [base]/[type]` and `POST [base]/[type]/_search`.
    Search,
    /// `GET [base]` and `POST [base]/_search`: over all types.
    SearchSystem,
    /// `GET [base]/Patient/[id]/[type]`: within a compartment.
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
    /// `POST [base]/[type]`; with If-None-Exist a conditional one.
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
    /// `POST [base]`: a batch or a transaction, which only its body tells apart.
    Batch,
    /// `[base]/$export`, `[base]/Patient/$export`, `[base]/Group/[id]/$export` (FHIR Bulk Data Access): minutes of work.
    Export,
    /// `GET` and `DELETE [base]/$bulkdata-status`: how far an export is.
    ExportStatus,
    /// Another path segment that begins with `$`.
    Operation,
    /// Anything else: OpenEMR will say what it makes of it.
    Other,
}

impl Kind {
    /// Its code: that of FHIR's value sets type-restful-interaction and system-restful-interaction, where they have one.
    #[must_use]
    pub fn code(self) -> &'static str {
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

/// An interaction, the resource type that it is about, and the operation that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interaction {
    /// What is asked for.
    pub kind: Kind,
    /// A name of the specification, never the caller's own word.
    pub resource_type: Option<&'static str>,
    /// The operation's name without its `$`, where the gateway knows it; never the caller's own word.
    pub operation: Option<&'static str>,
}

impl Interaction {
    /// Classifies a request. `path` is what stands behind the FHIR base, without the query.
    #[must_use]
    pub fn of(method: &Method, path: &[u8]) -> Self {
        let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        let all = [(); 6].map(|()| segments.next());
        let reads = *method == Method::GET || *method == Method::HEAD;
        // The definition of an operation is read by its name.
        let is_definition = reads && all[0] == Some(b"OperationDefinition") && all[2].is_none();
        let called = if is_definition { None } else { all.iter().flatten().find_map(|segment| operation_name(segment)) };
        let kind = match called {
            Some(b"export") => Kind::Export,
            Some(b"bulkdata-status") => Kind::ExportStatus,
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

/// Everything but operations.
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

/// The name of an operation without its `$`; some callers write that encoded.
#[must_use]
pub fn operation_name(segment: &[u8]) -> Option<&[u8]> {
    segment.strip_prefix(b"$").or_else(|| segment.strip_prefix(b"%24"))
}

/// The operations of FHIR R4, of Bulk Data Access (and the one that serves what went wrong) and of US Core.
static OPERATIONS: &[&str] = &[
    "apply",
    "bulkdata-errors",
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

/// Whether a request may be sent twice without anybody noticing: safe methods (RFC 9110 section 9.2.1), and the search
/// by POST, which is one with a body. Never an export: OpenEMR works on after its caller is gone, and would work twice.
#[must_use]
pub fn is_repeatable(method: &Method, interaction: Option<Interaction>) -> bool {
    match interaction.map(|interaction| interaction.kind) {
        Some(Kind::Export) => false,
        Some(Kind::Search) if *method == Method::POST => true,
        _ => matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classifies_by_method_and_path() {
        use Kind::*;
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        let (patch, delete) = (Method::PATCH, Method::DELETE);
        for (method, path, kind, resource_type, operation) in [
            (&get, "/metadata", Capabilities, None, None),
            (&get, "/.well-known/smart-configuration", SmartConfiguration, None, None),
            (&get, "/Patient", Search, Some("Patient"), None),
            (&get, "/Patient/", Search, Some("Patient"), None),
            (&post, "/Patient/_search", Search, Some("Patient"), None),
            (&get, "", SearchSystem, None, None),
            (&get, "/", SearchSystem, None, None),
            (&post, "/_search", SearchSystem, None, None),
            (&get, "/Patient/1/Observation", SearchCompartment, Some("Patient"), None),
            (&get, "/Patient/1/*", SearchCompartment, Some("Patient"), None),
            (&post, "/Patient/1/Observation/_search", SearchCompartment, Some("Patient"), None),
            (&get, "/Patient/123", Read, Some("Patient"), None),
            (&get, "/Patient/123/", Read, Some("Patient"), None),
            (&Method::HEAD, "/Patient/123", Read, Some("Patient"), None),
            (&get, "/Patient/1/_history/2", VersionRead, Some("Patient"), None),
            (&get, "/Patient/1/_history", HistoryInstance, Some("Patient"), None),
            (&get, "/Patient/_history", HistoryType, Some("Patient"), None),
            (&get, "/_history", HistorySystem, None, None),
            (&post, "/Patient", Create, Some("Patient"), None),
            (&put, "/Patient/1", Update, Some("Patient"), None),
            (&put, "/Patient", ConditionalUpdate, Some("Patient"), None),
            (&patch, "/Patient/1", Patch, Some("Patient"), None),
            (&patch, "/Patient", ConditionalPatch, Some("Patient"), None),
            (&delete, "/Patient/1", Delete, Some("Patient"), None),
            (&delete, "/Patient", ConditionalDelete, Some("Patient"), None),
            (&post, "", Batch, None, None),
            (&post, "/", Batch, None, None),
            (&get, "/Group/1/$export", Export, Some("Group"), Some("export")),
            (&get, "/Patient/%24export", Export, Some("Patient"), Some("export")),
            (&post, "/$export", Export, None, Some("export")),
            (&get, "/$bulkdata-status", ExportStatus, None, Some("bulkdata-status")),
            (&delete, "/%24bulkdata-status", ExportStatus, None, Some("bulkdata-status")),
            (&get, "/$exports", Operation, None, None),
            (&get, "/Patient/1/$everything", Operation, Some("Patient"), Some("everything")),
            (&get, "/Patient/1/_history/2/$meta", Operation, Some("Patient"), Some("meta")),
            (&post, "/DocumentReference/$docref", Operation, Some("DocumentReference"), Some("docref")),
            (&get, "/OperationDefinition/$bulkdata-status", Read, Some("OperationDefinition"), None),
            (&get, "/jane-doe", Search, None, None),
            (&get, "/Patient/_search", Other, Some("Patient"), None),
            (&post, "/Patient/1", Other, Some("Patient"), None),
            (&put, "", Other, None, None),
            (&put, "/metadata", Other, None, None),
            (&put, "/Patient/1/_history/2", Other, Some("Patient"), None),
            (&get, "/Patient/1/Observation/2/3", Other, Some("Patient"), None),
            (&get, "/a/b/c/d/e/f/g", Other, None, None),
            (&Method::OPTIONS, "/Patient", Other, Some("Patient"), None),
        ] {
            let expected = Interaction { kind, resource_type, operation };
            assert_eq!(Interaction::of(method, path.as_bytes()), expected, "{method} {path}");
        }
    }

    #[test]
    fn only_what_changes_nothing_is_repeatable_and_no_export() {
        for (method, path, repeatable) in [
            (Method::GET, "/Patient", true),
            (Method::HEAD, "/Patient/1", true),
            (Method::OPTIONS, "/Patient", true),
            (Method::POST, "/Patient/_search", true),
            (Method::POST, "/Patient", false),
            (Method::PUT, "/Patient/1", false),
            (Method::DELETE, "/Patient/1", false),
            (Method::GET, "/Patient/$export", false),
            (Method::POST, "/Patient/$export", false),
            (Method::POST, "/DocumentReference/$docref", false),
            (Method::POST, "/Patient/1/_search", false),
        ] {
            let interaction = Interaction::of(&method, path.as_bytes());
            assert_eq!(is_repeatable(&method, Some(interaction)), repeatable, "{method} {path}");
        }
    }

    fn method() -> impl Strategy<Value = Method> {
        prop::sample::select(vec![
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ])
    }

    proptest! {
        #[test]
        fn any_path_is_classified_in_words_of_the_specification(method in method(), path in proptest::collection::vec(any::<u8>(), 0..40)) {
            let interaction = Interaction::of(&method, &path);
            if let Some(name) = interaction.resource_type {
                prop_assert!(resource_type::known(name.as_bytes()).is_some());
            }
            if let Some(name) = interaction.operation {
                prop_assert!(OPERATIONS.contains(&name));
            }
        }

        /// A HEAD is a GET without its body, a slash at the end means nothing, and what is not safe is never sent twice.
        #[test]
        fn what_must_hold_of_every_path(
            method in method(),
            segments in prop::collection::vec("Patient|Observation|Nonsense|_search|_history|metadata|[$]export|[$]everything|[a-z0-9]{1,4}", 0..6)
        ) {
            let path = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
            let of = |method: &Method, path: &str| Interaction::of(method, path.as_bytes());
            prop_assert_eq!(of(&Method::HEAD, &path), of(&Method::GET, &path));
            prop_assert_eq!(of(&method, &format!("{path}/")), of(&method, &path));
            let interaction = of(&method, &path);
            let changes = matches!(interaction.kind, Kind::Create | Kind::Update | Kind::Patch | Kind::Delete | Kind::Batch | Kind::Export
                | Kind::ConditionalUpdate | Kind::ConditionalPatch | Kind::ConditionalDelete);
            prop_assert!(!(changes && is_repeatable(&method, Some(interaction))));
            if segments.iter().any(|segment| segment == "$export") {
                prop_assert!(matches!(interaction.kind, Kind::Export | Kind::Operation));
            }
        }
    }
}

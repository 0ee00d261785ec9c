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
        (&get, "/$bulkdata-errors", ExportStatus, None, Some("bulkdata-errors")),
        (&get, "/$bulkdata-file/6a1d/Patient-1.ndjson", ExportStatus, None, Some("bulkdata-file")),
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

    /// HEAD is classified like GET, a trailing slash has no meaning, and a request that changes something is never repeated.
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

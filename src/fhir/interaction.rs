//! What a request asks for: FHIR R4, "RESTful API", from the method and the path alone.

use http::Method;

use super::resource_type;

/// What is asked for, as far as the gateway treats requests differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `GET [base]/metadata`.
    Capabilities,
    /// `GET [base]/[type]` and `POST [base]/[type]/_search`.
    Search,
    /// `GET [base]/[type]/[id]`.
    Read,
    /// `POST [base]/[type]`.
    Create,
    /// `PUT [base]/[type]/[id]`.
    Update,
    /// `[base]/$export`, `[base]/Patient/$export`, `[base]/Group/[id]/$export` (FHIR Bulk Data Access): minutes of work.
    Export,
    /// Another path segment that begins with `$`.
    Operation,
    /// Anything else: OpenEMR will say what it makes of it.
    Other,
}

/// An interaction and the resource type that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interaction {
    /// What is asked for.
    pub kind: Kind,
    /// A name of the specification, never the caller's own word.
    pub resource_type: Option<&'static str>,
}

impl Interaction {
    /// Classifies a request. `path` is what stands behind the FHIR base, without the query.
    #[must_use]
    pub fn of(method: &Method, path: &[u8]) -> Self {
        let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        let operation = [first, second, third].into_iter().flatten().find_map(operation);
        let reads = *method == Method::GET || *method == Method::HEAD;
        let kind = match (first, second, third) {
            _ if operation == Some(b"export") => Kind::Export,
            _ if operation.is_some() => Kind::Operation,
            (Some(b"metadata"), None, None) if reads => Kind::Capabilities,
            (Some(_), None, None) if reads => Kind::Search,
            (Some(_), Some(b"_search"), None) if *method == Method::POST => Kind::Search,
            (Some(_), Some(_), None) if reads => Kind::Read,
            (Some(_), None, None) if *method == Method::POST => Kind::Create,
            (Some(_), Some(_), None) if *method == Method::PUT => Kind::Update,
            _ => Kind::Other,
        };
        Self { kind, resource_type: first.and_then(resource_type::known) }
    }
}

/// The name of an operation; some callers write its `$` encoded.
fn operation(segment: &[u8]) -> Option<&[u8]> {
    segment.strip_prefix(b"$").or_else(|| segment.strip_prefix(b"%24"))
}

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

    #[test]
    fn classifies_by_method_and_path() {
        for (method, path, kind, resource_type) in [
            (Method::GET, "/metadata", Kind::Capabilities, None),
            (Method::GET, "/Patient", Kind::Search, Some("Patient")),
            (Method::POST, "/Patient/_search", Kind::Search, Some("Patient")),
            (Method::GET, "/Patient/123", Kind::Read, Some("Patient")),
            (Method::HEAD, "/Patient/123", Kind::Read, Some("Patient")),
            (Method::POST, "/Patient", Kind::Create, Some("Patient")),
            (Method::PUT, "/Patient/1", Kind::Update, Some("Patient")),
            (Method::GET, "/Group/1/$export", Kind::Export, Some("Group")),
            (Method::GET, "/Patient/%24export", Kind::Export, Some("Patient")),
            (Method::POST, "/$export", Kind::Export, None),
            (Method::GET, "/$exports", Kind::Operation, None),
            (Method::POST, "/DocumentReference/$docref", Kind::Operation, Some("DocumentReference")),
            (Method::GET, "/jane-doe", Kind::Search, None),
            (Method::DELETE, "/Patient/1", Kind::Other, Some("Patient")),
            (Method::POST, "", Kind::Other, None),
            (Method::GET, "/Patient/1/_history/2", Kind::Other, Some("Patient")),
        ] {
            assert_eq!(Interaction::of(&method, path.as_bytes()), Interaction { kind, resource_type }, "{method} {path}");
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
}

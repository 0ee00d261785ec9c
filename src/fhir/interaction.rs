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
    /// A path segment that begins with `$`.
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
        let is_operation = [first, second, third].into_iter().flatten().any(|segment| segment.starts_with(b"$"));
        let reads = *method == Method::GET || *method == Method::HEAD;
        let kind = match (first, second, third) {
            _ if is_operation => Kind::Operation,
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

/// Whether a request may be sent twice without anybody noticing: safe methods (RFC 9110 section 9.2.1).
#[must_use]
pub fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
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
            (Method::GET, "/Group/1/$export", Kind::Operation, Some("Group")),
            (Method::GET, "/$export", Kind::Operation, None),
            (Method::GET, "/jane-doe", Kind::Search, None),
            (Method::DELETE, "/Patient/1", Kind::Other, Some("Patient")),
            (Method::POST, "", Kind::Other, None),
            (Method::GET, "/Patient/1/_history/2", Kind::Other, Some("Patient")),
        ] {
            assert_eq!(Interaction::of(&method, path.as_bytes()), Interaction { kind, resource_type }, "{method} {path}");
        }
    }
}

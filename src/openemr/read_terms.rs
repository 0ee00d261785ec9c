//! What a caller wants of one resource: the parameters that FHIR R4 has for reads and that OpenEMR ignores there ("RESTful API",
//! 3.1.0.1.11).

use crate::fhir::kept_members::Projection;
use crate::http::query;
use crate::openemr::search_reading::{Reading, Searched};

/// What is left of a resource that is read, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadTerms {
    /// `_elements` or `_summary`.
    pub projection: Projection,
    /// `_pretty`.
    pub pretty: bool,
}

impl ReadTerms {
    /// Reads them from a query without its `?`; what makes no sense counts as not said.
    #[must_use]
    pub fn of(query: &[u8], resource_type: &'static str) -> Self {
        let mut reading = Reading::default();
        let searched = Searched { resource_type, known: None, bases: &[], repairs: true, pages: false };
        for parameter in query::parameters(query) {
            if matches!(parameter.name.as_ref(), "_elements" | "_summary" | "_pretty") {
                reading.take(&parameter, &searched);
            }
        }
        Self { projection: reading.projection(), pretty: reading.pretty == Some(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_a_resource() {
        let elements = Projection::Elements(vec!["name".to_owned(), "gender".to_owned()]);
        for (query, projection, pretty) in [
            ("", Projection::Whole, false),
            ("_format=json&x=1&_pretty=true", Projection::Whole, true),
            ("_elements=name%2Cgender", elements.clone(), false),
            ("_elements=Patient.name,gender&_pretty=false", elements, false),
            ("_summary=true&_pretty=perhaps", Projection::Summary, false),
            ("_summary=text", Projection::Text, false),
            ("_summary=count", Projection::Whole, false),
            ("_summary=much", Projection::Whole, false),
        ] {
            assert_eq!(ReadTerms::of(query.as_bytes(), "Patient"), ReadTerms { projection, pretty }, "{query}");
        }
    }
}

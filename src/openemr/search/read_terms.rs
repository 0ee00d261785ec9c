//! The parameters of a read that FHIR R4 has ("RESTful API", 3.1.0.1.11) and that OpenEMR ignores.

use crate::fhir::projection::rule::Projection;
use crate::http::query;
use crate::openemr::search::parameters::{ReadingContext, SearchParameters};
use crate::openemr::search::usual;

/// How the resource that is read is sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReadTerms {
    /// The members that it keeps, by `_elements` or `_summary`.
    pub(crate) projection: Projection,
    /// Whether it is indented, by `_pretty`.
    pub(crate) pretty: bool,
}

impl ReadTerms {
    /// Reads the terms from a query without its `?`. Parameters with an invalid value are ignored.
    #[must_use]
    pub(crate) fn of(query: &[u8], resource_type: &'static str) -> Self {
        let mut parameters = SearchParameters::default();
        let context = ReadingContext {
            resource_type,
            version: None,
            known: usual::of_type(resource_type),
            bases: &[],
            repairs: true,
            pages: false,
        };
        for parameter in query::parameters(query) {
            if matches!(parameter.name.as_ref(), "_elements" | "_summary" | "_pretty") {
                parameters.add(&parameter, &context);
            }
        }
        Self { projection: parameters.projection(), pretty: parameters.pretty == Some(true) }
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

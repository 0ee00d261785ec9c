//! The parameters of a read that FHIR R4 has ("RESTful API", 3.1.0.1.11) and that OpenEMR ignores.

use crate::fhir::projection::rule::Projection;
use crate::http::query;
use crate::openemr::breakages::Measured;
use crate::openemr::search::parameters::SearchParameters;
use crate::openemr::search::reading_context::ReadingContext;
use crate::openemr::search::refusal::{Refusal, Refusals, Why};
use crate::openemr::search::usual;
use crate::openemr::search::warning::{Warning, Weight};

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
        let mut parameters = parameters(query, resource_type);
        Self { projection: parameters.projection(), pretty: parameters.pretty == Some(true) }
    }

    /// Checks the values of these parameters.
    ///
    /// # Errors
    /// One that is not valid: the client would get another part of the resource than it asked for.
    pub(crate) fn check(query: &[u8], resource_type: &'static str) -> Result<(), Refusals> {
        let parameters = parameters(query, resource_type);
        let refusal = |warning: &Warning| {
            let reason = warning.reason();
            (reason.weight() == Weight::Unusable).then(|| Refusal::of(warning.parameter(), Why::Unusable(reason)))
        };
        let all = parameters.warnings.iter().filter_map(refusal).collect();
        Refusals::new(all, String::new, true).map_or(Ok(()), Err)
    }
}

fn parameters(query: &[u8], resource_type: &'static str) -> SearchParameters {
    let mut parameters = SearchParameters::default();
    let known = usual::of_type(resource_type);
    let measured = Measured::of(None);
    let context = ReadingContext {
        resource_type,
        version: None,
        measured,
        known,
        bases: &[],
        repairs: true,
        pages: false,
        tests_all: false,
    };
    for parameter in query::parameters(query) {
        if matches!(parameter.name.as_ref(), "_elements" | "_summary" | "_pretty") {
            parameters.add(&parameter, &context);
        }
    }
    parameters
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

    #[test]
    fn a_part_that_there_is_not_is_refused() {
        for (query, expected) in [
            ("", true),
            ("_summary=text&_elements=name&_pretty=true&_format=json", true),
            ("_summary=&_elements=&_pretty", true),
            ("_summary=count", true),
            ("_summary=true&_elements=name", true),
            ("_summary=much", false),
            ("_elements=na-me", false),
            ("_pretty=perhaps", false),
            ("_summary=true&_summary=text", false),
        ] {
            assert_eq!(ReadTerms::check(query.as_bytes(), "Patient").is_ok(), expected, "{query}");
        }
        let text = ReadTerms::check(b"_summary=CANARY", "Patient").unwrap_err().to_string();
        assert_eq!(text, "The parameter _summary has an invalid value.");
    }
}

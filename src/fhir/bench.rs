//! What is small and done for each request, for the benchmarks (`bench/parts.rs`).

use http::Method;

use crate::fhir::interaction::Interaction;
use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome};
use crate::fhir::root::{Root, RootReader};

/// Classifies a request; gives the code of its interaction.
#[must_use]
pub fn interaction(method: &Method, path: &[u8]) -> &'static str {
    Interaction::of(method, path).kind.code()
}

/// Looks at the beginning of a body, in pieces; gives the type of the resource that it is, if it is one.
#[must_use]
pub fn resource_in<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<&'static str> {
    let mut reader = RootReader::new();
    let root = pieces.into_iter().find_map(|piece| reader.feed(piece));
    match root.unwrap_or_else(|| reader.end()) {
        Root::Resource(resource_type) => resource_type,
        Root::Object { .. } | Root::OtherJson | Root::NotJson | Root::Empty | Root::CutShort => None,
    }
}

/// Writes the OperationOutcome of an error, in XML or in JSON.
#[must_use]
pub fn operation_outcome(text: &str, expression: &str, request: &str, in_xml: bool) -> String {
    let issue = Issue::error(IssueCode::NotFound, text).about(expression);
    let format = if in_xml { Format::Xml } else { Format::Json };
    OperationOutcome::of(issue).of_request(request).write(format)
}

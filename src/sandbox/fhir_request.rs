//! A request to the FHIR side, as its handlers see it.

use super::{http1::ReceivedBody, request_head::RequestHead};

/// A request for a path below `/apis/{site}/`.
pub(super) struct FhirRequest<'a> {
    /// The site in the path.
    pub(super) site: &'a str,
    /// The head.
    pub(super) head: &'a RequestHead,
    /// The body, read to its end.
    pub(super) body: &'a ReceivedBody,
}

impl FhirRequest<'_> {
    /// Returns the parameters of the query, decoded, in order.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.head.query().as_bytes()).into_owned().collect()
    }

    /// Returns the first value that the query has for `name`.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.head.query().as_bytes())
            .find(|(parameter, _)| parameter == name)
            .map(|(_, value)| value.into_owned())
    }
}

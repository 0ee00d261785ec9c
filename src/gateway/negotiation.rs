//! The format that a client wants its answer in, read from the head of its request.

use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::fhir::format_parameters::FormatParameters;
use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::negotiation::{self, Accepted, Negotiated};
use crate::http::request_target::Target;

static PREFER: HeaderName = HeaderName::from_static("prefer");

/// Negotiates the format by `_format` and Accept.
#[must_use]
pub(super) fn negotiated(head: &RequestHeader, interaction: Option<Interaction>) -> Negotiated {
    let parameters = FormatParameters::read(Target::parse(head.raw_path()).map(|target| target.query).unwrap_or_default());
    let accepted = Accepted::of(head.headers.get_all(ACCEPT).iter().map(|value| value.as_bytes()));
    negotiation::negotiate(parameters.format, accepted, interaction.is_some_and(can_be_a_document))
}

/// The values of the `Prefer` fields.
pub(super) fn preferences(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    fields.get_all(&PREFER).iter().map(HeaderValue::as_bytes)
}

/// Whether the answer can be a document of another type than FHIR's: Binary gives a C-CDA as XML.
fn can_be_a_document(interaction: Interaction) -> bool {
    interaction.kind == Kind::Read && interaction.resource_type == Some("Binary")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::media_type::Format;
    use http::Method;

    #[test]
    fn a_document_may_be_xml() {
        for (target, accept, acceptable, errors) in [
            ("/fhir/Binary/1", "application/xml", true, Format::Xml),
            ("/fhir/Binary/1?_format=xml", "*/*", false, Format::Xml),
            ("/fhir/Patient/1", "application/xml", false, Format::Xml),
            ("/fhir/Patient/1?_format=json", "application/xml", true, Format::Json),
            ("/fhir/Patient/1", "*/*", true, Format::Json),
        ] {
            let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            head.append_header("Accept", accept).unwrap();
            let interaction =
                Interaction::of(&Method::GET, Target::parse(target.as_bytes()).unwrap().path.strip_prefix(b"/fhir").unwrap());
            assert_eq!(negotiated(&head, Some(interaction)), Negotiated { errors, acceptable }, "{target} {accept}");
        }
    }
}

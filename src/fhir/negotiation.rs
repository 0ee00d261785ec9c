//! Content negotiation: whether a client is given JSON or XML, by `_format` and Accept (RFC 9110 section 12; FHIR R4,
//! "RESTful API", 3.1.0.1.11).

use crate::fhir::format_parameters::NamedFormat;
use crate::fhir::media_type::{Format, is_fhir_xml, is_json, is_of_other_version, is_plain_xml};
use crate::fhir::quoted::outside_quotes;

/// A client's preferences for JSON and XML, in thousandths (RFC 9110 section 12.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    json: u16,
    xml: u16,
    other_version: bool,
}

/// How specific a media range is; the most specific one counts (RFC 9110 section 12.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    Anything,
    Application,
    ByName,
}

impl Accepted {
    /// Reads the Accept fields of a request. Without any, both formats are accepted.
    #[must_use]
    pub(crate) fn of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut json, mut xml, mut plain_xml) = (Best::default(), Best::default(), Best::default());
        let (mut has_ranges, mut is_browser, mut other_version) = (false, false, false);
        for item in fields.flat_map(|field| outside_quotes(field, b',')) {
            let mut parts = outside_quotes(item, b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            has_ranges = true;
            let quality = parts.find_map(quality).unwrap_or(1000);
            if is_of_other_version(item) {
                other_version |= quality > 0;
                continue;
            }
            if name == b"*/*" || name == b"*" {
                json.take(Range::Anything, quality);
                xml.take(Range::Anything, quality);
            } else if name.eq_ignore_ascii_case(b"application/*") {
                json.take(Range::Application, quality);
                xml.take(Range::Application, quality);
            } else if is_json(name) {
                json.take(Range::ByName, quality);
            } else if is_fhir_xml(name) {
                xml.take(Range::ByName, quality);
            } else if is_plain_xml(name) {
                plain_xml.take(Range::ByName, quality);
            } else if name.eq_ignore_ascii_case(b"text/html") {
                is_browser = quality > 0;
            }
        }
        if !has_ranges {
            return Self { json: 1000, xml: 1000, other_version };
        }
        // A browser accepts XML for web pages, not for FHIR.
        if !is_browser && let Some((_, quality)) = plain_xml.0 {
            xml.take(Range::ByName, quality);
        }
        Self { json: json.quality(), xml: xml.quality(), other_version }
    }

    /// Returns the preferred format, which is JSON unless the client prefers XML.
    #[must_use]
    pub(crate) fn format(self) -> Format {
        if self.xml > self.json { Format::Xml } else { Format::Json }
    }

    /// Whether the client accepts XML and does not accept JSON.
    #[must_use]
    pub(crate) fn is_xml_alone(self) -> bool {
        self.xml > 0 && self.json == 0
    }

    /// Whether the client accepts resources of another version of FHIR, and none of R4.
    #[must_use]
    pub(crate) fn is_other_version_alone(self) -> bool {
        self.other_version && self.xml == 0 && self.json == 0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Best(Option<(Range, u16)>);

impl Best {
    /// Of two equally specific ranges the one with the higher weight counts.
    fn take(&mut self, range: Range, quality: u16) {
        self.0 = self.0.max(Some((range, quality)));
    }

    fn quality(self) -> u16 {
        self.0.map_or(0, |(_, quality)| quality)
    }
}

/// Reads a weight, in thousandths; one that cannot be read counts as 0. `None` for another parameter.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at(parameter.iter().position(|byte| *byte == b'=')?);
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let value = std::str::from_utf8(value.get(1..)?).ok()?.trim().parse::<f32>().unwrap_or(0.0);
    // The cast is exact enough: the value is within 0..=1000, and NaN becomes 0.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// The result of content negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// The format of errors.
    pub(crate) errors: Format,
    /// Whether the client accepts JSON, the only format in which there are resources.
    pub(crate) acceptable: bool,
}

/// Negotiates by `_format`, which overrides Accept, and by Accept. A client that names neither JSON nor XML gets JSON, as RFC
/// 9110 section 12.4.1 allows. With `accept_is_of_a_document` Accept is about the type of a document in the answer, and does
/// not exclude JSON.
#[must_use]
pub(crate) fn negotiate(format: Option<NamedFormat>, accepted: Accepted, accept_is_of_a_document: bool) -> Negotiated {
    match format {
        Some(NamedFormat::Json) => Negotiated { errors: Format::Json, acceptable: true },
        Some(NamedFormat::Xml) => Negotiated { errors: Format::Xml, acceptable: false },
        Some(NamedFormat::Other) => Negotiated { errors: accepted.format(), acceptable: false },
        None => Negotiated {
            errors: accepted.format(),
            acceptable: (accept_is_of_a_document || !accepted.is_xml_alone()) && !accepted.is_other_version_alone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_of_another_version_is_none_of_r4() {
        for (accept, acceptable) in [
            ("application/fhir+json; fhirVersion=4.0", true),
            ("application/fhir+json; fhirVersion=3.0", false),
            ("application/fhir+json; fhirVersion=3.0, text/html", false),
            ("application/fhir+json; fhirVersion=3.0, */*;q=0.1", true),
            ("application/fhir+json; fhirVersion=3.0, application/fhir+json;q=0.5", true),
            ("application/fhir+json; fhirVersion=3.0;q=0, image/png", true),
            ("application/fhir+xml; fhirVersion=4.0, application/fhir+json; fhirVersion=5.0", false),
        ] {
            let accepted = Accepted::of(std::iter::once(accept.as_bytes()));
            assert_eq!(negotiate(None, accepted, false).acceptable, acceptable, "{accept}");
            assert!(negotiate(Some(NamedFormat::Json), accepted, false).acceptable, "{accept}");
        }
    }

    #[test]
    fn json_unless_the_client_prefers_xml() {
        for (accept, format, xml_alone) in [
            (&[][..], Format::Json, false),
            (&["*/*"], Format::Json, false),
            (&["application/fhir+json"], Format::Json, false),
            (&["application/json"], Format::Json, false),
            (&["application/fhir+xml"], Format::Xml, true),
            (&["text/xml"], Format::Xml, true),
            (&["application/xml"], Format::Xml, true),
            (&["application/fhir+xml, application/fhir+json"], Format::Json, false),
            (&["application/fhir+xml;q=1.0, application/fhir+json;q=0.9"], Format::Xml, false),
            (&["application/fhir+xml;q=0.5, application/fhir+json ; q=0.9"], Format::Json, false),
            (&["application/fhir+xml", "application/fhir+json;q=0.1"], Format::Xml, false),
            (&["application/fhir+xml, */*;q=0.1"], Format::Xml, false),
            (&["application/fhir+xml, */*;q=0"], Format::Xml, true),
            (&["application/fhir+json;q=0, */*"], Format::Xml, true),
            (&["application/fhir+xml;q=0, */*"], Format::Json, false),
            (&["application/*"], Format::Json, false),
            // Firefox and Chrome.
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Format::Json, false),
            (&["text/html"], Format::Json, false),
            (&["image/png"], Format::Json, false),
            (&["application/fhir+ndjson"], Format::Json, false),
            (&["", " , "], Format::Json, false),
            (&["application/fhir+xml;q=nonsense, application/json"], Format::Json, false),
            (&["application/fhir+xml;q=NaN"], Format::Json, false),
            // HAPI's client.
            (&["application/fhir+xml;q=1.0, application/fhir+json;q=1.0, application/xml+fhir;q=0.9"], Format::Json, false),
        ] {
            let accepted = Accepted::of(accept.iter().map(|field| field.as_bytes()));
            assert_eq!(accepted.format(), format, "{accept:?}");
            assert_eq!(accepted.is_xml_alone(), xml_alone, "{accept:?}");
        }
    }

    #[test]
    fn format_stands_above_accept() {
        let xml = Accepted { json: 0, xml: 1000, other_version: false };
        let any = Accepted { json: 1000, xml: 1000, other_version: false };
        for (format, accepted, document, errors, acceptable) in [
            (None, any, false, Format::Json, true),
            (None, xml, false, Format::Xml, false),
            (None, xml, true, Format::Xml, true),
            (Some(NamedFormat::Json), xml, false, Format::Json, true),
            (Some(NamedFormat::Xml), any, false, Format::Xml, false),
            (Some(NamedFormat::Xml), any, true, Format::Xml, false),
            (Some(NamedFormat::Other), any, false, Format::Json, false),
            (Some(NamedFormat::Other), xml, false, Format::Xml, false),
        ] {
            assert_eq!(negotiate(format, accepted, document), Negotiated { errors, acceptable }, "{format:?} {accepted:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Accepted::of(std::iter::once(&bytes[..]));
        }
    }
}

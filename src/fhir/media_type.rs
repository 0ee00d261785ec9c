//! Media types, and the formats of FHIR among them (FHIR R4, "RESTful API", 3.1.0.1.11).

use crate::fhir::quoted::{outside_quotes, unquoted};

/// A format in which the gateway can write an OperationOutcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// `application/fhir+json`.
    #[default]
    Json,
    /// `application/fhir+xml`.
    Xml,
}

impl Format {
    /// Its Content-Type.
    #[must_use]
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json; charset=utf-8",
            Self::Xml => "application/fhir+xml; charset=utf-8",
        }
    }
}

/// Returns a media type, or a content coding, without its parameters.
#[must_use]
pub(crate) fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether a media type, or a media range, names another version of FHIR than R4 (FHIR R4, "RESTful API", 3.1.0.1.12).
#[must_use]
pub(crate) fn is_of_other_version(value: &[u8]) -> bool {
    let parameters = outside_quotes(value, b';').skip(1);
    parameters.filter_map(|parameter| parameter.split_at_checked(parameter.iter().position(|byte| *byte == b'=')?)).any(
        |(name, value)| {
            let value = unquoted(value.get(1..).unwrap_or_default().trim_ascii());
            // The parameter has two numbers; some write the third one of the publication, too.
            name.trim_ascii().eq_ignore_ascii_case(b"fhirVersion") && value != b"4.0" && value != b"4.0.1"
        },
    )
}

/// Whether a media type is one that clients use for FHIR's JSON. `application/json+fhir` is the name from before R3.
#[must_use]
pub(crate) fn is_json(name: &[u8]) -> bool {
    is_one_of(name, &["application/fhir+json", "application/json", "application/json+fhir", "text/json"])
}

/// Whether a media type is FHIR's XML by name. `application/xml+fhir` is the name from before R3.
#[must_use]
pub(crate) fn is_fhir_xml(name: &[u8]) -> bool {
    is_one_of(name, &["application/fhir+xml", "application/xml+fhir"])
}

/// Whether a media type is XML of any kind, FHIR's or a web page's.
#[must_use]
pub(crate) fn is_plain_xml(name: &[u8]) -> bool {
    is_one_of(name, &["application/xml", "text/xml"])
}

/// Whether a media range includes JSON among others.
#[must_use]
pub(crate) fn is_wildcard(name: &[u8]) -> bool {
    is_one_of(name, &["*/*", "*", "application/*"])
}

fn is_one_of(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_the_field_may_be_written() {
        for (value, other) in [
            ("application/fhir+json", false),
            ("application/fhir+json; charset=utf-8", false),
            ("application/fhir+json;fhirVersion=4.0", false),
            ("application/fhir+json; FHIRVERSION = \"4.0\" ; charset=utf-8", false),
            ("application/fhir+json; fhirVersion=4.0.1", false),
            ("application/fhir+json; fhirVersion=3.0", true),
            ("application/fhir+json; charset=utf-8; fhirversion=\"5.0\"", true),
            ("application/fhir+json; fhirVersion=4.0; fhirVersion=4.3", true),
            ("application/fhir+json; fhirVersion=", true),
            ("application/fhir+json; x=\"; fhirVersion=3.0\"", false),
            ("application/fhir+json; fhirVersion", false),
            ("fhirVersion=3.0", false),
            ("", false),
        ] {
            assert_eq!(is_of_other_version(value.as_bytes()), other, "{value}");
        }
    }
}

//! Media types, and the formats of FHIR among them (FHIR R4, "RESTful API", 3.1.0.1.11).

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

fn is_one_of(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

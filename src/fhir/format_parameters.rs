//! `_format` and `_pretty` in a query or form (FHIR R4, "RESTful API", 3.1.0.1.11).

use std::borrow::Cow;

use crate::fhir::media_type::{is_fhir_xml, is_json, is_of_other_version, is_plain_xml, is_wildcard};

/// The format that a value of `_format` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedFormat {
    /// JSON, by one of its names or as any format.
    Json,
    /// XML, by one of its names.
    Xml,
    /// Another format.
    Other,
}

impl NamedFormat {
    /// Reads a value of `_format`; `None` where it is empty. A `+` that was not percent-encoded has become a space.
    #[must_use]
    pub(crate) fn of(value: &str) -> Option<Self> {
        let essence = value.split(';').next().unwrap_or_default().trim().replace(' ', "+").to_ascii_lowercase();
        Some(match essence.as_str() {
            "" if value.trim().is_empty() => return None,
            _ if is_of_other_version(value.as_bytes()) => Self::Other,
            name if is_wildcard(name.as_bytes()) => Self::Json,
            "json" | "fhir+json" => Self::Json,
            "xml" | "fhir+xml" => Self::Xml,
            name if is_json(name.as_bytes()) => Self::Json,
            name if is_fhir_xml(name.as_bytes()) || is_plain_xml(name.as_bytes()) => Self::Xml,
            _ => Self::Other,
        })
    }
}

/// The parameters of a query that say in which format the answer is. `_pretty` is read with the other parameters of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FormatParameters {
    /// The first `_format` that is not empty.
    pub(crate) format: Option<NamedFormat>,
}

impl FormatParameters {
    /// Reads them from a query, with or without its `?`.
    #[must_use]
    pub(crate) fn read(query: &[u8]) -> Self {
        let mut parameters = Self::default();
        if !may_have_format(query) {
            return parameters;
        }
        let named =
            |(name, value): (Parameter, Cow<'_, str>)| (name == Parameter::Format).then(|| NamedFormat::of(&value)).flatten();
        parameters.format = pairs(query).filter_map(parameter).find_map(named);
        parameters
    }
}

/// Returns the query without `_format`, and without `_pretty` too when `pretty` is set; everything else stays byte for byte.
/// `None` when there is nothing to remove.
#[must_use]
pub(crate) fn without(query: &[u8], pretty: bool) -> Option<Vec<u8>> {
    if !may_have_format(query) {
        return None;
    }
    let is_removed = |pair: &[u8]| match parameter(pair) {
        Some((Parameter::Format, _)) => true,
        Some((Parameter::Pretty, _)) => pretty,
        None => false,
    };
    if !pairs(query).any(is_removed) {
        return None;
    }
    let mut kept = Vec::with_capacity(query.len());
    for pair in pairs(query).filter(|pair| !is_removed(pair)) {
        kept.push(if kept.is_empty() { b'?' } else { b'&' });
        kept.extend_from_slice(pair);
    }
    if !query.starts_with(b"?") && !kept.is_empty() {
        kept.remove(0);
    }
    Some(kept)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Format,
    Pretty,
}

/// A quick look without decoding, because most queries have neither parameter. A percent-encoded name has a `%`.
fn may_have_format(query: &[u8]) -> bool {
    memchr::memmem::find(query, b"_format").is_some()
        || memchr::memmem::find(query, b"_pretty").is_some()
        || query.contains(&b'%')
}

fn pairs(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.strip_prefix(b"?").unwrap_or(query).split(|byte| *byte == b'&')
}

fn parameter(pair: &[u8]) -> Option<(Parameter, Cow<'_, str>)> {
    let (name, value) = form_urlencoded::parse(pair).next()?;
    match name.as_ref() {
        "_format" => Some((Parameter::Format, value)),
        "_pretty" => Some((Parameter::Pretty, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_the_names_of_the_formats() {
        for json in [
            "json",
            "JSON",
            "application/json",
            "application/fhir+json",
            "application/fhir json",
            "text/json",
            "application/fhir+json; fhirVersion=4.0",
            "*/*",
            "*",
            "application/*",
        ] {
            assert_eq!(NamedFormat::of(json), Some(NamedFormat::Json), "{json}");
        }
        for xml in ["xml", "text/xml", "application/xml", "application/fhir+xml", "application/fhir xml;charset=utf-8"] {
            assert_eq!(NamedFormat::of(xml), Some(NamedFormat::Xml), "{xml}");
        }
        for other in [
            "html",
            "text/html",
            "ttl",
            "jsonx",
            "application/fhir+ndjson",
            "application/pdf",
            ";",
            "application/fhir+json;fhirVersion=3.0",
            "application/fhir+xml; fhirVersion=\"5.0\"",
        ] {
            assert_eq!(NamedFormat::of(other), Some(NamedFormat::Other), "{other}");
        }
        for none in ["", " "] {
            assert_eq!(NamedFormat::of(none), None, "{none}");
        }
    }

    #[test]
    fn takes_format_and_pretty_out_and_nothing_else() {
        for (query, pretty, left, format) in [
            ("?_format=json", true, Some(""), Some(NamedFormat::Json)),
            ("?_count=5&_format=application/fhir+json", true, Some("?_count=5"), Some(NamedFormat::Json)),
            ("?_format=xml&name=M%C3%BCller&a=+b", true, Some("?name=M%C3%BCller&a=+b"), Some(NamedFormat::Xml)),
            ("?%5fformat=json&x", true, Some("?x"), Some(NamedFormat::Json)),
            ("?_format=json&_format=xml&x=1&&", true, Some("?x=1&&"), Some(NamedFormat::Json)),
            ("_format=xml&x", true, Some("x"), Some(NamedFormat::Xml)),
            ("?_pretty=true&x", true, Some("?x"), None),
            ("?_pretty=true&x", false, None, None),
            ("?_format=json&_pretty=false&x", false, Some("?_pretty=false&x"), Some(NamedFormat::Json)),
            ("?_format=&x=1&_format", true, Some("?x=1"), None),
            ("?_format=&_format=xml", true, Some(""), Some(NamedFormat::Xml)),
            ("?_format=*/*", true, Some(""), Some(NamedFormat::Json)),
            ("?name=_format", true, None, None),
            ("?_formats=1&x_pretty=1", true, None, None),
            ("", true, None, None),
            ("?", true, None, None),
            ("?a=%41", true, None, None),
        ] {
            assert_eq!(without(query.as_bytes(), pretty).as_deref(), left.map(str::as_bytes), "{query}");
            assert_eq!(FormatParameters::read(query.as_bytes()), FormatParameters { format }, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (FormatParameters::read(&bytes), without(&bytes, true));
        }

        /// The other parameters stay as they were, in their order.
        #[test]
        fn the_rest_of_a_query_stays(pairs in proptest::collection::vec("(_format|_pretty|_count|a|%5Fformat)(=[a-z%20+]{0,4})?", 0..6)) {
            let query = format!("?{}", pairs.join("&"));
            let left = without(query.as_bytes(), true).unwrap_or_else(|| query.clone().into_bytes());
            let kept: Vec<&str> = pairs.iter().map(String::as_str).filter(|pair| !pair.contains("format") && !pair.contains("_pretty")).collect();
            let expected = if kept.is_empty() && query != "?" { String::new() } else { format!("?{}", kept.join("&")) };
            prop_assert_eq!(String::from_utf8(left).unwrap(), expected);
        }
    }
}

//! In which format a client wants its answer: `_format` and Accept (FHIR R4, "RESTful API", 3.1.0.1.11).
//!
//! OpenEMR speaks JSON and nothing else, looks at Accept nowhere but at `$export`, and answers `_format` with an empty
//! Bundle.

use std::borrow::Cow;

/// A format in which the gateway can say that something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/fhir+json`.
    #[default]
    Json,
    /// `application/fhir+xml`.
    Xml,
}

impl Format {
    /// Its Content-Type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json; charset=utf-8",
            Self::Xml => "application/fhir+xml; charset=utf-8",
        }
    }
}

/// What `_format` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// JSON, by one of its names.
    Json,
    /// XML, by one of its names.
    Xml,
    /// Another format.
    Other,
}

impl Named {
    /// What a value of `_format` names. A `+` that was not encoded has become a blank.
    #[must_use]
    pub fn of(value: &str) -> Self {
        let essence = value.split(';').next().unwrap_or_default().trim().replace(' ', "+").to_ascii_lowercase();
        match essence.as_str() {
            "json" | "fhir+json" => Self::Json,
            "xml" | "fhir+xml" => Self::Xml,
            name if is_json(name.as_bytes()) => Self::Json,
            name if is_fhir_xml(name.as_bytes()) || is_plain_xml(name.as_bytes()) => Self::Xml,
            _ => Self::Other,
        }
    }
}

/// A media type, or a content coding, without its parameters.
#[must_use]
pub fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn is_json(name: &[u8]) -> bool {
    [&b"application/fhir+json"[..], b"application/json", b"application/json+fhir", b"text/json"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn is_fhir_xml(name: &[u8]) -> bool {
    [&b"application/fhir+xml"[..], b"application/xml+fhir"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_plain_xml(name: &[u8]) -> bool {
    [&b"application/xml"[..], b"text/xml"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What a query says about the answer's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    /// The first `_format`.
    pub format: Option<Named>,
    /// The last `_pretty`.
    pub pretty: Option<bool>,
}

/// Reads `_format` and `_pretty`. `query` with or without its `?`.
#[must_use]
pub fn form(query: &[u8]) -> Form {
    let mut form = Form::default();
    if !may_have_form(query) {
        return form;
    }
    for (name, value) in pairs(query).filter_map(parameter) {
        match name {
            Parameter::Format => form.format = form.format.or_else(|| Some(Named::of(&value))),
            Parameter::Pretty => form.pretty = Some(value.trim() != "false"),
        }
    }
    form
}

/// The query without `_format`, and without `_pretty` when `pretty` says so; everything else byte for byte. None when there
/// is nothing to take out.
#[must_use]
pub fn without_form(query: &[u8], pretty: bool) -> Option<Vec<u8>> {
    if !may_have_form(query) {
        return None;
    }
    let is_taken = |pair: &[u8]| match parameter(pair) {
        Some((Parameter::Format, _)) => true,
        Some((Parameter::Pretty, _)) => pretty,
        None => false,
    };
    if !pairs(query).any(is_taken) {
        return None;
    }
    let mut kept = Vec::with_capacity(query.len());
    for pair in pairs(query).filter(|pair| !is_taken(pair)) {
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

/// Most queries have neither: one look without a decoder. An encoded name has a `%`.
fn may_have_form(query: &[u8]) -> bool {
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

/// How much a client likes JSON and XML, in thousandths (RFC 9110 section 12.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    json: u16,
    xml: u16,
}

/// How narrowly a media range names a format; the narrowest one counts (RFC 9110 section 12.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    Anything,
    Application,
    ByName,
}

impl Accepted {
    /// Reads the Accept fields of a request; none of them accept everything.
    #[must_use]
    pub fn of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut json, mut xml, mut plain_xml) = (Best::default(), Best::default(), Best::default());
        let (mut said_something, mut is_browser) = (false, false);
        for item in fields.flat_map(|field| field.split(|byte| *byte == b',')) {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            said_something = true;
            let quality = parts.find_map(quality).unwrap_or(1000);
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
        if !said_something {
            return Self { json: 1000, xml: 1000 };
        }
        // What a browser calls XML is a web page.
        if !is_browser && let Some((_, quality)) = plain_xml.0 {
            xml.take(Range::ByName, quality);
        }
        Self { json: json.quality(), xml: xml.quality() }
    }

    /// JSON, unless the client likes XML better.
    #[must_use]
    pub fn format(self) -> Format {
        if self.xml > self.json { Format::Xml } else { Format::Json }
    }

    /// Whether it wants XML and will not have JSON.
    #[must_use]
    pub fn is_xml_alone(self) -> bool {
        self.xml > 0 && self.json == 0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Best(Option<(Range, u16)>);

impl Best {
    /// Of two names of one format the better liked counts.
    fn take(&mut self, range: Range, quality: u16) {
        self.0 = self.0.max(Some((range, quality)));
    }

    fn quality(self) -> u16 {
        self.0.map_or(0, |(_, quality)| quality)
    }
}

/// A weight in thousandths; one that is none counts as the least.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at(parameter.iter().position(|byte| *byte == b'=')?);
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let value = std::str::from_utf8(value.get(1..)?).ok()?.trim().parse::<f32>().unwrap_or(0.0);
    // Within 0..=1000, or 0 for what is not a number.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// How errors are said.
    pub errors: Format,
    /// Whether it can be given what it asks for: JSON will do.
    pub acceptable: bool,
}

/// Decides by `_format`, which stands above Accept, and by Accept. A client that names neither JSON nor XML is given JSON
/// (RFC 9110 section 12.4.1 lets a server do so). `accept_is_of_a_document`: the answer can be a document of any type, which
/// Accept is then about.
#[must_use]
pub fn negotiate(format: Option<Named>, accepted: Accepted, accept_is_of_a_document: bool) -> Negotiated {
    match format {
        Some(Named::Json) => Negotiated { errors: Format::Json, acceptable: true },
        Some(Named::Xml) => Negotiated { errors: Format::Xml, acceptable: false },
        Some(Named::Other) => Negotiated { errors: accepted.format(), acceptable: false },
        None => Negotiated { errors: accepted.format(), acceptable: accept_is_of_a_document || !accepted.is_xml_alone() },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        ] {
            assert_eq!(Named::of(json), Named::Json, "{json}");
        }
        for xml in ["xml", "text/xml", "application/xml", "application/fhir+xml", "application/fhir xml;charset=utf-8"] {
            assert_eq!(Named::of(xml), Named::Xml, "{xml}");
        }
        for other in ["", "html", "text/html", "ttl", "jsonx", "application/fhir+ndjson", "application/pdf"] {
            assert_eq!(Named::of(other), Named::Other, "{other}");
        }
    }

    #[test]
    fn takes_format_and_pretty_out_and_nothing_else() {
        for (query, pretty, left, form_) in [
            ("?_format=json", true, Some(""), (Some(Named::Json), None)),
            ("?_count=5&_format=application/fhir+json", true, Some("?_count=5"), (Some(Named::Json), None)),
            ("?_format=xml&name=M%C3%BCller&a=+b", true, Some("?name=M%C3%BCller&a=+b"), (Some(Named::Xml), None)),
            ("?%5fformat=json&x", true, Some("?x"), (Some(Named::Json), None)),
            ("?_format=json&_format=xml&x=1&&", true, Some("?x=1&&"), (Some(Named::Json), None)),
            ("_format=xml&x", true, Some("x"), (Some(Named::Xml), None)),
            ("?_pretty=true&x", true, Some("?x"), (None, Some(true))),
            ("?_pretty=true&x", false, None, (None, Some(true))),
            ("?_format=json&_pretty=false&x", false, Some("?_pretty=false&x"), (Some(Named::Json), Some(false))),
            ("?name=_format", true, None, (None, None)),
            ("?_formats=1&x_pretty=1", true, None, (None, None)),
            ("", true, None, (None, None)),
            ("?", true, None, (None, None)),
            ("?a=%41", true, None, (None, None)),
        ] {
            assert_eq!(without_form(query.as_bytes(), pretty).as_deref(), left.map(str::as_bytes), "{query}");
            assert_eq!(form(query.as_bytes()), Form { format: form_.0, pretty: form_.1 }, "{query}");
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
        let xml = Accepted { json: 0, xml: 1000 };
        let any = Accepted { json: 1000, xml: 1000 };
        for (format, accepted, document, errors, acceptable) in [
            (None, any, false, Format::Json, true),
            (None, xml, false, Format::Xml, false),
            (None, xml, true, Format::Xml, true),
            (Some(Named::Json), xml, false, Format::Json, true),
            (Some(Named::Xml), any, false, Format::Xml, false),
            (Some(Named::Xml), any, true, Format::Xml, false),
            (Some(Named::Other), any, false, Format::Json, false),
            (Some(Named::Other), xml, false, Format::Xml, false),
        ] {
            assert_eq!(negotiate(format, accepted, document), Negotiated { errors, acceptable }, "{format:?} {accepted:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (form(&bytes), without_form(&bytes, true), Accepted::of(std::iter::once(&bytes[..])));
        }

        /// What is left is what was there, in order, without these two.
        #[test]
        fn the_rest_of_a_query_stays(pairs in proptest::collection::vec("(_format|_pretty|_count|a|%5Fformat)(=[a-z%20+]{0,4})?", 0..6)) {
            let query = format!("?{}", pairs.join("&"));
            let left = without_form(query.as_bytes(), true).unwrap_or_else(|| query.clone().into_bytes());
            let kept: Vec<&str> = pairs.iter().map(String::as_str).filter(|pair| !pair.contains("format") && !pair.contains("_pretty")).collect();
            let expected = if kept.is_empty() && query != "?" { String::new() } else { format!("?{}", kept.join("&")) };
            prop_assert_eq!(String::from_utf8(left).unwrap(), expected);
        }
    }
}

//! The media types of text that can contain links.

use crate::fhir::media_type::essence;

/// The kind of a media type, as far as links are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkText {
    /// `application/json`, `application/fhir+json` and their like.
    Json,
    /// The same with one document a line.
    Ndjson,
    /// `application/xml`, `text/xml`, and whatever ends with `+xml`.
    Xml,
    /// `text/…`
    Text,
    /// `application/x-www-form-urlencoded`
    Form,
    /// Anything else.
    Other,
}

impl LinkText {
    /// Returns the kind of a Content-Type.
    #[must_use]
    pub(crate) fn of(content_type: &[u8]) -> Self {
        let media_type = essence(content_type);
        let is = |known: &[&[u8]]| known.iter().any(|one| media_type.eq_ignore_ascii_case(one));
        let ends = |suffix: &[u8]| {
            let from = media_type.len().saturating_sub(suffix.len());
            media_type.get(from..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let is_text = media_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
        match media_type {
            _ if ends(b"ndjson") || is(&[b"application/jsonl", b"application/x-jsonlines"]) => Self::Ndjson,
            _ if is(&[b"application/json", b"text/json"]) || ends(b"+json") => Self::Json,
            _ if is(&[b"application/xml", b"text/xml"]) || ends(b"+xml") => Self::Xml,
            _ if is_text => Self::Text,
            _ if is(&[b"application/x-www-form-urlencoded"]) => Self::Form,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_in_text() {
        for (content_type, kind) in [
            ("application/json", LinkText::Json),
            ("application/fhir+json; charset=utf-8", LinkText::Json),
            ("APPLICATION/FHIR+JSON", LinkText::Json),
            ("text/json", LinkText::Json),
            ("application/fhir+xml", LinkText::Xml),
            ("text/xml;charset=x", LinkText::Xml),
            ("application/xml", LinkText::Xml),
            ("application/fhir+ndjson", LinkText::Ndjson),
            ("application/x-ndjson", LinkText::Ndjson),
            ("text/plain", LinkText::Text),
            ("text/html; charset=utf-8", LinkText::Text),
            ("application/x-www-form-urlencoded", LinkText::Form),
            ("application/octet-stream", LinkText::Other),
            ("application/pdf", LinkText::Other),
            ("application/dicom", LinkText::Other),
            ("image/png", LinkText::Other),
            ("tex", LinkText::Other),
            ("", LinkText::Other),
        ] {
            assert_eq!(LinkText::of(content_type.as_bytes()), kind, "{content_type}");
        }
    }
}

//! Which request bodies PHP reads as forms (`sapi_read_post_data`): by their media type alone, on POST.

/// A form, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
    /// `multipart/form-data`.
    Multipart,
}

impl Form {
    /// Returns the kind of form that PHP takes a body of this Content-Type for; `None` where it leaves the body alone.
    #[must_use]
    pub(crate) fn of(content_type: &[u8]) -> Option<Self> {
        // PHP ends the media type at the first of these, a comma too.
        let ends = |byte: &u8| matches!(byte, b';' | b',') || byte.is_ascii_whitespace();
        let media_type = content_type.trim_ascii_start().split(ends).next().unwrap_or_default();
        if media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return Some(Self::UrlEncoded);
        }
        media_type.eq_ignore_ascii_case(b"multipart/form-data").then_some(Self::Multipart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_the_beginning_of_the_media_type() {
        for (content_type, form) in [
            ("application/x-www-form-urlencoded", Some(Form::UrlEncoded)),
            ("Application/X-WWW-Form-URLencoded;charset=utf-8", Some(Form::UrlEncoded)),
            ("application/x-www-form-urlencoded, application/json", Some(Form::UrlEncoded)),
            ("application/x-www-form-urlencoded application/json", Some(Form::UrlEncoded)),
            (" application/x-www-form-urlencoded", Some(Form::UrlEncoded)),
            ("multipart/form-data; boundary=x", Some(Form::Multipart)),
            ("MULTIPART/FORM-DATA", Some(Form::Multipart)),
            ("multipart/related", None),
            ("application/json, application/x-www-form-urlencoded", None),
            ("application/fhir+json", None),
            ("", None),
        ] {
            assert_eq!(Form::of(content_type.as_bytes()), form, "{content_type}");
        }
    }
}

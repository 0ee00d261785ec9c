//! The field `Prefer` (RFC 7240), of whose preferences FHIR R4 uses `handling`, `return` and `respond-async`.

use crate::fhir::quoted::{outside_quotes, unquoted};

/// How a search handles parameters that it does not know (FHIR R4, "Search", 3.1.1.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// The request is rejected.
    Strict,
    /// The parameters are left out, and the answer says so.
    Lenient,
}

impl Handling {
    /// Reads the handling from the lines of a request's `Prefer`; `None` where they name none.
    #[must_use]
    pub(crate) fn named<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        match value_of(lines, "handling")? {
            value if value.eq_ignore_ascii_case(b"strict") => Some(Self::Strict),
            value if value.eq_ignore_ascii_case(b"lenient") => Some(Self::Lenient),
            _ => None,
        }
    }
}

/// The body of the answer to a create or an update (FHIR R4, "RESTful API", 3.1.0.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// No body.
    Minimal,
    /// The resource.
    Representation,
    /// An OperationOutcome that says what was done.
    OperationOutcome,
}

impl Return {
    /// Reads the preference from the lines of a request's `Prefer`; `None` where they name none.
    #[must_use]
    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        match value_of(lines, "return")? {
            value if value.eq_ignore_ascii_case(b"minimal") => Some(Self::Minimal),
            value if value.eq_ignore_ascii_case(b"representation") => Some(Self::Representation),
            value if value.eq_ignore_ascii_case(b"OperationOutcome") => Some(Self::OperationOutcome),
            _ => None,
        }
    }
}

/// Returns the value of a preference, which is empty where it has none; `None` where the preference is not named. If it is named
/// twice the first one counts (RFC 7240, section 2).
#[must_use]
pub(crate) fn value_of<'a>(lines: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    lines.into_iter().flat_map(|line| outside_quotes(line, b',')).find_map(|preference| {
        // After the first semicolon come parameters of the preference.
        let preference = outside_quotes(preference, b';').next()?;
        let at = preference.iter().position(|byte| *byte == b'=').unwrap_or(preference.len());
        let (token, value) = preference.split_at(at);
        let value = value.strip_prefix(b"=").unwrap_or_default().trim_ascii();
        token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()).then(|| unquoted(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn handling_among_other_preferences() {
        for (lines, strict) in [
            (&["handling=strict"][..], true),
            (&["respond-async, handling=strict"], true),
            (&["respond-async", "return=minimal; a=b, Handling = \"Strict\" ;x"], true),
            (&["handling=lenient, handling=strict"], false),
            (&["handling=strict", "handling=lenient"], true),
            (&["handling"], false),
            (&["x=\"a, handling=strict\""], false),
            (&["x=\"a\\\", handling=strict\""], false),
            (&["x=\"a\\\"\", handling=strict"], true),
            (&["x; handling=strict"], false),
            (&["handling=strictly"], false),
            (&[""], false),
            (&[], false),
        ] {
            let handling = Handling::named(lines.iter().map(|line| line.as_bytes()));
            assert_eq!(handling == Some(Handling::Strict), strict, "{lines:?}");
        }
    }

    #[test]
    fn the_answer_to_a_write() {
        for (lines, expected) in [
            (&[][..], None),
            (&["return=minimal"], Some(Return::Minimal)),
            (&["RETURN = Representation"], Some(Return::Representation)),
            (&["return=\"OperationOutcome\""], Some(Return::OperationOutcome)),
            (&["respond-async, return=minimal"], Some(Return::Minimal)),
            (&["respond-async", "return=representation; x=y"], Some(Return::Representation)),
            (&["return=all"], None),
            (&["return", "returned=minimal", "=", "minimal"], None),
        ] {
            assert_eq!(Return::of(lines.iter().map(|line| line.as_bytes())), expected, "{lines:?}");
        }
    }

    #[test]
    fn other_preferences_have_values() {
        let line = b"respond-async, return=representation;foo=\"a;b\", wait=\"\"";
        let value = |name| value_of([&line[..]], name);
        assert_eq!(value("return"), Some(&b"representation"[..]));
        assert_eq!(value("respond-async"), Some(&b""[..]));
        assert_eq!(value("wait"), Some(&b""[..]));
        assert_eq!(value("foo"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Handling::named([&line[..]]);
        }
    }
}

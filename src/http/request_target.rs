//! The request target: what a client may ask for, and what goes to OpenEMR in its place (RFC 9112 section 3.2).
//!
//! Path and query pass through byte for byte. A path that Apache or PHP could read as another one is refused, and never reaches
//! OpenEMR.
//!
//! Decision: `docs/decisions/11-paths.md`.

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnsafePath {
    /// `.`, `..`, or either of them percent-encoded.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `//`: servers differ on what it means.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `%2F`, `%5C` or `%25`: another path once it is decoded a second time.
    #[error("the path has an encoded slash, backslash or percent sign")]
    EncodedSeparator,
    /// `\`.
    #[error("the path has a backslash")]
    Backslash,
    /// `&`, `#`, `?` or `+`, raw or encoded: OpenEMR's rewrite rule puts the decoded path into a query, where PHP takes what
    /// follows them for something else, such as another route.
    #[error("the path has a character that OpenEMR reads as part of a query")]
    QueryDelimiter,
    /// NUL and its like, raw or encoded.
    #[error("the path has a control character")]
    Control,
    /// `%` without two hex digits.
    #[error("the path has a broken percent-encoding")]
    BrokenEncoding,
}

/// A request target, split into path and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The path; it begins with `/`, or is `*`.
    pub(crate) path: &'a [u8],
    /// The query with its `?`; empty when there is none.
    pub(crate) query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Splits a target. Of absolute-form (`GET http://gateway/fhir/Patient`), scheme and authority are dropped.
    #[must_use]
    pub(crate) fn parse(raw: &'a [u8]) -> Self {
        let origin_form = match raw.first() {
            Some(b'/') | None => raw,
            Some(_) => after_authority(raw),
        };
        let at = memchr::memchr(b'?', origin_form).unwrap_or(origin_form.len());
        let (path, query) = origin_form.split_at(at);
        Self { path, query }
    }
}

fn after_authority(raw: &[u8]) -> &[u8] {
    let scheme = raw.iter().position(|byte| *byte == b':').and_then(|at| raw.get(at..)?.strip_prefix(b"://"));
    let Some(authority_on) = scheme else { return raw };
    match authority_on.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        Some(at) => authority_on.get(at..).unwrap_or_default(),
        None => b"/",
    }
}

/// Checks a path below the FHIR base: empty, or beginning with `/`.
///
/// # Errors
/// The first reason why the path could leave the FHIR base.
pub(crate) fn check(path: &[u8]) -> Result<(), UnsafePath> {
    let Some(rest) = path.strip_prefix(b"/") else { return Ok(()) };
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err(UnsafePath::EmptySegment);
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), UnsafePath> {
    // The length of the segment once decoded, as long as it is nothing but dots.
    let mut dots = Some(0_usize);
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        let (decoded, tail) = match byte {
            b'%' => match tail {
                [high, low, tail @ ..] => (hex(*high, *low).ok_or(UnsafePath::BrokenEncoding)?, tail),
                _ => return Err(UnsafePath::BrokenEncoding),
            },
            other => (other, tail),
        };
        match decoded {
            b'/' | b'%' => return Err(UnsafePath::EncodedSeparator),
            b'\\' if byte == b'%' => return Err(UnsafePath::EncodedSeparator),
            b'\\' => return Err(UnsafePath::Backslash),
            b'&' | b'#' | b'?' | b'+' => return Err(UnsafePath::QueryDelimiter),
            0..=0x1f | 0x7f => return Err(UnsafePath::Control),
            b'.' => dots = dots.map(|count| count + 1),
            _ => dots = None,
        }
        rest = tail;
    }
    match dots {
        Some(1 | 2) => Err(UnsafePath::DotSegment),
        _ => Ok(()),
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Iterates over the segments of a path, percent-decoded. Empty ones are skipped.
pub(crate) fn segments(path: &[u8]) -> impl Iterator<Item = String> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty()).map(|segment| {
        let mut decoded = Vec::with_capacity(segment.len());
        let mut rest = segment;
        while let Some((&byte, tail)) = rest.split_first() {
            let escaped = tail.split_at_checked(2).filter(|_| byte == b'%');
            let escaped = escaped.and_then(|(digits, tail)| Some((hex(*digits.first()?, *digits.last()?)?, tail)));
            let (byte, tail) = escaped.unwrap_or((byte, tail));
            decoded.push(byte);
            rest = tail;
        }
        String::from_utf8_lossy(&decoded).into_owned()
    })
}

/// Joins the target that goes to OpenEMR: `base`, the path below it, and the query.
#[must_use]
pub(crate) fn onto(base: &str, rest: &[u8], query: &[u8]) -> Vec<u8> {
    // `/fhir` and `/fhir/` alone are the base itself.
    let rest = if rest == b"/" { b"" } else { rest };
    let mut target = Vec::with_capacity(base.len() + rest.len() + query.len() + 1);
    target.extend_from_slice(base.as_bytes());
    target.extend_from_slice(rest);
    if target.is_empty() {
        target.push(b'/');
    }
    target.extend_from_slice(query);
    target
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_both_forms_of_a_target() {
        for (raw, path, query) in [
            ("/fhir/Patient?_count=5", "/fhir/Patient", "?_count=5"),
            ("/fhir", "/fhir", ""),
            ("/fhir?a?b", "/fhir", "?a?b"),
            ("http://gw:8000/fhir/Patient?x", "/fhir/Patient", "?x"),
            ("http://gw:8000", "/", ""),
            ("http://gw?x=/y", "", "?x=/y"),
            ("*", "*", ""),
            ("", "", ""),
        ] {
            assert_eq!(Target::parse(raw.as_bytes()), Target { path: path.as_bytes(), query: query.as_bytes() }, "{raw}");
        }
    }

    #[test]
    fn lets_fhir_paths_pass() {
        for good in [
            "",
            "/",
            "/Patient",
            "/Patient/",
            "/Patient/a.b-c",
            "/Patient/..a",
            "/Patient/...",
            "/$export",
            "/Patient/$export",
            "/Group/1/$export",
            "/Patient/%41",
            "/Patient/a%20b",
            "/Patient/a|b:c",
            "/metadata",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn refuses_what_could_leave_the_base() {
        use UnsafePath::*;
        for (bad, reason) in [
            ("/..", DotSegment),
            ("/Patient/..", DotSegment),
            ("/../api", DotSegment),
            ("/.", DotSegment),
            ("/%2e%2e/api", DotSegment),
            ("/%2E./api", DotSegment),
            ("/.%2e", DotSegment),
            ("/%2e", DotSegment),
            ("//Patient", EmptySegment),
            ("/Patient//1", EmptySegment),
            ("//", EmptySegment),
            ("/a%2fb", EncodedSeparator),
            ("/a%2F..", EncodedSeparator),
            ("/a%5cb", EncodedSeparator),
            ("/%252e%252e", EncodedSeparator),
            ("/a\\b", Backslash),
            ("/Patient/1&_REWRITE_COMMAND=default/fhir/metadata", QueryDelimiter),
            ("/Patient/1%26_REWRITE_COMMAND=default/api/patient", QueryDelimiter),
            ("/Patient/1%23", QueryDelimiter),
            ("/Patient/1%3f_count=1", QueryDelimiter),
            ("/Patient/1+2", QueryDelimiter),
            ("/Patient/1%2b2", QueryDelimiter),
            ("/a%00", Control),
            ("/a\0", Control),
            ("/a%0d%0aX", Control),
            ("/a%7f", Control),
            ("/a%", BrokenEncoding),
            ("/a%4", BrokenEncoding),
            ("/a%zz", BrokenEncoding),
        ] {
            assert_eq!(check(bad.as_bytes()), Err(reason), "{bad}");
        }
    }

    #[test]
    fn segments_are_decoded() {
        for (path, expected) in [
            ("/Patient/1", &["Patient", "1"][..]),
            ("/%50atient/%61%2D1/", &["Patient", "a-1"]),
            ("/a%/b%4/c%zz", &["a%", "b%4", "c%zz"]),
            ("", &[]),
        ] {
            assert_eq!(segments(path.as_bytes()).collect::<Vec<_>>(), expected, "{path}");
        }
    }

    #[test]
    fn the_base_stands_alone_for_an_empty_rest() {
        assert_eq!(onto("/apis/default/fhir", b"", b""), b"/apis/default/fhir");
        assert_eq!(onto("/apis/default/fhir", b"/", b"?x"), b"/apis/default/fhir?x");
        assert_eq!(onto("/apis/default/fhir", b"/Patient/", b""), b"/apis/default/fhir/Patient/");
        assert_eq!(onto("", b"", b"?x"), b"/?x");
    }

    /// Decodes and resolves a path the way a careless server would.
    fn resolved(path: &[u8]) -> Vec<String> {
        let mut text = String::from_utf8_lossy(path).into_owned();
        for _ in 0..3 {
            text = form_urlencoded::parse(format!("p={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap();
        }
        let mut stack = Vec::new();
        for segment in text.replace('\\', "/").split('/').filter(|s| !s.is_empty() && *s != ".") {
            if segment == ".." {
                stack.pop();
            } else {
                stack.push(segment.to_owned());
            }
        }
        stack
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_the_base(path in "(/(\\.|%2e|%2E|%252e|a|%2f|%5c|\\\\|/|%00|%|2e){0,6}){0,5}") {
            let base = ["apis", "default", "fhir"];
            if check(path.as_bytes()).is_ok() {
                let target = onto("/apis/default/fhir", path.as_bytes(), b"");
                let place = resolved(&target);
                prop_assert!(place.len() >= 3 && place.iter().zip(base).all(|(a, b)| a == b), "{path} -> {place:?}");
            }
        }

        #[test]
        fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            let target = Target::parse(&raw);
            let _ = check(target.path);
        }
    }
}

//! The request target: what a client may ask for, and what goes to OpenEMR in its place (RFC 9112 section 3.2).
//!
//! Path and query pass through byte for byte. A target that Apache or PHP could read as another one is refused on every route,
//! and never reaches OpenEMR.
//!
//! Decision: `docs/decisions/11-paths.md`.

use std::fmt;

/// Why a request target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnsafeTarget {
    /// Neither a path nor an http URL: `ftp://…`, `*`, `gateway:443`, nothing.
    #[error("the request target is no path and no http URL")]
    Form,
    /// `#`, which ends a URL before it is sent.
    #[error("the request target has a fragment")]
    Fragment,
    /// Bytes outside of ASCII, which must be percent-encoded.
    #[error("the {0} has a character that is not percent-encoded")]
    Raw(Part),
    /// Overlong or otherwise invalid UTF-8, once decoded.
    #[error("the {0} is not UTF-8")]
    NotUtf8(Part),
    /// `.`, `..`, or either of them percent-encoded or with parameters (`..;x`), which some servers strip.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `//`, or `/;x/`: servers differ on what it means.
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
    /// NUL and its like: in a path raw or encoded, in a query raw.
    #[error("the {0} has a control character")]
    Control(Part),
    /// `%` without two hex digits.
    #[error("the path has a broken percent-encoding")]
    BrokenEncoding,
}

/// A part of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The path.
    Path,
    /// The query.
    Query,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "path",
            Self::Query => "query",
        })
    }
}

/// A request target, split into path and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The path, which begins with `/`.
    pub(crate) path: &'a [u8],
    /// The query with its `?`; empty when there is none.
    pub(crate) query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Splits a target. Of absolute-form (`GET http://gateway/fhir/Patient`), scheme and authority are dropped.
    ///
    /// # Errors
    /// It is in none of these two forms.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, UnsafeTarget> {
        let origin_form = match raw.first() {
            Some(b'/') => raw,
            Some(_) | None => after_authority(raw).ok_or(UnsafeTarget::Form)?,
        };
        let at = memchr::memchr(b'?', origin_form).unwrap_or(origin_form.len());
        let (path, query) = origin_form.split_at(at);
        Ok(Self { path: if path.is_empty() { b"/" } else { path }, query })
    }

    /// Checks that every server reads the target alike.
    ///
    /// # Errors
    /// The first reason why another server could read it otherwise, and it could leave the FHIR base.
    pub(crate) fn check(&self) -> Result<(), UnsafeTarget> {
        check_path(self.path)?;
        check_query(self.query)
    }
}

fn after_authority(raw: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = raw.split_at_checked(memchr::memchr(b':', raw)?)?;
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let authority_on = rest.strip_prefix(b"://").filter(|_| is_http)?;
    let (authority, path_on) = authority_on.split_at(memchr::memchr2(b'/', b'?', authority_on).unwrap_or(authority_on.len()));
    (!authority.is_empty()).then_some(path_on)
}

fn check_path(path: &[u8]) -> Result<(), UnsafeTarget> {
    let mut segments = path.strip_prefix(b"/").ok_or(UnsafeTarget::Form)?.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err(UnsafeTarget::EmptySegment);
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), UnsafeTarget> {
    // The length of the segment before its parameters once decoded, as long as it is nothing but dots.
    let (mut dots, mut in_parameters) = (Some(0_usize), false);
    let mut characters = Utf8::default();
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        let (decoded, tail) = match byte {
            b'%' => match tail {
                [high, low, tail @ ..] => (hex(*high, *low).ok_or(UnsafeTarget::BrokenEncoding)?, tail),
                _ => return Err(UnsafeTarget::BrokenEncoding),
            },
            0x80.. => return Err(UnsafeTarget::Raw(Part::Path)),
            other => (other, tail),
        };
        characters.feed(decoded).ok_or(UnsafeTarget::NotUtf8(Part::Path))?;
        match decoded {
            b'/' | b'%' => return Err(UnsafeTarget::EncodedSeparator),
            b'\\' if byte == b'%' => return Err(UnsafeTarget::EncodedSeparator),
            b'\\' => return Err(UnsafeTarget::Backslash),
            b'&' | b'#' | b'?' | b'+' => return Err(UnsafeTarget::QueryDelimiter),
            0..=0x1f | 0x7f => return Err(UnsafeTarget::Control(Part::Path)),
            b';' => in_parameters = true,
            _ if in_parameters => {}
            b'.' => dots = dots.map(|count| count + 1),
            _ => dots = None,
        }
        rest = tail;
    }
    match dots {
        _ if !characters.is_complete() => Err(UnsafeTarget::NotUtf8(Part::Path)),
        Some(1 | 2) => Err(UnsafeTarget::DotSegment),
        Some(0) if in_parameters => Err(UnsafeTarget::EmptySegment),
        _ => Ok(()),
    }
}

/// Checks a query. What is not a percent-encoding in it stands for itself, as PHP has it.
fn check_query(query: &[u8]) -> Result<(), UnsafeTarget> {
    let mut characters = Utf8::default();
    let mut rest = query;
    while let Some((&byte, tail)) = rest.split_first() {
        let (decoded, tail) = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high, *low).map_or((byte, tail), |decoded| (decoded, after)),
            (0..=0x1f | 0x7f, _) => return Err(UnsafeTarget::Control(Part::Query)),
            (0x80.., _) => return Err(UnsafeTarget::Raw(Part::Query)),
            _ => (byte, tail),
        };
        characters.feed(decoded).ok_or(UnsafeTarget::NotUtf8(Part::Query))?;
        rest = tail;
    }
    if characters.is_complete() { Ok(()) } else { Err(UnsafeTarget::NotUtf8(Part::Query)) }
}

/// Checks a text byte by byte for being UTF-8 (RFC 3629 section 4).
#[derive(Default)]
struct Utf8 {
    /// How many bytes of the character are to come, and the range of the next.
    left: u8,
    next: (u8, u8),
}

impl Utf8 {
    /// Takes a byte; `None` where the text ceases to be UTF-8 with it.
    fn feed(&mut self, byte: u8) -> Option<()> {
        if self.left > 0 {
            let (least, most) = std::mem::replace(&mut self.next, (0x80, 0xbf));
            self.left -= 1;
            return (least..=most).contains(&byte).then_some(());
        }
        (self.left, self.next) = match byte {
            0..=0x7f => (0, (0, 0)),
            0xc2..=0xdf => (1, (0x80, 0xbf)),
            0xe0 => (2, (0xa0, 0xbf)),
            0xed => (2, (0x80, 0x9f)),
            0xe1..=0xef => (2, (0x80, 0xbf)),
            0xf0 => (3, (0x90, 0xbf)),
            0xf1..=0xf3 => (3, (0x80, 0xbf)),
            0xf4 => (3, (0x80, 0x8f)),
            0x80..=0xc1 | 0xf5.. => return None,
        };
        Some(())
    }

    fn is_complete(&self) -> bool {
        self.left == 0
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
mod tests;

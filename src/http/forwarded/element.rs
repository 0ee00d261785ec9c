//! The entries of `X-Forwarded-*` and `Forwarded`, which may be spread over several field lines (RFC 9110 section 5.3).

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::trusted_proxy::Family;

/// The most entries of a list that is read.
const MOST_ELEMENTS: usize = 32;

/// The entries of a list, in order.
pub(super) struct Elements<'a> {
    elements: [&'a [u8]; MOST_ELEMENTS],
    count: usize,
}

impl<'a> Elements<'a> {
    /// The entries of the list of clients; `None` where it is too long, or its quotes do not add up.
    pub(super) fn of(fields: &'a HeaderMap, family: Family) -> Option<Self> {
        match family {
            Family::XForwarded => Self::x_forwarded(fields, "x-forwarded-for"),
            Family::Forwarded => Self::read(fields, FORWARDED.as_str(), outside_quotes),
        }
    }

    /// The entries of a field of the `X-Forwarded` family, which has no quotes.
    pub(super) fn x_forwarded(fields: &'a HeaderMap, name: &str) -> Option<Self> {
        Self::read(fields, name, |text, separator| Some(memchr::memchr(separator, text)))
    }

    fn read(fields: &'a HeaderMap, name: &str, find: impl Fn(&[u8], u8) -> Option<Option<usize>>) -> Option<Self> {
        let mut read = Self { elements: [&[]; MOST_ELEMENTS], count: 0 };
        for line in fields.get_all(name).iter().map(HeaderValue::as_bytes) {
            let mut rest = Some(line);
            while let Some(text) = rest {
                let (element, after) = split(text, find(text, b',')?);
                *read.elements.get_mut(read.count)? = element.trim_ascii();
                read.count += 1;
                rest = after;
            }
        }
        Some(read)
    }

    pub(super) fn last_first(&self) -> impl Iterator<Item = &'a [u8]> {
        self.elements.iter().take(self.count).rev().copied()
    }
}

/// The value of a parameter of an element of `Forwarded` (RFC 7239 section 4), without its quotes; `None` where the element is
/// malformed, lacks it, or has it twice, and for values with an escaped character, which no address and no host needs.
pub(super) fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (mut found, mut rest) = (None, Some(element));
    while let Some(text) = rest {
        let (pair, after) = split(text, outside_quotes(text, b';')?);
        let (key, value) = split(pair, memchr::memchr(b'=', pair));
        let (key, value) = (key.trim_ascii(), value?.trim_ascii());
        if key.is_empty() || !key.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return None;
        }
        if key.eq_ignore_ascii_case(name.as_bytes()) && found.replace(unquoted(value)?).is_some() {
            return None;
        }
        rest = after;
    }
    found
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let inside = match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"")?,
        None => value,
    };
    (!inside.iter().any(|byte| matches!(byte, b'"' | b'\\'))).then_some(inside)
}

/// Splits at a separator, which belongs to neither part.
fn split(text: &[u8], at: Option<usize>) -> (&[u8], Option<&[u8]>) {
    match at.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Finds a separator outside of quoted strings (RFC 9110 section 5.6.4); `None` where a quoted string has no end.
fn outside_quotes(text: &[u8], separator: u8) -> Option<Option<usize>> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => return Some(Some(at)),
            _ => {}
        }
    }
    (!quoted).then_some(None)
}

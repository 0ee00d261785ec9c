//! The head of a Bundle as OpenEMR writes it: everything before the entries. It has a few hundred bytes and no white space.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use std::ops::Range;

use memchr::memchr2;

/// The longest head that is read, in bytes. OpenEMR's have a tenth of that.
pub(crate) const MAX_HEAD: usize = 4096;

/// The head of a Bundle. Ranges are of the bytes that were read, without quotes, and escaped as there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BundleHead {
    /// `meta.lastUpdated`.
    pub(crate) last_updated: Range<usize>,
    /// The URL of the only link, `self`.
    pub(crate) self_url: Range<usize>,
    /// Whether entries follow, of which the first begins after the head. Otherwise the Bundle ends with the head.
    pub(crate) has_entries: bool,
    /// The length in bytes.
    pub(crate) length: usize,
}

/// The reason why no head was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHead {
    /// More bytes are needed.
    Short,
    /// The document is no Bundle of OpenEMR's.
    Other,
}

impl BundleHead {
    /// Reads the head from the beginning of a body.
    ///
    /// # Errors
    /// [`NoHead::Other`] from the first byte that differs from what OpenEMR writes, [`NoHead::Short`] while there is none.
    pub(crate) fn read(body: &[u8]) -> Result<Self, NoHead> {
        match read(body) {
            Err(NoHead::Short) if body.len() >= MAX_HEAD => Err(NoHead::Other),
            read => read,
        }
    }
}

fn read(body: &[u8]) -> Result<BundleHead, NoHead> {
    let mut at = Cursor { body, at: 0 };
    let mut head = BundleHead::default();
    let (mut is_bundle, mut is_collection) = (false, false);
    at.expect(b"{")?;
    loop {
        // Their order could differ between versions.
        if at.takes(br#""meta":{"lastUpdated":""#)? {
            head.last_updated = at.string()?;
            at.expect(b"}")?;
        } else if at.takes(br#""resourceType":"Bundle""#)? {
            is_bundle = true;
        } else if at.takes(br#""type":"collection""#)? {
            is_collection = true;
        } else if at.takes(br#""total":"#)? {
            at.digits()?;
        } else if at.takes(br#""link":[{"relation":"self","url":""#)? {
            head.self_url = at.string()?;
            at.expect(b"}]")?;
        } else if at.takes(br#""entry":["#)? {
            head.has_entries = at.sees(br#"{"fullUrl":""#)?;
            if !head.has_entries {
                at.expect(b"]}")?;
            }
            break;
        } else {
            return Err(NoHead::Other);
        }
        if at.takes(b"}")? {
            break;
        }
        at.expect(b",")?;
    }
    head.length = at.at;
    if is_bundle && is_collection { Ok(head) } else { Err(NoHead::Other) }
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &[u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    fn sees(&self, text: &[u8]) -> Result<bool, NoHead> {
        let rest = self.rest();
        if rest.len() < text.len() && text.starts_with(rest) { Err(NoHead::Short) } else { Ok(rest.starts_with(text)) }
    }

    fn takes(&mut self, text: &[u8]) -> Result<bool, NoHead> {
        let sees = self.sees(text)?;
        if sees {
            self.at += text.len();
        }
        Ok(sees)
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), NoHead> {
        if self.takes(text)? { Ok(()) } else { Err(NoHead::Other) }
    }

    fn digits(&mut self) -> Result<(), NoHead> {
        match self.rest().iter().position(|byte| !byte.is_ascii_digit()) {
            None => Err(NoHead::Short),
            Some(0) => Err(NoHead::Other),
            Some(length) => {
                self.at += length;
                Ok(())
            }
        }
    }

    /// Reads a string after its opening quote, and consumes the closing one too.
    fn string(&mut self) -> Result<Range<usize>, NoHead> {
        let length = string_length(self.rest()).ok_or(NoHead::Short)?;
        let string = self.at..self.at + length;
        self.at = string.end + 1;
        Ok(string)
    }
}

/// Returns the length of the string that begins at `rest`, after its opening quote; `None` where it does not end there.
#[must_use]
pub(crate) fn string_length(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"meta":{"lastUpdated":"2026-11-24T02:28:26"},"resourceType":"Bundle","type":"collection","total":2,"link":[{"relation":"self","url":"https://emr/fhir/Patient"}]"#;

    fn text(body: &str, range: Range<usize>) -> &str {
        &body[range]
    }

    #[test]
    fn reads_openemrs_head_however_much_of_it_is_there() {
        let new = OLD.replace('/', "\\/");
        let other_order = r#"{"resourceType":"Bundle","total":10,"type":"collection","link":[{"relation":"self","url":"a"}]"#;
        for begun in [OLD, &new, other_order] {
            for (rest, has_entries, behind) in [
                (r#","entry":[{"fullUrl":"x","resource":{}}]}"#, true, r#"{"fullUrl":"x","resource":{}}]}"#),
                (r#","entry":[]}"#, false, ""),
                ("}", false, ""),
                ("}\n", false, "\n"),
            ] {
                let body = format!("{begun}{rest}");
                let head = BundleHead::read(body.as_bytes()).unwrap();
                assert_eq!((head.has_entries, &body[head.length..]), (has_entries, behind), "{body}");
                let seen = if has_entries { head.length + r#"{"fullUrl":""#.len() } else { head.length };
                for cut in 0..seen {
                    assert_eq!(BundleHead::read(&body.as_bytes()[..cut]), Err(NoHead::Short), "{cut} of {body}");
                }
                assert_eq!(BundleHead::read(&body.as_bytes()[..seen]).as_ref(), Ok(&head));
            }
        }
        let body = format!("{new}}}");
        let head = BundleHead::read(body.as_bytes()).unwrap();
        assert_eq!(text(&body, head.self_url), r"https:\/\/emr\/fhir\/Patient");
        assert_eq!(text(&body, head.last_updated), "2026-11-24T02:28:26");
    }

    #[test]
    fn other_documents_are_recognized_early() {
        for other in [
            "[",
            " {",
            "{ ",
            "{\n  \"resourceType\": \"Bundle\"",
            r#"{"resourceType":"Patient""#,
            r#"{"resourceType":"Bundle","id"#,
            r#"{"resourceType":"Bundle","type":"searchset"#,
            r#"{"resourceType":"Bundle","type":"collection","total":x"#,
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource"#,
            r#"{"resourceType":"Bundle"}"#,
            r#"{"resourceType":"Bundle","link":[{"relation":"self","url":"a"},{"#,
            "{}",
        ] {
            assert_eq!(BundleHead::read(other.as_bytes()), Err(NoHead::Other), "{other}");
        }
        let endless = format!(r#"{{"meta":{{"lastUpdated":"{}"#, "a".repeat(MAX_HEAD));
        assert_eq!(BundleHead::read(endless.as_bytes()), Err(NoHead::Other));
    }

    #[test]
    fn strings_end_at_their_own_quote() {
        for (text, length) in
            [(r#"a""#, Some(1)), (r#"\"""#, Some(2)), (r#"\\""#, Some(2)), (r#"a\"#, None), ("", None), ("a", None)]
        {
            assert_eq!(string_length(text.as_bytes()), length, "{text}");
        }
    }
}

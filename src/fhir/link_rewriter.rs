//! Rewrites links: every occurrence of certain base URLs in a body is replaced by another base URL.
//!
//! The search works on bytes, without a tokenizer. It finds a base by its host, which is rare in a body, and compares the
//! bytes around it. A base is recognized in both spellings that JSON allows (`https://h/p`, `https:\/\/h\/p`), with or
//! without the scheme's default port, and only where a URL begins and where its last path segment ends. A match may be
//! split between chunks at any byte. The bytes withheld for that are never more than the longest base.
//!
//! Decision: `docs/decisions/13-links.md`.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::fhir::body_step::BodyStep;

/// The number of bytes before a URL that tell whether one can begin there, which is the length of an escape like `\u0022`.
const LOOK_BACK: usize = 6;

/// How the slashes of a URL are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    Escaped,
}

/// One spelling of a base.
#[derive(Debug)]
struct Needle {
    bytes: Box<[u8]>,
    spelling: Spelling,
    /// The position of the anchor in `bytes`.
    anchor_at: usize,
}

/// A slash and a host, by which needles are found.
#[derive(Debug)]
struct Anchor {
    finder: Finder<'static>,
    /// The longest first: where two bases match, the longer one is meant.
    needles: Vec<Needle>,
}

/// The bases that are searched for, prepared for searching.
#[derive(Debug, Default)]
pub struct Links {
    anchors: Vec<Anchor>,
    longest: usize,
}

/// The base that replaces another, in both spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    plain: Box<[u8]>,
    escaped: Box<[u8]>,
}

/// An occurrence of a base.
#[derive(Debug, Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
    spelling: Spelling,
}

impl Links {
    /// Prepares the search for these bases: absolute http or https URLs without the scheme's default port and without a
    /// trailing slash. Others are ignored.
    #[must_use]
    pub fn to<'a>(bases: impl IntoIterator<Item = &'a str>) -> Self {
        let mut links = Self::default();
        for base in bases {
            links.add(base);
        }
        for anchor in &mut links.anchors {
            anchor.needles.sort_by_key(|needle| std::cmp::Reverse(needle.bytes.len()));
            anchor.needles.dedup_by(|one, other| one.bytes == other.bytes);
        }
        let needles = links.anchors.iter().flat_map(|anchor| &anchor.needles);
        links.longest = needles.map(|needle| needle.bytes.len()).max().unwrap_or(0);
        links
    }

    fn add(&mut self, base: &str) {
        let (scheme, default_port, rest) = if let Some(rest) = base.strip_prefix("https://") {
            ("https", ":443", rest)
        } else if let Some(rest) = base.strip_prefix("http://") {
            ("http", ":80", rest)
        } else {
            return;
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return;
        }
        // A colon within brackets belongs to an IPv6 address.
        let has_port = authority.rfind(':') > authority.rfind(']');
        let ports = if has_port { &[""][..] } else { &["", default_port] };
        for port in ports {
            let plain = format!("{scheme}://{authority}{port}{path}");
            let anchor_at = scheme.len() + 2;
            self.add_needle(authority, Needle { bytes: plain.as_bytes().into(), spelling: Spelling::Plain, anchor_at });
            let bytes = escaped(plain.as_bytes());
            self.add_needle(authority, Needle { bytes, spelling: Spelling::Escaped, anchor_at: anchor_at + 2 });
        }
    }

    fn add_needle(&mut self, authority: &str, needle: Needle) {
        let wanted = format!("/{authority}");
        let known = self.anchors.iter_mut().find(|anchor| anchor.finder.needle() == wanted.as_bytes());
        match known {
            Some(anchor) => anchor.needles.push(needle),
            None => {
                let finder = Finder::new(wanted.as_bytes()).into_owned();
                self.anchors.push(Anchor { finder, needles: vec![needle] });
            }
        }
    }

    /// Replaces the links in a whole text; `None` where there are none.
    #[must_use]
    pub(crate) fn rewritten(&self, text: &[u8], to: &Replacement) -> Option<Vec<u8>> {
        let mut hits = Vec::new();
        self.find(text, &[], text.len(), true, &mut hits);
        (!hits.is_empty()).then(|| to.put(text, &hits))
    }

    /// Adds the occurrences before `limit` to `hits`, in order. `before` holds the bytes of the body before `bytes`, and `is_end`
    /// says that none come after them.
    fn find(&self, bytes: &[u8], before: &[u8], limit: usize, is_end: bool, hits: &mut Vec<Hit>) {
        for anchor in &self.anchors {
            for at in anchor.finder.find_iter(bytes) {
                let hit = anchor.needles.iter().find_map(|needle| {
                    let start = at.checked_sub(needle.anchor_at)?;
                    let rest = bytes.get(start..)?.strip_prefix(&*needle.bytes)?;
                    let ends = rest.first().map_or(is_end, |next| !continues_a_segment(*next));
                    let hit = Hit { start, end: start + needle.bytes.len(), spelling: needle.spelling };
                    (ends && start < limit && url_begins(bytes, before, start)).then_some(hit)
                });
                hits.extend(hit);
            }
        }
        if self.anchors.len() > 1 {
            hits.sort_unstable_by_key(|hit| hit.start);
        }
    }

    /// Returns the position from which the end of `bytes` could be the beginning of a base that the next chunk continues.
    fn beginning_at_the_end(&self, bytes: &[u8], before: &[u8]) -> Option<usize> {
        // This includes a whole base: the byte after it decides whether it matches.
        let from = bytes.len().saturating_sub(self.longest);
        memchr::memchr_iter(b'h', bytes.get(from..)?).map(|at| from + at).find(|start| {
            let tail = bytes.get(*start..).unwrap_or_default();
            let needles = || self.anchors.iter().flat_map(|anchor| &anchor.needles);
            needles().any(|needle| needle.bytes.starts_with(tail)) && url_begins(bytes, before, *start)
        })
    }
}

impl Replacement {
    /// Prepares a base, without a trailing slash.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { plain: base.as_bytes().into(), escaped: escaped(base.as_bytes()) }
    }

    /// Returns the base with plain slashes.
    #[must_use]
    pub(crate) fn as_plain(&self) -> &[u8] {
        &self.plain
    }

    fn spelled(&self, spelling: Spelling) -> &[u8] {
        match spelling {
            Spelling::Plain => &self.plain,
            Spelling::Escaped => &self.escaped,
        }
    }

    fn put(&self, text: &[u8], hits: &[Hit]) -> Vec<u8> {
        let added: usize = hits.iter().map(|hit| self.spelled(hit.spelling).len()).sum();
        let removed: usize = hits.iter().map(|hit| hit.end - hit.start).sum();
        let mut out = Vec::with_capacity((text.len() + added).saturating_sub(removed));
        let mut copied = 0;
        for hit in hits {
            out.extend_from_slice(text.get(copied..hit.start).unwrap_or_default());
            out.extend_from_slice(self.spelled(hit.spelling));
            copied = hit.end;
        }
        out.extend_from_slice(text.get(copied..).unwrap_or_default());
        out
    }
}

fn escaped(text: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text {
        if *byte == b'/' {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.into()
}

/// Whether this byte after a base continues its last path segment (RFC 3986 section 3.3). Of the characters that a segment
/// may hold, those are excluded that often follow a URL in running text, in lists and in XML.
fn continues_a_segment(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-._~%!$*+=:@".contains(&byte)
}

/// Whether a URL can begin at `start`, which it cannot within a word that could be a longer scheme (RFC 3986 section 3.1). The
/// letters of a JSON escape are no such word.
fn url_begins(bytes: &[u8], before: &[u8], start: usize) -> bool {
    // The byte that many places before `start`; none before the first byte of the body.
    let back = |places: usize| match start.checked_sub(places) {
        Some(at) => bytes.get(at).copied(),
        None => before.len().checked_sub(places - start).and_then(|at| before.get(at).copied()),
    };
    let Some(previous) = back(1).filter(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) else { return true };
    (back(2) == Some(b'\\') && b"bfnrt".contains(&previous))
        || (back(6) == Some(b'\\')
            && back(5) == Some(b'u')
            && (1..=4).all(|places| back(places).is_some_and(|byte| byte.is_ascii_hexdigit())))
}

/// The step that rewrites the links of one body.
#[derive(Debug)]
pub struct LinkRewriter {
    links: Arc<Links>,
    to: Arc<Replacement>,
    /// The last bytes of the previous chunk, which could be the beginning of a base.
    withheld: Vec<u8>,
    /// The last bytes that were output.
    before: Vec<u8>,
    hits: Vec<Hit>,
}

impl LinkRewriter {
    /// Makes the step for one body.
    #[must_use]
    pub fn new(links: Arc<Links>, to: Arc<Replacement>) -> Self {
        Self { links, to, withheld: Vec::new(), before: Vec::new(), hits: Vec::new() }
    }
}

impl BodyStep for LinkRewriter {
    /// Copies the chunk only if it has a match, or if the previous one ended with what could be the beginning of a match.
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return chunk;
        }
        let chunk = if self.withheld.is_empty() {
            chunk
        } else {
            let mut joined = Vec::with_capacity(self.withheld.len() + chunk.len());
            joined.append(&mut self.withheld);
            joined.extend_from_slice(&chunk);
            joined.into()
        };
        let ready = self.links.beginning_at_the_end(&chunk, &self.before).unwrap_or(chunk.len());
        self.hits.clear();
        self.links.find(&chunk, &self.before, ready, false, &mut self.hits);
        let done = chunk.get(..ready).unwrap_or_default();
        let out = if self.hits.is_empty() { chunk.slice(..ready) } else { self.to.put(done, &self.hits).into() };
        self.withheld.extend_from_slice(chunk.get(ready..).unwrap_or_default());
        self.before.extend_from_slice(done.get(done.len().saturating_sub(LOOK_BACK)..).unwrap_or_default());
        self.before.drain(..self.before.len().saturating_sub(LOOK_BACK));
        out
    }

    fn finish(&mut self) -> Bytes {
        let withheld = std::mem::take(&mut self.withheld);
        self.hits.clear();
        self.links.find(&withheld, &self.before, withheld.len(), true, &mut self.hits);
        if self.hits.is_empty() { withheld.into() } else { self.to.put(&withheld, &self.hits).into() }
    }
}

#[cfg(test)]
mod tests;

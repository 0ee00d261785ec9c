//! Links that point back: every occurrence of one base URL in a stream becomes another.
//!
//! Bytes in, bytes out, no tokenizer: a base is found by its host, which is rare in a body, and verified around it. It is
//! found in both spellings that JSON allows (`https://h/p`, `https:\/\/h\/p`), with the scheme's own port said or not,
//! and only where a URL begins and where its last path segment ends. A match may be split over chunks at any byte; what
//! is held back for that is never longer than the longest base.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::fhir::body_step::BodyStep;

/// So many bytes before a URL tell whether it begins there: `\u0022` is the longest escape.
const LOOK_BACK: usize = 6;

/// How the slashes of a URL are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    Escaped,
}

/// One way in which a base can stand in a body.
#[derive(Debug)]
struct Needle {
    bytes: Box<[u8]>,
    spelling: Spelling,
    /// Where its anchor begins in it.
    anchor_at: usize,
}

/// A slash and a host: what needles are found by.
#[derive(Debug)]
struct Anchor {
    finder: Finder<'static>,
    /// The longest first: of two bases that both match, the longer is meant.
    needles: Vec<Needle>,
}

/// The bases that are looked for, made ready once.
#[derive(Debug, Default)]
pub struct Links {
    anchors: Vec<Anchor>,
    longest: usize,
}

/// What stands in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    plain: Box<[u8]>,
    escaped: Box<[u8]>,
}

/// A base that was found.
#[derive(Debug, Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
    spelling: Spelling,
}

impl Links {
    /// Makes ready to look for these bases: absolute http or https URLs without the scheme's own port and without a
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
        let (scheme, own_port, rest) = if let Some(rest) = base.strip_prefix("https://") {
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
        let ports = if has_port { &[""][..] } else { &["", own_port] };
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

    /// A whole text with its links replaced; `None` where there is none.
    #[must_use]
    pub fn rewritten(&self, text: &[u8], to: &Replacement) -> Option<Vec<u8>> {
        let mut hits = Vec::new();
        self.find(text, &[], text.len(), true, &mut hits);
        (!hits.is_empty()).then(|| to.put(text, &hits))
    }

    /// Adds what is found before `limit` to `hits`, in order. `before`: what the stream has had before `bytes`; `is_end`:
    /// nothing comes after them.
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

    /// Where the end of `bytes` could be the beginning of a base of which more is to come.
    fn beginning_at_the_end(&self, bytes: &[u8], before: &[u8]) -> Option<usize> {
        // A whole base is held back too: the byte behind it decides.
        let from = bytes.len().saturating_sub(self.longest);
        memchr::memchr_iter(b'h', bytes.get(from..)?).map(|at| from + at).find(|start| {
            let tail = bytes.get(*start..).unwrap_or_default();
            let needles = || self.anchors.iter().flat_map(|anchor| &anchor.needles);
            needles().any(|needle| needle.bytes.starts_with(tail)) && url_begins(bytes, before, *start)
        })
    }
}

impl Replacement {
    /// Another base, without a trailing slash.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { plain: base.as_bytes().into(), escaped: escaped(base.as_bytes()) }
    }

    /// The base as it stands in plain text.
    #[must_use]
    pub fn as_plain(&self) -> &[u8] {
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

/// Whether a URL that has come to its last byte goes on with this one in the same segment (RFC 3986 section 3.3). Of the
/// characters that a segment may hold, those are left out that stand behind a URL in running text, in lists and in XML.
fn continues_a_segment(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-._~%!$*+=:@".contains(&byte)
}

/// Whether a URL can begin at `start`: not within a word that could be a longer scheme (RFC 3986 section 3.1). A JSON
/// escape before it is no word.
fn url_begins(bytes: &[u8], before: &[u8], start: usize) -> bool {
    // The byte so many places before `start`; none before the stream's first.
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

/// Rewrites the links of one body.
#[derive(Debug)]
pub struct LinkRewriter {
    links: Arc<Links>,
    to: Arc<Replacement>,
    /// The end of what came, not yet given on: it could be the beginning of a base.
    held: Vec<u8>,
    /// The last bytes before that.
    before: Vec<u8>,
    hits: Vec<Hit>,
}

impl LinkRewriter {
    /// Begins a body.
    #[must_use]
    pub fn new(links: Arc<Links>, to: Arc<Replacement>) -> Self {
        Self { links, to, held: Vec::new(), before: Vec::new(), hits: Vec::new() }
    }
}

impl BodyStep for LinkRewriter {
    /// A piece without a match is not copied, unless the one before ended with what could have been the beginning of one.
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return chunk;
        }
        let chunk = if self.held.is_empty() {
            chunk
        } else {
            let mut joined = Vec::with_capacity(self.held.len() + chunk.len());
            joined.append(&mut self.held);
            joined.extend_from_slice(&chunk);
            joined.into()
        };
        let ready = self.links.beginning_at_the_end(&chunk, &self.before).unwrap_or(chunk.len());
        self.hits.clear();
        self.links.find(&chunk, &self.before, ready, false, &mut self.hits);
        let done = chunk.get(..ready).unwrap_or_default();
        let out = if self.hits.is_empty() { chunk.slice(..ready) } else { self.to.put(done, &self.hits).into() };
        self.held.extend_from_slice(chunk.get(ready..).unwrap_or_default());
        self.before.extend_from_slice(done.get(done.len().saturating_sub(LOOK_BACK)..).unwrap_or_default());
        self.before.drain(..self.before.len().saturating_sub(LOOK_BACK));
        out
    }

    fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        self.hits.clear();
        self.links.find(&held, &self.before, held.len(), true, &mut self.hits);
        if self.hits.is_empty() { held.into() } else { self.to.put(&held, &self.hits).into() }
    }
}

#[cfg(test)]
mod tests;

//! Rewrites links: every occurrence of certain base URLs in a body is replaced by another base URL.
//!
//! The search works on bytes, without a tokenizer. It finds a base by a part of its path, which is rare in a body, and reads
//! what is around it. A base is recognized in every spelling ([`link_spelling`](super::link_spelling)), and only where a URL
//! begins and where its last path segment ends. A match may be split between chunks at any byte. The bytes withheld for that
//! are never more than the longest spelling.
//!
//! Decision: `docs/decisions/13-links.md`.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::fhir::body_step::BodyStep;
use crate::fhir::link_spelling::{Base, Begins, LOOK_BACK, Spelling, ends, escaped, url_begins};

/// A text by which bases are found.
#[derive(Debug)]
struct Anchor {
    finder: Finder<'static>,
    /// The longest first: where two bases match, the longer one is meant.
    bases: Vec<Base>,
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
            anchor.bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
        }
        let bases = links.anchors.iter().flat_map(|anchor| &anchor.bases);
        links.longest = bases.map(Base::longest).max().unwrap_or(0);
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
            self.add_base(Base::new(scheme, &format!("{authority}{port}"), path));
        }
    }

    fn add_base(&mut self, base: Base) {
        match self.anchors.iter_mut().find(|anchor| anchor.finder.needle() == base.anchor()) {
            Some(anchor) => anchor.bases.push(base),
            None => {
                let finder = Finder::new(base.anchor()).into_owned();
                self.anchors.push(Anchor { finder, bases: vec![base] });
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
                let hit = anchor.bases.iter().find_map(|base| {
                    let (start, end, spelling) = base.around(bytes, at)?;
                    let is_link = start < limit && ends(bytes, end, is_end)? && url_begins(bytes, before, start);
                    is_link.then_some(Hit { start, end, spelling })
                });
                hits.extend(hit);
            }
        }
        if self.anchors.len() > 1 {
            // Bases that were found by different parts can begin at the same place.
            hits.sort_unstable_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end)));
            hits.dedup_by(|later, earlier| later.start < earlier.end);
        }
    }

    /// Returns the position from which the end of `bytes` could be the beginning of a base that the next chunk continues.
    fn beginning_at_the_end(&self, bytes: &[u8], before: &[u8]) -> Option<usize> {
        // This includes a whole base: what comes after it decides whether it matches.
        let from = bytes.len().saturating_sub(self.longest);
        let first_letters = memchr::memchr3_iter(b'h', b'H', b'\\', bytes.get(from..)?).map(|at| from + at);
        let mut candidates = first_letters.filter(|at| match (bytes.get(*at), bytes.get(at + 1)) {
            (Some(b'\\'), next) => next.is_none_or(|next| *next == b'u'),
            _ => true,
        });
        candidates.find(|start| {
            let mut bases = self.anchors.iter().flat_map(|anchor| &anchor.bases);
            let is_open = bases.any(|base| match base.begins(bytes, *start) {
                Begins::With(end) => ends(bytes, end, false).is_none(),
                Begins::Not => false,
                Begins::Perhaps => true,
            });
            is_open && url_begins(bytes, before, *start)
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

//! The step that makes a `searchset` of OpenEMR's Bundle and cuts a page out of it, in one pass and in bounded memory.
//!
//! The document is not parsed. A quote within a JSON string is always escaped, so that the bytes `}},{"fullUrl":"` occur
//! only between two entries. Everything that is repaired is near those, or in the head. What is known only at the end, such as
//! the total, is written after the last entry, because the members of an object have no order.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::fhir::body_step::BodyStep;
use crate::fhir::spliced::Spliced;
use crate::openemr::bundle::dropped_entry::DroppedEntry;
use crate::openemr::bundle::entry::{self, EntryHead};
use crate::openemr::bundle::head::{BundleHead, NoHead};
use crate::openemr::bundle::links;
use crate::openemr::bundle::local_time;
use crate::openemr::bundle::page::{Mode, PageCut};
use crate::openemr::search::terms::SearchTerms;

/// The bytes between two entries, with the brackets that end the first.
const BETWEEN: &[u8] = br#"}},{"fullUrl":""#;

/// The most white space after a Bundle, in bytes.
const MAX_SPACE: usize = 16;

/// How many bytes of a piece are joined to those withheld from the piece before, when a sequence is split between the two.
const JOINED: usize = 1024;

/// The step that rewrites the answer to a search. A document whose head is not that of OpenEMR's Bundles stays as it is.
#[derive(Debug)]
pub struct BundleStream {
    terms: SearchTerms,
    /// Whether the Bundle is repaired, beyond what the terms demand.
    repairs: bool,
    /// The FHIR base, escaped as in this Bundle.
    base: Vec<u8>,
    /// The time at which OpenEMR sent the answer, by its own clock, in seconds since 1970.
    sent: Option<i64>,
    between: Finder<'static>,
    cut: PageCut,
    place: Place,
    /// The last bytes of the previous piece, which can only be read together with the next.
    withheld: Bytes,
    /// Whether `entry` has been written.
    has_entries: bool,
    dropped: DroppedEntry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the entries.
    Head,
    /// At the beginning of an entry.
    Entry,
    /// Within an entry that is sent, after its fullUrl.
    Sent,
    /// Within an entry that is not sent.
    Dropped,
    /// After a Bundle without entries.
    End,
    /// In a document that is no Bundle of OpenEMR's.
    Other,
}

impl BundleStream {
    /// Makes the step for the answer to a search. With `repairs` the Bundle becomes a searchset; without, only the terms are
    /// applied. `base` is the FHIR base in case the answer does not tell it, and `sent` the time of OpenEMR's `Date`, in seconds
    /// since 1970.
    #[must_use]
    pub fn new(terms: SearchTerms, repairs: bool, base: &str, sent: Option<i64>) -> Self {
        // In a search for Bundles the inner entries would be taken for entries of the outer Bundle.
        let place = if terms.resource_type == "Bundle" { Place::Other } else { Place::Head };
        Self {
            repairs,
            base: base.as_bytes().to_vec(),
            sent,
            between: Finder::new(BETWEEN),
            cut: PageCut::new(&terms),
            place,
            withheld: Bytes::new(),
            has_entries: false,
            dropped: DroppedEntry::default(),
            terms,
        }
    }

    /// Goes through a piece, and withholds the end of it that cannot be decided without the next.
    fn go_through(&mut self, piece: &Bytes, is_all: bool, out: &mut Spliced) {
        let mut at = 0;
        while at < piece.len() {
            let rest = piece.get(at..).unwrap_or_default();
            let gone = match self.place {
                Place::Head => self.head(rest, is_all, at, out),
                Place::Entry => self.entry(rest, is_all, at, out),
                Place::Sent | Place::Dropped => self.within_entry(piece, at, out),
                Place::End | Place::Other => {
                    out.keep(at..piece.len());
                    Some(rest.len())
                }
            };
            match gone {
                Some(gone) => at += gone,
                None => {
                    self.withheld = piece.slice(at..);
                    return;
                }
            }
        }
    }

    fn head(&mut self, rest: &[u8], is_all: bool, at: usize, out: &mut Spliced) -> Option<usize> {
        let head = match BundleHead::read(rest) {
            Ok(head) => head,
            Err(NoHead::Short) if !is_all => return None,
            Err(_) => {
                self.place = Place::Other;
                out.keep(at..at + rest.len());
                return Some(rest.len());
            }
        };
        let self_url = rest.get(head.self_url.clone()).unwrap_or_default();
        if let Some(base) = links::base(self_url, self.terms.resource_type) {
            self.base = base.to_vec();
        }
        out.put(br#"{"resourceType":"Bundle""#);
        let last_updated = rest.get(head.last_updated.clone()).unwrap_or_default();
        if !last_updated.is_empty() {
            out.put(br#","meta":{"lastUpdated":""#);
            out.put(last_updated);
            let written = str::from_utf8(last_updated).ok().filter(|_| self.repairs);
            let zone = written.and_then(|written| local_time::missing_zone(written, self.sent));
            out.put(zone.unwrap_or_default().as_bytes());
            out.put(br#""}"#);
        }
        out.put(if self.repairs { br#","type":"searchset""# } else { br#","type":"collection""# });
        self.place = if head.has_entries { Place::Entry } else { Place::End };
        Some(head.length)
    }

    fn entry(&mut self, rest: &[u8], is_all: bool, at: usize, out: &mut Spliced) -> Option<usize> {
        let head = EntryHead::read(rest, is_all)?;
        let mode = Mode::of(head.resource_type, self.terms.resource_type);
        if !self.cut.next(mode) {
            self.place = Place::Dropped;
            self.dropped = DroppedEntry::default();
            return Some(0);
        }
        self.place = Place::Sent;
        self.begin_entry(out);
        let url = rest.get(head.url.clone()).unwrap_or_default();
        let repaired = head.resource_type.filter(|_| self.repairs).and_then(|name| entry::repaired_url(url, &self.base, name));
        match repaired {
            Some(url) => {
                out.put(entry::BEGINNING);
                out.put(&url);
                out.put(b"\"");
            }
            None => out.keep(at..at + head.after_url),
        }
        if head.after_url > 0 && self.repairs {
            out.put(mode.member());
        }
        Some(head.after_url)
    }

    fn begin_entry(&mut self, out: &mut Spliced) {
        out.put(if self.has_entries { b"," } else { br#","entry":["# });
        self.has_entries = true;
    }

    fn within_entry(&mut self, piece: &Bytes, at: usize, out: &mut Spliced) -> Option<usize> {
        let rest = piece.get(at..).unwrap_or_default();
        let is_sent = self.place == Place::Sent;
        if let Some(found) = self.between.find(rest) {
            // The brackets belong to the entry that ends here; the comma is dropped.
            let end = found + 2;
            if is_sent {
                out.keep(at..at + end);
            }
            self.place = Place::Entry;
            return Some(end + 1);
        }
        let decided = rest.len() - undecided(rest);
        if is_sent {
            out.keep(at..at + decided);
        } else {
            self.dropped.add(piece.slice(at..at + decided));
        }
        (decided > 0 || rest.is_empty()).then_some(decided)
    }

    /// Writes the end of the Bundle, if OpenEMR's has ended. A truncated Bundle is not closed, so that the client sees that it is
    /// not complete.
    fn end(&mut self, out: &mut BytesMut) {
        let withheld = std::mem::take(&mut self.withheld);
        let place = std::mem::replace(&mut self.place, Place::Other);
        let is_closed = withheld.trim_ascii_end() == b"]}";
        let has_ended = match place {
            Place::Head | Place::Entry | Place::Other => false,
            Place::End => true,
            Place::Sent => is_closed,
            Place::Dropped => is_closed && self.dropped.is_complete(),
        };
        if !has_ended {
            if place != Place::Dropped {
                out.extend_from_slice(&withheld);
            }
            return;
        }
        if let Some(outcome) = self.terms.outcome.take() {
            out.extend_from_slice(if self.has_entries {
                br#",{"search":{"mode":"outcome"},"resource":"#
            } else {
                br#","entry":[{"search":{"mode":"outcome"},"resource":"#
            });
            self.has_entries = true;
            out.extend_from_slice(outcome.as_bytes());
            out.extend_from_slice(b"}");
        }
        if self.has_entries {
            out.extend_from_slice(b"]");
        }
        if let Some(total) = self.cut.total().filter(|_| self.terms.total) {
            out.extend_from_slice(format!(r#","total":{total}"#).as_bytes());
        }
        out.extend_from_slice(b",");
        out.extend_from_slice(&links::member(&self.base, &self.terms, self.cut.has_more()));
        out.extend_from_slice(b"}");
    }
}

impl BodyStep for BundleStream {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut rest = piece;
        let mut out = Spliced::of(Bytes::new());
        while !self.withheld.is_empty() && !rest.is_empty() {
            let joined = rest.split_to(JOINED.min(rest.len()));
            let joined: Bytes = [std::mem::take(&mut self.withheld), joined].concat().into();
            out.go_on(joined.clone());
            self.go_through(&joined, false, &mut out);
        }
        if !rest.is_empty() {
            out.go_on(rest.clone());
            self.go_through(&rest, false, &mut out);
        }
        out.finish()
    }

    fn finish(&mut self) -> Bytes {
        let withheld = std::mem::take(&mut self.withheld);
        let mut out = Spliced::of(withheld.clone());
        self.go_through(&withheld, true, &mut out);
        let mut end = BytesMut::from(out.finish());
        self.end(&mut end);
        end.freeze()
    }
}

/// Returns how many of the last bytes could belong to [`BETWEEN`] or to the end of the Bundle.
fn undecided(rest: &[u8]) -> usize {
    let longest = BETWEEN.len().min(rest.len() + 1);
    let between = (1..longest).rev().find(|&length| rest.ends_with(BETWEEN.get(..length).unwrap_or_default())).unwrap_or(0);
    let space = rest.len() - rest.trim_ascii_end().len();
    let end = match rest.trim_ascii_end() {
        _ if space > MAX_SPACE => 0,
        [.., b']', b'}'] => space + 2,
        [.., b']'] if space == 0 => 1,
        _ => 0,
    };
    between.max(end)
}

#[cfg(test)]
mod tests;

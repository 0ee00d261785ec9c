//! Reads a Bundle by depth and by name, and has the searchset written.

use std::ops::Range;

use bytes::Bytes;

use crate::fhir::json::outline::{Event, Outline, Shape, unescaped};
use crate::fhir::spliced::Spliced;
use crate::openemr::bundle::fault::Fault;
use crate::openemr::bundle::full_url::text;
use crate::openemr::bundle::local_time::with_zones;
use crate::openemr::bundle::members::{BundleMember, EntryMember, Once};
use crate::openemr::bundle::searchset::Searchset;

/// The longest value that is read, in bytes. The links of a search for 1,000 ids have 40 KB each.
const MAX_TEXT: usize = 256 * 1024;

/// Reads a Bundle piece by piece.
#[derive(Debug)]
pub(crate) struct Reader {
    searchset: Searchset,
    /// The time at which OpenEMR sent the answer, by its own clock, in seconds since 1970.
    sent: Option<i64>,
    outline: Outline,
    place: Place,
    bundle_once: Once,
    entry_once: Once,
    bundle_member: BundleMember,
    /// The member of an entry or of a resource.
    member: EntryMember,
    passing: Passing,
    /// The value that is being read.
    text: Vec<u8>,
    /// Where the part of the resource begins, in this piece, that is neither held back nor written.
    unread: Option<usize>,
    is_bundle: bool,
    has_type: bool,
    has_entry: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    Bundle,
    Entries,
    Entry,
    Resource,
}

/// What happens to the value that is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    /// It stays.
    Kept,
    /// It is dropped.
    Dropped,
    /// It is read and dropped.
    Read(Text),
    /// It is read and stays.
    KeptAndRead(Text),
    /// It belongs to a resource that stays or is dropped as a whole.
    Resource,
    /// It is the rest of a resource.
    Rest,
}

/// What the value that is read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    BundleResourceType,
    BundleType,
    Meta,
    Total,
    Link,
    FullUrl,
    Search,
    ResourceType,
    Id,
    /// The id of the entry, or of a resource that stands in its place.
    ElementId,
}

impl Reader {
    /// Begins a Bundle, of which that searchset is written. `sent`: the time of OpenEMR's `Date`, in seconds since 1970.
    #[must_use]
    pub(crate) fn new(searchset: Searchset, sent: Option<i64>) -> Self {
        Self {
            searchset,
            sent,
            outline: Outline::default(),
            place: Place::Document,
            bundle_once: Once::default(),
            entry_once: Once::default(),
            bundle_member: BundleMember::Other,
            member: EntryMember::Other,
            passing: Passing::Dropped,
            text: Vec::new(),
            unread: None,
            is_bundle: false,
            has_type: false,
            has_entry: false,
        }
    }

    /// Whether the document has said that it is a Bundle, and of which type, unless its entries have begun.
    #[must_use]
    pub(crate) fn is_bundle(&self) -> bool {
        self.is_bundle && (self.has_type || self.has_entry || self.has_ended())
    }

    /// Whether an entry has come.
    #[must_use]
    pub(crate) fn has_entry(&self) -> bool {
        self.has_entry
    }

    /// Whether the Bundle has ended.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.outline.has_ended()
    }

    /// Whether the searchset, which has ended, has a link to a next page.
    #[must_use]
    pub(crate) fn has_next_page(&self) -> bool {
        self.searchset.has_next_page()
    }

    /// Reads a piece and writes what is known.
    ///
    /// # Errors
    /// The document does not go on.
    pub(crate) fn read(&mut self, piece: &Bytes, out: &mut Spliced) -> Result<(), Fault> {
        let mut at = 0;
        self.unread = self.unread.map(|_| 0);
        loop {
            let begin = at;
            let Some(event) = self.outline.next(piece, &mut at)? else { break };
            match event {
                Event::Name => self.name()?,
                Event::Value(shape) => self.value(shape, &mut at, out)?,
                Event::Passed { is_end } => {
                    self.passed(begin..at, out)?;
                    if is_end {
                        self.value_ended(at, out)?;
                    }
                }
                Event::Closed => self.closed(at, out)?,
            }
        }
        match self.unread {
            Some(begin) => self.searchset.keep(begin..piece.len(), out),
            None => Ok(()),
        }
    }

    fn name(&mut self) -> Result<(), Fault> {
        let name = self.outline.name();
        match self.place {
            Place::Document | Place::Entries => {}
            Place::Bundle => self.bundle_member = BundleMember::of(&name, &mut self.bundle_once).ok_or(Fault::Twice)?,
            Place::Entry => self.member = EntryMember::of(&name, &mut self.entry_once).ok_or(Fault::Twice)?,
            Place::Resource => {
                self.member = match name.as_ref() {
                    "resourceType" => EntryMember::ResourceType,
                    "id" => EntryMember::Id,
                    _ => EntryMember::Other,
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, shape: Shape, at: &mut usize, out: &mut Spliced) -> Result<(), Fault> {
        match self.place {
            Place::Document if shape == Shape::Object => {
                self.enter(Place::Bundle, shape, at)?;
                out.put(br#"{"resourceType":"Bundle""#);
                out.put(if self.searchset.repairs { br#","type":"searchset""# } else { b"" });
            }
            Place::Entries if shape == Shape::Object => {
                self.enter(Place::Entry, shape, at)?;
                self.entry_once = Once::default();
                self.has_entry = true;
            }
            Place::Document | Place::Entries => return Err(Fault::NoBundle),
            Place::Bundle if self.bundle_member == BundleMember::Entry && shape == Shape::Array => {
                self.enter(Place::Entries, shape, at)?;
            }
            Place::Bundle => {
                self.passing = self.passing_of_bundle(shape, out)?;
                self.pass(shape);
            }
            Place::Entry if self.member == EntryMember::Resource && shape == Shape::Object => {
                self.searchset.begin_resource(self.outline.written_name(), out)?;
                self.unread = Some(*at);
                self.enter(Place::Resource, shape, at)?;
            }
            Place::Entry if self.is_in_place_of_the_entry(shape) => {
                self.searchset.become_resource()?;
                self.unread = Some(*at);
                self.place = Place::Resource;
                self.passing = Passing::Read(Text::ResourceType);
                self.pass(shape);
            }
            Place::Entry => {
                self.passing = self.passing_of_entry(shape, out)?;
                self.pass(shape);
            }
            Place::Resource => {
                let entry = &self.searchset.entry;
                self.passing = match (self.member, shape) {
                    (EntryMember::ResourceType, Shape::String) if entry.resource_type.is_empty() => {
                        Passing::Read(Text::ResourceType)
                    }
                    (EntryMember::Id, Shape::String) if entry.id.is_empty() => Passing::Read(Text::Id),
                    _ => Passing::Resource,
                };
                self.pass(shape);
            }
        }
        Ok(())
    }

    fn enter(&mut self, place: Place, shape: Shape, at: &mut usize) -> Result<(), Fault> {
        self.place = place;
        Ok(self.outline.enter(shape, at)?)
    }

    fn pass(&mut self, shape: Shape) {
        self.text.clear();
        self.outline.pass(shape);
    }

    /// Whether a resource stands in the place of the entry, as OperationDefinitions of OpenEMR do.
    fn is_in_place_of_the_entry(&self, shape: Shape) -> bool {
        let entry = &self.searchset.entry;
        let is_said = self.member == EntryMember::ResourceType && shape == Shape::String;
        self.searchset.repairs
            && !self.searchset.is_limited()
            && is_said
            && !entry.has_resource
            && entry.is_sent.is_none()
            && entry.url.is_none()
    }

    fn passing_of_bundle(&mut self, shape: Shape, out: &mut Spliced) -> Result<Passing, Fault> {
        let is_null = shape == Shape::Other;
        Ok(match (self.bundle_member, shape) {
            (BundleMember::ResourceType, Shape::String) => Passing::Read(Text::BundleResourceType),
            (BundleMember::ResourceType, _) => return Err(Fault::NoBundle),
            (BundleMember::Type, Shape::String) if self.searchset.repairs => Passing::Read(Text::BundleType),
            (BundleMember::Type, _) if self.searchset.repairs => return Err(Fault::NoBundle),
            (BundleMember::Meta, Shape::Object) if self.searchset.repairs => Passing::Read(Text::Meta),
            (BundleMember::Link, Shape::Array) => Passing::Read(Text::Link),
            (BundleMember::Total, Shape::Other) => Passing::Read(Text::Total),
            (BundleMember::Total, _) => Passing::Dropped,
            (BundleMember::Link | BundleMember::Entry, _) if is_null => Passing::Dropped,
            (BundleMember::Link | BundleMember::Entry, _) => return Err(Fault::NoBundle),
            (BundleMember::Other, _) if self.searchset.is_limited() => Passing::Dropped,
            (BundleMember::Type | BundleMember::Meta | BundleMember::Other, _) => {
                self.has_type |= self.bundle_member == BundleMember::Type;
                for part in [b",\"", self.outline.written_name(), b"\":"] {
                    out.put(part);
                }
                Passing::Kept
            }
        })
    }

    fn passing_of_entry(&mut self, shape: Shape, out: &mut Spliced) -> Result<Passing, Fault> {
        let is_null = shape == Shape::Other;
        let passing = match (self.member, shape) {
            (EntryMember::FullUrl, Shape::String) => Passing::Read(Text::FullUrl),
            (EntryMember::Search, Shape::Object) => Passing::Read(Text::Search),
            (EntryMember::FullUrl | EntryMember::Search | EntryMember::Resource, _) if is_null => Passing::Dropped,
            (EntryMember::FullUrl | EntryMember::Search, _) => return Err(Fault::NoBundle),
            _ if self.searchset.entry.is_sent == Some(false) => Passing::Dropped,
            _ if self.searchset.is_limited() && self.searchset.entry.has_resource => Passing::Dropped,
            (EntryMember::Id, Shape::String) if !self.searchset.entry.has_resource => Passing::KeptAndRead(Text::ElementId),
            _ => Passing::Kept,
        };
        if matches!(passing, Passing::Kept | Passing::KeptAndRead(_)) {
            self.searchset.begin_member(self.outline.written_name(), out)?;
        }
        Ok(passing)
    }

    fn passed(&mut self, part: Range<usize>, out: &mut Spliced) -> Result<(), Fault> {
        if matches!(self.passing, Passing::Read(_) | Passing::KeptAndRead(_)) {
            let part = out.piece().get(part.clone()).unwrap_or_default();
            if self.text.len() + part.len() > MAX_TEXT {
                return Err(Fault::TooLong);
            }
            self.text.extend_from_slice(part);
        }
        match self.passing {
            Passing::Kept if self.place == Place::Bundle => {
                out.keep(part);
                Ok(())
            }
            Passing::Kept | Passing::KeptAndRead(_) | Passing::Rest => self.searchset.keep(part, out),
            Passing::Dropped | Passing::Read(_) | Passing::Resource => Ok(()),
        }
    }

    fn value_ended(&mut self, at: usize, out: &mut Spliced) -> Result<(), Fault> {
        match self.passing {
            Passing::Read(what) | Passing::KeptAndRead(what) => self.read_text(what, at, out),
            Passing::Rest => self.resource_ended(out),
            Passing::Kept | Passing::Dropped | Passing::Resource => Ok(()),
        }
    }

    fn read_text(&mut self, what: Text, at: usize, out: &mut Spliced) -> Result<(), Fault> {
        let quoted = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default();
        match what {
            Text::BundleResourceType => self.is_bundle = (text(quoted) == "Bundle").then_some(true).ok_or(Fault::NoBundle)?,
            Text::BundleType => {
                self.searchset.take_type(&text(quoted))?;
                self.has_type = true;
            }
            Text::Meta => {
                out.put(br#","meta":"#);
                out.put(&with_zones(&self.text, self.sent));
            }
            Text::Total => self.searchset.take_total(&self.text),
            Text::Link => self.searchset.take_links(&self.text)?,
            Text::ElementId => read_string(quoted, &mut self.searchset.entry.element_id),
            Text::FullUrl => self.searchset.entry.url = Some(quoted.to_vec()),
            Text::Search => {
                self.searchset.entry.take_search(&self.text);
                if self.searchset.is_limited() {
                    self.searchset.entry.keep_only_mode();
                }
                self.decide(at, out)?;
            }
            Text::ResourceType => {
                read_string(quoted, &mut self.searchset.entry.resource_type);
                self.decide(at, out)?;
            }
            Text::Id => {
                read_string(quoted, &mut self.searchset.entry.id);
                self.decide(at, out)?;
            }
        }
        Ok(())
    }

    /// Has it decided whether the entry is sent, if that is known. Of its resource nothing more is read then.
    fn decide(&mut self, at: usize, out: &mut Spliced) -> Result<(), Fault> {
        let is_decided = self.searchset.decide(false, self.unread.map(|begin| begin..at), out);
        if self.place == Place::Resource && (is_decided || self.searchset.only_tests()) {
            if let Some(begin) = self.unread.take().filter(|_| !is_decided) {
                self.searchset.keep(begin..at, out)?;
            }
            self.outline.pass_rest();
            self.passing = Passing::Rest;
        } else if is_decided {
            self.unread = None;
        }
        Ok(())
    }

    fn closed(&mut self, at: usize, out: &mut Spliced) -> Result<(), Fault> {
        match self.place {
            Place::Document => {}
            Place::Bundle if self.is_bundle => {
                self.place = Place::Document;
                self.searchset.end(out)?;
            }
            Place::Bundle => return Err(Fault::NoBundle),
            Place::Entries => {
                self.place = Place::Bundle;
                self.searchset.end_entries(out);
            }
            Place::Entry => {
                self.place = Place::Entries;
                self.searchset.end_entry(out);
            }
            Place::Resource => {
                if let Some(begin) = self.unread.take() {
                    self.searchset.keep(begin..at, out)?;
                }
                self.resource_ended(out)?;
            }
        }
        Ok(())
    }

    fn resource_ended(&mut self, out: &mut Spliced) -> Result<(), Fault> {
        self.searchset.test()?;
        self.place = Place::Entry;
        if self.searchset.entry.is_inline {
            self.place = Place::Entries;
            self.searchset.end_entry(out);
        }
        Ok(())
    }
}

/// Reads a string that is written so between its quotes. One that is none stays unknown.
fn read_string(written: &[u8], into: &mut String) {
    into.clear();
    match str::from_utf8(written) {
        Ok(plain) if memchr::memchr(b'\\', written).is_none() => into.push_str(plain),
        _ => into.push_str(&unescaped(written).unwrap_or_default()),
    }
}

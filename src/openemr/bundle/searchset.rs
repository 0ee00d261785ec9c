//! Writes the searchset: its entries as far as they are sent, and its end but for the last bracket.

use std::ops::Range;

use bytes::BytesMut;

use crate::fhir::resource_test::Permitted;
use crate::fhir::spliced::Spliced;
use crate::openemr::bundle::entry::{Entry, WITHOUT_RESOURCE};
use crate::openemr::bundle::fault::Fault;
use crate::openemr::bundle::full_url::Base;
use crate::openemr::bundle::links;
use crate::openemr::bundle::page::{Mode, Next, PageCut};
use crate::openemr::bundle::seen::Seen;
use crate::openemr::bundle::targets;
use crate::openemr::search::terms::{SearchTerms, Window};

/// The most bytes of an entry that are kept until it is known whether it is sent.
const MAX_HELD: usize = 4 * 1024 * 1024;

/// A searchset that is being written.
#[derive(Debug)]
pub(crate) struct Searchset {
    terms: SearchTerms,
    /// Whether the Bundle is repaired, beyond what the terms demand.
    pub(crate) repairs: bool,
    base: Base,
    cut: PageCut,
    seen: Seen,
    openemrs_next: Vec<u8>,
    /// The entry that is being read.
    pub(crate) entry: Entry,
    /// What has been written of an entry of which it is not known whether it is sent.
    held: BytesMut,
    has_entries: bool,
    entries_have_ended: bool,
    has_next_page: bool,
}

impl Searchset {
    /// Begins a searchset.
    #[must_use]
    pub(crate) fn new(terms: SearchTerms, repairs: bool, base: Base) -> Self {
        Self {
            cut: PageCut::new(&terms),
            terms,
            repairs,
            base,
            seen: Seen::default(),
            openemrs_next: Vec::new(),
            entry: Entry::default(),
            held: BytesMut::new(),
            has_entries: false,
            entries_have_ended: false,
            has_next_page: false,
        }
    }

    /// Takes the type that OpenEMR gives its Bundle.
    ///
    /// # Errors
    /// It is none of a search, or that of an OpenEMR which gives Patient alone from an offset on.
    pub(crate) fn take_type(&self, name: &str) -> Result<(), Fault> {
        let needs_offset = self.terms.page.is_some_and(|page| page.offset > 0 && matches!(page.window, Window::FromOffset(_)));
        match name {
            "searchset" => Ok(()),
            "collection" if needs_offset && self.terms.resource_type != "Patient" => Err(Fault::OutOfReach),
            "collection" => Ok(()),
            _ => Err(Fault::NoBundle),
        }
    }

    /// Takes OpenEMR's own links, as they are written.
    ///
    /// # Errors
    /// They are none.
    pub(crate) fn take_links(&mut self, written: &[u8]) -> Result<(), Fault> {
        for (relation, url) in links::read(written).ok_or(Fault::NoBundle)? {
            match relation.as_str() {
                "self" => self.base.learn(&url, self.terms.resource_type),
                "next" => {
                    self.cut.note_next_page();
                    self.openemrs_next = url;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes OpenEMR's own total, as it is written.
    pub(crate) fn take_total(&mut self, written: &[u8]) {
        if let Some(total) = str::from_utf8(written).ok().and_then(|written| written.trim().parse().ok()) {
            self.cut.note_total(total);
        }
    }

    /// Writes a part of the entry that stays with it.
    ///
    /// # Errors
    /// More is kept back than there is room for.
    pub(crate) fn keep(&mut self, part: Range<usize>, out: &mut Spliced) -> Result<(), Fault> {
        match self.entry.is_sent {
            None => self.hold(out.piece().get(part).unwrap_or_default()),
            Some(is_sent) => {
                out.keep(if is_sent { part } else { 0..0 });
                Ok(())
            }
        }
    }

    /// Writes the name of a member of the entry.
    ///
    /// # Errors
    /// More is kept back than there is room for.
    pub(crate) fn begin_member(&mut self, written_name: &[u8], out: &mut Spliced) -> Result<(), Fault> {
        let is_first = if self.entry.is_sent.is_none() { self.held.is_empty() } else { !self.entry.has_members };
        for part in [if is_first { &b"\""[..] } else { b",\"" }, written_name, b"\":"] {
            match self.entry.is_sent {
                None => self.hold(part)?,
                Some(true) => out.put(part),
                Some(false) => {}
            }
        }
        self.entry.has_members = true;
        Ok(())
    }

    /// Begins the resource of the entry, by its name.
    ///
    /// # Errors
    /// More is kept back than there is room for.
    pub(crate) fn begin_resource(&mut self, written_name: &[u8], out: &mut Spliced) -> Result<(), Fault> {
        if self.is_limited() {
            // Nobody has tested the members before it.
            self.held.clear();
        }
        self.begin_member(written_name, out)?;
        self.entry.has_resource = true;
        self.entry.begins_at = self.held.len();
        Ok(())
    }

    /// Whether entries are tested, for which each is held until its end.
    #[must_use]
    pub(crate) fn tests(&self) -> bool {
        self.terms.tests()
    }

    /// Whether the client may not see all resources: then nothing of the Bundle goes on but those that were tested, and what is known
    /// to hold none.
    #[must_use]
    pub(crate) fn is_limited(&self) -> bool {
        self.terms.hides()
    }

    /// Whether the resource of the entry is known by its type and id, and its test alone is missing.
    #[must_use]
    pub(crate) fn only_tests(&self) -> bool {
        self.tests() && !self.entry.resource_type.is_empty() && !self.entry.id.is_empty()
    }

    /// Tests the resource of the entry, which has been read whole: a match by what it must meet, a Provenance by what it is about, and
    /// each by what the client may see.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn test(&mut self) -> Result<(), Fault> {
        if !self.tests() {
            return Ok(());
        }
        let resource = self.held.get(self.entry.begins_at..).unwrap_or_default();
        let resource_type = self.entry.resource_type.as_str();
        let mut is_about_sent_alone = false;
        if resource_type == "Provenance" && self.terms.resource_type != "Provenance" {
            let targets = targets::of(resource).ok_or(Fault::Illegible)?;
            if !self.seen.is_full() {
                let sent = targets.iter().filter(|target| self.is_sent_match(target)).count();
                self.entry.has_target = Some(sent > 0);
                is_about_sent_alone = sent > 0 && sent == targets.len();
            }
        } else if !self.terms.criteria.is_empty() {
            self.entry.is_met = Some(self.terms.criteria.are_met_by(resource)?);
        }
        if let Some(Permitted(test)) = self.terms.permitted.as_ref().filter(|_| self.terms.hides()) {
            self.entry.is_permitted = Some(match is_about_sent_alone {
                true => test.permits_about_permitted(resource_type, resource)?,
                false => test.permits(resource_type, resource)?,
            });
        }
        Ok(())
    }

    /// Tests the type of the entry's resource, where the client may have all resources of those types that it may have.
    fn test_type(&mut self) {
        let Some(Permitted(test)) = self.terms.permitted.as_ref().filter(|_| !self.terms.hides()) else { return };
        let entry = &mut self.entry;
        let has_none = !entry.has_resource && entry.resource_type.is_empty();
        entry.is_permitted.get_or_insert_with(|| has_none || test.permits_type(&entry.resource_type));
    }

    /// Whether a reference is one to a match that was sent.
    fn is_sent_match(&self, reference: &str) -> bool {
        let mut parts = reference.rsplit('/');
        let (id, resource_type) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if self.is_limited() && parts.next().is_some() && !self.base.is_of(reference, resource_type, id) {
            return false;
        }
        self.seen.fingerprint(resource_type, id).is_some_and(|resource| self.seen.is_sent_match(resource))
    }

    /// Takes what has been held back of the entry for members of the resource that stands in its place.
    ///
    /// # Errors
    /// More is kept back than there is room for.
    pub(crate) fn become_resource(&mut self) -> Result<(), Fault> {
        let members = self.held.split();
        let comma: &[u8] = if members.is_empty() { b"" } else { b"," };
        for part in [br#""resource":{"#, &members[..], comma, br#""resourceType":"#] {
            self.hold(part)?;
        }
        (self.entry.has_resource, self.entry.is_inline) = (true, true);
        self.entry.begins_at = br#""resource":"#.len();
        self.entry.id = std::mem::take(&mut self.entry.element_id);
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.held.len() + bytes.len() > MAX_HELD {
            return Err(Fault::TooLong);
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Decides whether the entry is sent, if that is known now, and writes what was held back, with the part `unread` of the piece
    /// behind it. `is_all`: nothing follows in the entry. Returns whether it was decided just now.
    pub(crate) fn decide(&mut self, is_all: bool, unread: Option<Range<usize>>, out: &mut Spliced) -> bool {
        let entry = &self.entry;
        // What is tested is not known before its end.
        let is_known = is_all || (!self.tests() && entry.has_resource && !entry.resource_type.is_empty() && !entry.id.is_empty());
        if entry.is_sent.is_some() || !is_known {
            return false;
        }
        self.entry.fingerprint = self.seen.fingerprint(&entry.resource_type, &entry.id).filter(|_| self.repairs || self.tests());
        self.test_type();
        let Some(is_sent) = self.is_sent(is_all) else { return false };
        self.entry.is_sent = Some(is_sent);
        if is_sent {
            self.begin_entry(out);
            out.put(b"{");
            let held = self.held.split();
            self.entry.has_members = !held.is_empty();
            self.write_url(is_all, !held.is_empty(), out);
            out.put(&held);
            out.keep(unread.unwrap_or_default());
        }
        self.held.clear();
        true
    }

    /// Whether the entry is sent; `None` while its own `search`, which may come yet, can change that.
    fn is_sent(&self, is_all: bool) -> Option<bool> {
        let searched = self.terms.resource_type;
        let mode = self.entry.mode(searched);
        // It need not stand right behind its match, of which it is known that it was sent.
        let has_target = |mode| mode == Mode::Include && self.entry.has_target == Some(true);
        let is_sent = |mode| (self.cut.sends(mode) || has_target(mode)) && !self.is_double(mode) && self.stays(mode);
        let other = if mode == Mode::Match { Mode::Include } else { Mode::Match };
        let is_settled = is_all || self.entry.mode_is_settled(searched) || is_sent(other) == is_sent(mode);
        is_settled.then(|| is_sent(mode))
    }

    /// Whether an entry of this mode belongs to what was searched for, as far as it was tested.
    fn stays(&self, mode: Mode) -> bool {
        if self.terms.permitted.is_some() && self.entry.is_permitted != Some(true) {
            return false;
        }
        match mode {
            Mode::Match => self.terms.criteria.is_empty() || self.entry.is_met == Some(true),
            Mode::Include => self.entry.has_target != Some(false),
            Mode::Outcome => true,
        }
    }

    /// Whether the entry came before.
    fn is_double(&self, mode: Mode) -> bool {
        self.entry.fingerprint.is_some_and(|resource| self.seen.is_double(resource, mode))
    }

    fn begin_entry(&mut self, out: &mut Spliced) {
        out.put(if self.has_entries { b"," } else { br#","entry":["# });
        self.has_entries = true;
    }

    fn write_url(&mut self, is_all: bool, goes_on: bool, out: &mut Spliced) {
        if self.entry.has_url {
            return;
        }
        let Some(url) = self.entry.full_url(&self.base, self.terms.resource_type, self.repairs, is_all) else { return };
        out.put(if goes_on || !self.entry.has_members { br#""fullUrl":""# } else { br#","fullUrl":""# });
        out.put(&url);
        out.put(if goes_on { b"\"," } else { b"\"" });
        (self.entry.has_url, self.entry.has_members) = (true, true);
    }

    /// Writes the end of the entry, and counts it.
    pub(crate) fn end_entry(&mut self, out: &mut Spliced) {
        match self.entry.has_resource || !self.repairs {
            true => self.end_usual_entry(out),
            // An entry of a search must have a resource (FHIR R4, constraint bdl-5).
            false => {
                // It would tell that there is one, of whomever it is.
                if self.cut.sends(Mode::Outcome) && !self.is_limited() {
                    self.begin_entry(out);
                    out.put(WITHOUT_RESOURCE);
                }
                self.cut.take_unusable();
                self.held.clear();
            }
        }
        self.entry.clear();
    }

    fn end_usual_entry(&mut self, out: &mut Spliced) {
        self.decide(true, None, out);
        let searched = self.terms.resource_type;
        let is_sent = self.entry.is_sent == Some(true);
        if is_sent {
            self.write_url(true, false, out);
            self.entry.write_search(searched, self.repairs, out);
            out.put(b"}");
        }
        let mode = self.entry.mode(searched);
        if self.is_double(mode) {
            self.cut.take_double();
            return;
        }
        if !self.stays(mode) {
            self.cut.take_unmet(mode);
            return;
        }
        self.cut.take(mode);
        if let Some(resource) = self.entry.fingerprint {
            self.seen.add(resource, mode, is_sent);
        }
    }

    /// Writes the end of the entries: with what the client should know of its parameters.
    pub(crate) fn end_entries(&mut self, out: &mut Spliced) {
        self.entries_have_ended = true;
        if let Some(outcome) = self.terms.outcome.take() {
            self.begin_entry(out);
            out.put(br#"{"search":{"mode":"outcome"},"resource":"#);
            out.put(outcome.as_bytes());
            out.put(b"}");
        }
        if self.has_entries {
            out.put(b"]");
        }
    }

    /// Whether the Bundle, which has ended, has a link to a next page of the gateway's.
    #[must_use]
    pub(crate) fn has_next_page(&self) -> bool {
        self.has_next_page
    }

    /// Writes the end of the Bundle without its last bracket, which must not be there before it is clear that nothing follows.
    ///
    /// # Errors
    /// OpenEMR did not send what was asked for.
    pub(crate) fn end(&mut self, out: &mut Spliced) -> Result<(), Fault> {
        if !self.entries_have_ended {
            self.end_entries(out);
        }
        match self.cut.total().filter(|_| self.terms.total) {
            Some(total) => out.put(format!(r#","total":{total}"#).as_bytes()),
            // Nothing else was asked for.
            None if !self.terms.entries => return Err(Fault::NotCounted),
            None => {}
        }
        let next = match self.cut.next() {
            Next::OutOfReach => return Err(Fault::OutOfReach),
            // What it does not send cannot be tested.
            _ if self.is_limited() && self.cut.has_part() => return Err(Fault::Incomplete),
            // Its link asks for what OpenEMR was asked for, and not for what is tested.
            Next::OpenEmrs if self.tests() => return Err(Fault::Incomplete),
            Next::OpenEmrs if !self.terms.entries => Next::Nothing,
            next => next,
        };
        self.has_next_page = matches!(next, Next::Page { .. });
        out.put(b",");
        out.put(&links::member(&self.base, &self.terms, next, &self.openemrs_next));
        Ok(())
    }
}

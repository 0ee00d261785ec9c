//! Texts, numbers, booleans and nulls: what becomes of each.

use crate::openemr::mend::level::{Notes, Open, Resource, Shape};
use crate::openemr::mend::names::Kind;
use crate::openemr::mend::narrative::mended_narrative;
use crate::openemr::mend::repairs::Repair;
use crate::openemr::mend::systems::{is_snomed, mended_system, snomed_prefix, text};
use crate::openemr::mend::work::{Meaning, Work};

impl Work {
    pub(crate) fn text(&mut self, piece: &[u8], at: usize) {
        if self.tokens.length() == 0 {
            return self.empty(piece, at, 2);
        }
        if std::mem::take(&mut self.item.is_kept) {
            return;
        }
        let meaning = self.meaning(piece);
        if meaning != Meaning::None && !self.is_too_long(self.item.begun, at) {
            self.mend_text(piece, at, meaning);
        }
        self.keep(piece);
    }

    fn mend_text(&mut self, piece: &[u8], at: usize, meaning: Meaning) {
        let written = self.tokens.value(piece);
        let begin = self.output.position(at) - self.tokens.length() - 2;
        let Some(level) = self.levels.last_mut() else { return };
        let mended = match meaning {
            Meaning::System => {
                if level.kind == Kind::Coding && is_snomed(written) {
                    level.notes.add(Notes::SNOMED);
                }
                mended_system(written, self.repairs)
            }
            Meaning::Narrative if self.repairs.has(Repair::Narratives) => {
                mended_narrative(written).map(|mended| (Repair::Narratives, mended))
            }
            Meaning::Code if self.repairs.has(Repair::PrefixedCodes) => {
                let open = |length| Open { count: 1, at: begin + 1, begun: self.item.begun, length: length as u64 };
                level.open = snomed_prefix(written).map(open).unwrap_or_default();
                None
            }
            Meaning::ResourceType => {
                level.resource = match text(written).as_deref() {
                    Some("ValueSet") => Resource::ValueSet,
                    Some("Group") => Resource::Group,
                    _ => Resource::Other,
                };
                None
            }
            Meaning::Reference => {
                let is_patient = text(written).is_some_and(|text| text.starts_with("Patient/") || text.contains("/Patient/"));
                let resource = self.levels.iter_mut().rev().find(|level| level.kind == Kind::Resource);
                if let Some(resource) = resource.filter(|_| is_patient) {
                    resource.notes.add(Notes::PATIENT);
                }
                None
            }
            Meaning::None | Meaning::Narrative | Meaning::Code => None,
        };
        if let Some((repair, mended)) = mended {
            self.output.take_back(piece, begin, at);
            self.output.put(piece, at, &mended);
            self.tally.add(repair, 1);
        }
    }

    pub(crate) fn scalar(&mut self, piece: &[u8], at: usize) {
        let written = self.tokens.value(piece);
        if written == b"null" {
            return self.empty(piece, at, 0);
        }
        if self.repairs.has(Repair::NumbersForText) && self.is_text(piece) && !self.is_too_long(self.item.begun, at) {
            let quoted = [b"\"", written, b"\""].concat();
            let begin = self.output.position(at) - self.tokens.length();
            self.output.take_back(piece, begin, at);
            self.output.put(piece, at, &quoted);
            self.tally.add(Repair::NumbersForText, 1);
        }
        self.keep(piece);
    }

    /// Takes a null, or a text of no length in so many quotes.
    fn empty(&mut self, piece: &[u8], at: usize, quotes: u64) {
        if !self.repairs.has(Repair::EmptyMembers) || self.is_too_long(self.item.begun, at) {
            return self.keep(piece);
        }
        let Some(level) = self.levels.last_mut() else { return };
        match level.shape {
            Shape::Object | Shape::Objects => {
                self.output.take_back(piece, self.item.mark, at);
                self.tally.add(Repair::EmptyMembers, 1);
            }
            Shape::Twins => {
                level.items += 1;
                if quotes > 0 {
                    let begin = self.output.position(at) - quotes;
                    self.output.take_back(piece, begin, at);
                    self.output.put(piece, at, b"null");
                    self.tally.add(Repair::EmptyMembers, 1);
                }
            }
            Shape::List => {
                if level.open.count == 0 {
                    level.open = Open { count: 0, at: self.item.mark, begun: self.item.begun, length: 0 };
                }
                level.open.count += 1;
                level.items += 1;
            }
        }
        self.item.is_open = false;
    }
}

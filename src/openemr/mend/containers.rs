//! Objects and lists: what each is, and what becomes of it at its end.

use crate::openemr::mend::empties::{Empties, without_empties};
use crate::openemr::mend::level::{Hold, Level, Notes, Open, Resource, Shape};
use crate::openemr::mend::limits::MAX_HELD;
use crate::openemr::mend::names::Kind;
use crate::openemr::mend::repairs::Repair;
use crate::openemr::mend::work::{MAX_TWINS, Twin, Work};

/// What becomes of an object or a list at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It goes, and that is a repair of its own.
    Dropped(Repair),
    /// It goes, because nothing is left of it.
    Emptied,
}

impl Work {
    /// A member or an item begins behind a comma, which goes where nothing is before it.
    pub(crate) fn comma(&mut self, piece: &[u8], at: usize) {
        self.begin_item(at - 1);
        if self.levels.last().is_some_and(|level| level.items == 0) {
            self.output.skip(piece, at - 1, at);
        }
    }

    pub(crate) fn open(&mut self, piece: &[u8], at: usize, is_object: bool) {
        self.become_objects(piece, at);
        let mut child = Level {
            mark: self.item.mark,
            begun: self.item.begun,
            shape: Shape::Object,
            kind: Kind::Other,
            is_text: false,
            has_extensions: false,
            hold: Hold::Nothing,
            items: 0,
            is_confirmed: false,
            has_lost: false,
            notes: Notes::default(),
            note: Notes::default(),
            resource: Resource::Other,
            open: Open::default(),
            name: 0,
        };
        match self.levels.last() {
            None => {
                child.kind = Kind::Resource;
                child.is_confirmed = true;
                (child.mark, child.begun) = (self.output.position(at - 1), self.read + at as u64 - 1);
            }
            Some(parent) if parent.shape == Shape::Object => {
                let name = self.tokens.name(piece);
                child.kind = Kind::of(parent.kind, &name);
                child.note = Notes::of(parent, &name).without(Notes::URL);
                if is_object && self.repairs.has(Repair::MisplacedObjects) && parent.kind.is_text(&name, false) {
                    child.hold = Hold::Misplaced { name_at: self.output.position(at - 1) - self.tokens.since_name(at - 1) };
                }
                if !is_object {
                    let (is_twin, name) = name.strip_prefix(b"_").map_or((false, &*name), |name| (true, name));
                    child.name = number(name);
                    child.shape = if is_twin { Shape::Twins } else { Shape::List };
                    child.is_text = !is_twin && parent.kind.is_text(name, true);
                    child.has_extensions = !is_twin && name == b"extension";
                }
            }
            Some(parent) => {
                child.kind = parent.kind;
                if !is_object {
                    child.shape = Shape::List;
                } else if parent.has_extensions {
                    child.hold = Hold::Extension;
                }
            }
        }
        self.levels.push(child);
        self.begin_item(at);
    }

    /// Drops the nulls before the first object of a list, which is none of text.
    fn become_objects(&mut self, piece: &[u8], at: usize) {
        let Some(level) = self.levels.last_mut().filter(|level| level.shape == Shape::List) else { return };
        level.shape = Shape::Objects;
        let open = std::mem::take(&mut level.open);
        if open.count == 0 || self.read + at as u64 - open.begun > MAX_HELD {
            return;
        }
        let waiting = self.output.since(piece, open.at, at - 1);
        let (items, behind) = waiting.split_at(usize::try_from(self.item.mark - open.at).unwrap_or_default().min(waiting.len()));
        let (mut kept, dropped) = without_empties(items, Empties::Dropped);
        let mark = open.at + kept.len() as u64;
        level.items -= open.count;
        kept.extend_from_slice(if level.items == 0 { behind.get(1..).unwrap_or_default() } else { behind });
        let end = self.output.position(at - 1);
        self.output.replace(piece, open.at, end, at - 1, &kept);
        self.item.mark = mark;
        self.tally.add(Repair::EmptyMembers, dropped);
    }

    pub(crate) fn close(&mut self, piece: &[u8], at: usize) {
        let Some(mut level) = self.levels.pop() else { return };
        self.item.is_open = false;
        let is_long = self.is_too_long(level.begun, at);
        if level.shape == Shape::Object {
            self.resolve_doubts(piece, at, &mut level);
            self.complete(piece, at, &level);
        }
        let Some(parent_shape) = self.levels.last().map(|parent| parent.shape) else {
            return;
        };
        if level.open.count > 0 && level.shape == Shape::List && !self.is_too_long(level.open.begun, at) {
            if parent_shape == Shape::Object {
                return self.doubt(at, &level);
            }
            let end = self.output.position(at - 1);
            let (kept, dropped) = without_empties(self.output.since(piece, level.open.at, at - 1), Empties::Dropped);
            self.output.replace(piece, level.open.at, end, at - 1, &kept);
            level.items -= level.open.count;
            self.tally.add(Repair::EmptyMembers, dropped);
        }
        match if is_long { Fate::Kept } else { self.fate(&level) } {
            Fate::Kept => {
                if let (Hold::Misplaced { name_at }, false) = (level.hold, is_long || level.notes.have(Notes::OTHER)) {
                    self.output.replace(piece, name_at + 1, name_at + 1, at, b"_");
                    self.tally.add(Repair::MisplacedObjects, 1);
                }
                self.keep_level(&level);
            }
            Fate::Dropped(repair) => {
                self.tally.add(repair, 1);
                self.drop_level(piece, at, &level, repair != Repair::EmptyMembers);
            }
            Fate::Emptied => self.drop_level(piece, at, &level, true),
        }
    }

    fn fate(&self, level: &Level) -> Fate {
        let drops_empty = self.repairs.has(Repair::EmptyMembers);
        let is_empty = level.items == 0 || (level.shape == Shape::Twins && !level.is_confirmed);
        if is_empty && drops_empty {
            return Fate::Dropped(Repair::EmptyMembers);
        }
        if level.items == 0 && level.has_lost {
            return Fate::Emptied;
        }
        if level.hold == Hold::Extension {
            if self.repairs.has(Repair::NamelessExtensions) && !level.notes.have(Notes::URL) {
                return Fate::Dropped(Repair::NamelessExtensions);
            }
            if drops_empty && !level.notes.have(Notes::VALUE) {
                return Fate::Dropped(Repair::EmptyMembers);
            }
        }
        Fate::Kept
    }

    fn keep_level(&mut self, level: &Level) {
        let index = self.levels.len() - 1;
        if level.shape == Shape::Twins && self.twins.len() < MAX_TWINS {
            self.twins.push(Twin { level: index, name: level.name });
        }
        if let Some(parent) = self.levels.last_mut() {
            parent.items += 1;
            parent.notes.add(level.note);
        }
        self.confirm();
    }

    fn drop_level(&mut self, piece: &[u8], at: usize, level: &Level, is_lost: bool) {
        self.output.take_back(piece, level.mark, at);
        let Some(parent) = self.levels.last_mut() else { return };
        parent.has_lost |= is_lost;
        if parent.shape == Shape::Twins {
            // Its place among the items that it belonged to.
            let null: &[u8] = if parent.items == 0 { b"null" } else { b",null" };
            parent.items += 1;
            self.output.put(piece, at, null);
        }
    }

    /// Adds what an object lacks, and takes off what it has too much.
    fn complete(&mut self, piece: &[u8], at: usize, level: &Level) {
        let open = level.open;
        if open.count > 0 && level.notes.have(Notes::SNOMED) && !self.is_too_long(open.begun, at) {
            self.output.replace(piece, open.at, open.at + open.length, at - 1, b"");
            self.tally.add(Repair::PrefixedCodes, 1);
        }
        match level.resource {
            Resource::ValueSet if self.repairs.has(Repair::ValueSetStatus) && !level.notes.have(Notes::STATUS) => {
                self.output.put(piece, at - 1, br#","status":"unknown""#);
                self.tally.add(Repair::ValueSetStatus, 1);
            }
            Resource::Group if self.repairs.has(Repair::Groups) && level.notes.have(Notes::PATIENT) => {
                for (note, member) in [(Notes::TYPE, &br#","type":"person""#[..]), (Notes::ACTUAL, br#","actual":true"#)] {
                    if !level.notes.have(note) {
                        self.output.put(piece, at - 1, member);
                        self.tally.add(Repair::Groups, 1);
                    }
                }
            }
            Resource::Other | Resource::ValueSet | Resource::Group => {}
        }
    }
}

/// A number for a name, by which two can be told apart.
fn number(name: &[u8]) -> u64 {
    name.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

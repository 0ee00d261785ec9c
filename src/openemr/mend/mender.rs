//! The step that mends OpenEMR's resources as they stream by.
//!
//! A document is read token by token. What is in doubt is kept until it is known what becomes of it, 64 KiB of it at most: what is
//! longer passes as it is. So does the rest of a document that turns out to be no JSON.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use crate::fhir::body_step::BodyStep;
use crate::openemr::mend::empties::{Empties, without_empties};
use crate::openemr::mend::level::{Hold, Level, Notes, Open, Resource, Shape};
use crate::openemr::mend::limits::MAX_HELD;
use crate::openemr::mend::names::Kind;
use crate::openemr::mend::narrative::mended_narrative;
use crate::openemr::mend::output::Output;
use crate::openemr::mend::repairs::{Mended, Repair, Repairs, Tally};
use crate::openemr::mend::systems::{is_snomed, mended_system, snomed_prefix, text};
use crate::openemr::mend::tokens::{Token, Tokens};

/// How many lists of a name with `_` are remembered in the objects that are open. With more, every null stays.
const MAX_TWINS: usize = 256;

/// The step that mends resources.
#[derive(Debug)]
pub struct Mender {
    repairs: Repairs,
    tally: Tally,
    /// Whether there is a document a line.
    has_lines: bool,
    /// Whether the rest of the document passes as it is.
    passes: bool,
    tokens: Tokens,
    output: Output,
    /// How much was read before this piece.
    read: u64,
    levels: Vec<Level>,
    item: Item,
    doubts: Vec<Doubt>,
    twins: Vec<Twin>,
}

/// The member or item whose value has not come, or not to its end.
#[derive(Debug, Default)]
struct Item {
    /// Where it begins in the output, with the comma before it.
    mark: u64,
    /// Where it begins in the document.
    begun: u64,
    /// Where its name begins in the output, with its quote.
    name_at: u64,
    /// Whether its value is still to come.
    is_open: bool,
    /// Whether it is kept, although its value has not ended.
    is_kept: bool,
}

/// A list with nulls, which stay if there is a list of its name with `_`.
#[derive(Debug)]
struct Doubt {
    /// The object that has it, by its level.
    level: usize,
    name: u64,
    /// The first null and the end of the items, in the output.
    from: u64,
    to: u64,
    /// The member: where it begins and ends in the output, and where it begins in the document.
    mark: u64,
    end: u64,
    begun: u64,
    /// Whether the list has anything else.
    is_sure: bool,
}

/// A list of a name with `_`.
#[derive(Debug, PartialEq, Eq)]
struct Twin {
    level: usize,
    name: u64,
}

/// What becomes of an object or a list at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It goes, and that is a repair of its own.
    Dropped(Repair),
    /// It goes, because nothing is left of it.
    Emptied,
}

/// What a text is to the mender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    None,
    System,
    Code,
    Narrative,
    Reference,
    ResourceType,
}

impl Mender {
    /// Makes the step for one document, which counts what it does.
    #[must_use]
    pub fn new(repairs: Repairs, mended: &Arc<Mended>) -> Self {
        Self {
            repairs,
            tally: Tally::of(Arc::clone(mended)),
            has_lines: false,
            passes: false,
            tokens: Tokens::default(),
            output: Output::default(),
            read: 0,
            levels: Vec::new(),
            item: Item::default(),
            doubts: Vec::new(),
            twins: Vec::new(),
        }
    }

    /// The same for NDJSON: a document a line.
    #[must_use]
    pub fn of_lines(self) -> Self {
        Self { has_lines: true, ..self }
    }

    /// Mends a whole document.
    #[must_use]
    pub fn whole(mut self, document: Bytes) -> Bytes {
        let mended = self.feed(document);
        let rest = self.finish();
        if rest.is_empty() { mended } else { [mended, rest].concat().into() }
    }

    fn read_piece(&mut self, piece: &[u8]) {
        let mut at = 0;
        loop {
            if self.passes {
                let Some(line) = memchr(b'\n', piece.get(at..).unwrap_or_default()).filter(|_| self.has_lines) else { return };
                at += line + 1;
                self.passes = false;
                self.tokens = Tokens::default();
            }
            match self.tokens.next(piece, &mut at) {
                Ok(Some(Token::Name)) => self.item.name_at = self.output.position(at) - self.tokens.length() - 2,
                Ok(Some(Token::Text)) => self.text(piece, at),
                Ok(Some(Token::Comma)) => self.comma(piece, at),
                Ok(Some(Token::OpenObject)) => self.open(piece, at, true),
                Ok(Some(Token::OpenArray)) => self.open(piece, at, false),
                Ok(Some(Token::Close)) => self.close(piece, at),
                Ok(Some(Token::Scalar)) => self.scalar(piece, at),
                Ok(None) => return,
                Err(_) => {
                    self.passes = true;
                    self.levels.clear();
                    self.doubts.clear();
                    self.twins.clear();
                    self.item = Item::default();
                }
            }
        }
    }

    fn comma(&mut self, piece: &[u8], at: usize) {
        self.begin_item(at - 1);
        if self.levels.last().is_some_and(|level| level.items == 0) {
            self.output.skip(piece, at - 1, at);
        }
    }

    /// Whether what began there is too long to be kept.
    fn is_too_long(&self, begun: u64, at: usize) -> bool {
        self.read + at as u64 - begun > MAX_HELD
    }

    fn text(&mut self, piece: &[u8], at: usize) {
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

    /// What the text is that was read last, or has begun.
    fn meaning(&self, piece: &[u8]) -> Meaning {
        let Some(level) = self.levels.last().filter(|level| level.shape == Shape::Object) else { return Meaning::None };
        let name = self.tokens.name(piece);
        match (name.len(), level.kind) {
            (3, Kind::Narrative) if *name == *b"div" => Meaning::Narrative,
            (4, Kind::Coding) if *name == *b"code" => Meaning::Code,
            (6, _) if *name == *b"system" => Meaning::System,
            (9, Kind::GroupEntity) if *name == *b"reference" => Meaning::Reference,
            (12, Kind::Resource) if *name == *b"resourceType" => Meaning::ResourceType,
            _ => Meaning::None,
        }
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
                if let Some(length) = snomed_prefix(written) {
                    level.open = Open { count: 1, at: begin + 1, begun: self.item.begun, length: length as u64 };
                }
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

    fn scalar(&mut self, piece: &[u8], at: usize) {
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

    /// Whether text is due where the value stands.
    fn is_text(&self, piece: &[u8]) -> bool {
        self.levels.last().is_some_and(|level| match level.shape {
            Shape::Object => level.kind.is_text(&self.tokens.name(piece), false),
            Shape::List | Shape::Objects | Shape::Twins => level.is_text,
        })
    }

    /// Keeps the value that was read last, or has begun.
    fn keep(&mut self, piece: &[u8]) {
        self.item.is_open = false;
        let Some(level) = self.levels.last_mut() else { return };
        level.items += 1;
        if level.shape == Shape::Object && (level.hold != Hold::Nothing || matches!(level.kind, Kind::Extension | Kind::Resource))
        {
            let note = Notes::of(level, &self.tokens.name(piece));
            level.notes.add(note);
        }
        self.confirm();
    }

    /// Notes that the innermost level has something for good, and so have those around it.
    fn confirm(&mut self) {
        for level in self.levels.iter_mut().rev() {
            if level.is_confirmed {
                break;
            }
            level.is_confirmed = true;
            if level.hold != Hold::Nothing {
                break;
            }
        }
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

    fn open(&mut self, piece: &[u8], at: usize, is_object: bool) {
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
                    child.hold = Hold::Misplaced { name_at: self.item.name_at };
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

    /// A member or an item begins there, if another one comes.
    fn begin_item(&mut self, at: usize) {
        let mark = self.output.position(at);
        self.item = Item { mark, begun: self.read + at as u64, name_at: mark, is_open: true, is_kept: false };
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

    fn close(&mut self, piece: &[u8], at: usize) {
        let Some(mut level) = self.levels.pop() else { return };
        self.item.is_open = false;
        let is_long = self.is_too_long(level.begun, at);
        if level.shape == Shape::Object {
            self.resolve_doubts(piece, at, &mut level);
            self.complete(piece, at, &level);
        }
        let Some(parent_shape) = self.levels.last().map(|parent| parent.shape) else {
            self.end_document();
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

    /// Notes a list with nulls, of which it is not known whether they stay.
    fn doubt(&mut self, at: usize, level: &Level) {
        let is_sure = level.items > level.open.count;
        self.doubts.push(Doubt {
            level: self.levels.len() - 1,
            name: level.name,
            from: level.open.at,
            to: self.output.position(at - 1),
            mark: level.mark,
            end: self.output.position(at),
            begun: if is_sure { level.open.begun } else { level.begun },
            is_sure,
        });
        if let Some(parent) = self.levels.last_mut() {
            parent.items += 1;
            parent.notes.add(level.note);
        }
        if is_sure {
            self.confirm();
        }
    }

    /// Decides on the lists with nulls in an object that ends.
    fn resolve_doubts(&mut self, piece: &[u8], at: usize, object: &mut Level) {
        let index = self.levels.len();
        while let Some(doubt) = self.doubts.pop_if(|doubt| doubt.level == index) {
            if self.is_too_long(doubt.begun, at) {
                object.is_confirmed = true;
                continue;
            }
            let has_twin = self.twins.len() >= MAX_TWINS || self.twins.contains(&Twin { level: index, name: doubt.name });
            let empties = if has_twin { Empties::Null } else { Empties::Dropped };
            let waiting = self.output.since(piece, doubt.from, at - 1);
            let items = waiting.get(..usize::try_from(doubt.to - doubt.from).unwrap_or_default()).unwrap_or_default();
            let (kept, changed) = without_empties(items, empties);
            self.tally.add(Repair::EmptyMembers, changed);
            if has_twin || doubt.is_sure {
                object.is_confirmed = true;
                self.output.replace(piece, doubt.from, doubt.to, at - 1, &kept);
                continue;
            }
            // Nothing is left of it: it goes with the comma before it, or, as the first member, behind it.
            object.items -= 1;
            self.tally.add(Repair::EmptyMembers, 1);
            let member = self.output.since(piece, doubt.mark, at - 1);
            let behind = member.get(usize::try_from(doubt.end - doubt.mark).unwrap_or_default()..).unwrap_or_default();
            let space = behind.iter().take_while(|byte| byte.is_ascii_whitespace()).count() as u64;
            let has_comma =
                member.first() != Some(&b',') && behind.get(usize::try_from(space).unwrap_or_default()) == Some(&b',');
            let end = doubt.end + if has_comma { space + 1 } else { 0 };
            self.output.replace(piece, doubt.mark, end, at - 1, b"");
        }
        while self.twins.pop_if(|twin| twin.level == index).is_some() {}
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

    fn end_document(&mut self) {
        self.doubts.clear();
        self.twins.clear();
        if self.has_lines {
            self.tokens = Tokens::default();
        }
    }

    /// Decides on what has begun as far as it can be decided; returns where in the output that begins which cannot.
    fn undecided(&mut self, piece: &[u8]) -> Option<u64> {
        let end = piece.len();
        let mut keeps_text = false;
        if self.tokens.is_in_text() && self.tokens.length() > 0 && !self.item.is_kept {
            keeps_text = self.meaning(piece) != Meaning::None && !self.is_too_long(self.item.begun, end);
            if !keeps_text {
                self.keep(piece);
                self.item.is_kept = true;
            }
        }
        self.tokens.end_piece(piece, keeps_text);
        let within = |begun: u64| self.read + end as u64 - begun <= MAX_HELD;
        let levels = self.levels.iter().find_map(|level| {
            let is_open = !level.is_confirmed || level.hold != Hold::Nothing;
            let has_open = level.open.count > 0 && within(level.open.begun);
            (is_open && within(level.begun)).then_some(level.mark).or(has_open.then_some(level.open.at))
        });
        let doubts = self.doubts.iter().filter(|doubt| within(doubt.begun));
        let doubts = doubts.map(|doubt| if doubt.is_sure { doubt.from } else { doubt.mark }).min();
        let item = (self.item.is_open && within(self.item.begun)).then_some(self.item.mark);
        levels.into_iter().chain(doubts).chain(item).min()
    }
}

impl BodyStep for Mender {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.passes && !self.has_lines && self.output.is_empty() {
            return piece;
        }
        self.read_piece(&piece);
        let undecided = if self.passes { None } else { self.undecided(&piece) };
        self.read += piece.len() as u64;
        self.output.end_piece(&piece, undecided)
    }

    fn finish(&mut self) -> Bytes {
        self.tally.hand_over();
        self.output.rest()
    }
}

/// A number for a name, by which two can be told apart.
fn number(name: &[u8]) -> u64 {
    name.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests;

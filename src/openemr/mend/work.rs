//! What is known of a document that is being mended, and what is kept of it.

use std::sync::Arc;

use crate::openemr::mend::level::{Hold, Level, Notes, Shape};
use crate::openemr::mend::limits::MAX_HELD;
use crate::openemr::mend::names::Kind;
use crate::openemr::mend::output::Output;
use crate::openemr::mend::repairs::{Mended, Repairs, Tally};
use crate::openemr::mend::tokens::Tokens;

/// How many lists of a name with `_` are remembered in the objects that are open. With more, every null stays.
pub(crate) const MAX_TWINS: usize = 256;

/// A document that is being mended.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) repairs: Repairs,
    pub(crate) tally: Tally,
    pub(crate) tokens: Tokens,
    pub(crate) output: Output,
    /// How much was read before this piece.
    pub(crate) read: u64,
    /// The objects and lists that are open, the innermost last.
    pub(crate) levels: Vec<Level>,
    pub(crate) item: Item,
    pub(crate) doubts: Vec<Doubt>,
    pub(crate) twins: Vec<Twin>,
}

/// The member or item whose value has not come, or not to its end.
#[derive(Debug, Default)]
pub(crate) struct Item {
    /// Where it begins in the output, with the comma before it.
    pub(crate) mark: u64,
    /// Where it begins in the document.
    pub(crate) begun: u64,
    /// Whether its value is still to come.
    pub(crate) is_open: bool,
    /// Whether it is kept, although its value has not ended.
    pub(crate) is_kept: bool,
}

/// A list with nulls, which stay if there is a list of its name with `_`.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// The object that has it, by its level.
    pub(crate) level: usize,
    pub(crate) name: u64,
    /// The first null and the end of the items, in the output.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The member: where it begins and ends in the output, and where it begins in the document.
    pub(crate) mark: u64,
    pub(crate) end: u64,
    pub(crate) begun: u64,
    /// What its object notes if it stays.
    pub(crate) note: Notes,
    /// Whether the list has anything else.
    pub(crate) is_sure: bool,
}

/// A list of a name with `_`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Twin {
    pub(crate) level: usize,
    pub(crate) name: u64,
}

/// What a text is to the mender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    None,
    System,
    Code,
    Narrative,
    Reference,
    ResourceType,
}

impl Work {
    /// Begins a document.
    #[must_use]
    pub(crate) fn new(repairs: Repairs, mended: &Arc<Mended>) -> Self {
        Self {
            repairs,
            tally: Tally::of(Arc::clone(mended)),
            tokens: Tokens::default(),
            output: Output::default(),
            read: 0,
            levels: Vec::new(),
            item: Item::default(),
            doubts: Vec::new(),
            twins: Vec::new(),
        }
    }

    /// Forgets what is open. The next document begins, or the rest of this one passes as it is.
    pub(crate) fn begin_document(&mut self) {
        self.tokens = Tokens::default();
        self.levels.clear();
        self.doubts.clear();
        self.twins.clear();
        self.item = Item::default();
    }

    /// Whether what began there is too long to be kept.
    pub(crate) fn is_too_long(&self, begun: u64, at: usize) -> bool {
        self.read + at as u64 - begun > MAX_HELD
    }

    /// A member or an item begins there, if another one comes.
    pub(crate) fn begin_item(&mut self, at: usize) {
        let mark = self.output.position(at);
        self.item = Item { mark, begun: self.read + at as u64, is_open: true, is_kept: false };
    }

    /// What the text is that was read last, or has begun.
    pub(crate) fn meaning(&self, piece: &[u8]) -> Meaning {
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

    /// Whether text is due where the value stands.
    pub(crate) fn is_text(&self, piece: &[u8]) -> bool {
        self.levels.last().is_some_and(|level| match level.shape {
            Shape::Object => level.kind.is_text(&self.tokens.name(piece), false),
            Shape::List | Shape::Objects | Shape::Twins => level.is_text,
        })
    }

    /// Keeps the value that was read last, or has begun.
    pub(crate) fn keep(&mut self, piece: &[u8]) {
        self.item.is_open = false;
        let Some(level) = self.levels.last_mut() else { return };
        level.items += 1;
        if level.shape == Shape::Object && (level.hold != Hold::Nothing || matches!(level.kind, Kind::Extension | Kind::Resource))
        {
            let note = Notes::of(level, &self.tokens.name(piece));
            level.notes.add(note);
        }
        if !level.is_confirmed {
            self.confirm();
        }
    }

    /// Notes that the innermost level has something for good, and so have those around it.
    pub(crate) fn confirm(&mut self) {
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

    /// Decides on what has begun as far as it can be decided; returns where in the output that begins which cannot.
    pub(crate) fn undecided(&mut self, piece: &[u8]) -> Option<u64> {
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

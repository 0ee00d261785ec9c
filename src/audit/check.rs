//! Whether a file was changed, and where: one pass over its lines, with one line looked ahead, in bounded memory.

use std::io::{self, ErrorKind};

use super::checkpoint::{Checkpoint, MAX_NOTE, VerifierKey};
use super::disk::Disk;
use super::finding::What;
use super::line::{self, Follows, Head};
use super::lines::{Lines, Next};
use super::names;
use super::record::Kind;
use super::tree::{self, Hash, Tree};

/// How many records that stand out of place are remembered, so that they are not missed at their own.
const MOVED: usize = 64;

/// What another file says of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The other file.
    pub(super) by: String,
    /// What it says.
    pub(super) follows: Follows,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Its records as a tree.
    pub(super) tree: Tree,
    /// The hash of the last.
    pub(super) last: Hash,
    /// How many bytes its whole lines have.
    pub(super) length: u64,
    /// How many bytes stand behind them.
    pub(super) torn: u64,
    /// Whether a record ends it.
    pub(super) is_ended: bool,
    /// How many records its checkpoint covers; 0 without one.
    pub(super) signed: u64,
}

/// Checks a file; `report` gets each finding with its line.
///
/// # Errors
/// The file, or its checkpoint, cannot be read.
pub(super) fn check<D: Disk>(
    disk: &D,
    name: &str,
    keys: &[VerifierKey],
    claims: &[Claim],
    report: &mut dyn FnMut(Option<u64>, What),
) -> io::Result<Checked> {
    // Before the lines: a process that is at work may sign more of them meanwhile.
    let note = checkpoint(disk, name)?;
    let opened = note.as_deref().map(|note| Checkpoint::open(note, keys));
    let mut check = Check::new(claims, report);
    match &opened {
        Some(Ok(checkpoint)) if checkpoint.origin.rsplit_once('/').is_none_or(|(_, of)| of != name) => {
            check.find(None, What::OtherOrigin(checkpoint.origin.clone()));
        }
        Some(Ok(checkpoint)) => check.signed = Some(checkpoint),
        Some(Err(error)) => check.find(None, What::BadCheckpoint(*error)),
        None => {}
    }
    let has_note = note.is_some();
    let mut lines = Lines::new(disk, name);
    let mut waiting: Option<Item> = None;
    loop {
        match lines.next()? {
            Next::Line(content) => {
                let next = Item { line: check.lines + 1, hash: tree::leaf(content), head: line::head(content) };
                check.lines += 1;
                check.found.length += content.len() as u64 + 1;
                if let Some(item) = waiting.take() {
                    check.take(&item, Some(&next));
                }
                waiting = Some(next);
            }
            Next::TooLong => {
                check.find(Some(check.lines + 1), What::TooLong);
                check.is_cut_short = true;
                break;
            }
            Next::End(torn) => {
                check.found.torn = torn;
                break;
            }
        }
    }
    if let Some(item) = waiting {
        check.take(&item, None);
    }
    check.end(has_note);
    Ok(check.found)
}

/// The checkpoint beside a file, as it is.
///
/// # Errors
/// It is there, and cannot be read.
pub(super) fn checkpoint<D: Disk>(disk: &D, name: &str) -> io::Result<Option<Vec<u8>>> {
    match disk.read(&names::checkpoint(name), 0, MAX_NOTE + 1) {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A line as it is checked.
struct Item {
    line: u64,
    hash: Hash,
    head: Option<Head>,
}

impl Item {
    fn n(&self) -> Option<u64> {
        self.head.as_ref().map(|head| head.n)
    }

    fn prev(&self) -> Option<Hash> {
        self.head.as_ref().and_then(|head| head.prev)
    }
}

/// Where a line stands.
enum Place {
    /// Where it belongs.
    Right,
    /// In the place of the record that is due.
    InsteadOf,
    /// Behind records that are gone.
    AfterGap,
    /// Between records that follow each other.
    Between,
}

struct Check<'c> {
    report: &'c mut dyn FnMut(Option<u64>, What),
    found: Checked,
    /// What each line's successor says of it, as a tree: where it is what was signed, and the lines are not, the successors are right.
    claimed_tree: Tree,
    signed: Option<&'c Checkpoint>,
    /// Claims of other files that are ahead, those of fewer records first.
    claims: Vec<&'c Claim>,
    lines: u64,
    /// The number of the next record.
    due: u64,
    /// The hash that the next line must have; `None` behind a fault.
    prev: Option<Hash>,
    /// The numbers of records that stood out of place.
    moved: Vec<u64>,
    /// The last line, if it does not have the hash of the line before it.
    pending: Option<u64>,
    has_fault: bool,
    is_cut_short: bool,
    root: Option<Hash>,
    claimed_root: Option<Hash>,
}

impl<'c> Check<'c> {
    fn new(claims: &'c [Claim], report: &'c mut dyn FnMut(Option<u64>, What)) -> Self {
        let mut claims: Vec<_> = claims.iter().collect();
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.follows.records));
        Self {
            report,
            found: Checked::default(),
            claimed_tree: Tree::default(),
            signed: None,
            claims,
            lines: 0,
            due: 0,
            prev: None,
            moved: Vec::new(),
            pending: None,
            has_fault: false,
            is_cut_short: false,
            root: None,
            claimed_root: None,
        }
    }

    fn find(&mut self, line: Option<u64>, what: What) {
        self.has_fault |= what.is_fault();
        (self.report)(line, what);
    }

    /// Takes a line into account, with the one that follows it.
    fn take(&mut self, item: &Item, next: Option<&Item>) {
        if self.found.is_ended {
            self.find(Some(item.line), What::AfterEnd);
        } else {
            self.place(item, next);
        }
        self.grow(item, next);
    }

    fn place(&mut self, item: &Item, next: Option<&Item>) {
        let (place, found) = (self.place_of(item, next), item.n());
        let due = self.due;
        match (&place, found) {
            (_, None) => self.find(Some(item.line), What::NotARecord),
            (Place::InsteadOf, Some(found)) => self.find(Some(item.line), What::Number { found, due }),
            (Place::Between, Some(found)) => {
                self.find(Some(item.line), What::OutOfPlace { found, due });
                if self.moved.len() < MOVED {
                    self.moved.push(found);
                }
            }
            (Place::AfterGap, Some(found)) => {
                if !(due..found).all(|n| self.moved.contains(&n)) {
                    self.find(Some(item.line), What::Missing { from: due, to: found - 1 });
                }
            }
            (Place::Right, Some(_)) => {}
        }
        match place {
            Place::Right => {
                let is_known_bad = !self.follows(item, next);
                self.prev = (!is_known_bad).then_some(item.hash);
                self.due = due + 1;
            }
            Place::InsteadOf => {
                // A record that ends the file and stands elsewhere does not end it there.
                self.prev = None;
                self.due = due + 1;
                return;
            }
            Place::AfterGap => {
                self.prev = Some(item.hash);
                self.due = found.unwrap_or(due).saturating_add(1);
            }
            Place::Between => return,
        }
        self.found.is_ended = item.head.as_ref().is_some_and(|head| head.kind == Kind::FileEnded);
        if item.line == 1 && !self.has_fault && item.head.as_ref().is_none_or(|head| head.kind != Kind::FileBegun) {
            self.find(Some(1), What::NoBeginning);
        }
    }

    fn place_of(&self, item: &Item, next: Option<&Item>) -> Place {
        let (due, found, after) = (self.due, item.n(), next.and_then(Item::n));
        match found {
            Some(n) if n == due => Place::Right,
            _ if after == Some(due) => Place::Between,
            _ if next.is_some() && after == Some(due + 1) => Place::InsteadOf,
            None => Place::InsteadOf,
            Some(n) if n > due && (next.is_none() || after == n.checked_add(1)) => Place::AfterGap,
            Some(n) if n > due && (due..n).all(|n| self.moved.contains(&n)) => Place::AfterGap,
            Some(_) => Place::Between,
        }
    }

    /// Whether a line that stands in its place can be compared with the next one, because it was not changed itself as far as is
    /// known.
    fn follows(&mut self, item: &Item, next: Option<&Item>) -> bool {
        let is_right = match self.prev {
            None if self.due == 0 => item.prev().is_none(),
            None => true,
            due => item.prev() == due,
        };
        if is_right {
            return true;
        }
        match next {
            Some(next) if next.prev() == Some(item.hash) && item.line > 1 => {
                self.find(Some(item.line - 1), What::Changed);
                true
            }
            None if item.line > 1 => {
                self.pending = Some(item.line);
                true
            }
            _ => {
                self.find(Some(item.line), What::PrevChanged);
                false
            }
        }
    }

    /// Adds a line to the trees, and compares their roots with what was signed and claimed.
    fn grow(&mut self, item: &Item, next: Option<&Item>) {
        self.found.tree.push(item.hash);
        self.found.last = item.hash;
        self.claimed_tree.push(next.and_then(Item::prev).unwrap_or(item.hash));
        let size = self.found.tree.size();
        if self.signed.is_some_and(|signed| signed.size == size) {
            self.root = Some(self.found.tree.root());
            self.claimed_root = Some(self.claimed_tree.root());
        }
        while let Some(claim) = self.claims.pop_if(|claim| claim.follows.records <= size) {
            // Where a fault was found already, it is the reason.
            if !self.has_fault && self.found.tree.root() != claim.follows.root {
                self.find(Some(item.line), What::NotAsClaimed { by: claim.by.clone() });
            }
        }
    }

    /// Takes the end of the file into account.
    fn end(&mut self, has_note: bool) {
        let records = self.found.tree.size();
        if let Some(line) = self.pending {
            let is_line_right = self.signed.is_none_or(|signed| self.claimed_root.is_none_or(|root| root == signed.root));
            if is_line_right {
                self.find(Some(line - 1), What::Changed);
            } else {
                self.find(Some(line), What::PrevChanged);
            }
        }
        if let Some(signed) = self.signed {
            self.found.signed = signed.size;
            if self.due < signed.size && !self.is_cut_short {
                self.find(None, What::Truncated { records: self.due, signed: signed.size });
            } else if !self.has_fault && self.root.is_some_and(|root| root != signed.root) {
                self.find(Some(signed.size), What::Rewritten);
            } else if !self.has_fault && signed.size < records {
                self.find(None, What::NotYetSigned { signed: signed.size, records });
            }
        } else if !has_note && records > 1 {
            // Each file has one before its second record is written.
            self.find(None, What::NoCheckpoint);
        }
        let claims = std::mem::take(&mut self.claims);
        if let Some(claim) = claims.first().filter(|claim| !self.has_fault && claim.follows.records > records) {
            let claimed = claim.follows.records;
            self.find(None, What::TruncatedAsClaimed { records, claimed, by: claim.by.clone() });
        }
        if self.found.torn > 0 && self.found.is_ended {
            self.find(Some(self.lines + 1), What::AfterEnd);
        } else if self.found.torn > 0 {
            self.find(None, What::Unfinished(self.found.torn));
        } else if !self.found.is_ended && !self.has_fault {
            self.find(None, What::NoEnd);
        }
    }
}

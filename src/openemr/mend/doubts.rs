//! Lists with nulls, which stay where a list of the name with `_` describes their places.

use crate::openemr::mend::empties::{Empties, without_empties};
use crate::openemr::mend::level::{Level, Notes};
use crate::openemr::mend::repairs::Repair;
use crate::openemr::mend::work::{Doubt, MAX_TWINS, Twin, Work};

impl Work {
    /// Notes a list with nulls, of which it is not known whether they stay.
    pub(crate) fn doubt(&mut self, at: usize, level: &Level) {
        let is_sure = level.items > level.open.count;
        self.doubts.push(Doubt {
            level: self.levels.len() - 1,
            name: level.name,
            from: level.open.at,
            to: self.output.position(at - 1),
            mark: level.mark,
            end: self.output.position(at),
            begun: if is_sure { level.open.begun } else { level.begun },
            note: level.note,
            is_sure,
        });
        if let Some(parent) = self.levels.last_mut() {
            parent.items += 1;
            parent.notes.add(if is_sure { level.note } else { Notes::default() });
        }
        if is_sure {
            self.confirm();
        }
    }

    /// Decides on the lists with nulls in an object that ends.
    pub(crate) fn resolve_doubts(&mut self, piece: &[u8], at: usize, object: &mut Level) {
        let index = self.levels.len();
        while let Some(doubt) = self.doubts.pop_if(|doubt| doubt.level == index) {
            if self.is_too_long(doubt.begun, at) {
                object.is_confirmed = true;
                object.notes.add(doubt.note);
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
                object.notes.add(doubt.note);
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
}

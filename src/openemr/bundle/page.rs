//! The entries of a search's answer that belong to the page, and what the others tell about the number of matches.

use crate::openemr::search::terms::{Page, SearchTerms, Window};

/// The reason why an entry is in a Bundle (FHIR R4, `Bundle.entry.search.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The resource matches the search.
    Match,
    /// The resource is included because of the match before it.
    Include,
    /// The resource is an OperationOutcome about the search.
    Outcome,
}

impl Mode {
    /// Returns the mode of an entry in a search for resources of the type `searched`.
    #[must_use]
    pub(crate) fn of(resource_type: Option<&str>, searched: &str) -> Self {
        match resource_type {
            Some("OperationOutcome") if searched != "OperationOutcome" => Self::Outcome,
            Some(other) if other != searched => Self::Include,
            _ => Self::Match,
        }
    }

    /// Returns the member `search`, to be written after another member.
    #[must_use]
    pub(crate) fn member(self) -> &'static [u8] {
        match self {
            Self::Match => br#","search":{"mode":"match"}"#,
            Self::Include => br#","search":{"mode":"include"}"#,
            Self::Outcome => br#","search":{"mode":"outcome"}"#,
        }
    }
}

/// Decides for each entry that OpenEMR sends, in order, whether it belongs to the page.
#[derive(Debug, Clone)]
pub(crate) struct PageCut {
    page: Option<Page>,
    sends_entries: bool,
    /// The number of matches that OpenEMR skips.
    before: u64,
    matches: u64,
    entries: u64,
    /// Whether the latest match belongs to the page, and with it the entries that are included because of it.
    match_is_on_page: bool,
    has_more: bool,
}

impl PageCut {
    /// Begins the answer to a search.
    #[must_use]
    pub(crate) fn new(terms: &SearchTerms) -> Self {
        let before = match terms.page {
            Some(Page { offset, window: Window::FromOffset(_), .. }) => offset,
            _ => 0,
        };
        let match_is_on_page = terms.page.is_none_or(|page| page.offset == before);
        Self { page: terms.page, sends_entries: terms.entries, before, matches: 0, entries: 0, match_is_on_page, has_more: false }
    }

    /// Takes the next entry and returns whether it is sent.
    pub(crate) fn next(&mut self, mode: Mode) -> bool {
        self.entries += 1;
        if mode == Mode::Match {
            let index = self.before.saturating_add(self.matches);
            self.matches += 1;
            if let Some(page) = self.page {
                let end = page.offset.saturating_add(page.count);
                self.match_is_on_page = (page.offset..end).contains(&index);
                self.has_more |= index >= end;
            }
        }
        self.sends_entries && (self.match_is_on_page || mode == Mode::Outcome)
    }

    /// Whether there is, or could be, a match after the page. Call it after the last entry.
    #[must_use]
    pub(crate) fn has_more(&self) -> bool {
        // Where OpenEMR was not rows for a match after the page, a full answer leaves it open whether there is one. Then there is
        // a link to a next page, which may turn out to be empty.
        let could_have = self.page.is_some_and(|page| match page.window {
            Window::Whole => false,
            Window::First(rows) => self.entries >= rows && rows <= page.offset.saturating_add(page.count),
            Window::FromOffset(rows) => self.entries >= rows && rows <= page.count,
        });
        self.has_more || could_have
    }

    /// Returns the number of all matches, where the answer tells it. Call it after the last entry.
    #[must_use]
    pub(crate) fn total(&self) -> Option<u64> {
        let all = self.before.saturating_add(self.matches);
        let is_known = match self.page.map(|page| page.window) {
            None | Some(Window::Whole) => true,
            // Included entries count too.
            Some(Window::First(rows)) => self.entries < rows,
            // An empty answer to an offset does not tell how many matches are before it.
            Some(Window::FromOffset(rows)) => self.entries < rows && (self.matches > 0 || self.before == 0),
        };
        is_known.then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(page: Option<Page>) -> SearchTerms {
        SearchTerms { page, ..SearchTerms::whole("Patient", String::new()) }
    }

    #[test]
    fn modes() {
        for (resource_type, searched, mode) in [
            (Some("Patient"), "Patient", Mode::Match),
            (Some("Provenance"), "Patient", Mode::Include),
            (Some("Provenance"), "Provenance", Mode::Match),
            (Some("OperationOutcome"), "Patient", Mode::Outcome),
            (None, "Patient", Mode::Match),
        ] {
            assert_eq!(Mode::of(resource_type, searched), mode);
        }
    }

    #[test]
    fn what_is_known_of_the_rest() {
        for (offset, window, sent, has_more, total) in [
            (0, Window::Whole, 5, true, Some(5)),
            (4, Window::Whole, 5, false, Some(5)),
            (9, Window::Whole, 5, false, Some(5)),
            (0, Window::First(3), 3, true, None),
            (0, Window::First(3), 2, false, Some(2)),
            (2, Window::First(5), 5, true, None),
            (4, Window::FromOffset(3), 3, true, None),
            (4, Window::FromOffset(3), 2, false, Some(6)),
            (4, Window::FromOffset(3), 0, false, None),
            (0, Window::FromOffset(3), 0, false, Some(0)),
            (4, Window::FromOffset(2), 2, true, None),
            (4, Window::FromOffset(2), 1, false, Some(5)),
            (1, Window::First(3), 3, true, None),
        ] {
            let mut cut = PageCut::new(&terms(Some(Page { offset, count: 2, window })));
            for _ in 0..sent {
                cut.next(Mode::Match);
            }
            assert_eq!((cut.has_more(), cut.total()), (has_more, total), "{offset} {window:?} {sent}");
        }
        let mut counted = PageCut::new(&SearchTerms { entries: false, ..terms(None) });
        assert!(!counted.next(Mode::Match) && !counted.next(Mode::Outcome));
        assert_eq!(counted.total(), Some(1));
    }

    proptest! {
        #[test]
        fn pages_of_any_size_give_each_entry_once(
            included in prop::collection::vec(0..3_usize, 0..30), count in 1..12_u64, window in 0..3, ahead in 0..2_u64
        ) {
            let entries: Vec<Mode> =
                included.iter().flat_map(|&more| [vec![Mode::Match], vec![Mode::Include; more]].concat()).collect();
            let has_includes = included.iter().any(|&more| more > 0);
            let mut seen = Vec::new();
            let mut offset = 0;
            loop {
                // The entries that OpenEMR sends. It is asked for a part only where nothing is included.
                let (window, sent) = match window {
                    1 if !has_includes => {
                        let rows = offset + count + 1;
                        (Window::First(rows), 0..entries.len().min(rows as usize))
                    }
                    2 if !has_includes => {
                        let rows = count + ahead;
                        (Window::FromOffset(rows), (offset as usize).min(entries.len())..entries.len().min((offset + rows) as usize))
                    }
                    _ => (Window::Whole, 0..entries.len()),
                };
                let mut cut = PageCut::new(&terms(Some(Page { offset, count, window })));
                let first = sent.start;
                // This says neither how many matches are before the offset nor that there are more.
                let is_past_the_end = matches!(window, Window::FromOffset(_)) && offset > 0 && sent.is_empty();
                let page: Vec<usize> = entries[sent].iter().enumerate().filter(|(_, mode)| cut.next(**mode)).map(|(at, _)| first + at).collect();
                prop_assert!(page.iter().filter(|&&at| entries[at] == Mode::Match).count() as u64 <= count);
                prop_assert!(cut.total().is_none_or(|total| total as usize == included.len()));
                prop_assert_eq!(cut.total().is_some() || cut.has_more(), !is_past_the_end);
                seen.extend(page);
                if !cut.has_more() {
                    break;
                }
                offset += count;
            }
            prop_assert_eq!(seen, (0..entries.len()).collect::<Vec<_>>());
        }
    }
}

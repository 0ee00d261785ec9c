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
    /// The mode of an entry with a resource of this type, in a search for resources of the type `searched`. One that does not say
    /// what it is, is what was searched.
    #[must_use]
    pub(crate) fn of(resource_type: &str, searched: &str) -> Self {
        match resource_type {
            "OperationOutcome" if searched != "OperationOutcome" => Self::Outcome,
            "" => Self::Match,
            other if other == searched => Self::Match,
            _ => Self::Include,
        }
    }

    /// The mode of that name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Match, Self::Include, Self::Outcome].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name in FHIR.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Include => "include",
            Self::Outcome => "outcome",
        }
    }
}

/// What comes after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// A page that begins behind so many matches.
    Page {
        /// The number of matches before it.
        offset: u64,
        /// Whether it can only be cut out of all matches, since OpenEMR's own numbers count some of them twice.
        of_all: bool,
    },
    /// What OpenEMR's own link to a next page leads to.
    OpenEmrs,
    /// More matches, which OpenEMR does not send.
    OutOfReach,
}

/// Decides for each entry that OpenEMR sends, in order, whether it belongs to the page.
#[derive(Debug, Clone)]
pub(crate) struct PageCut {
    page: Option<Page>,
    sends_entries: bool,
    /// The number of matches that OpenEMR skips.
    before: u64,
    matches: u64,
    /// Whether some of the matches that OpenEMR sends are left out.
    tests: bool,
    /// How many of them take up a place, because OpenEMR cuts the pages.
    unmet: u64,
    entries: u64,
    /// Whether the latest match belongs to the page, and with it the entries that are included because of it.
    match_is_on_page: bool,
    has_more: bool,
    has_doubles: bool,
    openemr_has_more: bool,
    openemrs_total: Option<u64>,
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
        Self {
            page: terms.page,
            sends_entries: terms.entries,
            before,
            matches: 0,
            tests: terms.tests(),
            unmet: 0,
            entries: 0,
            match_is_on_page,
            has_more: false,
            has_doubles: false,
            openemr_has_more: false,
            openemrs_total: None,
        }
    }

    /// Whether the next entry is sent if it is of this mode.
    #[must_use]
    pub(crate) fn sends(&self, mode: Mode) -> bool {
        let is_on_page = match mode {
            Mode::Match => self.page.is_none_or(|page| page.range().contains(&self.reached())),
            Mode::Include => self.match_is_on_page,
            Mode::Outcome => true,
        };
        is_on_page && self.sends_entries
    }

    /// Takes the next entry.
    pub(crate) fn take(&mut self, mode: Mode) {
        self.entries += u64::from(mode != Mode::Outcome);
        if mode == Mode::Match {
            let index = self.reached();
            self.matches += 1;
            self.match_is_on_page = self.page.is_none_or(|page| page.range().contains(&index));
            self.has_more |= self.page.is_some_and(|page| index >= page.range().end);
        }
    }

    /// Takes an entry that came before: it takes up a place in what OpenEMR counts, and none here.
    pub(crate) fn take_double(&mut self) {
        self.entries += 1;
        self.has_doubles = true;
    }

    /// Takes an entry that turned out not to belong to what was searched for, and with a match what is included because of it.
    pub(crate) fn take_unmet(&mut self, mode: Mode) {
        self.entries += u64::from(mode != Mode::Outcome);
        self.match_is_on_page &= mode != Mode::Match;
        if mode == Mode::Match && matches!(self.page, Some(Page { window: Window::FromOffset(_), .. })) {
            self.has_more |= self.page.is_some_and(|page| self.reached() >= page.range().end);
            self.unmet += 1;
        }
    }

    /// Takes an entry that is neither a match nor anything else.
    pub(crate) fn take_unusable(&mut self) {
        self.entries += 1;
    }

    /// Notes that OpenEMR itself says that there is a next page.
    pub(crate) fn note_next_page(&mut self) {
        self.openemr_has_more = true;
    }

    /// Notes the total that OpenEMR itself gives.
    pub(crate) fn note_total(&mut self, total: u64) {
        self.openemrs_total = Some(total);
    }

    /// Whether OpenEMR says that it sends a part of the matches.
    #[must_use]
    pub(crate) fn has_part(&self) -> bool {
        self.openemr_has_more
    }

    /// The number of matches before and in what OpenEMR sent.
    fn reached(&self) -> u64 {
        self.before.saturating_add(self.matches).saturating_add(self.unmet)
    }

    /// What comes after the page. Call it after the last entry.
    #[must_use]
    pub(crate) fn next(&self) -> Next {
        let Some(page) = self.page else {
            return if self.openemr_has_more { Next::OpenEmrs } else { Next::Nothing };
        };
        // A full answer leaves it open whether there is more. Then there is a link to a next page, which may turn out to be empty.
        let is_full = match page.window {
            Window::Whole => false,
            Window::First(rows) | Window::FromOffset(rows) => self.entries >= rows,
        };
        if !(self.has_more || is_full || self.openemr_has_more) {
            return Next::Nothing;
        }
        let offset = self.reached().min(page.range().end);
        if offset <= page.offset {
            return Next::OutOfReach;
        }
        Next::Page { offset, of_all: self.has_doubles && page.window != Window::Whole }
    }

    /// Returns the number of all matches, where the answer tells it. Call it after the last entry.
    #[must_use]
    pub(crate) fn total(&self) -> Option<u64> {
        if self.tests && (self.openemr_has_more || self.before > 0) {
            // How many of the others would be left out is not known.
            return None;
        }
        if self.openemr_has_more {
            // Releases up to 8.1 give the number of entries that they send; one that sends a part gives that of all.
            return self.openemrs_total.filter(|total| *total > self.reached() && !self.has_doubles);
        }
        let is_known = match self.page.map(|page| page.window) {
            None | Some(Window::Whole) => true,
            // Included entries count too.
            Some(Window::First(rows)) => self.entries < rows,
            // An empty answer to an offset does not tell how many matches are before it.
            Some(Window::FromOffset(rows)) => self.entries < rows && (self.matches > 0 || self.before == 0),
        };
        is_known.then(|| self.before.saturating_add(self.matches))
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
            ("Patient", "Patient", Mode::Match),
            ("Provenance", "Patient", Mode::Include),
            ("Provenance", "Provenance", Mode::Match),
            ("OperationOutcome", "Patient", Mode::Outcome),
            ("OperationOutcome", "OperationOutcome", Mode::Match),
            ("NewInR6", "Patient", Mode::Include),
            ("", "Patient", Mode::Match),
        ] {
            assert_eq!(Mode::of(resource_type, searched), mode);
            assert_eq!(Mode::named(mode.name()), Some(mode));
        }
        assert_eq!(Mode::named("matched"), None);
    }

    fn page(offset: u64) -> Next {
        Next::Page { offset, of_all: false }
    }

    #[test]
    fn what_is_known_of_the_rest() {
        for (offset, window, sent, next, total) in [
            (0, Window::Whole, 5, page(2), Some(5)),
            (4, Window::Whole, 5, Next::Nothing, Some(5)),
            (9, Window::Whole, 5, Next::Nothing, Some(5)),
            (0, Window::First(3), 3, page(2), None),
            (0, Window::First(3), 2, Next::Nothing, Some(2)),
            (2, Window::First(5), 5, page(4), None),
            (4, Window::FromOffset(3), 3, page(6), None),
            (4, Window::FromOffset(3), 2, Next::Nothing, Some(6)),
            (4, Window::FromOffset(3), 0, Next::Nothing, None),
            (0, Window::FromOffset(3), 0, Next::Nothing, Some(0)),
            (4, Window::FromOffset(2), 2, page(6), None),
            (4, Window::FromOffset(2), 1, Next::Nothing, Some(5)),
            (1, Window::First(3), 3, page(3), None),
        ] {
            let mut cut = PageCut::new(&terms(Some(Page { offset, count: 2, window })));
            for _ in 0..sent {
                cut.take(Mode::Match);
            }
            assert_eq!((cut.next(), cut.total()), (next, total), "{offset} {window:?} {sent}");
        }
        let counted = PageCut::new(&SearchTerms { entries: false, ..terms(None) });
        assert!(!counted.sends(Mode::Match) && !counted.sends(Mode::Outcome));
    }

    #[test]
    fn what_openemr_has_and_does_not_send_is_neither_counted_nor_kept_quiet() {
        for (offset, window, sent, next) in [
            (0, Window::Whole, 1, page(1)),
            (0, Window::Whole, 5, page(2)),
            (3, Window::Whole, 3, Next::OutOfReach),
            (0, Window::First(3), 1, page(1)),
            (4, Window::FromOffset(3), 1, page(5)),
            (4, Window::FromOffset(3), 0, Next::OutOfReach),
        ] {
            let mut cut = PageCut::new(&terms(Some(Page { offset, count: 2, window })));
            cut.note_next_page();
            for _ in 0..sent {
                cut.take(Mode::Match);
            }
            assert_eq!((cut.next(), cut.total()), (next, None), "{offset} {window:?} {sent}");
        }
        let mut whole = PageCut::new(&terms(None));
        whole.note_next_page();
        assert_eq!((whole.next(), whole.total()), (Next::OpenEmrs, None));
    }

    #[test]
    fn openemrs_total_is_that_of_all_where_it_sends_a_part() {
        let cut = |total, has_more: bool| {
            let mut cut = PageCut::new(&terms(None));
            cut.note_total(total);
            cut.take(Mode::Match);
            cut.take(Mode::Match);
            if has_more {
                cut.note_next_page();
            }
            cut
        };
        // The number of entries sent is none of all.
        assert_eq!([cut(2, true).total(), cut(1, true).total(), cut(7, true).total()], [None, None, Some(7)]);
        assert_eq!([cut(7, false).total(), cut(1, false).total()], [Some(2); 2]);
        let mut doubled = cut(7, true);
        doubled.take_double();
        assert_eq!(doubled.total(), None);
    }

    #[test]
    fn after_doubles_pages_are_cut_out_of_all_matches() {
        for (window, of_all) in [(Window::First(3), true), (Window::FromOffset(3), true), (Window::Whole, false)] {
            let mut cut = PageCut::new(&terms(Some(Page { offset: 0, count: 2, window })));
            cut.take(Mode::Match);
            cut.take_double();
            cut.take(Mode::Match);
            let next = if of_all { Next::Page { offset: 2, of_all } } else { Next::Nothing };
            assert_eq!((cut.next(), cut.total()), (next, (!of_all).then_some(2)), "{window:?}");
        }
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
                let mut page = Vec::new();
                for (at, mode) in entries[sent].iter().enumerate() {
                    if cut.sends(*mode) {
                        page.push(first + at);
                    }
                    cut.take(*mode);
                }
                prop_assert!(page.iter().filter(|&&at| entries[at] == Mode::Match).count() as u64 <= count);
                prop_assert!(cut.total().is_none_or(|total| total as usize == included.len()));
                prop_assert_eq!(cut.total().is_some() || cut.next() != Next::Nothing, !is_past_the_end);
                seen.extend(page);
                match cut.next() {
                    Next::Nothing => break,
                    next => prop_assert_eq!(next, Next::Page { offset: offset + count, of_all: false }),
                }
                offset += count;
            }
            prop_assert_eq!(seen, (0..entries.len()).collect::<Vec<_>>());
        }

        /// What is left out takes up a place in OpenEMR's pages, so that the links lead past it.
        #[test]
        fn a_walk_over_openemrs_pages_meets_each_match_that_stays(
            rows in proptest::collection::vec(any::<bool>(), 0..30),
            count in 1_u64..7,
        ) {
            let mut criteria = crate::fhir::criteria::Criteria::default();
            criteria.and(crate::fhir::criteria::Criterion::read("Patient", "active", "true").unwrap());
            let (mut offset, mut kept) = (0, Vec::new());
            loop {
                let page = Page { offset, count, window: Window::FromOffset(count + 1) };
                let mut cut = PageCut::new(&SearchTerms { criteria: criteria.clone(), ..terms(Some(page)) });
                let sent = (offset as usize).min(rows.len())..rows.len().min((offset + count + 1) as usize);
                for at in sent {
                    match rows[at] {
                        true => {
                            kept.extend(cut.sends(Mode::Match).then_some(at));
                            cut.take(Mode::Match);
                        }
                        false => cut.take_unmet(Mode::Match),
                    }
                }
                let all = rows.iter().filter(|stays| **stays).count();
                prop_assert!(cut.total().is_none_or(|total| total as usize == all));
                match cut.next() {
                    Next::Page { offset: next, .. } => offset = next,
                    _ => break,
                }
            }
            let expected: Vec<_> = (0..rows.len()).filter(|at| rows[*at]).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}

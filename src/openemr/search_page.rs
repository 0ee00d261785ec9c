//! What a search asks OpenEMR for, so that a page can be cut out of what comes.
//!
//! Modern OpenEMR pages Patient by `_count` and `_offset`. On every other type it takes `_count` alone, and with
//! `_revinclude` that counts what is included, too. It never sends more than 200 where it was given a `_count`, and says
//! nothing about it. Old ones take neither. Without `_count` everything comes.

use crate::fhir::capabilities::Version;
use crate::openemr::search_terms::{Page, Window};

/// The most that OpenEMR sends where it is given a `_count`.
pub const MOST_COUNTED: u64 = 200;

/// Who cuts pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pager {
    /// The gateway, wherever OpenEMR cannot.
    Slice,
    /// OpenEMR, where it can.
    Native,
    /// Nobody: `_count` and `_offset` go to OpenEMR as they come.
    Off,
}

/// What paging depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who cuts pages.
    pub pager: Pager,
    /// `None` where it is not known: then nothing is asked of OpenEMR but the whole set, which all versions can give.
    pub version: Option<Version>,
    /// Whether Patient is searched.
    pub patients: bool,
    /// Whether others may come between the matches.
    pub includes: bool,
    /// Whether an order was asked for. Rows that are equal in it may change places from one page of OpenEMR's to the next.
    pub sorted: bool,
    /// Whether all matches are to be counted.
    pub counts_all: bool,
    /// The caller's `_count`, above 0.
    pub count: Option<u64>,
    /// The caller's `_offset`.
    pub offset: Option<u64>,
}

/// What is asked, and what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// OpenEMR's `_count`.
    pub count: Option<u64>,
    /// OpenEMR's `_offset`.
    pub offset: Option<u64>,
    /// The page that is cut out.
    pub page: Option<Page>,
    /// Whether the number of matches can be told from what comes.
    pub total: bool,
    /// What could not be done as it was asked.
    pub shortcomings: Vec<Shortcoming>,
}

/// What could not be done as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcoming {
    /// `_count` cannot be used here.
    NoCount,
    /// `_offset` cannot be used here, or not without `_count`.
    NoOffset,
    /// `_count` is above [`MOST_COUNTED`].
    CutCount,
    /// The number of all matches is not known.
    NoTotal,
}

/// Decides what to ask for.
#[must_use]
pub fn ask(question: &Question) -> Asked {
    match (question.pager, question.count) {
        (Pager::Slice, Some(count)) => slice(question, count),
        (Pager::Native, Some(count)) => native(question, count),
        (Pager::Slice | Pager::Native, None) => Asked::everything(question.offset.map(|_| Shortcoming::NoOffset)),
        (Pager::Off, _) => as_it_comes(question),
    }
}

impl Default for Asked {
    /// Everything.
    fn default() -> Self {
        Self::everything([])
    }
}

impl Asked {
    fn everything(shortcomings: impl IntoIterator<Item = Shortcoming>) -> Self {
        Self { count: None, offset: None, page: None, total: true, shortcomings: shortcomings.into_iter().collect() }
    }
}

fn slice(question: &Question, count: u64) -> Asked {
    let offset = question.offset.unwrap_or(0);
    // One more than the page tells whether there is another one.
    let up_to_next = offset.saturating_add(count).saturating_add(1);
    let counts = question.version == Some(Version::Modern) && !question.includes && !question.counts_all;
    let window = match question.patients {
        _ if !counts => Window::Whole,
        true if !question.sorted && count <= MOST_COUNTED => Window::FromOffset((count + 1).min(MOST_COUNTED)),
        false if up_to_next <= MOST_COUNTED => Window::First(up_to_next),
        _ => Window::Whole,
    };
    let (ask_count, ask_offset) = match window {
        Window::Whole => (None, None),
        Window::First(rows) => (Some(rows), None),
        Window::FromOffset(rows) => (Some(rows), (offset > 0).then_some(offset)),
    };
    let page = Some(Page { offset, count, window });
    Asked { count: ask_count, offset: ask_offset, page, total: true, shortcomings: Vec::new() }
}

fn native(question: &Question, count: u64) -> Asked {
    if question.version == Some(Version::Old) {
        return Asked::everything([Shortcoming::NoCount]);
    }
    let sent = count.min(MOST_COUNTED);
    let offset = question.offset.filter(|_| question.patients);
    // Only there a link to the next page leads to the next page.
    let pages = question.patients && !question.includes && question.version == Some(Version::Modern);
    let page = Page { offset: offset.unwrap_or(0), count: sent, window: Window::FromOffset(sent) };
    let shortcomings = [
        (count > sent, Shortcoming::CutCount),
        (question.offset != offset, Shortcoming::NoOffset),
        (question.counts_all, Shortcoming::NoTotal),
    ];
    let shortcomings = shortcomings.into_iter().filter_map(|(is_so, shortcoming)| is_so.then_some(shortcoming));
    Asked { count: Some(sent), offset, page: pages.then_some(page), total: pages, shortcomings: shortcomings.collect() }
}

fn as_it_comes(question: &Question) -> Asked {
    let (count, offset) = (question.count, question.offset);
    if question.version == Some(Version::Old) {
        return Asked::everything((count.is_some() || offset.is_some()).then_some(Shortcoming::NoCount));
    }
    let total = count.is_none();
    let shortcomings = (question.counts_all && !total).then_some(Shortcoming::NoTotal).into_iter().collect();
    Asked { count, offset, page: None, total, shortcomings }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ASKED: Question = Question {
        pager: Pager::Slice,
        version: Some(Version::Modern),
        patients: false,
        includes: false,
        sorted: false,
        counts_all: false,
        count: None,
        offset: None,
    };

    fn window(question: Question) -> (Option<u64>, Option<u64>, Window) {
        let asked = ask(&question);
        assert!(asked.total && asked.shortcomings.is_empty(), "{question:?}: {asked:?}");
        let page = asked.page.unwrap();
        assert_eq!((Some(page.count), page.offset), (question.count, question.offset.unwrap_or(0)));
        (asked.count, asked.offset, page.window)
    }

    #[test]
    fn patients_are_paged_by_openemr_as_far_as_it_can() {
        for (count, offset, expected) in [
            (1, None, (Some(2), None, Window::FromOffset(2))),
            (50, Some(0), (Some(51), None, Window::FromOffset(51))),
            (50, Some(950), (Some(51), Some(950), Window::FromOffset(51))),
            (199, Some(199), (Some(200), Some(199), Window::FromOffset(200))),
            (200, Some(200), (Some(200), Some(200), Window::FromOffset(200))),
            (201, Some(201), (None, None, Window::Whole)),
            (u64::MAX, Some(u64::MAX), (None, None, Window::Whole)),
        ] {
            let question = Question { patients: true, count: Some(count), offset, ..ASKED };
            assert_eq!(window(question), expected, "{count} {offset:?}");
            for other in [
                Question { version: Some(Version::Old), ..question },
                Question { version: None, ..question },
                Question { includes: true, ..question },
                Question { sorted: true, ..question },
                Question { counts_all: true, ..question },
            ] {
                assert_eq!(window(other), (None, None, Window::Whole), "{other:?}");
            }
        }
    }

    #[test]
    fn other_types_are_asked_for_no_more_than_the_page_needs() {
        for (count, offset, expected) in [
            (1, None, (Some(2), None, Window::First(2))),
            (50, Some(100), (Some(151), None, Window::First(151))),
            (100, Some(99), (Some(200), None, Window::First(200))),
            (100, Some(100), (None, None, Window::Whole)),
            (200, None, (None, None, Window::Whole)),
            (1, Some(u64::MAX), (None, None, Window::Whole)),
        ] {
            let question = Question { count: Some(count), offset, ..ASKED };
            assert_eq!(window(question), expected, "{count} {offset:?}");
            assert_eq!(window(Question { version: Some(Version::Old), ..question }), (None, None, Window::Whole));
            assert_eq!(window(Question { includes: true, ..question }), (None, None, Window::Whole));
        }
    }

    #[test]
    fn without_a_count_everything_comes() {
        for pager in [Pager::Slice, Pager::Native] {
            assert_eq!(ask(&Question { pager, ..ASKED }), Asked::default());
            let asked = ask(&Question { pager, offset: Some(5), ..ASKED });
            assert_eq!(asked, Asked::everything([Shortcoming::NoOffset]));
        }
    }

    #[test]
    fn native_paging_promises_only_what_openemr_keeps() {
        let native = Question { pager: Pager::Native, count: Some(500), offset: Some(10), ..ASKED };
        let patients = ask(&Question { patients: true, ..native });
        assert_eq!((patients.count, patients.offset), (Some(200), Some(10)));
        assert_eq!(patients.page, Some(Page { offset: 10, count: 200, window: Window::FromOffset(200) }));
        assert_eq!(patients.shortcomings, [Shortcoming::CutCount]);
        let others = ask(&native);
        assert_eq!((others.count, others.offset, others.page, others.total), (Some(200), None, None, false));
        assert_eq!(others.shortcomings, [Shortcoming::CutCount, Shortcoming::NoOffset]);
        let old = ask(&Question { version: Some(Version::Old), ..native });
        assert_eq!(old, Asked::everything([Shortcoming::NoCount]));
    }

    #[test]
    fn with_paging_off_the_caller_speaks_for_himself_where_that_empties_nothing() {
        let off = Question { pager: Pager::Off, count: Some(500), offset: Some(10), ..ASKED };
        let asked = ask(&off);
        assert_eq!((asked.count, asked.offset, asked.page, asked.total), (Some(500), Some(10), None, false));
        let old = ask(&Question { version: Some(Version::Old), ..off });
        assert_eq!(old, Asked::everything([Shortcoming::NoCount]));
    }
}

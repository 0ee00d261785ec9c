//! Paging: which matches OpenEMR is asked for, so that the gateway can cut the client's page out of its answer.
//!
//! OpenEMR 7.0.4 and later pages Patient by `_count` and `_offset`. On every other type it takes `_count` only, and with
//! `_revinclude` that counts the included resources too. It never sends more than 200 entries when it is given a `_count`,
//! and does not say so. Older versions take neither parameter. Without `_count` all matches are sent.
//!
//! Decision: `docs/decisions/16-search.md`.

use crate::openemr::search::terms::{Page, Window};
use crate::openemr::version::Version;

/// The types of which OpenEMR 8.0 lists each match twice.
const DOUBLED: [&str; 1] = ["Immunization"];

/// The most matches for which an OpenEMR that cuts pages is asked at once, where the gateway has to see them all.
pub(crate) const MAX_AT_ONCE: u64 = 10_000;
/// The most entries that OpenEMR sends when it is given a `_count`.
pub(crate) const MAX_COUNT: u64 = 200;

/// Who cuts a search's matches into pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pager {
    /// The gateway, wherever OpenEMR cannot.
    Slice,
    /// OpenEMR, where it can.
    Native,
    /// Nobody: `_count` and `_offset` are forwarded as they are.
    Off,
}

/// The facts of a search on which its paging depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// Who cuts pages.
    pub(crate) pager: Pager,
    /// OpenEMR's version. While it is not known, OpenEMR is asked for all matches, which every version can send.
    pub(crate) version: Option<Version>,
    /// Whether Patient is searched.
    pub(crate) patients: bool,
    /// Whether OpenEMR is newer than those that were measured. As it is announced, it pages every type by `_count` and `_offset`, and
    /// sends one page of its own size where it is given no `_count`.
    pub(crate) newer: bool,
    /// Whether OpenEMR is known to send matches of this type twice, so that its numbers of rows are none of matches.
    pub(crate) doubled: bool,
    /// Whether included resources can come between the matches.
    pub(crate) includes: bool,
    /// Whether an order was asked for. Matches that are equal in it may change places from one page of OpenEMR's to the next.
    pub(crate) sorted: bool,
    /// Whether all matches must be counted.
    pub(crate) counts_all: bool,
    /// The client's `_count`, above 0.
    pub(crate) count: Option<u64>,
    /// The client's `_offset`.
    pub(crate) offset: Option<u64>,
    /// Whether OpenEMR fails when it is given a `_count`.
    pub(crate) fails: bool,
    /// Whether the gateway leaves out some of the matches that OpenEMR sends.
    pub(crate) tests: bool,
    /// Whether an answer with the whole set is kept for the pages behind the one that is asked for.
    pub(crate) keeps: bool,
    /// Whether the client must not learn that there are these matches, nor how many.
    pub(crate) hides: bool,
}

/// What OpenEMR is asked for, and the page that is cut out of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePlan {
    /// The `_count` for OpenEMR.
    pub(crate) count: Option<u64>,
    /// The `_offset` for OpenEMR.
    pub(crate) offset: Option<u64>,
    /// The page that is cut out; `None` to send all entries of the answer.
    pub(crate) page: Option<Page>,
    /// Whether the number of all matches can be told from the answer.
    pub(crate) total: bool,
    /// The parts of the request that cannot be done.
    pub(crate) limitations: Vec<Limitation>,
}

/// A part of a request for a page that cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limitation {
    /// `_count` has no effect here.
    NoCount,
    /// `_offset` has no effect here, or none without `_count`.
    NoOffset,
    /// `_count` is above [`MAX_COUNT`].
    CountReduced,
    /// The number of all matches is not known.
    NoTotal,
}

/// Whether OpenEMR is known to send matches of a type twice.
#[must_use]
pub(crate) fn is_doubled(resource_type: &str) -> bool {
    DOUBLED.contains(&resource_type)
}

/// Plans what OpenEMR is asked for.
#[must_use]
pub(crate) fn plan(request: &PageRequest) -> PagePlan {
    match (request.pager, request.count) {
        // The links to its pages would tell of those that are left out.
        (_, count) if request.hides && request.newer => at_once(request, count),
        // It would send a page of its own size, with a link to the next one by what it was asked for.
        (_, count) if request.tests && request.newer => slice(request, count.unwrap_or(MAX_COUNT)),
        (Pager::Native | Pager::Off, Some(_)) if request.fails || request.tests => PagePlan::everything([Limitation::NoCount]),
        (Pager::Off, None) if request.tests => PagePlan::everything(request.offset.map(|_| Limitation::NoOffset)),
        (Pager::Slice, Some(count)) => slice(request, count),
        (Pager::Native, Some(count)) => native(request, count),
        (Pager::Slice | Pager::Native, None) => PagePlan::everything(request.offset.map(|_| Limitation::NoOffset)),
        (Pager::Off, _) => forward(request),
    }
}

impl Default for PagePlan {
    /// All matches.
    fn default() -> Self {
        Self::everything([])
    }
}

impl PagePlan {
    fn everything(limitations: impl IntoIterator<Item = Limitation>) -> Self {
        Self { count: None, offset: None, page: None, total: true, limitations: limitations.into_iter().collect() }
    }
}

/// All matches, of an OpenEMR that would send one page of its own size.
fn at_once(request: &PageRequest, count: Option<u64>) -> PagePlan {
    let whole = |count| Page { offset: request.offset.unwrap_or(0), count, window: Window::Whole };
    let limitations = if count.is_none() { request.offset.map(|_| Limitation::NoOffset) } else { None };
    PagePlan { count: Some(MAX_AT_ONCE), page: count.map(whole), ..PagePlan::everything(limitations) }
}

fn slice(request: &PageRequest, count: u64) -> PagePlan {
    let offset = request.offset.unwrap_or(0);
    // One match after the page shows that there is a next page.
    let up_to_next = offset.saturating_add(count).saturating_add(1);
    let counts_rows = request.version == Some(Version::Modern) && !request.fails && !request.doubled;
    let can_count = counts_rows && !request.includes && !request.counts_all;
    let window = match request.patients {
        _ if request.newer => Window::FromOffset(count.saturating_add(1)),
        _ if request.tests => Window::Whole,
        _ if !can_count => Window::Whole,
        true if !request.sorted && count <= MAX_COUNT => Window::FromOffset((count + 1).min(MAX_COUNT)),
        // Who asks for a second page will ask for a third.
        false if up_to_next <= MAX_COUNT && !(request.keeps && offset > 0) => Window::First(up_to_next),
        _ => Window::Whole,
    };
    let (sent_count, sent_offset) = match window {
        Window::Whole => (None, None),
        Window::First(rows) => (Some(rows), None),
        Window::FromOffset(rows) => (Some(rows), (offset > 0).then_some(offset)),
    };
    let page = Some(Page { offset, count, window });
    PagePlan { count: sent_count, offset: sent_offset, page, total: true, limitations: Vec::new() }
}

fn native(request: &PageRequest, count: u64) -> PagePlan {
    if request.version == Some(Version::Old) {
        return PagePlan::everything([Limitation::NoCount]);
    }
    let sent = count.min(MAX_COUNT);
    let offset = request.offset.filter(|_| request.patients);
    // Elsewhere a link to the next page would not lead there.
    let pages = request.patients && !request.includes && request.version == Some(Version::Modern);
    let page = Page { offset: offset.unwrap_or(0), count: sent, window: Window::FromOffset(sent) };
    let limitations = [
        (count > sent, Limitation::CountReduced),
        (request.offset != offset, Limitation::NoOffset),
        (request.counts_all, Limitation::NoTotal),
    ];
    let limitations = limitations.into_iter().filter_map(|(applies, limitation)| applies.then_some(limitation));
    PagePlan { count: Some(sent), offset, page: pages.then_some(page), total: pages, limitations: limitations.collect() }
}

fn forward(request: &PageRequest) -> PagePlan {
    let (count, offset) = (request.count, request.offset);
    if request.version == Some(Version::Old) {
        return PagePlan::everything((count.is_some() || offset.is_some()).then_some(Limitation::NoCount));
    }
    let total = count.is_none();
    let limitations = (request.counts_all && !total).then_some(Limitation::NoTotal).into_iter().collect();
    PagePlan { count, offset, page: None, total, limitations }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: PageRequest = PageRequest {
        pager: Pager::Slice,
        version: Some(Version::Modern),
        patients: false,
        newer: false,
        doubled: false,
        includes: false,
        sorted: false,
        counts_all: false,
        count: None,
        offset: None,
        fails: false,
        tests: false,
        keeps: false,
        hides: false,
    };

    fn window(request: PageRequest) -> (Option<u64>, Option<u64>, Window) {
        let planned = plan(&request);
        assert!(planned.total && planned.limitations.is_empty(), "{request:?}: {planned:?}");
        let page = planned.page.unwrap();
        assert_eq!((Some(page.count), page.offset), (request.count, request.offset.unwrap_or(0)));
        (planned.count, planned.offset, page.window)
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
            let request = PageRequest { patients: true, count: Some(count), offset, ..REQUEST };
            assert_eq!(window(request), expected, "{count} {offset:?}");
            for other in [
                PageRequest { version: Some(Version::Old), ..request },
                PageRequest { version: None, ..request },
                PageRequest { includes: true, ..request },
                PageRequest { sorted: true, ..request },
                PageRequest { counts_all: true, ..request },
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
            let request = PageRequest { count: Some(count), offset, ..REQUEST };
            assert_eq!(window(request), expected, "{count} {offset:?}");
            assert_eq!(window(PageRequest { version: Some(Version::Old), ..request }), (None, None, Window::Whole));
            assert_eq!(window(PageRequest { includes: true, ..request }), (None, None, Window::Whole));
            assert_eq!(window(PageRequest { doubled: true, ..request }), (None, None, Window::Whole));
        }
    }

    #[test]
    fn where_whole_sets_are_kept_they_are_asked_for_from_the_second_page_on() {
        let keeps = PageRequest { keeps: true, ..REQUEST };
        for (patients, offset, expected) in [
            (false, None, (Some(51), None, Window::First(51))),
            (false, Some(50), (None, None, Window::Whole)),
            (true, Some(50), (Some(51), Some(50), Window::FromOffset(51))),
        ] {
            assert_eq!(window(PageRequest { patients, count: Some(50), offset, ..keeps }), expected, "{patients} {offset:?}");
        }
    }

    #[test]
    fn openemr_is_given_no_count_on_which_it_fails() {
        let request = PageRequest { count: Some(5), fails: true, ..REQUEST };
        assert_eq!(window(request), (None, None, Window::Whole));
        for pager in [Pager::Native, Pager::Off] {
            assert_eq!(plan(&PageRequest { pager, ..request }), PagePlan::everything([Limitation::NoCount]));
        }
    }

    #[test]
    fn what_the_gateway_tests_is_sent_whole() {
        for patients in [false, true] {
            let request = PageRequest { count: Some(5), offset: Some(10), tests: true, patients, ..REQUEST };
            assert_eq!(window(request), (None, None, Window::Whole));
            for pager in [Pager::Native, Pager::Off] {
                assert_eq!(plan(&PageRequest { pager, ..request }), PagePlan::everything([Limitation::NoCount]));
                let without = PageRequest { pager, count: None, ..request };
                assert_eq!(plan(&without), PagePlan::everything([Limitation::NoOffset]));
            }
        }
    }

    #[test]
    fn a_newer_openemr_pages_by_itself() {
        for (count, offset) in [(1, None), (500, Some(1000))] {
            let request = PageRequest { newer: true, doubled: true, count: Some(count), offset, ..REQUEST };
            assert_eq!(window(request), (Some(count + 1), offset, Window::FromOffset(count + 1)));
        }
    }

    #[test]
    fn what_the_gateway_tests_of_a_newer_openemr_comes_in_pages_of_openemrs() {
        for pager in [Pager::Slice, Pager::Native, Pager::Off] {
            let request = PageRequest { newer: true, tests: true, pager, ..REQUEST };
            for (count, offset, sent) in [(Some(5), Some(10), 6), (None, None, 201), (None, Some(200), 201)] {
                let planned = plan(&PageRequest { count, offset, ..request });
                let page = Page { offset: offset.unwrap_or(0), count: sent - 1, window: Window::FromOffset(sent) };
                assert_eq!((planned.count, planned.offset, planned.page), (Some(sent), offset, Some(page)), "{count:?}");
            }
        }
    }

    #[test]
    fn without_a_count_everything_comes() {
        for pager in [Pager::Slice, Pager::Native] {
            assert_eq!(plan(&PageRequest { pager, ..REQUEST }), PagePlan::default());
            let planned = plan(&PageRequest { pager, offset: Some(5), ..REQUEST });
            assert_eq!(planned, PagePlan::everything([Limitation::NoOffset]));
        }
    }

    #[test]
    fn native_paging_promises_only_what_openemr_keeps() {
        let native = PageRequest { pager: Pager::Native, count: Some(500), offset: Some(10), ..REQUEST };
        let patients = plan(&PageRequest { patients: true, ..native });
        assert_eq!((patients.count, patients.offset), (Some(200), Some(10)));
        assert_eq!(patients.page, Some(Page { offset: 10, count: 200, window: Window::FromOffset(200) }));
        assert_eq!(patients.limitations, [Limitation::CountReduced]);
        let others = plan(&native);
        assert_eq!((others.count, others.offset, others.page, others.total), (Some(200), None, None, false));
        assert_eq!(others.limitations, [Limitation::CountReduced, Limitation::NoOffset]);
        let old = plan(&PageRequest { version: Some(Version::Old), ..native });
        assert_eq!(old, PagePlan::everything([Limitation::NoCount]));
    }

    #[test]
    fn with_paging_off_the_clients_numbers_are_forwarded_where_that_empties_nothing() {
        let off = PageRequest { pager: Pager::Off, count: Some(500), offset: Some(10), ..REQUEST };
        let planned = plan(&off);
        assert_eq!((planned.count, planned.offset, planned.page, planned.total), (Some(500), Some(10), None, false));
        let old = plan(&PageRequest { version: Some(Version::Old), ..off });
        assert_eq!(old, PagePlan::everything([Limitation::NoCount]));
    }
}

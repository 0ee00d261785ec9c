//! The terms on which the answer to a search is rewritten. The plan of the search makes them, and the steps of the answer's
//! body apply them.

use std::ops::Range;

use crate::fhir::criteria::Criteria;
use crate::fhir::projection::rule::Projection;
use crate::fhir::resource_test::Permitted;

/// The terms on which the answer to a search is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerms {
    /// The type that was searched. Entries of other types are included ones.
    pub resource_type: &'static str,
    /// The search with the parameters that were used, below the FHIR base and percent-encoded: `/Patient?name=x&_count=5`.
    pub self_target: String,
    /// The same without `_count` and `_offset`, for the links to other pages.
    pub page_target: String,
    /// What a match must meet besides, which OpenEMR was not asked for.
    pub criteria: Criteria,
    /// The test that every resource of the answer must pass, for a client that may not have everything.
    pub permitted: Option<Permitted>,
    /// The page that is cut out; `None` to send all entries.
    pub page: Option<Page>,
    /// Whether the Bundle gets a `total` where that is known.
    pub total: bool,
    /// Whether entries are sent at all, which they are not for `_summary=count`.
    pub entries: bool,
    /// The part of each resource that is sent.
    pub projection: Projection,
    /// Whether the answer is indented.
    pub pretty: bool,
    /// Whether OpenEMR was asked something else than the client asked, or does not know all that was asked: its answer must not
    /// pass as it is.
    pub changed: bool,
    /// An OperationOutcome in JSON about parameters that were not used, to be added as an entry of mode `outcome`.
    pub outcome: Option<String>,
}

impl SearchTerms {
    /// Makes the terms of a search whose entries are all sent unchanged. `target` is used for `self` and for pages.
    #[must_use]
    pub fn whole(resource_type: &'static str, target: String) -> Self {
        Self {
            resource_type,
            page_target: target.clone(),
            self_target: target,
            criteria: Criteria::default(),
            permitted: None,
            page: None,
            total: true,
            entries: true,
            projection: Projection::Whole,
            pretty: false,
            changed: false,
            outcome: None,
        }
    }

    /// Whether resources are tested, and some left out by that.
    #[must_use]
    pub(crate) fn tests(&self) -> bool {
        !self.criteria.is_empty() || self.hides()
    }

    /// Whether the client may not have all resources of the types that it may have.
    #[must_use]
    pub(crate) fn hides(&self) -> bool {
        hides(self.permitted.as_ref())
    }
}

/// Whether a test is of more than types.
#[must_use]
pub(crate) fn hides(permitted: Option<&Permitted>) -> bool {
    permitted.is_some_and(|Permitted(test)| !test.is_of_types_alone())
}

/// A page of a search's matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The number of matches before the page.
    pub offset: u64,
    /// The most matches on the page, above 0.
    pub count: u64,
    /// The matches that OpenEMR was asked for.
    pub window: Window,
}

impl Page {
    /// The numbers of its matches, from 0.
    #[must_use]
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.count)
    }
}

/// The part of all matches that OpenEMR is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// All matches.
    Whole,
    /// This number of matches from the first one, or fewer where there are no more.
    First(u64),
    /// This number of matches from the page's offset, or fewer where there are no more.
    FromOffset(u64),
}

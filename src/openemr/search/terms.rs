//! What was searched for, and how the Bundle that comes back is to leave the gateway: the agreement between the plan of a
//! search, which is made when the request comes, and the steps that its answer takes.

use crate::fhir::projection::rule::Projection;

/// A search as OpenEMR was asked for it, and as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerms {
    /// The type that was searched; entries of other types are included ones.
    pub resource_type: &'static str,
    /// The search as it was used, below the FHIR base: `/Patient?name=x&_count=5`, percent-encoded.
    pub self_target: String,
    /// The same without `_count` and `_offset`, for the links to other pages.
    pub page_target: String,
    /// The page that is cut out; `None` for everything that comes.
    pub page: Option<Page>,
    /// Whether `total` is said where it is known.
    pub total: bool,
    /// Whether entries are sent at all; not for `_summary=count`.
    pub entries: bool,
    /// What is left of each resource.
    pub projection: Projection,
    /// Whether the answer is indented.
    pub pretty: bool,
    /// An OperationOutcome about parameters that were not used, as JSON: an entry of mode `outcome`.
    pub outcome: Option<String>,
}

impl SearchTerms {
    /// A search of which everything is sent as it comes. `target` is its own, and that of its pages.
    #[must_use]
    pub fn whole(resource_type: &'static str, target: String) -> Self {
        Self {
            resource_type,
            page_target: target.clone(),
            self_target: target,
            page: None,
            total: true,
            entries: true,
            projection: Projection::Whole,
            pretty: false,
            outcome: None,
        }
    }
}

/// A page of a search's matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Matches before it.
    pub offset: u64,
    /// Matches on it, at most; above 0.
    pub count: u64,
    /// What OpenEMR was asked for, and sends.
    pub window: Window,
}

/// A part of all matches, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// All of them.
    Whole,
    /// The first so many, or fewer where there are no more.
    First(u64),
    /// So many from the page's offset on, or fewer where there are no more.
    FromOffset(u64),
}

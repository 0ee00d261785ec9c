//! What a site's answers are made to be: which repairs are made, how results are paged, what browsers may do.

use std::path::PathBuf;
use std::time::Duration;

/// Which of OpenEMR's deviations from FHIR are smoothed. A repair touches only what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repairs {
    /// Links to OpenEMR point to the gateway, and the gateway's own point to OpenEMR in requests.
    pub links: bool,
    /// Every error is an OperationOutcome.
    pub errors: bool,
    /// `Content-Type` is FHIR's, and `_format` is honoured.
    pub content: bool,
    /// Search parameters that OpenEMR does not know do not empty the answer.
    pub search: bool,
    /// Search Bundles are searchsets.
    pub bundles: bool,
    /// Creates and updates are answered with `Location` and, where it is asked for, the resource.
    pub writes: bool,
    /// HEAD works.
    pub head: bool,
    /// A slash at the end of a path does no harm.
    pub trailing_slash: bool,
    /// What OpenEMR does not do is refused in FHIR's words.
    pub interactions: bool,
    /// The CapabilityStatement and the SMART configuration are kept, and show the gateway.
    pub documents: bool,
    /// `$export` follows FHIR Bulk Data Access.
    pub bulk_data: bool,
}

impl Repairs {
    /// `conformance: repair`.
    pub const ALL: Self = Self::every(true);
    /// `conformance: pass_through`.
    pub const NONE: Self = Self::every(false);
    /// The switches under `repairs`, in the order of [`Repairs::switches`].
    pub const NAMES: [&'static str; 11] = [
        "links",
        "errors",
        "content",
        "search",
        "bundles",
        "writes",
        "head",
        "trailing_slash",
        "interactions",
        "documents",
        "bulk_data",
    ];

    const fn every(on: bool) -> Self {
        Self {
            links: on,
            errors: on,
            content: on,
            search: on,
            bundles: on,
            writes: on,
            head: on,
            trailing_slash: on,
            interactions: on,
            documents: on,
            bulk_data: on,
        }
    }

    /// Whether the bodies of answers are read for any of them.
    #[must_use]
    pub const fn read_bodies(&self) -> bool {
        self.links
            || self.errors
            || self.content
            || self.search
            || self.bundles
            || self.writes
            || self.documents
            || self.bulk_data
    }

    /// The switches with their names.
    #[must_use]
    pub fn switches(&mut self) -> [(&'static str, &mut bool); 11] {
        let Self { links, errors, content, search, bundles, writes, head, trailing_slash, interactions, documents, bulk_data } =
            self;
        let [a, b, c, d, e, f, g, h, i, j, k] = Self::NAMES;
        [
            (a, links),
            (b, errors),
            (c, content),
            (d, search),
            (e, bundles),
            (f, writes),
            (g, head),
            (h, trailing_slash),
            (i, interactions),
            (j, documents),
            (k, bulk_data),
        ]
    }
}

/// How search results are cut into pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// By the gateway, wherever OpenEMR cannot.
    Slice,
    /// By OpenEMR, where it can; elsewhere not at all.
    Native,
    /// Not at all: `_count` and `_offset` go to OpenEMR as they come.
    Off,
}

/// What web pages of other origins may do (Fetch, "CORS protocol").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// The methods that a preflight allows.
    pub methods: Vec<String>,
    /// The request fields that a preflight allows.
    pub headers: Vec<String>,
    /// The answer's fields that pages see.
    pub exposed: Vec<String>,
    /// Whether browsers send their credentials.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// Origins that are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `"*"`.
    Any,
    /// These, each as a browser writes it: scheme, host, and the port where it is not the scheme's own.
    These(Vec<String>),
}

/// Bulk exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkData {
    /// Where the plans of exports are kept, so that they survive a restart. No patient data stands in them.
    pub folder: PathBuf,
    /// How long a finished export is known.
    pub keep: Duration,
}

//! What a site's answers are made to be: which repairs are made, how search results are paged, what browsers may do.

use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::cors::Cors;
use super::declaration::{section, words};
use super::node::{Node, Value};
use super::problem::Findings;
use super::section::Section;
use super::setting::Setting as _;

section! {
    /// What a site's answers are made to be.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Answers {
        /// What OpenEMR's answers are made to be. Single repairs can still be switched under `repairs`.
        conformance: Conformance = Conformance::Repair, shorthand();
        /// The repairs one by one. Under `conformance: pass_through` each is off unless it is written here.
        repairs: Repairs = Repairs::ALL;
        /// How search results are cut into pages.
        paging: Paging = Paging::Slice;
        /// The parameters of searches.
        search: Search = Search::default();
        /// Other FHIR bases that stand in OpenEMR's answers; links to them become links to the gateway, too.
        also_known_as: Vec<BaseUrl> = Vec::new(), example("https://emr.example.org/apis/default/fhir");
        /// The documents in which a server describes itself.
        documents: Documents = Documents::default();
        /// What web pages of other origins may do; `null` is nothing.
        cors: Option<Cors> = None;
        /// Bulk exports.
        bulk_data: BulkData = BulkData::default();
        /// Whether identical GETs of a client that are at OpenEMR at the same time share one answer. Under `conformance: pass_through`
        /// it is off unless it is written here.
        share_answers: bool = true;
        /// How long OpenEMR's answer to a search is kept in memory for the pages behind the one that was asked for, so that OpenEMR does not make the whole set
        /// again for each. It holds patient data. Only its own client gets pages of it, and a write through the gateway ends it. It needs `paging: slice`.
        share_pages: Option<Duration> = None, at_most(Some(Duration::from_secs(60))), example("20s");
    }
    check Answers::check
}

impl Answers {
    fn check(mut self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.conformance == Conformance::PassThrough {
            let written = section.node("repairs").map(|(node, _)| node);
            self.repairs = Repairs::NONE.with(written, &section.place_of("repairs"), findings);
            self.share_answers &= section.node("share_answers").is_some();
        }
        if self.share_pages.is_some() && self.paging != Paging::Slice {
            let problem = section.place_of("share_pages").problem("is set, and no page is shared, because `paging` is not slice");
            findings.warning(problem.remedy("write  paging: slice, or leave share_pages out"));
        }
        Some(self)
    }
}

words! {
    /// What OpenEMR's answers are made to be.
    pub enum Conformance {
        /// FHIR, as standard clients expect it.
        Repair = "repair",
        /// As OpenEMR sends them.
        PassThrough = "pass_through",
    }
}

/// Declares the repairs, and both settings of all of them.
macro_rules! repairs {
    ($( $(#[doc = $text:literal])+ $repair:ident; )+) => {
        section! {
            /// The repairs of what in OpenEMR's answers is not FHIR. A repair touches only what it names.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct Repairs {
                $( $(#[doc = $text])+ $repair: bool = true; )+
            }
        }

        impl Repairs {
            /// All repairs.
            pub const ALL: Self = Self { $( $repair: true, )+ };
            /// No repair.
            pub const NONE: Self = Self { $( $repair: false, )+ };

            /// These repairs, with those that are written set as written. What is wrong there has been reported.
            fn with(self, written: Option<&Node>, place: &super::problem::Place, _: &mut Findings) -> Self {
                let Some(Node { value: Value::Map(entries), .. }) = written else { return self };
                let switch = |name: &str, otherwise: bool| {
                    let entry = entries.iter().find(|entry| entry.key == name);
                    entry.and_then(|entry| bool::read(&entry.node, place, &mut Findings::default())).unwrap_or(otherwise)
                };
                Self { $( $repair: switch(stringify!($repair), self.$repair), )+ }
            }
        }
    };
}

repairs! {
    /// Links to OpenEMR point to the gateway instead.
    links;
    /// Every error is an OperationOutcome.
    errors;
    /// `Content-Type` is FHIR's, and `_format` is honoured.
    content;
    /// Search parameters that OpenEMR does not know no longer empty the answer.
    search;
    /// Search results are searchsets, with `search.mode` and links.
    bundles;
    /// Creates and updates are answered with `Location` and the resource.
    writes;
    /// HEAD works.
    head;
    /// Reads have an `ETag`, and one that the client has already is 304. It needs `errors`.
    validators;
    /// A slash at the end of a path does no harm.
    trailing_slash;
    /// What OpenEMR does not do is refused with 405 or 501.
    interactions;
    /// CapabilityStatement and SMART configuration are kept in memory, and show the gateway.
    documents;
    /// `$export` follows the FHIR Bulk Data Access guide.
    bulk_data;
    /// Nulls and empty strings, lists and objects are left out of resources.
    empty_members;
    /// An object in the place of text gets the name that R4 has for it: `display` becomes `_display`.
    misplaced_objects;
    /// A number in the place of a code or a string becomes text.
    numbers_for_text;
    /// Extensions without `url` are left out.
    nameless_extensions;
    /// A bare OID as `system` becomes a `urn:oid:`.
    oid_systems;
    /// `DataAbsentReason` as `system` becomes the URI of that code system.
    absent_reasons;
    /// Codes of SNOMED CT lose the name of their code system.
    prefixed_codes;
    /// Narratives are XHTML, whatever a name has in it.
    narratives;
    /// A ValueSet without `status` has `unknown`.
    value_set_status;
    /// A Group of patients has `type` and `actual`.
    groups;
}

impl Repairs {
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
            || self.mend_resources()
    }

    /// Whether resources are mended.
    #[must_use]
    pub const fn mend_resources(&self) -> bool {
        self.empty_members
            || self.misplaced_objects
            || self.numbers_for_text
            || self.nameless_extensions
            || self.oid_systems
            || self.absent_reasons
            || self.prefixed_codes
            || self.narratives
            || self.value_set_status
            || self.groups
    }
}

words! {
    /// How search results are cut into pages.
    pub enum Paging {
        /// By the gateway, wherever OpenEMR cannot.
        Slice = "slice",
        /// By OpenEMR, where it can; elsewhere not at all.
        Native = "native",
        /// Not at all: `_count` and `_offset` go to OpenEMR as they come.
        Off = "off",
    }
}

section! {
    /// The parameters of searches.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Search {
        /// What becomes of a search with a parameter that neither FHIR R4 nor OpenEMR knows. Clients choose with `Prefer: handling`.
        unknown: Unknown = Unknown::Refuse;
    }
}

words! {
    /// What becomes of a search with a parameter that nobody knows.
    pub enum Unknown {
        /// It is rejected with 400, which says what was probably meant.
        Refuse = "refuse",
        /// It is done without the parameter, and the answer says so. It is rejected if no filter would be left.
        LeaveOut = "leave_out",
    }
}

section! {
    /// The documents in which a server describes itself.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Documents {
        /// How long a CapabilityStatement and a SMART configuration are good. OpenEMR builds them anew at each request.
        max_age: Duration = Duration::from_secs(5 * 60);
    }
}

section! {
    /// Bulk exports.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BulkData {
        /// Where the plans of exports are kept, so that they survive a restart, unless gateways share a store. They hold ids, and the
        /// searches of _typeFilter, which may name a patient; only the gateway's user can read them.
        folder: PathBuf = "state/bulk".into();
        /// How long a finished export is known. OpenEMR keeps its files for an hour.
        keep: Duration = Duration::from_secs(24 * 60 * 60);
    }
}

//! The parameters of a search, read one by one: what OpenEMR can search by, what the gateway does itself, and what neither
//! can.
//!
//! A parameter that OpenEMR does not know empties its answer without a word, which reads as "there is none". So none goes
//! there that its CapabilityStatement does not name. Modifiers (`name:exact`) never go: OpenEMR ignores those that it does
//! not know, and `gender:not=male` would find the men.

use crate::fhir::capabilities::{TypeCapabilities, Version};
use crate::fhir::kept_members::Projection;
use crate::fhir::search_date::are_dates;
use crate::http::query::{self, Parameter};
use crate::openemr::search_reference::{bare_ids, is_patients, relative};
use crate::openemr::search_remark::{Remark, Why};

/// What modern OpenEMR sorts patients by. It ignores other names, and some are errors there.
const SORTS: [&str; 3] = ["birthdate", "family", "given"];
/// The one thing that OpenEMR includes, and only where it is asked for once.
pub const PROVENANCES: &str = "Provenance:target";

/// What the reading depends on.
#[derive(Debug, Clone, Copy)]
pub struct Searched<'a> {
    /// The type that is searched.
    pub resource_type: &'static str,
    /// `None` where it is not known: then everything passes that would have to be guessed.
    pub known: Option<(Version, &'a TypeCapabilities)>,
    /// The addresses of this server, by which references to it may begin.
    pub bases: &'a [String],
    /// Whether parameters are repaired.
    pub repairs: bool,
    /// Whether pages are cut: then `_count` and `_offset` are read in any case.
    pub pages: bool,
}

/// `_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Not said.
    None,
    /// Said where it costs nothing.
    Estimate,
    /// Said.
    Accurate,
}

impl Total {
    const ALL: [Self; 3] = [Self::None, Self::Estimate, Self::Accurate];

    /// FHIR's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Estimate => "estimate",
            Self::Accurate => "accurate",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|total| total.word() == word)
    }
}

/// `_summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// Whole resources.
    False,
    /// Elements that are marked so.
    True,
    /// The narrative.
    Text,
    /// All but the narrative.
    Data,
    /// The number of matches.
    Count,
}

impl Summary {
    const ALL: [Self; 5] = [Self::False, Self::True, Self::Text, Self::Data, Self::Count];

    /// FHIR's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::Text => "text",
            Self::Data => "data",
            Self::Count => "count",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|summary| summary.word() == word)
    }
}

/// What is handed on as it came, and matters here all the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// `_count`.
    pub count: bool,
    /// `_include` or `_revinclude`.
    pub includes: bool,
    /// `_sort`.
    pub sort: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// What goes to OpenEMR, as `name=value`, in the caller's order and spelling.
    pub filters: Vec<Vec<u8>>,
    /// Whether Provenances are asked for along with what they are about.
    pub provenances: bool,
    /// The keys of `_sort` that are used.
    pub sort: Vec<String>,
    /// What there is among `filters`.
    pub passed: Passed,
    /// `_count`; 0 for the number of matches alone.
    pub count: Option<u64>,
    /// `_offset`.
    pub offset: Option<u64>,
    /// `_total`.
    pub total: Option<Total>,
    /// `_summary`.
    pub summary: Option<Summary>,
    /// `_elements`.
    pub elements: Vec<String>,
    /// `_pretty`.
    pub pretty: Option<bool>,
    /// What was not used.
    pub remarks: Vec<Remark>,
    /// A date parameter whose value is none.
    pub no_date: Option<String>,
}

impl Reading {
    /// Takes the next parameter.
    pub fn take(&mut self, parameter: &Parameter<'_>, searched: &Searched<'_>) {
        let (name, value) = (parameter.name.as_ref(), parameter.value.as_ref());
        match name {
            _ if !searched.repairs && !searched.pages => self.pass(parameter),
            "_count" if !value.is_empty() => set(&mut self.count, number(value), name, &mut self.remarks),
            "_offset" if !value.is_empty() => set(&mut self.offset, number(value), name, &mut self.remarks),
            _ if !searched.repairs => self.pass(parameter),
            // FHIR R4, "Search", 3.1.1.3.2: a parameter without a value is none.
            _ if value.is_empty() => {}
            // Honoured or refused before this, and in any case nothing for OpenEMR.
            "_format" => {}
            "_pretty" => set(&mut self.pretty, value.parse().ok(), name, &mut self.remarks),
            "_total" => set(&mut self.total, Total::of(value), name, &mut self.remarks),
            "_summary" => set(&mut self.summary, Summary::of(value), name, &mut self.remarks),
            "_elements" => self.take_elements(value, searched.resource_type),
            _ => match searched.known {
                None => self.pass(parameter),
                Some((version, known)) => self.take_known(parameter, version, known, searched),
            },
        }
    }

    fn take_known(&mut self, parameter: &Parameter<'_>, version: Version, known: &TypeCapabilities, searched: &Searched<'_>) {
        let name = parameter.name.as_ref();
        match name.split(':').next() {
            Some("_sort") if name == "_sort" => {
                let can_sort = version == Version::Modern && searched.resource_type == "Patient";
                self.take_sort(&parameter.value, can_sort);
            }
            Some("_revinclude") if name == "_revinclude" && parameter.value == PROVENANCES => self.provenances = true,
            Some("_include" | "_revinclude") => self.remark(name, Why::NotIncluded),
            _ if known.dates.contains(name) && !are_dates(&parameter.value) => self.no_date = Some(name.to_owned()),
            _ => match filter(parameter, known, searched) {
                Some(filter) => self.filters.push(filter),
                None => self.remark(name, Why::NotSearchable),
            },
        }
    }

    /// Hands it on as it came.
    fn pass(&mut self, parameter: &Parameter<'_>) {
        match parameter.name.split(':').next() {
            Some("_count") => self.passed.count = true,
            Some("_include" | "_revinclude") => self.passed.includes = true,
            Some("_sort") => self.passed.sort = true,
            _ => {}
        }
        self.filters.push(parameter.pair.to_vec());
    }

    fn take_sort(&mut self, value: &str, can_sort: bool) {
        for key in value.split(',') {
            if can_sort && SORTS.contains(&key.strip_prefix('-').unwrap_or(key)) {
                self.sort.push(key.to_owned());
            } else {
                self.remark("_sort", Why::NotSorted);
            }
        }
    }

    fn take_elements(&mut self, value: &str, resource_type: &str) {
        for name in value.split(',') {
            let name = name.strip_prefix(resource_type).and_then(|name| name.strip_prefix('.')).unwrap_or(name);
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                self.elements.push(name.to_owned());
            } else {
                self.remark("_elements", Why::Invalid);
            }
        }
    }

    /// Notes what was not used, once.
    pub fn remark(&mut self, name: &str, why: Why) {
        remark(&mut self.remarks, name, why);
    }

    /// What is left of each resource. `_elements` says it more closely than `_summary`.
    pub fn projection(&mut self) -> Projection {
        let summary = match self.summary {
            None | Some(Summary::False | Summary::Count) => Projection::Whole,
            Some(Summary::True) => Projection::Summary,
            Some(Summary::Text) => Projection::Text,
            Some(Summary::Data) => Projection::Data,
        };
        if self.elements.is_empty() {
            return summary;
        }
        if summary != Projection::Whole {
            self.summary = None;
            self.remark("_summary", Why::NotBoth);
        }
        Projection::Elements(self.elements.clone())
    }
}

/// How OpenEMR is asked for it; `None` when it cannot be.
fn filter(parameter: &Parameter<'_>, known: &TypeCapabilities, searched: &Searched<'_>) -> Option<Vec<u8>> {
    let name = parameter.name.as_ref();
    let knows = |name: &str| known.search_parameters.contains(name);
    let relative = relative(&parameter.value, searched.bases);
    let value = relative.as_deref().unwrap_or(&parameter.value);
    let (asked, changed) = match name {
        "_id" if knows(name) => (name, bare_ids(value, searched.resource_type).or(relative)),
        name if knows(name) => (name, relative),
        // Every subject that OpenEMR knows is a patient.
        "subject" | "subject:Patient" | "patient:Patient" if knows("patient") && is_patients(value) => ("patient", relative),
        _ => return None,
    };
    let mut pair = Vec::new();
    match changed {
        Some(value) => query::push(&mut pair, asked, query::encoded(&value).as_bytes()),
        None => query::push(&mut pair, asked, parameter.written),
    }
    Some(pair)
}

fn set<T: PartialEq>(slot: &mut Option<T>, value: Option<T>, name: &str, remarks: &mut Vec<Remark>) {
    match (value, &slot) {
        (None, _) => remark(remarks, name, Why::Invalid),
        (Some(value), Some(first)) if value != *first => remark(remarks, name, Why::Repeated),
        (value @ Some(_), _) => *slot = value,
    }
}

fn remark(remarks: &mut Vec<Remark>, name: &str, why: Why) {
    let remark = Remark::new(name, why);
    if !remarks.contains(&remark) {
        remarks.push(remark);
    }
}

/// Large ones are as good as the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX).min(u32::MAX.into()))
}

//! The parameters of a search, sorted into filters, those that the gateway applies itself, and those for which the search is
//! rejected. A filter is never left out: the answer would be wider than the question.

use crate::fhir::projection::rule::Projection;
use crate::http::query::Parameter;
use crate::openemr::invented_times;
use crate::openemr::search::filter::{Filter, Unfit, needs_value, split};
use crate::openemr::search::names;
use crate::openemr::search::reading_context::ReadingContext;
use crate::openemr::search::refusal::{Refusal, Why};
use crate::openemr::search::warning::{Reason, Warning};
use crate::openemr::version::Version;

/// The names by which OpenEMR 7.0.4 and later sorts patients. It ignores others, and fails on some.
pub(crate) const SORTS: [&str; 3] = ["birthdate", "family", "given"];
/// The only `_revinclude` that OpenEMR knows; it must be sent only once.
pub(crate) const PROVENANCES: &str = "Provenance:target";
/// A value of `_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    /// The Bundle has no total.
    None,
    /// The Bundle has a total where it costs nothing.
    Estimate,
    /// The Bundle has an exact total.
    Accurate,
}

impl Total {
    const ALL: [Self; 3] = [Self::None, Self::Estimate, Self::Accurate];

    /// Returns the value as FHIR writes it.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
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

/// A value of `_summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summary {
    /// Whole resources.
    False,
    /// The elements that FHIR marks as summary.
    True,
    /// The narrative.
    Text,
    /// Everything but the narrative.
    Data,
    /// The number of matches.
    Count,
}

impl Summary {
    const ALL: [Self; 5] = [Self::False, Self::True, Self::Text, Self::Data, Self::Count];

    /// Returns the value as FHIR writes it.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
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

/// Which parameters were forwarded without being read, of those that matter for the answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Forwarded {
    /// `_count`.
    pub(crate) count: bool,
    /// `_include` or `_revinclude`.
    pub(crate) includes: bool,
    /// `_sort`.
    pub(crate) sort: bool,
}

/// The parameters of one search.
#[derive(Debug, Default)]
pub(crate) struct SearchParameters {
    /// The filters in the client's order, each once.
    pub(crate) filters: Vec<Filter>,
    /// Whether the Provenances of the matches are to be included.
    pub(crate) provenances: bool,
    /// The keys of `_sort` that OpenEMR can use.
    pub(crate) sort: Vec<String>,
    /// Which of the `filters` were not read, but matter for the answer.
    pub(crate) forwarded: Forwarded,
    /// `_count`; 0 asks for the number of matches only.
    pub(crate) count: Option<u64>,
    /// `_offset`.
    pub(crate) offset: Option<u64>,
    /// `_total`.
    pub(crate) total: Option<Total>,
    /// `_summary`.
    pub(crate) summary: Option<Summary>,
    /// `_elements`.
    pub(crate) elements: Vec<String>,
    /// `_pretty`.
    pub(crate) pretty: Option<bool>,
    /// What was not used as it was asked for.
    pub(crate) warnings: Vec<Warning>,
    /// What can neither be used nor be left out.
    pub(crate) refused: Vec<Refusal>,
}

impl SearchParameters {
    /// Adds the next parameter.
    pub(crate) fn add(&mut self, parameter: &Parameter<'_>, context: &ReadingContext<'_>) {
        let (name, value) = (parameter.name.as_ref(), parameter.value.as_ref());
        match name {
            _ if !context.repairs && !context.pages => self.forward(parameter),
            "_count" if !value.is_empty() => set(&mut self.count, number(value), name, &mut self.warnings),
            "_offset" if !value.is_empty() => set(&mut self.offset, number(value), name, &mut self.warnings),
            _ if !context.repairs => self.forward(parameter),
            // Negotiation has handled it, and OpenEMR would answer it with an empty Bundle.
            "_format" => {}
            // FHIR R4, "Search", 3.1.1.5.6: the default.
            "_contained" if value == "false" => {}
            _ if names::is_of_browsers(name) => self.warn(name, Reason::OfBrowsers),
            // FHIR R4, "Search", 3.1.1.3.2: a parameter without a value is ignored.
            _ if value.is_empty() && !needs_value(name) => self.warn(name, Reason::NoValue),
            "_pretty" => set(&mut self.pretty, value.parse().ok(), name, &mut self.warnings),
            "_total" => set(&mut self.total, Total::of(value), name, &mut self.warnings),
            "_summary" => set(&mut self.summary, Summary::of(value), name, &mut self.warnings),
            "_elements" => self.add_elements(value, context.resource_type),
            _ => self.add_known(parameter, context),
        }
    }

    fn add_known(&mut self, parameter: &Parameter<'_>, context: &ReadingContext<'_>) {
        let name = parameter.name.as_ref();
        match split(name).0 {
            "_sort" if name == "_sort" => self.add_sort(&parameter.value, context),
            "_include" | "_revinclude" => {
                let is_known = parameter.value == PROVENANCES && context.known.reverse_includes.contains(PROVENANCES);
                if name == "_revinclude" && is_known {
                    self.provenances = true;
                } else {
                    self.warn(name, Reason::NotIncluded);
                }
            }
            _ => match Filter::read(parameter, context) {
                Ok(filter) => self.add_filter(filter, context),
                Err(Unfit::Unknown) => self.warn(name, Reason::Unknown),
                Err(Unfit::Refused(why)) => self.refuse(name, why),
            },
        }
    }

    fn add_filter(&mut self, filter: Filter, context: &ReadingContext<'_>) {
        if split(&filter.name).0 == "_lastUpdated" && invented_times::are_invented(context.resource_type) {
            self.warn(&filter.name, Reason::Invented);
        }
        // The same by another name of it.
        if !self.filters.iter().any(|other| other.shown == filter.shown) {
            self.filters.push(filter);
        }
    }

    fn forward(&mut self, parameter: &Parameter<'_>) {
        match parameter.name.split(':').next() {
            Some("_count") => self.forwarded.count = true,
            Some("_include" | "_revinclude") => self.forwarded.includes = true,
            Some("_sort") => self.forwarded.sort = true,
            _ => {}
        }
        self.filters.push(Filter::forwarded(parameter));
    }

    fn add_sort(&mut self, value: &str, context: &ReadingContext<'_>) {
        if context.resource_type == "Patient" && context.version.is_none() {
            return self.refuse("_sort", Why::Unjudged);
        }
        let can_sort = context.resource_type == "Patient" && context.version == Some(Version::Modern);
        for key in value.split(',') {
            if can_sort && SORTS.contains(&key.strip_prefix('-').unwrap_or(key)) {
                self.sort.push(key.to_owned());
            } else {
                self.warn("_sort", Reason::NotSortable);
            }
        }
    }

    fn add_elements(&mut self, value: &str, resource_type: &str) {
        for name in value.split(',') {
            let name = name.strip_prefix(resource_type).and_then(|name| name.strip_prefix('.')).unwrap_or(name);
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                self.elements.push(name.to_owned());
            } else {
                self.warn("_elements", Reason::Invalid);
            }
        }
    }

    /// Adds a warning about a parameter, unless there is one like it.
    pub(crate) fn warn(&mut self, name: &str, reason: Reason) {
        warn(&mut self.warnings, name, reason);
    }

    fn refuse(&mut self, name: &str, why: Why) {
        let refusal = Refusal::new(name, why);
        if !self.refused.contains(&refusal) {
            self.refused.push(refusal);
        }
    }

    /// Returns the members that each resource keeps. `_elements` is more specific than `_summary`, which is left out beside it.
    pub(crate) fn projection(&mut self) -> Projection {
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
            self.warn("_summary", Reason::Contradictory);
        }
        Projection::Elements(self.elements.clone())
    }
}

/// Sets a parameter that can have one value. The first valid value wins.
fn set<T: PartialEq>(slot: &mut Option<T>, value: Option<T>, name: &str, warnings: &mut Vec<Warning>) {
    match (value, &slot) {
        (None, _) => warn(warnings, name, Reason::Invalid),
        (Some(value), Some(first)) if value != *first => warn(warnings, name, Reason::Repeated),
        (value @ Some(_), _) => *slot = value,
    }
}

fn warn(warnings: &mut Vec<Warning>, name: &str, reason: Reason) {
    let warning = Warning::new(name, reason);
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

/// Reads a number of entries. One above `u32::MAX` becomes that, more than any server has.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX).min(u32::MAX.into()))
}

//! Which filters of a search OpenEMR is asked for, which the gateway tests on the matches, and for which the search is refused.
//!
//! Decision: `docs/decisions/16-search.md`.

use crate::fhir::criteria::Criteria;
use crate::fhir::criteria::criterion::Untestable;
use crate::openemr::search::bound;
use crate::openemr::search::filter::{Ask, Filter, Question, has_empty_alternative};
use crate::openemr::search::reading_context::ReadingContext;
use crate::openemr::search::refusal::{Refusal, Why};
use crate::openemr::search::selectivity::Selectivity;
use crate::openemr::search::warning::Reason;

/// What becomes of the filters of a search.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    /// What OpenEMR is asked, as `name=value`.
    pub(crate) asked: Vec<&'a [u8]>,
    /// What OpenEMR is asked besides, one of them in each of several searches; empty where one search does.
    pub(crate) pieces: &'a [Vec<u8>],
    /// All filters, as `self` shows them.
    pub(crate) shown: Vec<&'a [u8]>,
    /// Whether one of that bounds the work of OpenEMR's.
    pub(crate) is_bounded: bool,
    /// What the matches must meet besides.
    pub(crate) criteria: Criteria,
    /// The filters that can neither be asked nor tested.
    pub(crate) refused: Vec<Refusal>,
    /// What the client is told about filters, by their names.
    pub(crate) limited: Vec<(&'a str, Reason)>,
}

impl<'a> Choice<'a> {
    /// Chooses.
    #[must_use]
    pub(crate) fn of(filters: &'a [Filter], context: &ReadingContext<'_>) -> Self {
        let resource_type = context.resource_type;
        let bounds = |filter: &Filter| {
            let field = filter.field.as_deref().filter(|field| bound::bounds(resource_type, field));
            field.is_some() && filter.question().is_some() && filter.modifier() != Some("not")
        };
        let is_bounded = filters.iter().any(bounds);
        let is_offered = !context.known.search_parameters.is_empty();
        let is_testable = is_offered && (is_bounded || bound::is_small(resource_type));
        let mut choice =
            Self { is_bounded, shown: filters.iter().map(|filter| filter.shown.as_slice()).collect(), ..Self::default() };
        for (at, filter) in filters.iter().enumerate() {
            let twins =
                || filters.iter().enumerate().filter(move |(_, other)| other.field.is_some() && other.field == filter.field);
            // By `not`, OpenEMR does not find what has no value.
            let selects = |twin: &Filter| twin.question().is_some() && twin.modifier() != Some("not");
            let has_twin = twins().any(|(other, twin)| other != at && selects(twin));
            match &filter.ask {
                Ask::For(question) if question.gives_way && is_testable && choice.test(filter, resource_type).is_ok() => {}
                Ask::For(question) => {
                    let rank = |filter: &Filter| filter.question().map(|question| selectivity(filter, question));
                    let is_beaten = twins().any(|(other, twin)| match (rank(twin), rank(filter)) {
                        (Some(twins), Some(own)) => (twins, other) < (own, at),
                        _ => false,
                    });
                    if is_beaten {
                        choice.test_or_refuse(filter, Why::Repeated, context);
                    } else {
                        choice.ask(filter, question, context);
                    }
                }
                Ask::Nothing(why) if is_testable || has_twin => choice.test_or_refuse(filter, *why, context),
                Ask::Nothing(_) if is_offered && choice.ask_in_pieces(filter, resource_type) => {}
                // Each match is read in any case.
                Ask::Nothing(why) if context.tests_all => choice.test_or_refuse(filter, *why, context),
                Ask::Nothing(why) => choice.refuse_unbounded(filter, *why, context),
            }
        }
        choice
    }

    fn ask(&mut self, filter: &'a Filter, question: &'a Question, context: &ReadingContext<'_>) {
        if question.is_wider && self.test(filter, context.resource_type).is_err() {
            return self.refused.push(Refusal::new(&filter.name, Why::NotSearchable));
        }
        if context.tests_all && !question.is_wider && filter.has_ids() {
            // OpenEMR has been known to ignore it. What cannot be tested is asked alone, as for everybody.
            let _ = self.test(filter, context.resource_type);
        }
        self.asked.push(&question.pair);
        self.limited.extend(question.limited.map(|reason| (filter.name.as_str(), reason)));
    }

    /// Asks for a filter in several searches, and tests what they find, so that it is sent and counted once. False where that cannot
    /// be done. A second filter of that kind is tested on what is found by the first.
    fn ask_in_pieces(&mut self, filter: &'a Filter, resource_type: &str) -> bool {
        if filter.pieces.is_empty() || self.test(filter, resource_type).is_err() {
            return false;
        }
        if self.pieces.is_empty() {
            self.pieces = &filter.pieces;
        }
        true
    }

    fn test(&mut self, filter: &Filter, resource_type: &str) -> Result<(), Untestable> {
        self.criteria.and(filter.criterion(resource_type)?);
        Ok(())
    }

    /// `why`: the reason not to ask OpenEMR.
    fn test_or_refuse(&mut self, filter: &Filter, why: Why, context: &ReadingContext<'_>) {
        let why = match (self.test(filter, context.resource_type), why) {
            (Ok(()), _) => return,
            (Err(Untestable::Value), Why::NotSearchable | Why::Unjudged) if has_empty_alternative(&filter.value) => {
                Why::EmptyAlternative
            }
            (Err(Untestable::Value), Why::NotSearchable | Why::Unjudged) => Why::Value,
            (Err(_), why) => why,
        };
        self.refused.push(Refusal::new(&filter.name, why));
    }

    /// Refuses a filter that could be tested if there were a bound.
    fn refuse_unbounded(&mut self, filter: &Filter, why: Why, context: &ReadingContext<'_>) {
        let refusal = Refusal::new(&filter.name, why);
        let can_be_tested = filter.criterion(context.resource_type).is_ok();
        let beside = bound::named(context.resource_type, context.known).filter(|_| can_be_tested);
        self.refused.push(refusal.with_bound(beside));
    }
}

fn selectivity(filter: &Filter, question: &Question) -> Selectivity {
    Selectivity::of(filter.modifier(), &filter.value, question.kind)
}

//! Which of two filters by one of OpenEMR's fields is asked: the one that selects less, as far as that can be told from how it is
//! written.

use std::cmp::Reverse;

use crate::fhir::capabilities::ParameterType;

/// How much a filter selects; the least is asked. In this order: without `not` before with it; a value before a range, a range with
/// a lower bound before one with an upper bound, a text that is exact before one that begins so, and that before one that is
/// somewhere; fewer alternatives; longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selectivity {
    is_negated: bool,
    breadth: u8,
    alternatives: usize,
    shortest: Reverse<usize>,
}

impl Selectivity {
    /// Reads it from a filter.
    #[must_use]
    pub(crate) fn of(modifier: Option<&str>, value: &str, kind: Option<ParameterType>) -> Self {
        let parts = value.split(',');
        let breadth = match (kind, modifier) {
            (Some(ParameterType::Date), _) => parts.clone().map(range).max().unwrap_or(0),
            (Some(ParameterType::String), Some("exact")) => 0,
            (Some(ParameterType::String), None | Some("prefix")) => 1,
            (Some(ParameterType::String), _) => 2,
            _ => 0,
        };
        Self {
            is_negated: modifier == Some("not"),
            breadth,
            alternatives: parts.clone().count(),
            shortest: Reverse(parts.map(str::len).min().unwrap_or(0)),
        }
    }
}

/// How much a date selects: a day or another period, what is behind it, what is before it, or all but that.
fn range(date: &str) -> u8 {
    match date.get(..2) {
        Some("gt" | "ge" | "sa") => 1,
        Some("lt" | "le" | "eb") => 2,
        Some("ne") => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_selects_less_comes_first() {
        let (date, string, token) = (ParameterType::Date, ParameterType::String, ParameterType::Token);
        for (kind, (modifier, value), (other_modifier, other)) in [
            (date, (None, "1960-01-01"), (None, "ge1960-01-01")),
            (date, (None, "ge1960-01-01"), (None, "lt1980-01-01")),
            (date, (None, "lt1980-01-01"), (None, "ne1980-01-01")),
            (date, (None, "1960,1970"), (None, "1960,ge1970")),
            (date, (None, "eq1960-01-01"), (None, "1960")),
            (string, (Some("exact"), "A"), (None, "Abc")),
            (string, (None, "A"), (Some("contains"), "Abc")),
            (string, (Some("exact"), "A,B"), (None, "A")),
            (string, (None, "Smi"), (None, "S")),
            (token, (None, "a,b"), (Some("not"), "a")),
            (token, (None, "a"), (None, "a,b")),
            (token, (None, "http://loinc.org|a"), (None, "a")),
        ] {
            let [less, more] = [(modifier, value), (other_modifier, other)]
                .map(|(modifier, value)| Selectivity::of(modifier, value, Some(kind)));
            assert!(less < more, "{value} {other}");
        }
    }
}

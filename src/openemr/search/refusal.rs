//! The reasons why a search is rejected rather than sent with less than was asked. They name parameters, and never repeat a
//! value.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason;
use crate::fhir::rejection::Rejection;
use crate::openemr::breakages::Breakage;
use crate::openemr::search::warning::{MAX_NAMED, Parameter, Reason, Weight};

/// How long a client is to wait before it asks again what could not be judged.
const WAIT: Duration = Duration::from_secs(5);

/// A parameter for which a search is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    parameter: Parameter,
    why: Why,
    /// The name that was probably meant.
    meant: Option<String>,
    /// The parameters beside which the gateway can test it.
    beside: Option<&'static str>,
}

/// The reason why a search is rejected. The text goes on from "The parameter x".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    /// It could have been left out, but that was not allowed.
    #[error("{0}")]
    Unusable(Reason),
    /// Without it the search would have no filter.
    #[error("{0}, and without it the search would have no filter left")]
    LastFilter(Reason),
    /// FHIR has it, OpenEMR does not.
    #[error("is one of FHIR's for this type, but OpenEMR cannot search by it")]
    NotSearchable,
    /// FHIR R4, "Search", 3.1.1.4.4: a modifier that is not supported must be rejected.
    #[error(
        "has a modifier that cannot be used with it here: there are exact, contains, prefix and suffix for strings, not for \
         tokens, and Patient for subject and patient"
    )]
    Modifier,
    /// A chained parameter.
    #[error("is a chain: OpenEMR cannot search by parameters of other resources; search for these first")]
    Chain,
    /// `_has`, `_filter`, `_query` and others.
    #[error("is a kind of search that OpenEMR does not have")]
    Operator,
    /// A patient is due, and nothing else can stand there.
    #[error("is no reference to a patient of this server, such as Patient/1: OpenEMR has no others")]
    NotAPatient,
    /// A parameter that names one resource or person has no value.
    #[error("has no value, or an empty one between commas")]
    Empty,
    /// OpenEMR would take the empty one for any text.
    #[error("has an empty value between commas")]
    EmptyAlternative,
    /// OpenEMR puts the text into SQL's LIKE as it is.
    #[error("has % or _ in its value, which OpenEMR takes for any text or letter; exact takes them as they are")]
    AnyText,
    /// FHIR R4, "Search", 3.1.1.4.9: OpenEMR splits the value at commas and bars, escaped or not.
    #[error("has a backslash in its value: OpenEMR does not know that it escapes what follows")]
    Escape,
    /// A system with a bar and nothing behind it.
    #[error("has a system without a code, by which OpenEMR cannot search")]
    NoCode,
    /// `:not` with what is in one of several columns.
    #[error("is kept in several places by OpenEMR: with not it would find whoever lacks the value in one of them")]
    NotInSeveral,
    /// Several values after `:not`.
    #[error("has several values, of which OpenEMR would find those that are not all of them at once: ask for one")]
    NotSeveral,
    /// Another category than OpenEMR's two.
    #[error("can be encounter-diagnosis or problem-list-item alone: OpenEMR takes anything else for all")]
    Category,
    /// The value is none of the parameter's type.
    #[error("has an invalid value")]
    Value,
    /// OpenEMR announces it and does it wrong: a sentence by itself.
    #[error("{0}")]
    Broken(&'static Breakage),
    /// The value is no date.
    #[error(
        "is no date that OpenEMR reads, such as 2024-02-29, ge2024-01-01 or lt2024-01-01T12:00:00+01:00: a time has its seconds, \
         and there is no prefix ap"
    )]
    Date,
    /// PHP or OpenEMR would keep the last one, and the gateway cannot test the other.
    #[error(
        "says something else than another one for the same thing, as patient and subject are, or name and name:exact: OpenEMR \
         would keep the last one"
    )]
    Repeated,
    /// OpenEMR has not said yet what it can search by.
    #[error("may be one by which OpenEMR can search or not: it has not said yet which those are")]
    Unjudged,
}

impl Why {
    fn code(self) -> IssueCode {
        match self {
            Self::Unusable(reason) => reason.code(),
            Self::NotAPatient
            | Self::Empty
            | Self::EmptyAlternative
            | Self::AnyText
            | Self::Escape
            | Self::NoCode
            | Self::Category
            | Self::Value
            | Self::Date => IssueCode::Value,
            Self::Unjudged => IssueCode::Transient,
            _ => IssueCode::NotSupported,
        }
    }
}

impl Refusal {
    /// Makes a refusal because of the parameter of that name.
    #[must_use]
    pub(crate) fn new(parameter: &str, why: Why) -> Self {
        Self { parameter: Parameter::new(parameter), why, meant: None, beside: None }
    }

    /// Makes a refusal because of a parameter that could have been left out.
    #[must_use]
    pub(crate) fn of(parameter: &Parameter, why: Why) -> Self {
        Self { parameter: parameter.clone(), why, meant: None, beside: None }
    }

    /// Adds the name that was probably meant, which `find` finds.
    #[must_use]
    pub(crate) fn with_meant(mut self, find: impl FnOnce(&str) -> Option<String>) -> Self {
        if self.is_about_names() {
            self.meant = self.parameter.name().and_then(|name| find(name).filter(|meant| meant != name));
        }
        self
    }

    /// Adds the parameters beside which the gateway can test it.
    #[must_use]
    pub(crate) fn with_bound(self, beside: Option<&'static str>) -> Self {
        Self { beside, ..self }
    }

    /// The code of the issue.
    #[must_use]
    pub(crate) fn code(&self) -> IssueCode {
        self.why.code()
    }

    /// Whether it helps to know by what the type can be searched.
    fn is_about_names(&self) -> bool {
        self.beside.is_none() && matches!(self.why, Why::Unusable(Reason::Unknown) | Why::LastFilter(_) | Why::NotSearchable)
    }

    fn can_be_left_out(&self) -> bool {
        matches!(self.why, Why::Unusable(reason) if reason.weight() == Weight::Unusable)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parameter, why, meant, beside } = self;
        match why {
            Why::Broken(breakage) => write!(f, "{breakage}")?,
            why => write!(f, "{parameter} {why}.")?,
        }
        if let Some(beside) = beside {
            write!(f, " The gateway can test it in a search that has {beside}, too.")?;
        }
        match meant {
            Some(meant) => write!(f, " Probably {meant} was meant."),
            None => Ok(()),
        }
    }
}

/// Why a search is rejected: one sentence for each parameter, and what can be done instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// At least one.
    all: Vec<Refusal>,
    /// By what the type can be searched, with its name.
    known: String,
    /// Whether the client asked for strict handling.
    strict: bool,
}

impl Refusals {
    /// Makes the reasons of a rejection; `None` where there are none. `known`: a sentence that says by what the type can be
    /// searched. `strict`: whether the client asked for strict handling.
    #[must_use]
    pub(crate) fn new(all: Vec<Refusal>, known: impl FnOnce() -> String, strict: bool) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        let known = if all.iter().any(Refusal::is_about_names) { known() } else { String::new() };
        Some(Self { all, known, strict })
    }

    /// Whether the search may be possible later, once OpenEMR has said what it can do.
    #[must_use]
    pub(crate) fn are_for_now(&self) -> bool {
        self.all.iter().all(|refusal| refusal.why == Why::Unjudged)
    }

    /// The code of the first issue.
    #[must_use]
    pub(crate) fn code(&self) -> IssueCode {
        let definite = self.all.iter().find(|refusal| refusal.why != Why::Unjudged);
        definite.map_or(IssueCode::Transient, Refusal::code)
    }

    /// The reasons.
    #[cfg(test)]
    pub(crate) fn whys(&self) -> Vec<Why> {
        self.all.iter().map(|refusal| refusal.why).collect()
    }
}

/// The cause of a rejection for now, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a search cannot be judged before the CapabilityStatement is known")]
struct NotSaidYet;

impl From<Refusals> for Rejection {
    fn from(refusals: Refusals) -> Self {
        let text = refusals.to_string();
        if refusals.are_for_now() {
            // What is the server's fault is logged, and a name may be a value that stands in the wrong place.
            return Self::unavailable(reason::Reason::Capabilities, WAIT, text).because(NotSaidYet);
        }
        Self::new(StatusCode::BAD_REQUEST, refusals.code(), reason::Reason::Parameter, text)
    }
}

/// Sentences for the client.
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, refusal) in self.all.iter().take(MAX_NAMED).enumerate() {
            let between = if at == 0 { "" } else { " " };
            write!(f, "{between}{refusal}")?;
        }
        if !self.known.is_empty() {
            write!(f, " {}", self.known)?;
        }
        if !self.strict && self.all.iter().all(Refusal::can_be_left_out) {
            f.write_str(" With \"Prefer: handling=lenient\" such parameters are left out.")?;
        }
        Ok(())
    }
}

//! One filter of a search: by which of OpenEMR's fields it selects, and whether OpenEMR can be asked for it.
//!
//! OpenEMR answers a parameter that it does not know with an empty Bundle, which reads as "there is none", and takes a modifier
//! that it does not know for none. So it is asked nothing but what it has.

use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::Criterion;
use crate::fhir::criteria::criterion::Untestable;
use crate::fhir::id::is_uuid;
use crate::fhir::search_date::are_dates;
use crate::fhir::search_parameters;
use crate::http::query::{self, Parameter};
use crate::openemr::breakages::PULSE_OXIMETRY;
use crate::openemr::search::honoured;
use crate::openemr::search::reading_context::ReadingContext;
use crate::openemr::search::reference::{bare_ids, is_patients, relative};
use crate::openemr::search::refusal::Why;
use crate::openemr::search::warning::Reason;

/// The kinds of search that OpenEMR does not have. They may have more behind a colon.
const OPERATORS: [&str; 8] = ["_has", "_filter", "_query", "_list", "_text", "_content", "_contained", "_containedType"];
/// The parameters that name single resources or persons. Without a value each would find everybody.
const IDENTIFYING: [&str; 4] = ["_id", "patient", "subject", "identifier"];
/// The modifiers that OpenEMR has. It takes any other one for none.
const MODIFIERS: [&str; 5] = ["exact", "contains", "prefix", "suffix", "not"];
/// The tokens that OpenEMR compares with more than one of its columns.
const IN_SEVERAL: [&str; 4] = ["identifier", "telecom", "phone", "email"];
/// An id that no resource has, for a search that is to find nothing: OpenEMR makes random UUIDs (version 4).
const NOBODY: &str = "ffffffff-ffff-4fff-bfff-ffffffffffff";
/// The most searches in which one filter is asked.
const MOST_PIECES: usize = 10;
/// The system of LOINC.
const LOINC: &str = "http://loinc.org";

/// A filter of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The name with its modifier, as the client wrote it.
    pub(crate) name: String,
    /// Whether it is another name of `patient`, or that.
    is_patient: bool,
    /// The value, decoded, in which references to this server are relative.
    pub(crate) value: String,
    /// The filter as `self` shows it, as `name=value`.
    pub(crate) shown: Vec<u8>,
    /// The one of OpenEMR's fields by which it selects. OpenEMR keeps one filter for each, whatever the modifier. `None` where
    /// the filter was not read.
    pub(crate) field: Option<String>,
    /// What OpenEMR can be asked.
    pub(crate) ask: Ask,
    /// What OpenEMR can be asked one by one, each as `name=value`, where it cannot be asked for all values at once; empty
    /// elsewhere.
    pub(crate) pieces: Vec<Vec<u8>>,
}

/// What OpenEMR can be asked for a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// This.
    For(Question),
    /// Nothing.
    Nothing(Why),
}

/// What OpenEMR is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Question {
    /// `name=value`.
    pub(crate) pair: Vec<u8>,
    /// The type of the parameter, where it is announced.
    pub(crate) kind: Option<ParameterType>,
    /// Whether OpenEMR finds more by it than the filter selects, so that the matches are tested besides.
    pub(crate) is_wider: bool,
    /// Whether the gateway tests the filter better, where that is possible.
    pub(crate) gives_way: bool,
    /// What the client is told where it does not.
    pub(crate) limited: Option<Reason>,
}

/// Why a parameter is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Nobody knows it.
    Unknown,
    /// Nothing can be asked or tested by it.
    Refused(Why),
}

impl From<Why> for Unfit {
    fn from(why: Why) -> Self {
        Self::Refused(why)
    }
}

impl Filter {
    /// A filter that goes to OpenEMR as it was written.
    #[must_use]
    pub(crate) fn forwarded(parameter: &Parameter<'_>) -> Self {
        let pair = parameter.pair.to_vec();
        let question = Question { pair: pair.clone(), ..Question::default() };
        let (name, value) = (String::new(), String::new());
        Self { name, is_patient: false, value, shown: pair, field: None, ask: Ask::For(question), pieces: Vec::new() }
    }

    /// Reads a parameter.
    ///
    /// # Errors
    /// It is no filter.
    pub(crate) fn read(parameter: &Parameter<'_>, context: &ReadingContext<'_>) -> Result<Self, Unfit> {
        let name = parameter.name.as_ref();
        let (base, modifier) = split(name);
        let relative = relative(&parameter.value, context.bases);
        let meant = relative.as_deref().unwrap_or(&parameter.value);
        let fitted = fit(base, modifier, meant, context)?;
        let changed = match base {
            "_id" => bare_ids(meant, context.resource_type).or(relative),
            // 7.0.3 announces it as a string, and compares ids.
            "practitioner" if context.known.kind(base) == Some(ParameterType::String) => {
                bare_ids(meant, "Practitioner").or(relative)
            }
            _ => relative,
        };
        let written = changed.as_deref().map_or_else(|| parameter.written.to_vec(), |value| query::encoded(value).into_bytes());
        let value = changed.unwrap_or_else(|| parameter.value.clone().into_owned());
        let of_name = |name: &str, written: &[u8]| {
            let mut pair = Vec::new();
            query::push(&mut pair, name, written);
            pair
        };
        let is_patient = matches!(fitted, Fit::Patient);
        let shown = of_name(if is_patient { "patient" } else { name }, &written);
        let plain = Question { pair: shown.clone(), kind: context.known.kind(base), ..Question::default() };
        let ask = match fitted {
            Fit::Not(why) => Ask::Nothing(why),
            Fit::Patient | Fit::Exactly => Ask::For(plain),
            Fit::Worse(limited) => Ask::For(Question { gives_way: true, limited, ..plain }),
            Fit::Ids => Ask::For(Question { pair: of_name("_id", &uuids(&value)), is_wider: base != "_id", ..plain }),
            Fit::PulseOximetry => {
                let pair = of_name(name, both_of_pulse_oximetry(&value).as_bytes());
                Ask::For(Question { pair, is_wider: true, gives_way: true, ..plain })
            }
        };
        let pieces = match ask {
            Ask::Nothing(Why::Broken(_)) if modifier.is_none() => pieces(base, &value, context),
            _ => Vec::new(),
        };
        let field = Some(field(base, context).to_owned());
        Ok(Self { name: name.to_owned(), is_patient, value, shown, field, ask, pieces })
    }

    /// Reads it as a criterion that the gateway tests.
    ///
    /// # Errors
    /// It cannot be tested.
    pub(crate) fn criterion(&self, resource_type: &str) -> Result<Criterion, Untestable> {
        if has_empty_alternative(&self.value) {
            return Err(Untestable::Value);
        }
        Criterion::read(resource_type, if self.is_patient { "patient" } else { &self.name }, &self.value)
    }

    /// What OpenEMR is asked, where it can be.
    #[must_use]
    pub(crate) fn question(&self) -> Option<&Question> {
        match &self.ask {
            Ask::For(question) => Some(question),
            Ask::Nothing(_) => None,
        }
    }

    /// Whether it names resources or patients by their ids.
    #[must_use]
    pub(crate) fn has_ids(&self) -> bool {
        self.is_patient || self.name == "_id"
    }

    /// The modifier of the name.
    #[must_use]
    pub(crate) fn modifier(&self) -> Option<&str> {
        split(&self.name).1
    }
}

/// Whether a parameter means something even without a value: one person or resource, or a search that there is not.
#[must_use]
pub(crate) fn needs_value(name: &str) -> bool {
    let (base, _) = split(name);
    IDENTIFYING.contains(&base) || OPERATORS.contains(&base) || name.contains('.')
}

/// A name without its modifier, and the modifier.
#[must_use]
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)))
}

/// The one of OpenEMR's fields by which a parameter selects.
fn field<'a>(base: &'a str, context: &ReadingContext<'_>) -> &'a str {
    match (context.resource_type, base) {
        (_, "subject") if context.known.search_parameters.contains("patient") => "patient",
        // OpenEMR fails when it is asked for both.
        ("Condition", "clinical-status") => "category",
        ("Encounter", "identifier") => "_id",
        _ => base,
    }
}

/// How a filter fits OpenEMR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// OpenEMR finds what it selects.
    Exactly,
    /// The same, by the name `patient`.
    Patient,
    /// OpenEMR finds something like it. The client is told, where there is something to tell.
    Worse(Option<Reason>),
    /// By ids.
    Ids,
    /// OpenEMR finds it by both codes.
    PulseOximetry,
    /// OpenEMR cannot be asked.
    Not(Why),
}

fn fit(base: &str, modifier: Option<&str>, value: &str, context: &ReadingContext<'_>) -> Result<Fit, Unfit> {
    let knows = |name: &str| context.known.search_parameters.contains(name);
    let empty = value.split(',').any(|part| part.trim_matches([' ', '|']).is_empty());
    match (base, modifier) {
        _ if OPERATORS.contains(&base) => Err(Why::Operator.into()),
        _ if base.contains('.') || modifier.is_some_and(|modifier| modifier.contains('.')) => Err(Why::Chain.into()),
        _ if empty && IDENTIFYING.contains(&base) => Err(Why::Empty.into()),
        // Every subject that OpenEMR knows is a patient.
        ("patient" | "subject", None | Some("Patient")) if knows("patient") && (base == "patient" || !knows("subject")) => {
            if is_patients(value) {
                Ok(Fit::Patient)
            } else {
                Err(Why::NotAPatient.into())
            }
        }
        ("category", None) if honoured::has_category(context.resource_type, context.version) => {
            Ok(if honoured::is_category(value) { Fit::Worse(None) } else { Fit::Not(Why::Category) })
        }
        ("identifier", None) if context.resource_type == "Encounter" && !knows("identifier") => {
            Ok(check(base, modifier, value, Some(ParameterType::Token)).map_or_else(Fit::Not, |()| Fit::Ids))
        }
        _ if knows(base) => match check(base, modifier, value, context.known.kind(base)) {
            Ok(()) => Ok(fit_known(base, modifier, value, context)),
            Err(Why::EmptyAlternative) => Err(Why::EmptyAlternative.into()),
            Err(why) => Ok(Fit::Not(why)),
        },
        (_, Some(modifier)) if context.version.is_some() || !MODIFIERS.contains(&modifier) => Ok(Fit::Not(Why::Modifier)),
        _ if context.version.is_none() => Ok(Fit::Not(Why::Unjudged)),
        _ if search_parameters::defines(context.resource_type, base) => Ok(Fit::Not(Why::NotSearchable)),
        _ => Err(Unfit::Unknown),
    }
}

/// How a filter that OpenEMR takes fits it.
fn fit_known(base: &str, modifier: Option<&str>, value: &str, context: &ReadingContext<'_>) -> Fit {
    if let Err(broken) = context.measured.check(context.resource_type, base, value) {
        let is_half = context.resource_type == "Observation" && base == "code" && modifier.is_none() && is_pulse_oximetry(value);
        return if is_half { Fit::PulseOximetry } else { Fit::Not(Why::Broken(broken)) };
    }
    match (context.resource_type, base) {
        (of, "_id") if context.measured.takes_uuids_alone(of) => Fit::Ids,
        ("Encounter", "date") => Fit::Worse((!value.split(',').all(is_by_the_start)).then_some(Reason::ByTheStart)),
        // OpenEMR does not find what has no value at all.
        _ if modifier == Some("not") => Fit::Worse(None),
        _ => Fit::Exactly,
    }
}

/// What OpenEMR can be asked for each of the values of a parameter, where it takes one alone; empty where that does not help.
fn pieces(base: &str, value: &str, context: &ReadingContext<'_>) -> Vec<Vec<u8>> {
    let piece = |part: &str| {
        let value = match fit_known(base, None, part, context) {
            Fit::Exactly => query::encoded(part),
            Fit::PulseOximetry => both_of_pulse_oximetry(part),
            _ => return None,
        };
        let mut pair = Vec::new();
        query::push(&mut pair, base, value.as_bytes());
        Some(pair)
    };
    let parts = value.split(',');
    if !(2..=MOST_PIECES).contains(&parts.clone().count()) {
        return Vec::new();
    }
    let mut pieces = parts.map(piece).collect::<Option<Vec<_>>>().unwrap_or_default();
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

/// Checks the modifier and the value of a parameter that OpenEMR has.
fn check(name: &str, modifier: Option<&str>, value: &str, kind: Option<ParameterType>) -> Result<(), Why> {
    let mut parts = value.split(',');
    match (modifier, kind) {
        (None, Some(ParameterType::Date)) if !are_dates(value) => Err(Why::Date),
        _ if value.contains('\\') => Err(Why::Escape),
        _ if parts.clone().any(str::is_empty) => Err(Why::EmptyAlternative),
        (Some("exact"), Some(ParameterType::String)) => Ok(()),
        (None | Some("contains" | "prefix" | "suffix"), Some(ParameterType::String)) => {
            if value.contains(['%', '_']) {
                Err(Why::AnyText)
            } else {
                Ok(())
            }
        }
        (None | Some("not"), Some(ParameterType::Token)) if parts.any(|part| part.ends_with('|')) => Err(Why::NoCode),
        // An id is looked up, not compared.
        (Some("not"), Some(ParameterType::Token)) if name == "_id" => Err(Why::Modifier),
        (Some("not"), Some(ParameterType::Token)) if IN_SEVERAL.contains(&name) => Err(Why::NotInSeveral),
        (Some("not"), Some(ParameterType::Token)) if value.contains(',') => Err(Why::NotSeveral),
        (Some("not"), Some(ParameterType::Token)) | (None, _) => Ok(()),
        (Some(_), _) => Err(Why::Modifier),
    }
}

/// Whether a value has an empty text between commas, of which none is escaped.
#[must_use]
pub(crate) fn has_empty_alternative(value: &str) -> bool {
    !value.contains('\\') && value.split(',').any(str::is_empty)
}

/// Whether a date selects periods by their beginning alone. By `le`, one that lies within the date counts, and one that goes on
/// does not.
fn is_by_the_start(date: &str) -> bool {
    matches!(date.get(..2), Some("lt" | "sa"))
}

/// The UUIDs among the codes of a value; [`NOBODY`] where there is none.
fn uuids(value: &str) -> Vec<u8> {
    let codes = value.split(',').map(|part| part.rsplit('|').next().unwrap_or_default());
    let found: Vec<&str> = codes.filter(|code| is_uuid(code)).collect();
    if found.is_empty() { NOBODY.as_bytes().to_vec() } else { found.join(",").into_bytes() }
}

/// Whether both codes of pulse oximetry can be asked for in place of one, beside the others of a value.
fn is_pulse_oximetry(value: &str) -> bool {
    let has_code = |part: &str| loinc_code(part).is_some_and(|code| PULSE_OXIMETRY.contains(&code));
    value.split(',').any(has_code) && value.split(',').all(|part| part.contains('|') || has_code(part))
}

/// Returns a value with both codes of pulse oximetry in place of one.
fn both_of_pulse_oximetry(value: &str) -> String {
    let is_other = |part: &&str| !loinc_code(part).is_some_and(|code| PULSE_OXIMETRY.contains(&code));
    let others = value.split(',').filter(is_other).map(str::to_owned);
    let both = PULSE_OXIMETRY.iter().map(|code| format!("{LOINC}|{code}"));
    let all: Vec<String> = others.chain(both).collect();
    query::encoded(&all.join(","))
}

/// The code of a token, where its system is LOINC or left open.
fn loinc_code(part: &str) -> Option<&str> {
    match part.split_once('|') {
        Some((LOINC, code)) => Some(code),
        Some(_) => None,
        None => Some(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_or_nobodys() {
        const UUID: &str = "a34c6c0e-1b2f-4b0e-9b1c-0123456789ab";
        for (value, expected) in [
            (UUID.to_owned(), UUID),
            (format!("urn:uuid:{UUID}|{UUID},nonsense"), UUID),
            ("nonsense".to_owned(), NOBODY),
            ("a|b,c".to_owned(), NOBODY),
        ] {
            assert_eq!(String::from_utf8(uuids(&value)).unwrap(), expected, "{value}");
        }
        assert!(is_uuid(NOBODY));
    }

    #[test]
    fn one_code_of_pulse_oximetry_becomes_both() {
        let both = "http://loinc.org%7C59408-5,http://loinc.org%7C2708-6";
        for (value, expected) in [
            ("59408-5", Some(both.to_owned())),
            ("http://loinc.org|2708-6", Some(both.to_owned())),
            ("59408-5,2708-6", Some(both.to_owned())),
            ("http://loinc.org|8867-4,2708-6", Some(format!("http://loinc.org%7C8867-4,{both}"))),
            ("8867-4,2708-6", None),
            ("http://other|2708-6", None),
            ("8867-4", None),
        ] {
            assert_eq!(is_pulse_oximetry(value).then(|| both_of_pulse_oximetry(value)), expected, "{value}");
        }
    }

    #[test]
    fn the_beginning_of_a_period_decides_two_comparisons() {
        for (date, expected) in
            [("lt2024", true), ("le2024", false), ("sa2024", true), ("2024", false), ("ge2024", false), ("", false)]
        {
            assert_eq!(is_by_the_start(date), expected, "{date}");
        }
    }
}

//! The decision on a request.

use crate::access::caller::{Caller, PatientsOf};
use crate::access::line::Line;
use crate::access::permitted::permitted;
use crate::access::policy::Policy;
use crate::access::question::Question;
use crate::access::reach;
use crate::access::refusal::{Refusal, missing};
use crate::access::rule::{Letter, Rule};
use crate::fhir::export_level::Level;
use crate::fhir::interaction::Kind;
use crate::fhir::resource_test::Permitted;
use crate::fhir::resource_type;

/// The decision on a request, and the lines of the configuration that it rests on.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// What is decided.
    pub(crate) verdict: Verdict,
    /// The lines: of the rules that permit, or of the policy that has none.
    pub(crate) by: Vec<Line>,
}

/// What is decided.
#[allow(dead_code, reason = "answers and bodies are not tested yet: what would have to be is refused")]
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It goes on as it came.
    Allow,
    /// These parameters (name and decoded value) are added to the search, and every resource of the answer is tested.
    Narrow(Vec<(String, String)>, Permitted),
    /// Every resource of the answer, or that of the body, is tested.
    Check(Permitted),
    /// It is refused without asking OpenEMR.
    Refuse(Refusal),
}

/// What is permitted of an interaction with a type.
enum Extent {
    /// All resources.
    All,
    /// Those that a rule permits.
    Some,
}

/// A decision that permits: how, and by which lines.
type Permission = (Verdict, Vec<Line>);

/// Decides on a request.
#[must_use]
pub(crate) fn decide(caller: &Caller, question: &Question<'_>) -> Decision {
    match permission(caller, question) {
        Ok((verdict, by)) => Decision { verdict, by },
        Err(refusal) => Decision { verdict: Verdict::Refuse(refusal), by: vec![caller.policy.line.clone()] },
    }
}

fn permission(caller: &Caller, question: &Question<'_>) -> Result<Permission, Refusal> {
    let policy = &*caller.policy;
    if policy.is_everything || matches!(question.interaction.kind, Kind::Capabilities | Kind::SmartConfiguration) {
        return Ok((Verdict::Allow, vec![policy.line.clone()]));
    }
    if policy.sites.as_ref().is_some_and(|sites| !sites.iter().any(|site| site == question.site)) {
        return Err(Refusal::Forbidden("The policy of this client does not permit this site."));
    }
    if let PatientsOf::Unknown = caller.patients() {
        return Err(Refusal::Forbidden("The patients of this client are not known, so that none of their data can be had."));
    }
    reach::check(caller, question)?;
    by_kind(caller, question)
}

fn by_kind(caller: &Caller, question: &Question<'_>) -> Result<Permission, Refusal> {
    use Letter::{Create, Delete, Read, Search, Update};
    let policy = &*caller.policy;
    let typed = |letters: &[Letter]| of_type(caller, question, question.interaction.resource_type, letters);
    let untested = |found: Result<Permission, Refusal>| found.and_then(only_whole);
    match question.interaction.kind {
        Kind::Search => typed(&[Search]),
        // It can be a document of any patient's, or the file of any export.
        Kind::Read | Kind::VersionRead if question.interaction.resource_type == Some("Binary") => every_type(caller, &[Read]),
        Kind::Read | Kind::VersionRead => typed(&[Read]),
        Kind::HistoryInstance => untested(typed(&[Read])),
        Kind::HistoryType => untested(typed(&[Search])),
        Kind::SearchCompartment => untested(compartment(caller, question)),
        Kind::SearchSystem | Kind::HistorySystem => every_type(caller, &[Search]),
        Kind::Create if question.is_conditional => typed(&[Create, Search]),
        Kind::Create => typed(&[Create]),
        Kind::Update => typed(&[Update]),
        Kind::Patch => untested(typed(&[Update])),
        Kind::ConditionalUpdate => untested(typed(&[Create, Update, Search])),
        Kind::ConditionalPatch => untested(typed(&[Update, Search])),
        Kind::Delete => untested(typed(&[Delete])),
        Kind::ConditionalDelete => untested(typed(&[Delete, Search])),
        Kind::Batch => Err(Refusal::Forbidden(
            "The policy of this client does not permit batches and transactions: send the requests one by one.",
        )),
        Kind::Export => export(caller, question),
        Kind::ExportStatus => any_export(policy),
        Kind::Operation => operation(caller, question),
        Kind::Other if question.interaction.resource_type.is_none() => Err(Refusal::NotFound),
        Kind::Other => Err(Refusal::Forbidden("The policy of this client permits no request of this form.")),
        Kind::Capabilities | Kind::SmartConfiguration => Ok((Verdict::Allow, vec![policy.line.clone()])),
    }
}

/// Decides on an interaction with resources of a type, for which each of these letters is needed.
fn of_type(
    caller: &Caller,
    question: &Question<'_>,
    resource_type: Option<&'static str>,
    letters: &[Letter],
) -> Result<Permission, Refusal> {
    let resource_type = resource_type.ok_or(Refusal::NotFound)?;
    let mut by = Vec::new();
    let mut extent = Extent::All;
    for letter in letters {
        let rules: Vec<&Rule> = caller.policy.rules_of(resource_type, *letter).collect();
        if rules.is_empty() {
            return Err(missing(resource_type, *letter));
        }
        if rules.iter().all(|rule| !rule.constraints.is_empty()) {
            extent = Extent::Some;
        }
        by.extend(rules.into_iter().map(|rule| rule.line.clone()));
    }
    if let PatientsOf::Listed(_) = caller.patients() {
        by.push(caller.policy.line.clone());
        extent = Extent::Some;
    }
    let letter = letters.first().copied().unwrap_or(Letter::Read);
    Ok(match extent {
        Extent::All => (Verdict::Allow, by),
        Extent::Some => {
            let test = permitted(caller, letter, resource_type);
            let narrowing = if question.interaction.kind == Kind::Search { narrowing(caller, resource_type) } else { Vec::new() };
            (if narrowing.is_empty() { Verdict::Check(test) } else { Verdict::Narrow(narrowing, test) }, by)
        }
    })
}

/// The parameters that every resource meets which a search may find, so that OpenEMR can be asked for no others.
fn narrowing(caller: &Caller, resource_type: &str) -> Vec<(String, String)> {
    let rules: Vec<&Rule> = caller.policy.rules_of(resource_type, Letter::Search).collect();
    let pairs = |rule: &Rule| rule.constraints.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
    match rules.as_slice() {
        [rule] => pairs(rule),
        // One parameter with the values of all: a comma is *or*.
        [first, others @ ..] => match first.constraints.as_slice() {
            [one] if others.iter().all(|rule| matches!(&*rule.constraints, [other] if other.name == one.name)) => {
                let values = rules.iter().flat_map(|rule| &rule.constraints).map(|one| one.value.as_str());
                vec![(one.name.clone(), values.collect::<Vec<_>>().join(","))]
            }
            _ => Vec::new(),
        },
        [] => Vec::new(),
    }
}

/// Refuses what would have to be tested resource by resource, and cannot be.
fn only_whole((verdict, by): Permission) -> Result<Permission, Refusal> {
    match verdict {
        Verdict::Allow => Ok((verdict, by)),
        Verdict::Narrow(..) | Verdict::Check(_) | Verdict::Refuse(_) => {
            Err(Refusal::Forbidden("A client that may not have all resources of this type cannot make this request."))
        }
    }
}

fn every_type(caller: &Caller, letters: &[Letter]) -> Result<Permission, Refusal> {
    for letter in letters {
        if !caller.policy.is_of_every_type(*letter) {
            return Err(missing("*", *letter));
        }
    }
    match caller.patients() {
        PatientsOf::All => Ok((Verdict::Allow, vec![caller.policy.line.clone()])),
        PatientsOf::Listed(_) | PatientsOf::Unknown => {
            Err(Refusal::Forbidden("A client of some patients cannot make a request that reaches every type."))
        }
    }
}

/// `Patient/1/Observation`: a search of the last type.
fn compartment(caller: &Caller, question: &Question<'_>) -> Result<Permission, Refusal> {
    let searched = question.segments().nth(2).unwrap_or_default();
    match searched {
        b"*" => every_type(caller, &[Letter::Search]),
        name => of_type(caller, question, resource_type::known(name), &[Letter::Search]),
    }
}

fn export(caller: &Caller, question: &Question<'_>) -> Result<Permission, Refusal> {
    let level = str::from_utf8(question.path).ok().and_then(Level::of).ok_or(Refusal::NotFound)?;
    match caller.policy.may_export(&level) {
        // Its types, and the lines of its files, are tested by the policy as well.
        true => match caller.patients() {
            PatientsOf::All => Ok((Verdict::Allow, vec![caller.policy.line.clone()])),
            PatientsOf::Listed(_) | PatientsOf::Unknown => {
                Err(Refusal::Forbidden("A client of some patients cannot export yet."))
            }
        },
        false => Err(Refusal::Forbidden(match level {
            Level::System => "The policy of this client does not permit exports of the whole system (export: [system]).",
            Level::Patient => "The policy of this client does not permit exports of all patients (export: [patient]).",
            Level::Group(_) => "The policy of this client does not permit the export of this Group (export: [Group/…]).",
        })),
    }
}

fn any_export(policy: &Policy) -> Result<Permission, Refusal> {
    match policy.export.is_empty() {
        true => Err(Refusal::Forbidden("The policy of this client permits no exports.")),
        false => Ok((Verdict::Allow, vec![policy.line.clone()])),
    }
}

fn operation(caller: &Caller, question: &Question<'_>) -> Result<Permission, Refusal> {
    let policy = &*caller.policy;
    let (resource_type, name) = (question.interaction.resource_type, question.interaction.operation);
    match name {
        Some("bulkdata-errors" | "bulkdata-file") => any_export(policy),
        Some("everything") => every_type(caller, &[Letter::Read, Letter::Search]),
        Some(name) => {
            let is_granted =
                |resource_type| policy.operations.iter().any(|grant| grant.resource_type == resource_type && grant.name == name);
            // The grant is of one level: below a type, or right below the base.
            let is_at_base = question.segments().next().is_some_and(|first| first.starts_with(b"$") || first.starts_with(b"%24"));
            if !(is_granted(resource_type) && (resource_type.is_some() || is_at_base)) {
                return Err(Refusal::Forbidden("The policy of this client does not permit this operation (operations)."));
            }
            let is_limited = policy.rules.iter().any(|rule| !rule.constraints.is_empty());
            match caller.patients() {
                PatientsOf::All if !is_limited => Ok((Verdict::Allow, vec![policy.line.clone()])),
                _ => only_whole((Verdict::Check(permitted(caller, Letter::Read, resource_type.unwrap_or("Bundle"))), Vec::new())),
            }
        }
        None => Err(Refusal::Forbidden("The policy of this client does not permit this operation (operations).")),
    }
}

//! The decision on a request.
//!
//! Decision: `docs/decisions/37-policies.md`.

use crate::access::caller::{Caller, PatientsOf};
use crate::access::compartment;
use crate::access::line::Line;
use crate::access::permitted::{permitted, permitted_of_search};
use crate::access::question::Question;
use crate::access::reach;
use crate::access::reference::are_listed;
use crate::access::refusal::Refusal;
use crate::access::rule::Letter;
use crate::access::search;
use crate::access::table::Extent;
use crate::fhir::export_level::Level;
use crate::fhir::interaction::{Kind, operation_name};
use crate::fhir::resource_test::Permitted;
use crate::fhir::resource_type;
use crate::http::request_target::segments;

/// The decision on a request, and the lines of the configuration that it rests on.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// What is decided.
    pub(crate) verdict: Verdict,
    /// The lines: of the rules that permit, or of the policy that has none.
    pub(crate) by: Vec<Line>,
    /// Whether the resource that is there must pass the test before it is changed or deleted; so it is read first.
    pub(crate) tests_existing: bool,
}

/// What is decided.
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

/// What is permitted, and why.
#[derive(Debug)]
struct Grant {
    verdict: Verdict,
    by: Vec<Line>,
    tests_existing: bool,
}

/// Decides on a request.
#[must_use]
pub(crate) fn decide(caller: &Caller, question: &Question<'_>) -> Decision {
    let grant = match caller.policy.is_everything {
        true => Ok(Grant::of_policy(caller)),
        false => Judge { caller, question }.judge(),
    };
    match grant {
        Ok(Grant { verdict, by, tests_existing }) => Decision { verdict, by, tests_existing },
        Err(refusal) => {
            let by = vec![caller.policy.line.clone()];
            Decision { verdict: Verdict::Refuse(refusal), by, tests_existing: false }
        }
    }
}

impl Grant {
    /// What the policy as a whole permits.
    fn of_policy(caller: &Caller) -> Self {
        Self { verdict: Verdict::Allow, by: vec![caller.policy.line.clone()], tests_existing: false }
    }
}

struct Judge<'a> {
    caller: &'a Caller,
    question: &'a Question<'a>,
}

impl Judge<'_> {
    fn judge(&self) -> Result<Grant, Refusal> {
        let kind = self.question.interaction.kind;
        if matches!(kind, Kind::Capabilities | Kind::SmartConfiguration) {
            return Ok(Grant::of_policy(self.caller));
        }
        let policy = &self.caller.policy;
        if policy.sites.as_ref().is_some_and(|sites| !sites.iter().any(|site| site == self.question.site)) {
            return Err(Refusal::Forbidden("The policy of this client does not permit this site."));
        }
        if matches!(self.caller.patients(), PatientsOf::Unknown) {
            return Err(Refusal::Forbidden("The patients of this client are not known, so that it may have no data."));
        }
        match kind {
            Kind::Capabilities | Kind::SmartConfiguration => Ok(Grant::of_policy(self.caller)),
            // It can be a document of any patient's, or the file of any export.
            Kind::Read | Kind::VersionRead if self.question.interaction.resource_type == Some("Binary") => {
                self.every_type(&[Letter::Read])
            }
            Kind::Read => self.instance(Letter::Read, Test::Answer),
            Kind::Update => self.instance(Letter::Update, Test::BodyAndExisting),
            Kind::Delete => self.instance(Letter::Delete, Test::BodyAndExisting),
            Kind::Patch => self.instance(Letter::Update, Test::Impossible),
            Kind::VersionRead | Kind::HistoryInstance => self.instance(Letter::Read, Test::Impossible),
            Kind::HistoryType => self.all_of(self.resource_type()?, &[Letter::Search]),
            Kind::HistorySystem => self.every_type(&[Letter::Search]),
            Kind::Search => self.search(),
            Kind::SearchSystem => {
                search::check(self.caller, None, &self.question.parameters)?;
                self.every_type(&[Letter::Search])
            }
            Kind::SearchCompartment => self.compartment(),
            Kind::Create => self.create(),
            Kind::ConditionalUpdate => self.conditional(&[Letter::Create, Letter::Update, Letter::Search]),
            Kind::ConditionalPatch => self.conditional(&[Letter::Update, Letter::Search]),
            Kind::ConditionalDelete => self.conditional(&[Letter::Delete, Letter::Search]),
            Kind::Batch => Err(Refusal::Forbidden(
                "The policy of this client does not permit batches and transactions: send the requests one by one.",
            )),
            Kind::Export => self.export(),
            // Whose export it is, the exports know: to everybody else it is unknown.
            Kind::ExportStatus => Ok(Grant::of_policy(self.caller)),
            Kind::Operation => self.operation(),
            Kind::Other => Err(Refusal::Forbidden("This is none of FHIR's interactions, so that no scope permits it.")),
        }
    }

    /// The type at the beginning of the path.
    fn resource_type(&self) -> Result<&'static str, Refusal> {
        let first = self.segment(0).unwrap_or_default();
        if !first.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Refusal::Unclear("The path begins with what is no name of a resource type."));
        }
        self.question.interaction.resource_type.ok_or(Refusal::NotFound)
    }

    fn segment(&self, number: usize) -> Option<String> {
        segments(self.question.path).nth(number)
    }

    /// How far the caller may do something with a type.
    fn extent(&self, resource_type: &'static str, letter: Letter) -> Result<Extent, Refusal> {
        match reach::extent(self.caller, Some(resource_type), letter) {
            Extent::Nothing => Err(Refusal::scope(Some(resource_type), letter)),
            extent => Ok(extent),
        }
    }

    /// Whether resources are tested though the rules for their type have no constraints: with a list of patients, all are.
    fn has_list(&self) -> bool {
        matches!(self.caller.patients(), PatientsOf::Listed(_))
    }

    fn granted(&self, verdict: Verdict, resource_type: &str, letters: &[Letter]) -> Grant {
        let rules = self.caller.policy.table().of(resource_type);
        let by = letters.iter().flat_map(|letter| rules.lines(*letter)).cloned().collect();
        Grant { verdict, by, tests_existing: false }
    }

    /// The patient whose own resource the path names must be on the list.
    fn check_patient(&self, resource_type: &str) -> Result<(), Refusal> {
        let PatientsOf::Listed(list) = self.caller.patients() else { return Ok(()) };
        if resource_type == "Patient" && !self.segment(1).is_some_and(|id| list.has(&id)) {
            return Err(Refusal::Forbidden("This patient is not among those of this client."));
        }
        Ok(())
    }

    /// An interaction with one resource, whose id is in the path.
    fn instance(&self, letter: Letter, test: Test) -> Result<Grant, Refusal> {
        let resource_type = self.resource_type()?;
        let extent = self.extent(resource_type, letter)?;
        self.check_patient(resource_type)?;
        if extent == Extent::All && !self.has_list() {
            return Ok(self.granted(Verdict::Allow, resource_type, &[letter]));
        }
        if test == Test::Impossible || compartment::is_of_anything(resource_type) {
            return Err(untestable());
        }
        let verdict = Verdict::Check(permitted(self.caller, letter, self.question.bases));
        let granted = self.granted(verdict, resource_type, &[letter]);
        Ok(Grant { tests_existing: test == Test::BodyAndExisting, ..granted })
    }

    /// Something with all resources of a type, of which nothing can be tested.
    fn all_of(&self, resource_type: &'static str, letters: &[Letter]) -> Result<Grant, Refusal> {
        for letter in letters {
            if self.extent(resource_type, *letter)? == Extent::Some || self.has_list() {
                return Err(untestable());
            }
        }
        Ok(self.granted(Verdict::Allow, resource_type, letters))
    }

    /// Something with all resources of every type.
    fn every_type(&self, letters: &[Letter]) -> Result<Grant, Refusal> {
        let table = self.caller.policy.table();
        if let Some(missing) = letters.iter().find(|letter| table.of_every_type().extent(**letter) != Extent::All) {
            return Err(Refusal::scope(None, *missing));
        }
        if self.has_list() {
            return Err(untestable());
        }
        let by = letters.iter().flat_map(|letter| table.of_every_type().lines(*letter)).cloned().collect();
        Ok(Grant { verdict: Verdict::Allow, by, tests_existing: false })
    }

    fn search(&self) -> Result<Grant, Refusal> {
        let resource_type = self.resource_type()?;
        let extent = self.extent(resource_type, Letter::Search)?;
        let is_limited = search::check(self.caller, Some(resource_type), &self.question.parameters)?;
        if extent == Extent::All && !is_limited && !self.has_list() {
            return Ok(self.granted(Verdict::Allow, resource_type, &[Letter::Search]));
        }
        if compartment::is_of_anything(resource_type) {
            return Err(untestable());
        }
        let narrowing = search::narrowing(self.caller, resource_type, self.question)?;
        let test = permitted_of_search(self.caller, resource_type, self.question.bases);
        let verdict = if narrowing.is_empty() { Verdict::Check(test) } else { Verdict::Narrow(narrowing, test) };
        Ok(self.granted(verdict, resource_type, &[Letter::Search]))
    }

    /// `Patient/1/Observation`, or `Patient/1/*`.
    fn compartment(&self) -> Result<Grant, Refusal> {
        let within = self.resource_type()?;
        let named = self.segment(2).unwrap_or_default();
        let searched = match named.as_str() {
            "*" => None,
            name => Some(resource_type::known(name.as_bytes()).ok_or(Refusal::NotFound)?),
        };
        search::check(self.caller, searched, &self.question.parameters)?;
        self.check_patient(within)?;
        match searched {
            Some(searched) => self.all_of(searched, &[Letter::Search]),
            None => self.every_type(&[Letter::Search]),
        }
    }

    fn create(&self) -> Result<Grant, Refusal> {
        let resource_type = self.resource_type()?;
        let extent = self.extent(resource_type, Letter::Create)?;
        let mut letters = vec![Letter::Create];
        if let Some(condition) = self.question.if_none_exist {
            let parameters: Vec<_> = form_urlencoded::parse(condition.as_bytes()).into_owned().collect();
            letters.push(Letter::Search);
            let searched = self.extent(resource_type, Letter::Search)?;
            if search::check(self.caller, Some(resource_type), &parameters)? || searched == Extent::Some || self.has_list() {
                return Err(Refusal::Forbidden(
                    "If-None-Exist looks among all resources, which this client may not see all. Create without it.",
                ));
            }
        }
        if extent == Extent::All && !self.has_list() {
            return Ok(self.granted(Verdict::Allow, resource_type, &letters));
        }
        if compartment::is_of_anything(resource_type) {
            return Err(untestable());
        }
        if resource_type == "Patient" && self.has_list() {
            return Err(Refusal::Forbidden("A new patient is not among those of this client."));
        }
        Ok(self.granted(Verdict::Check(permitted(self.caller, Letter::Create, self.question.bases)), resource_type, &letters))
    }

    /// A write of what a search finds.
    fn conditional(&self, letters: &[Letter]) -> Result<Grant, Refusal> {
        let resource_type = self.resource_type()?;
        for letter in letters {
            self.extent(resource_type, *letter)?;
        }
        if search::check(self.caller, Some(resource_type), &self.question.parameters)? {
            return Err(untestable());
        }
        self.all_of(resource_type, letters)
    }

    fn export(&self) -> Result<Grant, Refusal> {
        let level = std::str::from_utf8(self.question.path).ok().and_then(Level::of).ok_or(Refusal::NotFound)?;
        if !self.caller.policy.may_export(&level) {
            return Err(Refusal::Forbidden(match level {
                Level::System => "The policy of this client does not permit exports of the whole system (export: [system]).",
                Level::Patient => "The policy of this client does not permit exports of all patients (export: [patient]).",
                Level::Group(_) => "The policy of this client does not permit the export of this Group (export: [Group/…]).",
            }));
        }
        let values = |names: &'static [&'static str]| {
            self.question.parameters.iter().filter(move |(name, _)| names.contains(&name.as_str())).map(|(_, value)| value)
        };
        for name in values(&["_type", "type"]).flat_map(|value| value.split(',')) {
            // What is no type is for the export to refuse.
            let known = resource_type::known(name.trim().as_bytes());
            if let Some(known) = known.filter(|known| !self.caller.policy.may_export_type(known)) {
                let rules = self.caller.policy.table().of(known);
                let missing = if rules.extent(Letter::Read) == Extent::Nothing { Letter::Read } else { Letter::Search };
                return Err(Refusal::scope(Some(known), missing));
            }
        }
        if let PatientsOf::Listed(list) = self.caller.patients()
            && !values(&["patient"]).all(|value| are_listed(value, list, self.question.bases))
        {
            return Err(Refusal::Forbidden("The export names a patient that is not among those of this client."));
        }
        // The lines of its files are tested by the policy when they are handed out.
        Ok(Grant::of_policy(self.caller))
    }

    fn operation(&self) -> Result<Grant, Refusal> {
        let resource_type = self.question.interaction.resource_type;
        let mut path = self.question.path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        let first_is_type = path.clone().next().is_some_and(|first| operation_name(first).is_none());
        if first_is_type && resource_type.is_none() {
            return Err(Refusal::NotFound);
        }
        let name = path.find_map(operation_name).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        if name == "everything" {
            return self.everything(resource_type);
        }
        if !self.caller.policy.may_call(resource_type, name) {
            let text = "The policy of this client does not permit this operation (operations).";
            return Err(Refusal::Forbidden(text));
        }
        let is_docref = (resource_type, name) == (Some("DocumentReference"), "docref");
        if is_docref {
            self.extent("DocumentReference", Letter::Read)?;
        }
        let is_limited = self.has_list() || self.caller.policy.rules.iter().any(|rule| !rule.constraints.is_empty());
        if !is_limited {
            return Ok(Grant::of_policy(self.caller));
        }
        if is_docref { self.docref() } else { Err(untestable()) }
    }

    /// `$docref`, whose answer is a Bundle of DocumentReferences of one patient.
    fn docref(&self) -> Result<Grant, Refusal> {
        if let PatientsOf::Listed(list) = self.caller.patients() {
            let mut patients = self.question.parameters.iter().filter(|(name, _)| name == "patient").map(|(_, value)| value);
            let is_listed = |value: &String| are_listed(value, list, self.question.bases);
            if !patients.next().is_some_and(is_listed) || !patients.all(is_listed) {
                return Err(Refusal::Forbidden("The operation is not about a patient of this client: name one in `patient`."));
            }
        }
        let test = permitted(self.caller, Letter::Read, self.question.bases);
        Ok(Grant { verdict: Verdict::Check(test), ..Grant::of_policy(self.caller) })
    }

    /// `$everything`, whose answer can have any type of the compartment.
    fn everything(&self, resource_type: Option<&'static str>) -> Result<Grant, Refusal> {
        let letters = [Letter::Read, Letter::Search];
        let types = resource_type.into_iter().chain(compartment::types());
        for (name, letter) in types.flat_map(|name| letters.map(|letter| (name, letter))) {
            match reach::extent(self.caller, Some(name), letter) {
                Extent::All => {}
                Extent::Some => return Err(untestable()),
                Extent::Nothing => return Err(Refusal::scope(None, letter)),
            }
        }
        if self.has_list() {
            return Err(untestable());
        }
        Ok(self.granted(Verdict::Allow, "Patient", &letters))
    }
}

/// What of an interaction with one resource is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Answer,
    BodyAndExisting,
    /// Nothing can be.
    Impossible,
}

fn untestable() -> Refusal {
    Refusal::Forbidden(
        "This client may see a part of the resources alone, and the answer to this request cannot be limited to it. Search, or \
         read single resources.",
    )
}

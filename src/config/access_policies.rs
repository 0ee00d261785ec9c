//! Policies as they are written: SMART scopes, and what SMART has no word for.

use std::path::PathBuf;
use std::sync::Arc;

use serde_yaml::{Mapping, Value as Yaml};

use super::access_files;
use super::declaration::{section, section_shape, words};
use super::node::{Node, Value};
use super::problem::{Findings, Place, Problem, Written, did_you_mean, shown};
use super::section::{Section, elements, text};
use super::setting::Setting;
use super::shape::Shape;
use crate::access::grants::{ExportGrant, LocalGrants, OperationGrant};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::policy::Policy;
use crate::access::rule::{Letter, Letters, Rule};
use crate::fhir::id::{is_id, is_path_id};
use crate::fhir::resource_type;
use crate::limits::client_limits::ClientLimits;
use crate::limits::rate::{MOST_BURST, Rate};
use crate::observe::safe_text::is_unshowable;

/// The built-in policy that permits everything of the FHIR API.
pub(super) const EVERYTHING: &str = "everything";
/// The built-in policy that permits the CapabilityStatement and the SMART configuration alone.
pub(super) const METADATA_ONLY: &str = "metadata-only";
/// The most patients that are listed in the configuration itself.
const MOST_IDS: usize = 10_000;

section! {
    /// A policy as it is written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct PolicyFile {
        /// SMART scopes of a system, such as `system/Patient.rs`, `system/*.read` or
        /// `system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory`. Scopes widen each
        /// other. What none of them permits is refused.
        scopes: WrittenRules = WrittenRules::default();
        /// The patients whose data may be read and written.
        patients: Option<WrittenPatients> = None, derived("all");
        /// Bulk exports: `system`, `patient`, `group` for those of any Group, or one Group such as `Group/7`.
        export: Vec<ExportGrant> = Vec::new();
        /// Operations by name, such as `DocumentReference/$docref`.
        operations: Vec<OperationGrant> = Vec::new();
        /// The sites, by name.
        sites: Option<Vec<Written<String>>> = None, derived("all");
        /// What of the gateway's own routes may be used.
        local: Vec<LocalGrant> = Vec::new();
        /// How often each client with the policy may send requests; a client's own `rate`, `burst` and `at_once` count in place of its
        /// policy's, one by one. More get 429. Callers without credentials have it by address (IPv6: by /64 network).
        rate: Option<Rate> = None, example("20/s");
        /// How many requests such a client may send at once after a pause.
        burst: Option<u32> = None, at_most(Some(MOST_BURST)), unit("requests"),
            derived("the requests of one second, but 10 at least unless `rate` names fewer");
        /// How many requests of such a client may be at work at once. More get 429.
        at_once: Option<u32> = None, unit("requests");
    }
    check PolicyFile::check
}

words! {
    /// A use of the gateway's own routes.
    pub(super) enum LocalGrant {
        /// To have a new access token fetched: `POST /oauth/token?force=true`.
        ForceRefresh = "force_refresh",
        /// To be shown the access token, from this machine alone.
        Token = "token",
    }
}

impl PolicyFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        // The rate of a client can stand in the policy that it names.
        if self.burst.is_some() && self.rate.is_none() && !section.has("policy") {
            findings.problem(burst_without_rate(&section.place_of("burst")));
        }
        Some(self)
    }

    /// The limits of its clients.
    pub(super) fn limits(&self) -> ClientLimits {
        ClientLimits { rate: self.rate, burst: self.burst, at_once: self.at_once }
    }

    /// The keys, with which a client can have a policy of its own.
    pub(super) const KEYS: [&'static str; 6] = ["scopes", "patients", "export", "operations", "sites", "local"];

    /// The policy.
    pub(super) fn policy(&self, name: &str, place: &Place) -> Policy {
        let has = |grant| self.local.contains(&grant);
        Policy {
            name: name.to_owned(),
            line: line(place),
            rules: self.scopes.0.iter().map(|written| written.rule.clone()).collect(),
            patients: self.patients.as_ref().map_or(Patients::All, |written| written.patients.clone()),
            export: self.export.clone(),
            operations: self.operations.clone(),
            sites: self.sites.as_ref().map(|sites| sites.iter().map(|site| site.value.clone()).collect()),
            local: LocalGrants { force_refresh: has(LocalGrant::ForceRefresh), token: has(LocalGrant::Token) },
            limits: self.limits(),
            ..Policy::default()
        }
    }

    /// The policy of a name that is always there, unless it is written: `everything` or `metadata-only`.
    pub(super) fn built_in(name: &str) -> Option<Policy> {
        let line = Line { key: format!("the built-in policy {name}"), number: None };
        let nothing = Policy { name: name.to_owned(), line: line.clone(), ..Policy::default() };
        match name {
            METADATA_ONLY => Some(nothing),
            EVERYTHING => {
                let letters = [Letter::Create, Letter::Read, Letter::Update, Letter::Delete, Letter::Search];
                let letters = letters.into_iter().fold(Letters::default(), Letters::with);
                Some(Policy {
                    rules: vec![Rule { resource_type: None, letters, constraints: Vec::new(), line }],
                    export: vec![ExportGrant::System, ExportGrant::Patient, ExportGrant::AnyGroup],
                    is_everything: true,
                    ..nothing
                })
            }
            _ => None,
        }
    }

    /// The file that holds the list of patients.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match &self.patients.as_ref()?.source {
            PatientsSource::File(path) => Some(path),
            PatientsSource::Inline => None,
        }
    }
}

/// A burst that belongs to no rate.
pub(super) fn burst_without_rate(place: &Place) -> Problem {
    place.problem("is written, and `rate` is not").remedy("write  rate: 20/s  or leave the burst out")
}

/// The line of a place.
pub(super) fn line(place: &Place) -> Line {
    Line { key: place.key.clone(), number: place.mark.map(|mark| mark.line) }
}

/// The scopes of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct WrittenRules(Vec<WrittenRule>);

/// A scope, and the rule that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WrittenRule {
    text: String,
    rule: Rule,
}

impl Setting for WrittenRules {
    fn shape() -> Shape {
        Shape::List(Box::new(Shape::Text("scope")))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written: Vec<Written<String>> = match &node.value {
            Value::Text(words) | Value::Substituted(words) => {
                words.split_whitespace().map(|word| Written { value: word.to_owned(), place: place.clone() }).collect()
            }
            _ => elements(node, place, findings)?.filter_map(|(node, place)| text(node, place, findings)).collect(),
        };
        let rules = written.into_iter().filter_map(|Written { value, place }| match Rule::parse(&value, line(&place)) {
            Ok(rule) => Some(WrittenRule { text: value, rule }),
            Err(error) => {
                findings.problem(place.problem(shown_whole(&error.message)).remedy(error.remedy));
                None
            }
        });
        Some(Self(rules.collect()))
    }

    fn to_yaml(&self) -> Yaml {
        self.0.iter().map(|written| written.text.as_str().into()).collect::<Vec<Yaml>>().into()
    }
}

/// A message on one line. Scopes with constraints are longer than what [`shown`] shows.
fn shown_whole(message: &str) -> String {
    message.chars().take(1000).map(|c| if is_unshowable(c) { '\u{fffd}' } else { c }).collect()
}

section! {
    /// The patients of a policy as they are written: one of these keys.
    struct PatientsFile {
        /// The ids of these patients.
        ids: Option<Vec<String>> = None, example("[4f7b0d0e-…, 9c2e…]");
        /// A Group at OpenEMR, whose members they are, such as `Group/7`.
        group: Option<String> = None, example("Group/7");
        /// A file with one id a line. What follows `#` is a remark.
        file: Option<Written<String>> = None, example("lists/panel.txt");
        /// The claim of the client's JWT that lists them.
        claim: Option<String> = None, example("patients");
    }
}

/// The patients of a policy, and where they are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenPatients {
    pub(super) patients: Patients,
    pub(super) place: Place,
    source: PatientsSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatientsSource {
    /// The configuration.
    Inline,
    /// A file of its own.
    File(PathBuf),
}

impl Setting for WrittenPatients {
    fn shape() -> Shape {
        section_shape::<PatientsFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        const FORMS: &str = "write one of  { ids: […] }, { group: Group/7 }, { file: lists/panel.txt }, { claim: patients }";
        let before = findings.problems.len();
        let PatientsFile { ids, group, file, claim } = PatientsFile::read(node, place, findings)?;
        if findings.problems.len() > before {
            return None;
        }
        let mut source = PatientsSource::Inline;
        let patients = match (ids, group, file, claim) {
            (Some(ids), None, None, None) => Patients::Listed(Arc::new(listed(ids, place, findings)?)),
            (None, Some(group), None, None) => Patients::Group(group_id(&group, &place.member("group"), findings)?),
            (None, None, Some(file), None) => {
                let list = access_files::patients(&file, findings)?;
                source = PatientsSource::File(file.value.into());
                Patients::Listed(Arc::new(list))
            }
            (None, None, None, Some(claim)) if !claim.is_empty() => Patients::Claim(claim),
            _ => {
                findings.problem(place.problem("is not one list of patients").remedy(FORMS));
                return None;
            }
        };
        Some(Self { patients, place: place.clone(), source })
    }

    fn to_yaml(&self) -> Yaml {
        let (key, value): (&str, Yaml) = match (&self.source, &self.patients) {
            (PatientsSource::File(path), _) => ("file", path.to_yaml()),
            (PatientsSource::Inline, Patients::Group(id)) => ("group", format!("Group/{id}").into()),
            (PatientsSource::Inline, Patients::Claim(claim)) => ("claim", claim.as_str().into()),
            (PatientsSource::Inline, Patients::Listed(list)) => {
                let mut ids: Vec<&str> = list.ids().collect();
                ids.sort_unstable();
                ("ids", ids.into_iter().map(Yaml::from).collect::<Vec<_>>().into())
            }
            (PatientsSource::Inline, Patients::All) => return Yaml::Null,
        };
        Yaml::Mapping(Mapping::from_iter([(key.into(), value)]))
    }
}

fn listed(ids: Vec<String>, place: &Place, findings: &mut Findings) -> Option<crate::access::patients::PatientList> {
    let place = place.member("ids");
    if ids.is_empty() {
        let remedy = "write the ids of patients; to switch a client off, take its entry out of access.clients";
        findings.problem(place.problem("names no patient").remedy(remedy));
        return None;
    }
    if ids.len() > MOST_IDS {
        let problem = place.problem(format!("names more than {MOST_IDS} patients"));
        findings.problem(problem.remedy("write them to a file, one a line:  { file: lists/panel.txt }"));
        return None;
    }
    let bad: Vec<usize> = ids.iter().enumerate().filter(|(_, id)| !is_id(id)).map(|(index, _)| index).collect();
    for index in &bad {
        let problem = place.element(*index).problem("is no id of a patient");
        findings.problem(problem.remedy("write the id alone, without Patient/: letters, digits, - and . only, at most 64"));
    }
    bad.is_empty().then(|| ids.into_iter().collect())
}

/// The id in `Group/7`.
fn group_id(written: &str, place: &Place, findings: &mut Findings) -> Option<String> {
    let id = written.strip_prefix("Group/").filter(|id| is_path_id(id));
    if id.is_none() {
        findings.problem(place.problem(format!("`{}` is no Group", shown(written))).remedy("write it like  Group/7"));
    }
    id.map(ToOwned::to_owned)
}

impl Setting for ExportGrant {
    fn shape() -> Shape {
        Shape::Text("`system`, `patient`, `group` or `Group/<id>`")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        match written.as_str() {
            "system" => Some(Self::System),
            "patient" => Some(Self::Patient),
            "group" => Some(Self::AnyGroup),
            group if group.starts_with("Group/") => group_id(group, place, findings).map(Self::Group),
            other => {
                let problem = place.problem(format!("`{}` is no level of an export", shown(other)));
                findings.problem(match did_you_mean(other, ["system", "patient", "group"]) {
                    Some(meant) => problem.remedy(format!("did you mean `{meant}`?")),
                    None => problem.remedy("write  system, patient, group  or one Group, like  Group/7"),
                });
                None
            }
        }
    }

    fn to_yaml(&self) -> Yaml {
        match self {
            Self::System => "system".into(),
            Self::Patient => "patient".into(),
            Self::AnyGroup => "group".into(),
            Self::Group(id) => format!("Group/{id}").into(),
        }
    }
}

impl Setting for OperationGrant {
    fn shape() -> Shape {
        Shape::Text("`<type>/$<name>` or `$<name>`")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        const FORM: &str = "write type and name, like  DocumentReference/$docref";
        let written = text(node, place.clone(), findings)?.value;
        let (named_type, name) = match written.split_once('/') {
            Some((named_type, name)) => (Some(named_type), name),
            None => (None, written.as_str()),
        };
        let resource_type = named_type.map(|named| resource_type::known(named.as_bytes()).ok_or(named)).transpose();
        let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let problem = place.problem(match (&resource_type, name.strip_prefix('$').filter(is_name)) {
            (Err(_), _) => format!("`{}` names no resource type of FHIR R4", shown(&written)),
            (_, None) => format!("`{}` is no operation", shown(&written)),
            (_, Some("export")) => format!("`{}` is a bulk export", shown(&written)),
            (Ok(resource_type), Some(name)) => return Some(Self { resource_type: *resource_type, name: name.to_owned() }),
        });
        findings.problem(match resource_type {
            Err(named) if resource_type::meant(named.as_bytes()).is_some() => {
                problem.remedy(format!("did you mean `{}/{name}`?", resource_type::meant(named.as_bytes()).unwrap_or_default()))
            }
            _ if name == "$export" => problem.remedy("write it under export:  export: [system, patient, group]"),
            _ => problem.remedy(FORM),
        });
        None
    }

    fn to_yaml(&self) -> Yaml {
        match self.resource_type {
            Some(resource_type) => format!("{resource_type}/${}", self.name).into(),
            None => format!("${}", self.name).into(),
        }
    }
}

/// Reports a client that has a policy by name and keys of its own besides.
pub(super) fn check_single(section: &Section<'_>, findings: &mut Findings) {
    let own = PolicyFile::KEYS.iter().find(|key| section.has(key));
    if let (true, Some(own)) = (section.has("policy"), own) {
        let problem = section.place_of(own).problem("is written, and `policy` too: which of the two counts?");
        findings.problem(problem.remedy("leave `policy` out, or move the key into that policy"));
    }
}

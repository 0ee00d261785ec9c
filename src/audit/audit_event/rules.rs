//! What R4's definition of AuditEvent and BALP's profiles require, as data, and a check of an event against it.

#![allow(clippy::indexing_slicing)]

use serde_json::Value;

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    /// An object with the members that the table names below it.
    Object,
    Text,
    Boolean,
    Uri,
    /// A time with seconds and a zone.
    Instant,
    Base64,
    /// One of these codes, which are all that there are.
    Code(&'static [&'static str]),
}

/// An element with its cardinality.
pub(super) type Element = (&'static str, usize, usize, Is);

const MANY: usize = usize::MAX;
const ACTIONS: &[&str] = &["C", "R", "U", "D", "E"];
const OUTCOMES: &[&str] = &["0", "4", "8", "12"];
const NETWORKS: &[&str] = &["1", "2", "3", "4", "5"];

/// R4: every element that an event may have, data types included as far as they are used. A path with `*` at its end is a data type.
pub(super) const R4: &[Element] = &[
    ("resourceType", 1, 1, Is::Code(&["AuditEvent"])),
    ("meta", 0, 1, Is::Object),
    ("meta.profile", 0, MANY, Is::Uri),
    ("meta.tag", 0, MANY, Is::Object),
    ("type", 1, 1, Is::Object),
    ("subtype", 0, MANY, Is::Object),
    ("action", 0, 1, Is::Code(ACTIONS)),
    ("recorded", 1, 1, Is::Instant),
    ("outcome", 0, 1, Is::Code(OUTCOMES)),
    ("outcomeDesc", 0, 1, Is::Text),
    ("purposeOfEvent", 0, MANY, Is::Object),
    ("agent", 1, MANY, Is::Object),
    ("agent.type", 0, 1, Is::Object),
    ("agent.role", 0, MANY, Is::Object),
    ("agent.who", 0, 1, Is::Object),
    ("agent.altId", 0, 1, Is::Text),
    ("agent.name", 0, 1, Is::Text),
    ("agent.requestor", 1, 1, Is::Boolean),
    ("agent.policy", 0, MANY, Is::Uri),
    ("agent.network", 0, 1, Is::Object),
    ("agent.network.address", 0, 1, Is::Text),
    ("agent.network.type", 0, 1, Is::Code(NETWORKS)),
    ("agent.purposeOfUse", 0, MANY, Is::Object),
    ("source", 1, 1, Is::Object),
    ("source.site", 0, 1, Is::Text),
    ("source.observer", 1, 1, Is::Object),
    ("source.type", 0, MANY, Is::Object),
    ("entity", 0, MANY, Is::Object),
    ("entity.what", 0, 1, Is::Object),
    ("entity.type", 0, 1, Is::Object),
    ("entity.role", 0, 1, Is::Object),
    ("entity.lifecycle", 0, 1, Is::Object),
    ("entity.securityLabel", 0, MANY, Is::Object),
    ("entity.name", 0, 1, Is::Text),
    ("entity.description", 0, 1, Is::Text),
    ("entity.query", 0, 1, Is::Base64),
    ("entity.detail", 0, MANY, Is::Object),
    ("entity.detail.type", 1, 1, Is::Text),
    ("entity.detail.valueString", 1, 1, Is::Text),
];

const CODING: &[Element] = &[("system", 1, 1, Is::Uri), ("code", 1, 1, Is::Text), ("display", 0, 1, Is::Text)];
const CONCEPT: &[Element] = &[
    ("coding", 0, MANY, Is::Object),
    ("coding.system", 1, 1, Is::Uri),
    ("coding.code", 1, 1, Is::Text),
    ("coding.display", 0, 1, Is::Text),
    ("text", 0, 1, Is::Text),
];
const REFERENCE: &[Element] = &[
    ("reference", 0, 1, Is::Text),
    ("type", 0, 1, Is::Uri),
    ("identifier", 0, 1, Is::Object),
    ("identifier.value", 1, 1, Is::Text),
    ("display", 0, 1, Is::Text),
];

/// Elements whose members are those of a data type.
const TYPES: &[(&str, &[Element])] = &[
    ("meta.tag", CODING),
    ("type", CODING),
    ("subtype", CODING),
    ("purposeOfEvent", CONCEPT),
    ("agent.type", CONCEPT),
    ("agent.role", CONCEPT),
    ("agent.who", REFERENCE),
    ("agent.purposeOfUse", CONCEPT),
    ("source.observer", REFERENCE),
    ("source.type", CODING),
    ("entity.what", REFERENCE),
    ("entity.type", CODING),
    ("entity.role", CODING),
    ("entity.lifecycle", CODING),
    ("entity.securityLabel", CODING),
];

/// Codes by their system, of which one is required.
type Codes = &'static [(&'static str, &'static str)];

/// A slice of a profile: repetitions of an element that are told by a code.
pub(super) struct Slice {
    element: &'static str,
    /// The member with the code; empty where the element is the Coding.
    by: &'static str,
    codes: Codes,
    least: usize,
    most: usize,
    /// Members with their least and most number.
    members: &'static [(&'static str, usize, usize)],
    /// A member that must have one of these codes.
    bound: Option<(&'static str, Codes)>,
}

/// What a profile requires beyond R4.
pub(super) struct Profile {
    pub(super) name: &'static str,
    event: Codes,
    action: &'static str,
    outcome: Option<&'static str>,
    agents: usize,
    entities: usize,
    slices: &'static [Slice],
    /// The agent with this code of DICOM is the observer.
    observer: Option<&'static str>,
}

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const REST: Codes = &[("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")];
const FHIR: &str = "http://hl7.org/fhir/restful-interaction";
const ENTITY: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const OBJECTS: Codes = &[(ROLE, "4"), (ROLE, "3"), (ROLE, "20")];

const fn subtype(codes: Codes) -> Slice {
    Slice { element: "subtype", by: "", codes, least: 1, most: 1, members: &[], bound: None }
}

const fn agent(codes: Codes) -> Slice {
    let members = &[("who", 1, 1), ("network", 1, 1), ("media", 0, 0)];
    Slice { element: "agent", by: "type", codes, least: 1, most: 1, members, bound: None }
}

const fn data(role: usize) -> Slice {
    let members = if role == 1 { &[("what", 1, 1), ("role", 1, 1)] } else { &[("what", 1, 1), ("role", 0, 1)] };
    Slice { element: "entity", by: "type", codes: &[(ENTITY, "2")], least: 1, most: 1, members, bound: Some(("role", OBJECTS)) }
}

const QUERY: Slice = Slice {
    element: "entity",
    by: "type",
    codes: &[(ENTITY, "2")],
    least: 1,
    most: 1,
    members: &[("role", 1, 1), ("what", 0, 0), ("lifecycle", 0, 0), ("description", 0, 1), ("query", 1, 1), ("detail", 0, 0)],
    bound: Some(("role", &[(ROLE, "24")])),
};
const TRANSACTION: Slice = Slice {
    element: "entity",
    by: "type",
    codes: &[("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId")],
    least: 0,
    most: 1,
    members: &[("what", 1, 1)],
    bound: None,
};
const PATIENT: Slice = Slice {
    element: "entity",
    by: "type",
    codes: &[(ENTITY, "1")],
    least: 1,
    most: 1,
    members: &[("role", 1, 1), ("what", 1, 1)],
    bound: Some(("role", &[(ROLE, "1")])),
};
const SOURCE: Codes = &[(DCM, "110153")];
const DESTINATION: Codes = &[(DCM, "110152")];
const CUSTODIAN: Codes = &[("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian")];
const READ: Slice = subtype(&[(FHIR, "read"), (FHIR, "vread")]);
const SEARCH: Slice = subtype(&[(FHIR, "search"), (FHIR, "search-type"), (FHIR, "search-system")]);
const CREATE: Slice = subtype(&[(FHIR, "create")]);
const UPDATE: Slice = subtype(&[(FHIR, "update"), (FHIR, "patch")]);
const DELETE: Slice = subtype(&[(FHIR, "delete")]);
const DISCLOSE: Slice = subtype(&[("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "disclose")]);

const fn rest(name: &'static str, action: &'static str, entities: usize, slices: &'static [Slice]) -> Profile {
    Profile { name, event: REST, action, outcome: Some("0"), agents: 2, entities, slices, observer: None }
}

/// The profiles that events may claim.
pub(super) const PROFILES: &[Profile] = &[
    rest("Read", "R", 1, &[READ, agent(DESTINATION), agent(SOURCE), TRANSACTION, data(0)]),
    rest("PatientRead", "R", 2, &[READ, agent(DESTINATION), agent(SOURCE), TRANSACTION, data(0), PATIENT]),
    rest("Query", "E", 1, &[SEARCH, agent(SOURCE), agent(DESTINATION), TRANSACTION, QUERY]),
    rest("PatientQuery", "E", 1, &[SEARCH, agent(SOURCE), agent(DESTINATION), TRANSACTION, QUERY, PATIENT]),
    rest("Create", "C", 1, &[CREATE, agent(SOURCE), agent(DESTINATION), TRANSACTION, data(1)]),
    rest("PatientCreate", "C", 2, &[CREATE, agent(SOURCE), agent(DESTINATION), TRANSACTION, data(1), PATIENT]),
    rest("Update", "U", 1, &[UPDATE, agent(SOURCE), agent(DESTINATION), TRANSACTION, data(1)]),
    rest("PatientUpdate", "U", 2, &[UPDATE, agent(SOURCE), agent(DESTINATION), TRANSACTION, data(1), PATIENT]),
    rest("Delete", "D", 1, &[DELETE, agent(&[(DCM, "110150")]), agent(CUSTODIAN), TRANSACTION, data(1)]),
    rest("PatientDelete", "D", 2, &[DELETE, agent(&[(DCM, "110150")]), agent(CUSTODIAN), TRANSACTION, data(1), PATIENT]),
    Profile {
        name: "PrivacyDisclosure.Source",
        event: &[(DCM, "110106")],
        action: "R",
        outcome: None,
        agents: 2,
        entities: 2,
        slices: &[DISCLOSE, agent(SOURCE), agent(DESTINATION), PATIENT],
        observer: Some("110153"),
    },
];

/// The problems of an event, with R4 and with the profiles that it claims.
pub(super) fn problems(event: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(event, "", R4, "", &mut problems);
    for entity in all(event, "entity") {
        if !all(entity, "name").is_empty() && !all(entity, "query").is_empty() {
            problems.push("sev-1: an entity has a name and a query".to_owned());
        }
    }
    for claimed in event.pointer("/meta/profile").map(repetitions).unwrap_or_default() {
        let name = claimed
            .as_str()
            .and_then(|url| url.strip_prefix("https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."));
        match PROFILES.iter().find(|profile| Some(profile.name) == name) {
            Some(profile) => check_profile(event, profile, &mut problems),
            None => problems.push(format!("{claimed} is no profile")),
        }
    }
    problems
}

fn check(value: &Value, path: &str, table: &[Element], base: &str, problems: &mut Vec<String>) {
    let below = |name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}.{name}") };
    let Some(members) = value.as_object().filter(|members| !members.is_empty()) else {
        problems.push(format!("{path} is no object with members"));
        return;
    };
    for name in members.keys() {
        if !table.iter().any(|element| element.0 == below(name)) {
            problems.push(format!("{path}.{name} is not defined"));
        }
    }
    for &(element, least, most, is) in table {
        let name = match base.is_empty() {
            true => Some(element),
            false => element.strip_prefix(base).and_then(|rest| rest.strip_prefix('.')),
        };
        let Some(name) = name.filter(|name| !name.contains('.')) else { continue };
        let found = all(value, name);
        let is_list = members.get(name).is_some_and(Value::is_array);
        if !(least..=most).contains(&found.len()) || (is_list != (most == MANY) && !found.is_empty()) {
            problems.push(format!("{path}.{name} is there {} times, a list: {is_list}", found.len()));
        }
        for one in found {
            let path = format!("{path}.{name}");
            if !is_valid(one, is) {
                problems.push(format!("{path} = {one} is not {is:?}"));
            }
            if let Is::Object = is {
                let own = TYPES.iter().find(|(typed, _)| path.trim_start_matches('.') == *typed);
                match own {
                    Some((_, members)) => check(one, &path, members, "", problems),
                    None => check(one, &path, table, element, problems),
                }
            }
        }
    }
}

fn is_valid(value: &Value, is: Is) -> bool {
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    match is {
        Is::Object => value.is_object(),
        Is::Boolean => value.is_boolean(),
        Is::Text => text.is_some(),
        Is::Uri => text.is_some_and(|text| !text.contains(char::is_whitespace)),
        Is::Instant => text.is_some_and(|text| text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok()),
        Is::Base64 => text.is_some_and(|text| {
            text.len() % 4 == 0 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        }),
        Is::Code(codes) => text.is_some_and(|text| codes.contains(&text)),
    }
}

fn check_profile(event: &Value, profile: &Profile, problems: &mut Vec<String>) {
    let mut require = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{}: {what}", profile.name));
        }
    };
    require(has_code(&event["type"], profile.event), "type");
    require(event["action"] == profile.action, "action");
    require(event["outcome"].is_string() && profile.outcome.is_none_or(|outcome| event["outcome"] == outcome), "outcome");
    require(event["modifierExtension"].is_null(), "modifierExtension");
    require(all(event, "agent").len() >= profile.agents, "number of agents");
    require(all(event, "entity").len() >= profile.entities, "number of entities");
    for slice in profile.slices {
        let within: Vec<&Value> = all(event, slice.element)
            .into_iter()
            .filter(|one| has_code(if slice.by.is_empty() { one } else { &one[slice.by] }, slice.codes))
            .collect();
        require((slice.least..=slice.most).contains(&within.len()), &format!("slice {} {:?}", slice.element, slice.codes));
        for one in within {
            for (member, least, most) in slice.members {
                let count = all(one, member).len();
                require((*least..=*most).contains(&count), &format!("{} {:?}.{member}", slice.element, slice.codes));
            }
            if let Some((member, codes)) = slice.bound {
                require(one[member].is_null() || has_code(&one[member], codes), &format!("{}.{member}", slice.element));
            }
            if slice.codes[0].1 == "XrequestId" {
                require(one["what"]["identifier"]["value"].is_string(), "the value of X-Request-Id");
            }
            if slice.codes == PATIENT.codes {
                let reference = one["what"]["reference"].as_str().unwrap_or_default();
                require(reference.strip_prefix("Patient/").is_some_and(|id| !id.is_empty()), "a reference to a Patient");
            }
        }
    }
    if let Some(code) = profile.observer {
        let is_observer = |agent: &&Value| has_code(&agent["type"], &[(DCM, "110153")]) && code == "110153";
        let who = all(event, "agent").into_iter().find(is_observer).map(|agent| &agent["who"]);
        require(who == Some(&event["source"]["observer"]), "val-audit-source");
    }
}

/// Whether a Coding, or one of those of a CodeableConcept, is one of these.
fn has_code(value: &Value, codes: &[(&str, &str)]) -> bool {
    let is = |coding: &Value| codes.iter().any(|(system, code)| coding["system"] == *system && coding["code"] == *code);
    is(value) || all(value, "coding").into_iter().any(is)
}

/// All repetitions of a member.
fn all<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    value.get(name).map(repetitions).unwrap_or_default()
}

fn repetitions(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

//! A second evaluator of policies: plain loops over texts and `serde_json` values, without a line of the first one.

use std::collections::BTreeSet;

use serde_json::Value;

/// A policy as it is written.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) scopes: Vec<String>,
    pub(super) patients: Option<Vec<String>>,
}

/// What is decided on a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decided {
    Allow,
    /// The answer, or the body, is tested; these are added to a search.
    Test(BTreeSet<String>),
    Refuse,
}

/// A scope in its parts.
struct Scope<'a> {
    on: &'a str,
    letters: &'a str,
    constraints: Vec<(&'a str, &'a str)>,
}

const BASES: [&str; 2] = ["https://gw/fhir/", "https://emr/apis/default/fhir/"];
const COMPARTMENT: [&str; 8] = ["Observation", "Patient", "Condition", "Appointment", "Group", "Device", "Coverage", "Basic"];
const OF_ANYTHING: [&str; 3] = ["Binary", "Bundle", "Parameters"];
const TYPES: [&str; 11] = [
    "Observation",
    "Patient",
    "Condition",
    "Appointment",
    "Group",
    "Device",
    "Coverage",
    "Basic",
    "Organization",
    "Binary",
    "Bundle",
];

impl Plain {
    fn scopes(&self) -> Vec<Scope<'_>> {
        let mut scopes = Vec::new();
        for text in &self.scopes {
            let rest = text.strip_prefix("system/").unwrap();
            let (head, query) = rest.split_once('?').unwrap_or((rest, ""));
            let (on, letters) = head.split_once('.').unwrap();
            let letters = match letters {
                "read" => "rs",
                "write" => "cud",
                "*" => "cruds",
                letters => letters,
            };
            let mut constraints = Vec::new();
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                constraints.push(pair.split_once('=').unwrap());
            }
            scopes.push(Scope { on, letters, constraints });
        }
        scopes
    }

    /// The scopes for a type and a letter. `*` means every type: the wildcards alone.
    fn applicable(&self, resource_type: &str, letter: char) -> Vec<Scope<'_>> {
        let mut found = self.scopes();
        found.retain(|scope| (scope.on == "*" || scope.on == resource_type) && scope.letters.contains(letter));
        found
    }

    fn has(&self, resource_type: &str, letter: char) -> bool {
        !self.applicable(resource_type, letter).is_empty()
    }

    fn has_unconstrained(&self, resource_type: &str, letter: char) -> bool {
        self.applicable(resource_type, letter).iter().any(|scope| scope.constraints.is_empty())
    }

    /// Whether all resources of the type may be had.
    fn has_all(&self, resource_type: &str, letter: char) -> bool {
        self.patients.is_none() && self.has_unconstrained(resource_type, letter)
    }

    /// Whether a patient is named by an id or a reference, and is on the list.
    fn is_listed(&self, named: &str) -> bool {
        let mut named = named;
        for base in BASES {
            named = named.strip_prefix(base).unwrap_or(named);
        }
        let id = named.strip_prefix("Patient/").unwrap_or(named);
        self.patients.as_ref().is_none_or(|list| list.iter().any(|listed| listed == id))
    }

    /// Decides on `GET /Patient?name=a` and its like.
    pub(super) fn decide(&self, request: &str) -> Decided {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameters: Vec<(&str, &str)> =
            query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap()).collect();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let is_limited = |on: &str, letter: char| !self.has_all(on, letter);
        let tested = |added: BTreeSet<String>| Decided::Test(added);
        match (method, segments.as_slice()) {
            ("GET", ["metadata"]) => Decided::Allow,
            ("POST", []) => Decided::Refuse,
            (_, [on, ..]) if !TYPES.contains(on) && *on != "_history" => Decided::Refuse,
            ("GET", []) => match self.reaches(&parameters, "*") && self.has_all("*", 's') {
                true => Decided::Allow,
                false => Decided::Refuse,
            },
            ("GET", ["_history"]) if self.has_all("*", 's') => Decided::Allow,
            ("GET", [on, "_history"]) if self.has_all(on, 's') => Decided::Allow,
            ("GET", [_, "_history"] | ["_history"]) => Decided::Refuse,
            ("GET", ["Binary", _] | ["Binary", _, "_history", _]) => match self.has_all("*", 'r') {
                true => Decided::Allow,
                false => Decided::Refuse,
            },
            ("GET", [on, _, "_history", ..]) => {
                if is_limited(on, 'r') {
                    Decided::Refuse
                } else {
                    Decided::Allow
                }
            }
            ("GET", [on, id, searched]) => {
                let is_foreign = *on == "Patient" && !self.is_exactly_listed(id);
                match !is_foreign && self.reaches(&parameters, searched) && self.has_all(searched, 's') {
                    true => Decided::Allow,
                    false => Decided::Refuse,
                }
            }
            ("GET" | "PUT" | "DELETE" | "PATCH", [on, id]) => {
                let letter = match method {
                    "GET" => 'r',
                    "DELETE" => 'd',
                    _ => 'u',
                };
                if !self.has(on, letter) || (*on == "Patient" && !self.is_exactly_listed(id)) {
                    return Decided::Refuse;
                }
                match is_limited(on, letter) {
                    false => Decided::Allow,
                    true if method == "PATCH" || OF_ANYTHING.contains(on) => Decided::Refuse,
                    true => tested(BTreeSet::new()),
                }
            }
            ("POST", [on]) => match (self.has(on, 'c'), is_limited(on, 'c')) {
                (false, _) => Decided::Refuse,
                (true, false) => Decided::Allow,
                (true, true) if OF_ANYTHING.contains(on) || (*on == "Patient" && self.patients.is_some()) => Decided::Refuse,
                (true, true) => tested(BTreeSet::new()),
            },
            ("PUT", [on]) => {
                let all = ['c', 'u', 's'].iter().all(|letter| self.has_all(on, *letter));
                if all && self.reaches(&parameters, on) && !self.includes_limited(&parameters) {
                    Decided::Allow
                } else {
                    Decided::Refuse
                }
            }
            ("GET", [on]) => self.search(on, &parameters),
            _ => Decided::Refuse,
        }
    }

    fn is_exactly_listed(&self, id: &str) -> bool {
        self.patients.as_ref().is_none_or(|list| list.iter().any(|listed| listed == id))
    }

    fn search(&self, on: &str, parameters: &[(&str, &str)]) -> Decided {
        if !self.has(on, 's') || !self.reaches(parameters, on) {
            return Decided::Refuse;
        }
        let is_limited = !self.has_all(on, 's') || self.includes_limited(parameters);
        if !is_limited {
            return Decided::Allow;
        }
        if OF_ANYTHING.contains(&on) {
            return Decided::Refuse;
        }
        let mut added = BTreeSet::new();
        if !self.has_unconstrained(on, 's') {
            added.extend(self.constraints_as_parameters(on));
        }
        if let Some(list) = self.patients.as_ref().filter(|_| COMPARTMENT.contains(&on)) {
            if list.is_empty() {
                return Decided::Refuse;
            }
            let mut names_some = false;
            for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
                let names_patients = match on {
                    "Patient" => ["_id", "_id:Patient"].contains(name),
                    _ => ["patient", "subject", "patient:Patient", "subject:Patient"].contains(name),
                };
                if !names_patients {
                    continue;
                }
                names_some = true;
                if !value.split(',').all(|one| self.is_listed(one)) {
                    return Decided::Refuse;
                }
            }
            let name = match on {
                "Patient" => "_id",
                "Group" | "Basic" => "",
                _ => "patient",
            };
            if !names_some && !name.is_empty() && list.len() <= 20 {
                let mut sorted = list.clone();
                sorted.sort();
                sorted.dedup();
                added.insert(format!("{name}={}", sorted.join(",")));
            }
        }
        added.retain(|one| !parameters.iter().any(|(name, value)| format!("{name}={value}") == *one));
        Decided::Test(added)
    }

    fn constraints_as_parameters(&self, on: &str) -> Vec<String> {
        let scopes = self.applicable(on, 's');
        // Of this type the gateway knows no parameters.
        if on == "Basic" {
            return Vec::new();
        }
        if let [scope] = scopes.as_slice() {
            return scope.constraints.iter().map(|(name, value)| format!("{name}={value}")).collect();
        }
        let mut values = Vec::new();
        for scope in &scopes {
            match scope.constraints.as_slice() {
                [(name, value)] if *name == scopes[0].constraints[0].0 => values.push(*value),
                _ => return Vec::new(),
            }
        }
        vec![format!("{}={}", scopes[0].constraints[0].0, values.join(","))]
    }

    /// Whether everything that the parameters reach may be had.
    fn reaches(&self, parameters: &[(&str, &str)], on: &str) -> bool {
        for (name, value) in parameters {
            let base = name.split(':').next().unwrap();
            if ["_filter", "_query", "_list", "_text", "_content"].contains(&base) {
                return false;
            }
            if base == "_include" {
                for reached in included(value) {
                    if !self.has(reached, 'r') {
                        return false;
                    }
                }
            }
            if base == "_revinclude" {
                let source = source(value);
                if !self.has(source, 'r') || !self.has(source, 's') {
                    return false;
                }
            }
            if base == "_has" {
                let parts: Vec<&str> = name.split(':').collect();
                if parts.len() < 4 || !self.has_all(known(parts[1]), 's') {
                    return false;
                }
            } else if let Some((link, _)) = name.split_once('.') {
                let (parameter, modifier) = link.split_once(':').map_or((link, None), |(one, two)| (one, Some(two)));
                let reached = modifier.map_or_else(|| targets(on, parameter), |modifier| vec![known(modifier)]);
                if !reached.into_iter().all(|reached| self.has_all(reached, 's')) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether an include adds what must be tested.
    fn includes_limited(&self, parameters: &[(&str, &str)]) -> bool {
        parameters.iter().any(|(name, value)| match name.split(':').next().unwrap() {
            "_include" => included(value).into_iter().any(|reached| !self.has_all(reached, 'r')),
            "_revinclude" => !self.has_all(source(value), 'r') || !self.has_all(source(value), 's'),
            _ => false,
        })
    }

    /// Whether a resource may be had, or written.
    pub(super) fn permits(&self, letter: char, resource: &Value) -> bool {
        let on = resource["resourceType"].as_str().unwrap();
        if self.patients.is_some() && OF_ANYTHING.contains(&on) {
            return false;
        }
        if !self
            .applicable(on, letter)
            .iter()
            .any(|scope| scope.constraints.iter().all(|(name, value)| meets(resource, name, value)))
        {
            return false;
        }
        self.patients.is_none() || !COMPARTMENT.contains(&on) || self.belongs(on, resource, matches!(letter, 'c' | 'u' | 'd'))
    }

    fn belongs(&self, on: &str, resource: &Value, is_written: bool) -> bool {
        if on == "Patient" {
            return resource["id"].as_str().is_some_and(|id| self.is_exactly_listed(id));
        }
        let mut references: Vec<&Value> = Vec::new();
        let each = |value: &'_ Value| -> Vec<Value> {
            match value {
                Value::Array(items) => items.clone(),
                Value::Null => Vec::new(),
                other => vec![other.clone()],
            }
        };
        let mut held = Vec::new();
        let names: &[(&str, &str)] = match on {
            "Observation" => &[("subject", ""), ("performer", "")],
            "Condition" => &[("subject", ""), ("asserter", "")],
            "Appointment" => &[("participant", "actor")],
            "Group" => &[("member", "entity")],
            "Device" => &[("patient", "")],
            "Coverage" => &[("policyHolder", ""), ("subscriber", ""), ("beneficiary", ""), ("payor", "")],
            _ => &[("subject", ""), ("author", "")],
        };
        for (name, inner) in names {
            for item in each(&resource[*name]) {
                match *inner {
                    "" => held.push(item),
                    inner => held.extend(each(&item[inner])),
                }
            }
        }
        references.extend(&held);
        let is_listed = |reference: &&Value| {
            let Some(text) = reference["reference"].as_str() else { return false };
            let mut text = text;
            for base in BASES {
                text = text.strip_prefix(base).unwrap_or(text);
            }
            let Some(id) = text.strip_prefix("Patient/") else { return false };
            self.is_exactly_listed(id.split("/_history/").next().unwrap())
        };
        let is_to_another_type = |reference: &&Value| {
            let text = reference["reference"].as_str().unwrap_or_default();
            let text = BASES.iter().fold(text, |text, base| text.strip_prefix(base).unwrap_or(text));
            text.split_once('/').is_some_and(|(name, _)| name != "Patient" && TYPES.contains(&name))
        };
        // A Group is a list of patients itself.
        match on {
            _ if is_written => {
                references.iter().any(is_listed) && references.iter().all(|one| is_listed(one) || is_to_another_type(one))
            }
            "Group" => !references.is_empty() && references.iter().all(is_listed),
            _ => references.iter().any(is_listed),
        }
    }
}

fn known(name: &str) -> &str {
    if TYPES.contains(&name) { name } else { "*" }
}

fn source(value: &str) -> &str {
    known(value.split(':').next().unwrap())
}

fn included(value: &str) -> Vec<&str> {
    let parts: Vec<&str> = value.split(':').collect();
    match parts.as_slice() {
        [_, _, target] => vec![known(target)],
        [source, parameter] => targets(source, parameter),
        _ => vec!["*"],
    }
}

fn targets<'a>(on: &str, parameter: &str) -> Vec<&'a str> {
    match (on, parameter) {
        ("Observation" | "Condition" | "Appointment" | "Device" | "Coverage", "patient") => vec!["Patient"],
        ("Observation", "subject") => vec!["Group", "Device", "Patient", "Location"],
        ("Condition", "subject") => vec!["Group", "Patient"],
        ("Patient" | "Device", "organization") => vec!["Organization"],
        _ => vec!["*"],
    }
}

/// Whether a resource meets a constraint.
fn meets(resource: &Value, name: &str, value: &str) -> bool {
    let path: &[&str] = match name {
        "_tag" => &["meta", "tag"],
        "category" => &["category", "coding"],
        "code" => &["code", "coding"],
        "date" => &["effectiveDateTime"],
        "birthdate" => &["birthDate"],
        "patient" => &["subject", "reference"],
        other => &[other],
    };
    let mut at = vec![resource.clone()];
    for name in path {
        let mut next = Vec::new();
        for value in &at {
            match &value[*name] {
                Value::Array(items) => next.extend(items.clone()),
                Value::Null => {}
                other => next.push(other.clone()),
            }
        }
        at = next;
    }
    value.split(',').any(|one| at.iter().any(|found| fits(name, found, one)))
}

fn fits(name: &str, found: &Value, wanted: &str) -> bool {
    match name {
        "_tag" | "category" | "code" => {
            let (system, code) = (found["system"].as_str().unwrap_or(""), found["code"].as_str().unwrap_or(""));
            match wanted.split_once('|') {
                None => code.eq_ignore_ascii_case(wanted),
                Some((wanted_system, "")) => system == wanted_system,
                Some((wanted_system, wanted_code)) => system == wanted_system && code.eq_ignore_ascii_case(wanted_code),
            }
        }
        "date" | "birthdate" => {
            let Some(day) = found.as_str() else { return false };
            match wanted.split_at_checked(2) {
                Some(("ge", from)) => day >= from,
                Some(("lt", to)) => day < to,
                _ => day.starts_with(wanted),
            }
        }
        "patient" => {
            let found = found.as_str().and_then(|found| found.split("/_history/").next());
            found == Some(&format!("Patient/{wanted}"))
        }
        _ => found.as_str() == Some(wanted),
    }
}

//! Whether a resource meets a parameter of a search, as OpenEMR decides it.
//!
//! The modifiers `exact`, `contains`, `prefix`, `suffix` and `not-in-exact` of strings and `not` of tokens work; an unknown
//! one is read as none, and `missing` finds everybody. A comma means "or".

use serde_json::Value;

use super::{
    date_criterion,
    resource::{Resource, zoned},
};

/// The system of the code UNK.
const NULL_FLAVOR: &str = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor";

/// The type of a search parameter, as the CapabilityStatement has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterKind {
    /// A text, of which the beginning is compared.
    String,
    /// A code, with or without its system.
    Token,
    /// A date.
    Date,
    /// A reference to a resource.
    Reference,
}

/// A search parameter that a type has.
#[derive(Clone, Debug)]
pub(super) struct SearchParameter {
    /// Its name.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: ParameterKind,
}

/// What a search asks for with one parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Criterion<'a> {
    /// The name of the parameter, without the modifier.
    pub(super) name: &'a str,
    /// The modifier; empty if there is none.
    pub(super) modifier: &'a str,
    /// The value.
    pub(super) value: &'a str,
    kind: ParameterKind,
}

impl<'a> Criterion<'a> {
    /// Reads a parameter of a request; `None` if the type does not have it. Only the last modifier counts.
    pub(super) fn parse(announced: &[SearchParameter], name: &'a str, value: &'a str) -> Option<Criterion<'a>> {
        let (plain, modifiers) = name.split_once(':').unwrap_or((name, ""));
        let parameter = announced.iter().find(|parameter| parameter.name == plain)?;
        let modifier = modifiers.rsplit(':').next().unwrap_or_default();
        Some(Criterion { name: plain, modifier, value, kind: parameter.kind })
    }

    /// Creates the criterion of a Condition's category.
    pub(super) fn category(code: &str) -> Criterion<'_> {
        Criterion { name: "category", modifier: "", value: code, kind: ParameterKind::Token }
    }

    /// Returns whether OpenEMR fails on `missing`: where the column is binary, or no date comes of the value.
    pub(super) fn fails(&self) -> bool {
        self.modifier == "missing" && (self.name == "_id" || matches!(self.kind, ParameterKind::Date | ParameterKind::Reference))
    }

    /// Returns whether a resource meets this at `now` (seconds since 1970); `None` if the value is malformed, so that the
    /// search finds nothing.
    pub(super) fn is_met_by(&self, resource_type: &str, resource: &Resource, now: i64) -> Option<bool> {
        if self.modifier == "missing" {
            return Some(true);
        }
        Some(match self.kind {
            ParameterKind::String => self.is_met_by_texts(&texts(&resource.value, self.name)),
            ParameterKind::Token => self.is_met_by_tokens(&tokens(resource_type, resource, self.name)),
            ParameterKind::Reference => {
                let held = references(&resource.value, self.name);
                self.value.split(',').any(|wanted| held.iter().any(|held| id_of(held) == id_of(wanted)))
            }
            ParameterKind::Date if self.name == "_lastUpdated" && resource.is_always_new() => {
                return date_criterion::matches(&[zoned(now)], self.value);
            }
            ParameterKind::Date => return date_criterion::matches(&dates(&resource.value, self.name), self.value),
        })
    }

    fn is_met_by_texts(&self, held: &[String]) -> bool {
        let lower: Vec<String> = held.iter().map(|text| text.to_lowercase()).collect();
        self.value.split(',').any(|wanted| {
            let wanted_lower = wanted.to_lowercase();
            match self.modifier {
                "exact" => held.iter().any(|text| text == wanted),
                "not-in-exact" => held.iter().any(|text| text != wanted),
                "contains" => lower.iter().any(|text| text.contains(&wanted_lower)),
                "suffix" => lower.iter().any(|text| text.ends_with(&wanted_lower)),
                _ => lower.iter().any(|text| text.starts_with(&wanted_lower)),
            }
        })
    }

    fn is_met_by_tokens(&self, held: &[Token]) -> bool {
        // Codes in a list are looked up by their system; without one, none is found.
        if self.name == "code" && self.value.contains(',') && self.value.split(',').any(|wanted| !wanted.contains('|')) {
            return false;
        }
        let found = self.value.split(',').any(|wanted| {
            let (system, code) = wanted.split_once('|').map_or((None, wanted), |(system, code)| (Some(system), code));
            let has_system = |token: &Token| system.is_none_or(|system| token.system.as_deref().unwrap_or_default() == system);
            held.iter().any(|token| token.code == code && has_system(token))
        });
        // NULL is not different from anything.
        if self.modifier == "not" { !found && !held.is_empty() } else { found }
    }
}

/// A code that a resource holds.
struct Token {
    system: Option<String>,
    code: String,
}

fn tokens(resource_type: &str, resource: &Resource, name: &str) -> Vec<Token> {
    let body = &resource.value;
    let plain = |code: &str| Token { system: None, code: code.to_owned() };
    match (name, resource_type) {
        ("_id", _) => vec![plain(&resource.id)],
        ("telecom" | "phone" | "email", _) => strings_at(body, "/telecom/*/value").iter().map(|value| plain(value)).collect(),
        ("identifier", _) => coded(body.get("identifier"), "value"),
        // The column has OpenEMR's own word, which the resource translates.
        ("status", "ServiceRequest") => strings_at(body, "/status")
            .iter()
            .map(|status| plain(if status == "completed" { "complete" } else { status }))
            .collect(),
        ("lifecycle-status", _) => coded(body.get("lifecycleStatus"), "code"),
        ("accession", _) => coded(body.get("accessionIdentifier"), "value"),
        ("questionnaire-code", _) => coded(body.get("code"), "code"),
        ("payor", _) => references(body, name).iter().map(|reference| plain(id_of(reference))).collect(),
        // Of two readings of the pulse oximeter, each with the codes of both, a code finds one.
        ("code", "Observation") => coded(body.pointer("/code/coding/0"), "code"),
        // The null flavour is OpenEMR's own addition, which is in no column.
        ("code", "DiagnosticReport") | ("type", "DocumentReference") => {
            let held = coded(body.get(name), "code").into_iter();
            held.filter(|token| token.system.as_deref() != Some(NULL_FLAVOR)).collect()
        }
        (name, _) => coded(body.get(name), "code"),
    }
}

/// Returns the codes in a code, boolean, Coding, CodeableConcept or Identifier, or in an array of them.
fn coded(value: Option<&Value>, member: &str) -> Vec<Token> {
    match value {
        Some(Value::String(code)) => vec![Token { system: None, code: code.clone() }],
        Some(Value::Bool(yes)) => vec![Token { system: None, code: yes.to_string() }],
        Some(Value::Array(items)) => items.iter().flat_map(|item| coded(Some(item), member)).collect(),
        Some(Value::Object(members)) => match members.get("coding") {
            Some(codings) if member == "code" => coded(Some(codings), member),
            _ => {
                let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
                text(member).map(|code| Token { system: text("system"), code }).into_iter().collect()
            }
        },
        _ => Vec::new(),
    }
}

fn texts(body: &Value, name: &str) -> Vec<String> {
    if name == "practitioner" {
        return references(body, name).iter().map(|reference| id_of(reference).to_owned()).collect();
    }
    let pointers: &[&str] = match name {
        "name" => &["/name/*/family", "/name/*/given/*", "/name"],
        "family" => &["/name/*/family"],
        "given" => &["/name/*/given/*"],
        "title" => &["/title", "/content/title"],
        "content-type" => &["/content/contentType"],
        "address" => {
            &["/address/*/line/*", "/address/*/city", "/address/*/state", "/address/line/*", "/address/city", "/address/state"]
        }
        "address-city" => &["/address/*/city", "/address/city"],
        "address-state" => &["/address/*/state", "/address/state"],
        "address-postalcode" => &["/address/*/postalCode", "/address/postalCode"],
        _ => &[],
    };
    pointers.iter().flat_map(|pointer| strings_at(body, pointer)).collect()
}

fn references(body: &Value, name: &str) -> Vec<String> {
    let pointers: &[&str] = match name {
        "patient" => &[
            "/subject/reference",
            "/patient/reference",
            "/beneficiary/reference",
            "/member/*/entity/reference",
            "/participant/*/actor/reference",
        ],
        "generalPractitioner" => &["/generalPractitioner/*/reference"],
        "practitioner" => &["/practitioner/reference"],
        "payor" => &["/payor/*/reference"],
        "questionnaire" => &["/questionnaire"],
        _ => &[],
    };
    pointers.iter().flat_map(|pointer| strings_at(body, pointer)).collect()
}

fn id_of(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

fn dates(body: &Value, name: &str) -> Vec<String> {
    let pointers: &[&str] = match name {
        "birthdate" => &["/birthDate"],
        // Of a period, the start alone.
        "date" => &["/effectiveDateTime", "/period/start", "/performedDateTime", "/start", "/date"],
        "authored" => &["/authoredOn", "/authored"],
        "collected" => &["/collection/collectedDateTime"],
        "_lastUpdated" => &["/meta/lastUpdated"],
        _ => &[],
    };
    pointers.iter().flat_map(|pointer| strings_at(body, pointer)).collect()
}

/// Returns the strings at a JSON pointer, in which `*` stands for every element of an array.
fn strings_at(value: &Value, pointer: &str) -> Vec<String> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return value.as_str().map(str::to_owned).into_iter().collect();
    };
    let (step, onward) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match (step, value) {
        ("*", Value::Array(items)) => items.iter().flat_map(|item| strings_at(item, onward)).collect(),
        (step, Value::Object(members)) => members.get(step).map(|member| strings_at(member, onward)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

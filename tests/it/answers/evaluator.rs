//! What a search selects, read from FHIR R4 ("Search", 3.1.1.4) and written as plainly as can be: each resource is looked at by
//! itself. It knows nothing of OpenEMR's, of the gateway's or of the sandbox's code.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

/// A search parameter with a value, as it is meant: before it is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub name: &'static str,
    /// Empty if there is none.
    pub modifier: &'static str,
    pub value: String,
}

impl Filter {
    /// The name with its modifier.
    pub fn full_name(&self) -> String {
        if self.modifier.is_empty() { self.name.to_owned() } else { format!("{}:{}", self.name, self.modifier) }
    }
}

/// Whether a resource is selected by a filter. A comma means or.
pub fn selects(filter: &Filter, resource: &Value) -> bool {
    let any = |meets: &dyn Fn(&str) -> bool| filter.value.split(',').any(meets);
    if filter.modifier == "missing" {
        let is_there = match filter.name {
            "patient" => resource.get("subject").is_some(),
            other => panic!("the evaluator does not know whether {other} is missing"),
        };
        return is_there == (filter.value == "false");
    }
    match filter.name {
        "name" | "family" | "given" | "address-city" | "address-state" | "address-postalcode" => {
            let held = texts(resource, filter.name);
            any(&|wanted| held.iter().any(|held| meets_text(filter.modifier, held, wanted)))
        }
        // A period that has no end, as all of an Encounter's here.
        "date" if resource["resourceType"] == "Encounter" => {
            let start = resource.pointer("/period/start").and_then(Value::as_str).unwrap();
            any(&|wanted| meets_open_period(start, wanted))
        }
        "organization" => any(&|wanted| {
            let held = resource.pointer("/managingOrganization/reference").and_then(Value::as_str);
            held.is_some_and(|held| held == wanted || held == format!("Organization/{wanted}"))
        }),
        "birthdate" | "date" | "start" | "_lastUpdated" => {
            let held = date(resource, filter.name);
            any(&|wanted| held.as_deref().is_some_and(|held| meets_date(held, wanted)))
        }
        "patient" | "subject" => any(&|wanted| {
            let wanted = wanted.strip_prefix("Patient/").unwrap_or(wanted);
            resource.pointer("/subject/reference").and_then(Value::as_str) == Some(&format!("Patient/{wanted}"))
        }),
        _ => {
            let held = tokens(resource, filter.name);
            let found = any(&|wanted| held.iter().any(|held| meets_token(held, wanted)));
            if filter.modifier == "not" { !found } else { found }
        }
    }
}

fn meets_text(modifier: &str, held: &str, wanted: &str) -> bool {
    let (held_lower, wanted_lower) = (held.to_lowercase(), wanted.to_lowercase());
    match modifier {
        "exact" => held == wanted,
        "contains" => held_lower.contains(&wanted_lower),
        "suffix" => held_lower.ends_with(&wanted_lower),
        "" | "prefix" => held_lower.starts_with(&wanted_lower),
        other => panic!("no text has {other}"),
    }
}

/// A code with its system.
type Token = (Option<String>, String);

fn meets_token((system, code): &Token, wanted: &str) -> bool {
    match wanted.split_once('|') {
        None => code == wanted,
        Some((wanted_system, wanted_code)) => code == wanted_code && system.as_deref() == Some(wanted_system),
    }
}

/// A value with a prefix is compared with the range of time that it names.
fn meets_date(held: &str, wanted: &str) -> bool {
    let digits = wanted.find(|character: char| character.is_ascii_digit()).unwrap();
    let (prefix, wanted) = wanted.split_at(digits);
    // A birthday is a day, wherever it is.
    if let Ok(day) = held.parse::<Date>().map_err(drop).and_then(|day| if held.len() == 10 { Ok(day) } else { Err(()) }) {
        let (first, last) = days(wanted);
        return meets_range(prefix, &day, &first, &last);
    }
    let held: Timestamp = held.parse().unwrap();
    let (first, last) = match wanted.contains('T') {
        true => {
            let wanted =
                if wanted.ends_with('Z') || wanted[11..].contains(['+', '-']) { wanted.to_owned() } else { format!("{wanted}Z") };
            let moment: Timestamp = wanted.parse().unwrap();
            (moment, moment)
        }
        false => {
            let (first, last) = days(wanted);
            (format!("{first}T00:00:00Z").parse().unwrap(), format!("{last}T23:59:59Z").parse().unwrap())
        }
    };
    meets_range(prefix, &held, &first, &last)
}

/// What begins and goes on for ever lies within nothing, and reaches behind everything.
fn meets_open_period(start: &str, wanted: &str) -> bool {
    let digits = wanted.find(|character: char| character.is_ascii_digit()).unwrap();
    match &wanted[..digits] {
        "" | "eq" | "eb" => false,
        "ne" | "gt" | "ge" => true,
        // A period that begins within the time is not before it, and does not lie within it.
        "le" => meets_date(start, &format!("lt{}", &wanted[digits..])),
        "lt" | "sa" => meets_date(start, wanted),
        other => panic!("no date has {other}"),
    }
}

fn meets_range<T: PartialOrd>(prefix: &str, held: &T, first: &T, last: &T) -> bool {
    match prefix {
        "" | "eq" => held >= first && held <= last,
        "ne" => held < first || held > last,
        "lt" | "eb" => held < first,
        "le" => held <= last,
        "gt" | "sa" => held > last,
        "ge" => held >= first,
        other => panic!("no date has {other}"),
    }
}

/// The first and the last day of a year, a month or a day.
fn days(text: &str) -> (Date, Date) {
    match text.len() {
        4 => (format!("{text}-01-01").parse().unwrap(), format!("{text}-12-31").parse().unwrap()),
        7 => {
            let first: Date = format!("{text}-01").parse().unwrap();
            (first, first.last_of_month())
        }
        _ => (text.parse().unwrap(), text.parse().unwrap()),
    }
}

fn texts(resource: &Value, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |value: &Value| found.extend(value.as_str().map(str::to_owned));
    let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match name {
        "name" | "family" | "given" => {
            // An Organization's name is a text.
            add(&resource["name"]);
            for human in each(&resource["name"]) {
                if name != "given" {
                    add(&human["family"]);
                }
                if name != "family" {
                    each(&human["given"]).iter().for_each(&mut add);
                }
            }
        }
        _ => {
            let member = match name {
                "address-city" => "city",
                "address-state" => "state",
                _ => "postalCode",
            };
            add(&resource["address"][member]);
            each(&resource["address"]).iter().for_each(|address| add(&address[member]));
        }
    }
    found
}

fn date(resource: &Value, name: &str) -> Option<String> {
    let held = match name {
        "birthdate" => &resource["birthDate"],
        "_lastUpdated" => &resource["meta"]["lastUpdated"],
        _ if resource["resourceType"] == "Encounter" => &resource["period"]["start"],
        _ => &resource["effectiveDateTime"],
    };
    held.as_str().map(str::to_owned)
}

fn tokens(resource: &Value, name: &str) -> Vec<Token> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let plain = |value: &Value| text(value).map(|code| (None, code)).into_iter().collect::<Vec<_>>();
    let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let coding = |coding: &Value| text(&coding["code"]).map(|code| (text(&coding["system"]), code));
    match name {
        "_id" => plain(&resource["id"]),
        "gender" => plain(&resource["gender"]),
        "status" => plain(&resource["status"]),
        "_tag" => each(&resource["meta"]["tag"]).iter().filter_map(coding).collect(),
        "active" => resource["active"].as_bool().map(|active| (None, active.to_string())).into_iter().collect(),
        "identifier" => {
            each(&resource["identifier"]).iter().filter_map(|one| Some((text(&one["system"]), text(&one["value"])?))).collect()
        }
        "telecom" => each(&resource["telecom"]).iter().flat_map(|one| plain(&one["value"])).collect(),
        "phone" | "email" => {
            let of_system = each(&resource["telecom"]).into_iter().filter(|one| one["system"] == name);
            of_system.flat_map(|one| plain(&one["value"])).collect()
        }
        "code" => each(&resource["code"]["coding"]).iter().filter_map(coding).collect(),
        "category" => each(&resource["category"])
            .iter()
            .flat_map(|category| each(&category["coding"]))
            .filter_map(|one| coding(&one))
            .collect(),
        other => panic!("the evaluator does not know {other}"),
    }
}

/// The order that `_sort` asks for: by a key, each with a `-` before it for the other way round.
pub fn sort(resources: &mut [&Value], key: &str) {
    let (name, descending) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
    let of = |resource: &Value| match name {
        "birthdate" => date(resource, name).unwrap_or_default(),
        name => texts(resource, name).first().cloned().unwrap_or_default().to_lowercase(),
    };
    resources.sort_by(|left, right| if descending { of(right).cmp(&of(left)) } else { of(left).cmp(&of(right)) });
}

//! The promise of the whole: no entry of an answer is outside what the question selects, and nothing was left out in silence.
//!
//! Random searches over the sandbox's population are compared with a plain evaluator: an answer is exactly right when its links are
//! followed to the end; or it is a 4xx that says why; or an entry of it names what was left out, and it is exactly right for the
//! rest. `QUESTIONS` sets how many are asked of each version, `QUESTIONS_SEED` which ones.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluator::{Filter, selects, sort};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const LENIENT: (&str, &str) = ("Prefer", "handling=lenient");
const STRICT: (&str, &str) = ("Prefer", "handling=strict");
/// How many searches each version is asked.
const QUESTIONS: u64 = 150;
const PATIENTS: &str = "203";
/// The most pages of one walk.
const MOST_PAGES: usize = 12;

/// What OpenEMR announces for each type, as far as the sandbox has it.
const TYPES: [(&str, &[&str]); 6] = [
    (
        "Patient",
        &[
            "_id",
            "identifier",
            "name",
            "birthdate",
            "gender",
            "address-city",
            "address-postalcode",
            "address-state",
            "email",
            "family",
            "given",
            "phone",
            "telecom",
            "_lastUpdated",
        ],
    ),
    ("Observation", &["patient", "subject", "code", "category", "date", "_id"]),
    ("Condition", &["patient", "subject", "_id", "_lastUpdated"]),
    ("Encounter", &["_id", "patient", "subject", "date", "_lastUpdated"]),
    ("Practitioner", &["_id", "family", "given", "address-city", "phone"]),
    ("Organization", &["_id", "name", "address-city", "address-state", "phone"]),
];

/// Names that ask for something that OpenEMR does not have, or that nobody has.
const ODD: [(&str, &str); 16] = [
    ("nam", "Smith"),
    ("patinet", "1"),
    ("x", "1"),
    ("_tag", "a"),
    ("status", "final"),
    ("organization", "1"),
    ("_has:Observation:patient:code", "8867-4"),
    ("patient.name", "Smith"),
    ("patient:missing", "false"),
    ("family:sounds", "Smith"),
    ("gender:in", "male"),
    ("_filter", "name eq Smith"),
    ("_include", "Observation:patient"),
    ("_sort", "date"),
    ("_count", "many"),
    ("_id", ""),
];

/// Those of them that the gateway tests where it can.
const TESTED: [&str; 4] = ["_tag", "status", "organization", "patient:missing"];

/// A source of choices (SplitMix64).
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Whether a search has to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// OpenEMR has all of it.
    Answer,
    /// It may be refused, or left out and told.
    Either,
    /// It cannot be asked of OpenEMR in one request, and nobody can know what was meant.
    Refusal,
}

/// A search as it is meant, and as it is sent.
#[derive(Debug)]
struct Question {
    resource_type: &'static str,
    filters: Vec<Filter>,
    sort: Option<&'static str>,
    summary: Option<&'static str>,
    includes: bool,
    due: Due,
    prefer: Option<(&'static str, &'static str)>,
    query: Vec<String>,
    /// The parameters of the form; `None` for a search by GET.
    form: Option<Vec<String>>,
}

/// A sandbox, a gateway before it, and what the sandbox holds.
struct Site {
    gateway: Gateway,
    version: &'static str,
    population: BTreeMap<&'static str, Vec<Value>>,
    _openemr: OpenEmr,
}

impl Site {
    fn start(version: &'static str) -> Self {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", PATIENTS]);
        let mut config = config(&openemr);
        let types = TYPES.map(|(name, _)| name).into_iter().chain(["Provenance"]);
        config["sites"]["default"]["scopes"] = types.map(|name| json!(format!("system/{name}.read"))).collect();
        let gateway = Gateway::with(config);
        let population = BTreeMap::from(TYPES.map(|(name, _)| (name, everything(&gateway, name))));
        let number = |name: &str| population[name].len();
        assert_eq!((number("Patient"), number("Observation"), number("Condition")), (203, 1095, 101));
        Self { gateway, version, population, _openemr: openemr }
    }

    fn ask(&self, question: &Question) -> Answer {
        let mut fields: Vec<_> = question.prefer.into_iter().collect();
        let query = question.query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let resource_type = question.resource_type;
        match &question.form {
            None => self.gateway.caller().send("GET", &format!("/fhir/{resource_type}{mark}{query}"), &fields, b""),
            Some(form) => {
                fields.push(FORM);
                let target = format!("/fhir/{resource_type}/_search{mark}{query}");
                self.gateway.caller().send("POST", &target, &fields, form.join("&").as_bytes())
            }
        }
    }

    /// The ids that a search selects, in order, without the filters of these names.
    fn selected(&self, question: &Question, left_out: &BTreeSet<String>) -> Vec<String> {
        let is_by_the_start = left_out.contains("date") && question.resource_type == "Encounter";
        let filters = question.filters.iter().filter_map(|filter| match filter.name {
            "date" if is_by_the_start => Some(Filter { name: "start", ..filter.clone() }),
            _ if left_out.contains(&filter.full_name()) => None,
            _ => Some(filter.clone()),
        });
        let filters: Vec<_> = filters.collect();
        let all = self.population[question.resource_type].iter();
        let mut selected: Vec<&Value> = all.filter(|resource| filters.iter().all(|filter| selects(filter, resource))).collect();
        if let Some(key) = question.sort.filter(|_| !left_out.contains("_sort")) {
            sort(&mut selected, key);
        }
        selected.into_iter().map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks, follows the links, and compares.
    fn check(&self, question: &Question) {
        let answer = self.ask(question);
        let what = format!("{} {question:?}", self.version);
        if (400..500).contains(&answer.status) {
            assert!(question.due > Due::Answer, "refused: {what}: {}", answer.text());
            assert!(answer.outcome(answer.status).len() > 20, "{what}");
            return;
        }
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{what}: {}", answer.text());
        assert!(question.due < Due::Refusal, "answered: {what}");
        let mut bundle = answer.json();
        let left_out = left_out(&bundle);
        assert!(question.due > Due::Answer || left_out.is_empty(), "left out {left_out:?}: {what}");
        let expected = self.selected(question, &left_out);
        if question.summary == Some("count") {
            assert_eq!(
                (bundle["total"].as_u64(), matches(&bundle, question).0.len()),
                (Some(expected.len() as u64), 0),
                "{what}"
            );
            return;
        }
        let mut met = Vec::new();
        for pages in 1.. {
            let (mut ids, included) = matches(&bundle, question);
            assert!(bundle["total"].as_u64().is_none_or(|total| total == expected.len() as u64), "{what}: {}", bundle["total"]);
            if question.includes {
                let due: Vec<_> = ids.iter().map(|id| format!("{}-PSK-{id}", question.resource_type)).collect();
                assert_eq!(included, due, "{what}");
            } else {
                assert!(included.is_empty(), "{what}: {included:?}");
            }
            met.append(&mut ids);
            let Some(next) = next(&bundle) else { break };
            assert!(pages <= MOST_PAGES + 1, "{what}: the links have no end");
            let answer = self.gateway.caller().get(&next);
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{what}: {}", answer.text());
            bundle = answer.json();
        }
        assert_eq!(met, expected, "{what}");
    }
}

/// All resources of a type, in OpenEMR's order.
fn everything(gateway: &Gateway, resource_type: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut target = format!("/fhir/{resource_type}");
    loop {
        let bundle = gateway.caller().get(&target).json();
        all.extend(bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()));
        match next(&bundle) {
            Some(next) => target = next,
            None => return all,
        }
    }
}

/// The link to the next page of a Bundle.
fn next(bundle: &Value) -> Option<String> {
    let next = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next")?;
    Some(format!("/fhir/{}", next["url"].as_str().unwrap().split_once("/fhir/").unwrap().1))
}

/// The parameters that an answer says were left out.
fn left_out(bundle: &Value) -> BTreeSet<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let outcomes = entries.filter(|entry| entry["search"]["mode"] == "outcome");
    let issues = outcomes.flat_map(|entry| entry["resource"]["issue"].as_array().unwrap());
    issues.filter_map(|issue| issue["location"][0].as_str()?.strip_prefix("http.").map(str::to_owned)).collect()
}

/// The ids of the matches, and of what is included with them.
fn matches(bundle: &Value, question: &Question) -> (Vec<String>, Vec<String>) {
    let (mut matches, mut included) = (Vec::new(), Vec::new());
    for entry in bundle["entry"].as_array().into_iter().flatten() {
        let id = || entry["resource"]["id"].as_str().unwrap().to_owned();
        match entry["search"]["mode"].as_str() {
            Some("match") => {
                assert_eq!(entry["resource"]["resourceType"], question.resource_type);
                matches.push(id());
            }
            Some("include") => included.push(id()),
            Some("outcome") => {}
            other => panic!("{other:?}"),
        }
    }
    (matches, included)
}

/// Makes a question.
fn question(choices: &mut Choices, site: &Site) -> Question {
    let &(resource_type, names) = choices.of(&TYPES);
    let population = &site.population[resource_type];
    let mut question = Question {
        resource_type,
        filters: Vec::new(),
        sort: None,
        summary: None,
        includes: false,
        due: Due::Answer,
        prefer: None,
        query: Vec::new(),
        form: None,
    };
    let mut written = Vec::new();
    for _ in 0..choices.below(4) {
        let name = *choices.of(names);
        let of = |name: &str| if name == "subject" { "patient".to_owned() } else { name.to_owned() };
        if question.filters.iter().any(|filter| of(filter.name) == of(name)) {
            continue;
        }
        let filter = filter(choices, population, name);
        written.push(format!("{}={}", filter.full_name(), encoded(choices, name, &filter.value)));
        question.filters.push(filter);
    }
    add_results(choices, site, &mut question, &mut written);
    if resource_type == "Encounter" && is_compared_by_the_start(&question.filters) {
        question.due = question.due.max(Due::Either);
    }
    add_what_goes_wrong(choices, &mut question, &mut written);
    // The order of parameters means nothing.
    for at in (1..written.len()).rev() {
        written.swap(at, choices.below(at + 1));
    }
    match choices.below(3) {
        0 => question.form = Some(written),
        1 => question.query = written,
        _ => {
            let behind = written.split_off(choices.below(written.len() + 1));
            question.form = (!behind.is_empty()).then_some(behind);
            question.query = written;
        }
    }
    question
}

/// Whether OpenEMR decides by the beginning of the period alone, which is told.
fn is_compared_by_the_start(filters: &[Filter]) -> bool {
    let is_bounded = filters.iter().any(|filter| matches!(filter.name, "patient" | "subject" | "_id"));
    let is_exact = |date: &str| date.starts_with("lt") || date.starts_with("sa");
    !is_bounded && filters.iter().any(|filter| filter.name == "date" && !filter.value.split(',').all(is_exact))
}

/// A filter by a value that some resource holds, or by one like that.
fn filter(choices: &mut Choices, population: &[Value], name: &'static str) -> Filter {
    let mut values = Vec::new();
    let most = if choices.one_in(3) { 3 } else { 1 };
    for _ in 0..=choices.below(most) {
        values.push(value(choices, population, name));
    }
    let is_text = matches!(name, "name" | "family" | "given" | "address-city" | "address-state" | "address-postalcode");
    let modifier = match name {
        _ if is_text => *choices.of(&["", "", "", "exact", "contains", "prefix", "suffix"]),
        "gender" | "category" if values.len() == 1 => *choices.of(&["", "", "not"]),
        _ => "",
    };
    if name == "_id" && choices.one_in(3) {
        // A long list, a part of everybody.
        values = population.iter().step_by(1 + choices.below(3)).map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    }
    if name == "code" && values.len() > 1 {
        values = values
            .iter()
            .map(|code| if code.contains('|') { code.clone() } else { format!("http://loinc.org|{code}") })
            .collect();
    }
    Filter { name, modifier, value: values.join(",") }
}

fn value(choices: &mut Choices, population: &[Value], name: &str) -> String {
    let resource = choices.of(population);
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).unwrap_or("nobody").to_owned();
    let part = |choices: &mut Choices, whole: String| {
        let letters: Vec<char> = whole.chars().collect();
        match choices.below(5) {
            0 => letters[..1 + choices.below(letters.len())].iter().collect(),
            1 => letters[choices.below(letters.len())..].iter().collect(),
            2 => whole.to_uppercase(),
            _ => whole,
        }
    };
    match name {
        "_id" => text("/id"),
        "patient" | "subject" => match choices.below(3) {
            0 => text("/subject/reference"),
            _ => text("/subject/reference").replace("Patient/", ""),
        },
        "name" | "family" if resource["name"].is_string() => part(choices, text("/name")),
        "name" | "family" => part(choices, text("/name/0/family")),
        "given" => part(choices, text("/name/0/given/0")),
        "address-city" => part(choices, text("/address/0/city")),
        "address-state" => text("/address/0/state"),
        "address-postalcode" => part(choices, text("/address/0/postalCode")),
        "gender" => (*choices.of(&["male", "female", "unknown"])).to_owned(),
        "identifier" => match choices.one_in(2) {
            true => text("/identifier/0/value"),
            false => format!("{}|{}", text("/identifier/0/system"), text("/identifier/0/value")),
        },
        "telecom" | "phone" => text("/telecom/0/value"),
        "email" => text("/telecom/1/value"),
        "code" => match choices.one_in(2) {
            true => text("/code/coding/0/code"),
            false => format!("{}|{}", text("/code/coding/0/system"), text("/code/coding/0/code")),
        },
        "category" => (*choices.of(&["vital-signs", "laboratory"])).to_owned(),
        "birthdate" => {
            let day = text("/birthDate");
            format!("{}{}", prefix(choices), &day[..*choices.of(&[4, 7, 10])])
        }
        "_lastUpdated" => format!("{}{}", prefix(choices), choices.of(&["2000", "2024-02-29", "2100-01-01T00:00:00Z"])),
        "date" => {
            let pointer = if resource["resourceType"] == "Encounter" { "/period/start" } else { "/effectiveDateTime" };
            let moment = text(pointer);
            let time = match choices.below(4) {
                0 => moment[..*choices.of(&[4, 7, 10])].to_owned(),
                1 => format!("{}+02:00", &moment[..19]),
                2 => format!("{}Z", &moment[..19]),
                _ => moment,
            };
            format!("{}{time}", prefix(choices))
        }
        other => panic!("no value for {other}"),
    }
}

fn prefix(choices: &mut Choices) -> &'static str {
    let &chosen = choices.of(&["", "eq", "ne", "lt", "le", "gt", "ge", "sa", "eb"]);
    chosen
}

/// A value as a client writes it: percent-encoded, but for the `+` of a zone, which many forget.
fn encoded(choices: &mut Choices, name: &str, value: &str) -> String {
    let written: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    match name {
        "date" if choices.one_in(2) => written.replace("%2B", "+"),
        _ if choices.one_in(2) => written.replace("%2C", ",").replace("%2F", "/").replace("%3A", ":"),
        _ => written,
    }
}

/// Adds the parameters that are about the answer.
fn add_results(choices: &mut Choices, site: &Site, question: &mut Question, written: &mut Vec<String>) {
    let expected = site.selected(question, &BTreeSet::new()).len();
    if choices.one_in(2) {
        let size = *choices.of(&[1, 2, 7, 50, 199, 200, 201, 1000]);
        written.push(format!("_count={}", size.max(expected.div_ceil(MOST_PAGES))));
    }
    if choices.one_in(5) {
        question.includes = question.resource_type != "Practitioner" && question.resource_type != "Organization";
        if question.includes {
            written.push("_revinclude=Provenance:target".to_owned());
        }
    }
    if choices.one_in(4) {
        question.sort = Some(*choices.of(&["birthdate", "-birthdate", "family", "-given"]));
        written.extend(question.sort.map(|key| format!("_sort={key}")));
        if question.resource_type != "Patient" || site.version == "7.0.3" {
            question.due = Due::Either;
        }
    }
    match choices.below(12) {
        0 => {
            question.summary = Some("count");
            question.includes = false;
        }
        1 => question.summary = Some(*choices.of(&["true", "text", "data", "false"])),
        2 => written.push("_elements=id,status".to_owned()),
        3 => written.push(format!("_total={}", choices.of(&["none", "estimate", "accurate"]))),
        4 => written.push(format!("_pretty={}", choices.of(&["true", "false"]))),
        5 => written.push("_format=json".to_owned()),
        _ => {}
    }
    written.extend(question.summary.map(|summary| format!("_summary={summary}")));
}

/// Adds what OpenEMR would answer wrongly, now and then.
fn add_what_goes_wrong(choices: &mut Choices, question: &mut Question, written: &mut Vec<String>) {
    if choices.one_in(3) {
        let &(name, value) = choices.of(&ODD);
        let is_there = written.iter().any(|one| one.split('=').next() == Some(name));
        if !is_there {
            written.push(format!("{name}={}", form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>()));
            question.due = question.due.max(Due::Either);
            question.prefer = *choices.of(&[None, Some(LENIENT), Some(STRICT)]);
            if TESTED.contains(&name) {
                let (name, modifier) = name.split_once(':').unwrap_or((name, ""));
                question.filters.push(Filter { name, modifier, value: value.to_owned() });
            }
        }
    }
    let Some(first) = written.first().cloned() else { return };
    match choices.below(12) {
        // The same once more.
        0 => written.push(first),
        // Something else by the same name, in some spelling.
        1 => {
            let (name, _) = first.split_once('=').unwrap();
            let name = if choices.one_in(2) { name.to_owned() } else { format!("%{:02X}{}", name.as_bytes()[0], &name[1..]) };
            written.push(format!("{name}=other"));
            let plain = first.split('=').next().unwrap();
            let same = question.filters.iter().find(|filter| filter.full_name() == plain).cloned();
            let is_about_answer = ["_count", "_summary", "_elements", "_total", "_pretty", "_format", "_sort"].contains(&plain);
            question.due = match &same {
                _ if is_about_answer => Due::Refusal,
                Some(filter)
                    if filter.name.ends_with("date") || filter.name == "_lastUpdated" || filter.modifier == "missing" =>
                {
                    Due::Refusal
                }
                // Both are meant, and one is tested, which it cannot be with every modifier.
                Some(filter) if !matches!(filter.modifier, "prefix" | "suffix") => question.due,
                _ => question.due.max(Due::Either),
            };
            question.filters.extend(same.map(|filter| Filter { value: "other".to_owned(), ..filter }));
        }
        2 => {
            let (name, value) = first.split_once('=').unwrap();
            written.push(format!("{name}{}={value}", choices.of(&["[]", "[0]", "%5B%5D"])));
            question.due = Due::Refusal;
        }
        3 if first.contains("date=") => {
            written[0] = format!(
                "{}={}",
                first.split('=').next().unwrap(),
                choices.of(&["1950-13-01", "2023-02-29", "yesterday", "ge+2024"])
            );
            question.due = Due::Refusal;
        }
        _ => {}
    }
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn ask_all(version: &'static str) {
    let site = Site::start(version);
    let seed = environment("QUESTIONS_SEED", 13);
    let mut dues = [0; 3];
    for number in 0..environment("QUESTIONS", QUESTIONS) {
        // Each by itself, so that one can be asked again.
        let mut choices = Choices(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let question = question(&mut choices, &site);
        dues[question.due as usize] += 1;
        site.check(&question);
    }
    // The choices reach all three.
    assert!(dues.iter().all(|number| *number > 0) || environment("QUESTIONS", QUESTIONS) < 50, "{dues:?}");
}

#[test]
fn every_answer_of_8_0_is_what_was_asked() {
    ask_all("8.0");
}

#[test]
fn every_answer_of_7_0_3_is_what_was_asked() {
    ask_all("7.0.3");
}

#[test]
fn every_answer_of_the_next_version_is_what_was_asked() {
    ask_all("next");
}

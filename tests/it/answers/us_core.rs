//! Every search that US Core demands or recommends, asked of the gateway in front of each version of OpenEMR: the answer is what a plain
//! evaluator finds in the whole set of the type, or the search is refused; it is never anything else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::us_core_evaluator::{definition, elements, selects, texts, tokens};
use super::us_core_table::{NOT_IN_7_0_3, OTHERS, SEARCHES, TOLD, US_CORE};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Caller};
use crate::support::openemr::OpenEmr;

/// The most resources whose values are searched for, of one type.
const SAMPLES: usize = 3;

/// What became of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Right,
    /// An entry of mode outcome says that it differs.
    Told,
    Refused,
    Wrong,
}

/// A row of the table: a type, and the parameters that are combined.
struct Row {
    resource_type: &'static str,
    /// S, s or - for each version of US Core.
    demands: &'static str,
    names: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let row = |resource_type, text: &'static str, demands: &'static str| Row {
        resource_type,
        demands,
        names: text.split('+').collect(),
    };
    let of_us_core = SEARCHES.iter().flat_map(|(resource_type, rows)| {
        rows.split(", ").map(|one| {
            let (demands, names) = one.split_once(' ').unwrap();
            row(*resource_type, names, demands)
        })
    });
    let others = OTHERS.iter().flat_map(|(resource_type, rows)| rows.split(", ").map(|names| row(*resource_type, names, "---")));
    of_us_core.chain(others).collect()
}

/// The resources of a type, by OpenEMR's own search.
fn population(openemr: &OpenEmr, token: &str, resource_type: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let answer = Caller::new(openemr.address).send(
        "GET",
        &format!("/apis/default/fhir/{resource_type}"),
        &[("Authorization", &bearer)],
        b"",
    );
    resources(&answer, resource_type)
}

/// The same as they are once they are mended.
fn mended(caller: &Caller, resource_type: &str) -> Vec<Value> {
    resources(&caller.get(&format!("/fhir/{resource_type}")), resource_type)
}

fn resources(answer: &Answer, resource_type: &str) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{resource_type}: {}", answer.text());
    let bundle = answer.json();
    let resources = bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone());
    let mut all: Vec<Value> = resources.filter(|one| one["resourceType"] == resource_type).collect();
    all.dedup_by(|one, other| one["id"] == other["id"]);
    all
}

/// The values of a parameter by which a resource is searched for: the first is its plainest form.
fn values(sample: &Value, all: &[Value], name: &str) -> Vec<String> {
    let (kind, paths) = definition(sample["resourceType"].as_str().unwrap(), name);
    let held = elements(sample, paths);
    match kind {
        't' => {
            let Some((system, code)) = held.iter().flat_map(|element| tokens(element)).next() else { return Vec::new() };
            let other = all.iter().flat_map(|one| elements(one, paths)).flat_map(tokens).find(|(_, other)| *other != code);
            let list = other.map_or_else(|| code.clone(), |(_, other)| format!("{code},{other}"));
            let full = system.map(|system| format!("{system}|{code}"));
            [Some(code), full, Some(list)].into_iter().flatten().collect()
        }
        'r' => {
            let reference = held.iter().find_map(|element| element.as_str().or_else(|| element["reference"].as_str()));
            let Some(reference) = reference else { return Vec::new() };
            let id = reference.rsplit('/').next().unwrap();
            if reference.contains("://") { vec![reference.to_owned()] } else { vec![id.to_owned(), reference.to_owned()] }
        }
        'd' => {
            let time = |element: &&Value| element.as_str().or_else(|| element["start"].as_str()).map(str::to_owned);
            let Some(time) = held.iter().find_map(time) else { return Vec::new() };
            let day = &time[..10];
            ["", "ge", "lt", "le", "gt"]
                .iter()
                .map(|prefix| format!("{prefix}{day}"))
                .chain([format!("ge{}", &day[..7]), format!("lt{}", &day[..4])])
                .collect()
        }
        _ => {
            let Some(text) = held.iter().flat_map(|element| texts(element)).next() else { return Vec::new() };
            let begin: String = text.chars().take(3).collect();
            vec![text.clone(), begin.to_lowercase()]
        }
    }
}

/// A search that every parameter of a row is part of.
type Question = Vec<(&'static str, String)>;

/// The questions of a row: with the values of a few resources, in each of their forms.
fn questions(row: &Row, all: &[Value]) -> Vec<Question> {
    let has_all = |one: &&Value| row.names.iter().all(|name| !values(one, all, name).is_empty());
    let candidates: Vec<&Value> = all.iter().filter(has_all).collect();
    let step = candidates.len().div_ceil(SAMPLES).max(1);
    let mut questions = Vec::new();
    for sample in candidates.iter().step_by(step) {
        let forms: Vec<Vec<String>> = row.names.iter().map(|name| values(sample, all, name)).collect();
        let most = forms.iter().map(Vec::len).max().unwrap_or(0);
        for form in 0..most {
            let mut question: Question = Vec::new();
            for (at, name) in row.names.iter().enumerate() {
                // A name that stands twice has two values.
                let shift = row.names[..at].iter().filter(|before| *before == name).count();
                question.push((name, forms[at][(form + shift) % forms[at].len()].clone()));
            }
            questions.push(question);
        }
    }
    questions.sort();
    questions.dedup();
    questions
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~,:/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn target(resource_type: &str, question: &Question) -> String {
    let pairs: Vec<String> = question.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("/fhir/{resource_type}?{}", pairs.join("&"))
}

/// Asks a question; says what came if it was wrong.
fn ask(caller: &Caller, row: &Row, question: &Question, all: &[Value]) -> (Fate, String) {
    let expected: BTreeSet<&str> = all
        .iter()
        .filter(|one| question.iter().all(|(name, value)| selects(one, name, value)))
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let answer = caller.get(&target(row.resource_type, question));
    if (400..500).contains(&answer.status) {
        return (Fate::Refused, format!("{} {}", answer.status, answer.json()["issue"][0]["diagnostics"]));
    }
    if answer.status != 200 {
        return (Fate::Wrong, format!("{} {}", answer.status, answer.text()));
    }
    let bundle = answer.json();
    let matches: Vec<&Value> =
        bundle["entry"].as_array().into_iter().flatten().filter(|entry| entry["search"]["mode"] == "match").collect();
    let found: BTreeSet<&str> = matches.iter().map(|entry| entry["resource"]["id"].as_str().unwrap()).collect();
    let is_counted = bundle["total"].as_u64().is_none_or(|total| total == expected.len() as u64);
    if found == expected && found.len() == matches.len() && is_counted {
        return (Fate::Right, String::new());
    }
    let says_so = bundle["entry"].as_array().into_iter().flatten().any(|entry| entry["search"]["mode"] == "outcome");
    if says_so && is_told(row) {
        return (Fate::Told, String::new());
    }
    let (came, others) = (found.intersection(&expected).count(), found.difference(&expected).count());
    (Fate::Wrong, format!("{came} of {} due came, {others} others, total {}", expected.len(), bundle["total"]))
}

fn gateway(openemr: &OpenEmr, version: &str) -> Gateway {
    let mut config = config(openemr);
    let types = SEARCHES.iter().map(|(name, _)| *name).filter(|name| version != "7.0.3" || !NOT_IN_7_0_3.contains(name));
    config["sites"]["default"]["scopes"] = types.map(|name| format!("system/{name}.read")).collect::<Vec<_>>().into();
    Gateway::with(config)
}

/// Whether the answers to a search may differ, as long as they say so.
fn is_told(row: &Row) -> bool {
    TOLD.iter().any(|(of, names, _)| *of == row.resource_type && *names == row.names.join("+"))
}

fn is_right_for_each_search(version: &str, resources: &str) {
    let openemr = OpenEmr::with(&["--openemr", version, "--resources", resources]);
    let gateway = gateway(&openemr, version);
    let token = gateway.token("").json()["access_token"].as_str().unwrap().to_owned();
    let caller = gateway.caller();
    let mut populations = BTreeMap::new();
    // How many of the searches that each version of US Core demands, and recommends, are right, and how many there are.
    let mut figures = [[(0, 0); 2]; US_CORE.len()];
    let (mut wrong, mut refused, mut without_data, mut asked) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for row in rows() {
        let of = row.resource_type;
        let what = format!("{of}?{}", row.names.join("&"));
        let mut fate = Fate::Right;
        if version == "7.0.3" && NOT_IN_7_0_3.contains(&of) {
            let answer = caller.get(&format!("/fhir/{of}?_id=1"));
            assert!(matches!(answer.status, 400 | 403 | 404), "{what}: {}", answer.text());
            continue;
        }
        let all = populations.entry(of).or_insert_with(|| match resources {
            "valid" => population(&openemr, &token, of),
            _ => mended(&caller, of),
        });
        let questions = questions(&row, all);
        if questions.is_empty() {
            without_data.push(what.clone());
        }
        for question in questions {
            asked += 1;
            let (one, came) = ask(&caller, &row, &question, all);
            if one == Fate::Wrong {
                wrong.push(format!("{}: {came}", target(of, &question)));
            }
            if one == Fate::Refused {
                refused.push(format!("{}: {came}", target(of, &question)));
            }
            fate = fate.max(one);
        }
        for (number, demand) in row.demands.chars().enumerate() {
            let Some(kind) = ['S', 's'].iter().position(|kind| *kind == demand) else { continue };
            let (right, due) = &mut figures[number][kind];
            *due += 1;
            *right += usize::from(fate == Fate::Right && !is_told(&row));
        }
    }
    eprintln!("OpenEMR {version}, resources {resources}: {asked} searches; without data: {}", without_data.join(", "));
    for (us_core, [(shall, of_shall), (should, of_should)]) in US_CORE.iter().zip(figures) {
        eprintln!("US Core {us_core}: SHALL {shall} of {of_shall}, SHOULD {should} of {of_should}");
    }
    assert!(wrong.is_empty(), "{version}: {} of {asked} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused.is_empty(), "{version}: {} of {asked} are refused:\n{}", refused.len(), refused.join("\n"));
}

#[test]
fn every_search_of_us_core_is_right_on_8_0() {
    is_right_for_each_search("8.0", "valid");
}

#[test]
fn every_search_of_us_core_is_right_on_7_0_3() {
    is_right_for_each_search("7.0.3", "valid");
}

#[test]
fn every_search_of_us_core_is_right_on_resources_that_are_mended() {
    for version in ["8.0", "7.0.3"] {
        is_right_for_each_search(version, "openemr");
    }
}

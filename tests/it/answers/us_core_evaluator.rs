//! What a search of US Core's selects, by the elements of each resource: written from FHIR R4 ("Search", 3.1.1.4) without any of the
//! gateway's code.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::us_core_table::PARAMETERS;

/// A parameter of a type: its kind, and its elements.
pub fn definition(resource_type: &str, name: &str) -> (char, &'static str) {
    let of =
        |of: &str| PARAMETERS.iter().find(|(known, ..)| *known == format!("{of} {name}")).map(|(_, kind, paths)| (*kind, *paths));
    of(resource_type).or_else(|| of("*")).unwrap_or_else(|| panic!("{resource_type}.{name} is not in the table"))
}

/// The elements of a resource that a parameter looks at.
pub fn elements<'a>(resource: &'a Value, paths: &str) -> Vec<&'a Value> {
    paths
        .split(' ')
        .flat_map(|path| {
            path.split('.').fold(flat(resource), |at, name| at.into_iter().flat_map(|one| flat(&one[name])).collect())
        })
        .collect()
}

fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(all) => all.iter().flat_map(flat).collect(),
        one => vec![one],
    }
}

/// Whether a resource is selected by a parameter with this value.
pub fn selects(resource: &Value, name: &str, value: &str) -> bool {
    let resource_type = resource["resourceType"].as_str().unwrap();
    let (kind, paths) = definition(resource_type, name);
    let elements = elements(resource, paths);
    value.split(',').any(|wanted| {
        elements.iter().any(|element| match kind {
            't' => tokens(element).iter().any(|(system, code)| is_token(system.as_deref(), code, wanted)),
            'r' => is_reference(element, wanted),
            'd' => is_date(element, wanted),
            _ => texts(element).iter().any(|text| folded(text).starts_with(&folded(wanted))),
        })
    })
}

/// The codes of an element, each with its system.
pub fn tokens(element: &Value) -> Vec<(Option<String>, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(code) = element.as_str() {
        return vec![(None, code.to_owned())];
    }
    if let Some(codings) = element["coding"].as_array() {
        return codings.iter().flat_map(tokens).collect();
    }
    let code = text(&element["code"]).or_else(|| text(&element["value"]));
    code.map(|code| (text(&element["system"]), code)).into_iter().collect()
}

fn is_token(system: Option<&str>, code: &str, wanted: &str) -> bool {
    match wanted.split_once('|') {
        None => code == wanted,
        Some(("", wanted)) => system.is_none() && code == wanted,
        Some((wanted_system, "")) => system == Some(wanted_system),
        Some((wanted_system, wanted)) => system == Some(wanted_system) && code == wanted,
    }
}

fn is_reference(element: &Value, wanted: &str) -> bool {
    let reference = element.as_str().or_else(|| element["reference"].as_str()).unwrap_or_default();
    reference == wanted || (!wanted.contains('/') && reference.rsplit('/').next() == Some(wanted))
}

/// The texts of an element that a string can be found in.
pub fn texts(element: &Value) -> Vec<String> {
    if let Some(text) = element.as_str() {
        return vec![text.to_owned()];
    }
    let members = ["family", "given", "prefix", "suffix", "text", "line", "city", "district", "state", "postalCode", "country"];
    members.iter().flat_map(|name| flat(&element[*name])).filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Case and accents do not count.
fn folded(text: &str) -> String {
    let plain = |letter: char| match letter {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' | 'ě' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' => 'o',
        'ú' | 'ù' | 'û' | 'ü' | 'ů' => 'u',
        'ñ' | 'ń' | 'ň' => 'n',
        'ç' | 'č' | 'ć' => 'c',
        'š' | 'ś' => 's',
        'ž' | 'ź' | 'ż' => 'z',
        'ý' => 'y',
        'ł' => 'l',
        'ř' => 'r',
        other => other,
    };
    text.to_lowercase().chars().map(plain).collect()
}

/// The range of time that a text names, in nanoseconds; the second number is behind it.
fn range(text: &str) -> (i128, i128) {
    let nanos = |timestamp: Timestamp| timestamp.as_nanosecond();
    let day = |date: Date| nanos(format!("{date}T00:00:00Z").parse().unwrap());
    match text.len() {
        4 => (
            day(format!("{text}-01-01").parse().unwrap()),
            day(format!("{:04}-01-01", text.parse::<i32>().unwrap() + 1).parse().unwrap()),
        ),
        7 => {
            let first: Date = format!("{text}-01").parse().unwrap();
            (day(first), day(first.last_of_month().tomorrow().unwrap()))
        }
        10 => {
            let date: Date = text.parse().unwrap();
            (day(date), day(date.tomorrow().unwrap()))
        }
        _ => {
            let begin = nanos(text.parse().unwrap_or_else(|_| panic!("{text} is no time")));
            (begin, begin + 1_000_000_000)
        }
    }
}

/// The range of time of an element; a period may be open at either end.
fn held(element: &Value) -> (i128, i128) {
    if let Some(text) = element.as_str() {
        return range(text);
    }
    let end = |name: &str| element[name].as_str().map(range);
    (end("start").map_or(i128::MIN, |(begin, _)| begin), end("end").map_or(i128::MAX, |(_, behind)| behind))
}

fn is_date(element: &Value, wanted: &str) -> bool {
    let (prefix, wanted) = wanted.split_at(wanted.find(|character: char| character.is_ascii_digit()).unwrap());
    let ((begin, behind), (first, last)) = (held(element), range(wanted));
    let is_within = begin >= first && behind <= last;
    match prefix {
        "" | "eq" => is_within,
        "ne" => !is_within,
        "gt" => behind > last,
        "lt" => begin < first,
        "ge" => behind > last || is_within,
        "le" => begin < first || is_within,
        other => panic!("no date has {other}"),
    }
}

//! The repairs by a full parse: what the stream is compared with.

use proptest::prelude::*;

use crate::openemr::mend::names::Kind;
use crate::openemr::mend::narrative::mended_narrative;
use crate::openemr::mend::repairs::Repairs;
use crate::openemr::mend::systems::{is_snomed, mended_system, snomed_prefix, text};

/// A value, its names and texts as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Scalar(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar == "null",
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
        }
    }

    fn is_null() -> Self {
        Self::Scalar("null".to_owned())
    }
}

/// A document as it should become.
pub(super) fn mended(document: &Json) -> Json {
    let Json::Object(members) = document else { panic!("no object") };
    Json::Object(object(members, Kind::Resource, &mut false))
}

fn plain(name: &str) -> String {
    text(name.as_bytes()).unwrap().into_owned()
}

fn object(members: &[(String, Json)], kind: Kind, patients_around: &mut bool) -> Vec<(String, Json)> {
    let mut own_patients = false;
    let mut out: Vec<(String, Json)> = Vec::new();
    let mut code = None;
    let (mut is_snomed_ct, mut resource_type) = (false, String::new());
    for (name, value) in members {
        let patients = if kind == Kind::Resource { &mut own_patients } else { &mut *patients_around };
        let plain_name = plain(name);
        let key = plain_name.as_bytes();
        let child_kind = Kind::of(kind, key);
        let (mut name, mut made) = (name.clone(), value.clone());
        match value {
            Json::Scalar(scalar) if scalar != "null" && kind.is_text(key, false) => made = Json::Text(scalar.clone()),
            Json::Scalar(_) => {}
            Json::Text(written) => {
                let bytes = written.as_bytes();
                let unquoted = |made: Vec<u8>| Json::Text(String::from_utf8(made[1..made.len() - 1].to_vec()).unwrap());
                match (kind, plain_name.as_str()) {
                    (_, "system") => {
                        is_snomed_ct |= is_snomed(bytes) && kind == Kind::Coding;
                        made = mended_system(bytes, Repairs::all()).map_or(made, |(_, made)| unquoted(made));
                    }
                    (Kind::Narrative, "div") if !written.is_empty() => made = mended_narrative(bytes).map_or(made, unquoted),
                    (Kind::Coding, "code") if !written.is_empty() => {
                        code = snomed_prefix(bytes).map(|length| (out.len(), length))
                    }
                    (Kind::GroupEntity, "reference") => *patients |= written.contains("Patient"),
                    (Kind::Resource, "resourceType") if !written.is_empty() => resource_type = plain(written),
                    _ => {}
                }
            }
            Json::Object(members) => {
                let members = object(members, child_kind, patients);
                let is_element = members.iter().all(|(name, _)| matches!(plain(name).as_str(), "extension" | "id" | "_id"));
                if kind.is_text(key, false) && is_element {
                    name = format!("_{name}");
                }
                made = Json::Object(members);
            }
            Json::List(items) => {
                let is_text = kind.is_text(key, true);
                made = Json::List(match key.strip_prefix(b"_") {
                    Some(_) => twins(items, child_kind, patients),
                    None => list(items, child_kind, is_text, key == b"extension", true, patients),
                });
            }
        }
        if !made.is_nothing() {
            out.push((name, made));
        }
    }
    if let (Some((at, length)), true) = (code, is_snomed_ct)
        && let Json::Text(code) = &mut out[at].1
    {
        *code = code[length..].to_owned();
    }
    without_nulls(&mut out);
    let has = |out: &[(String, Json)], name: &str| out.iter().any(|(own, _)| plain(own).trim_start_matches('_') == name);
    if resource_type == "ValueSet" && !has(&out, "status") {
        out.push(("status".to_owned(), Json::Text("unknown".to_owned())));
    }
    if resource_type == "Group" && own_patients {
        if !has(&out, "type") {
            out.push(("type".to_owned(), Json::Text("person".to_owned())));
        }
        if !has(&out, "actual") {
            out.push(("actual".to_owned(), Json::Scalar("true".to_owned())));
        }
    }
    out
}

/// Nulls stay in a list of text if there is one of its name with `_`.
fn without_nulls(members: &mut Vec<(String, Json)>) {
    let twins: Vec<String> =
        members.iter().filter(|(_, value)| matches!(value, Json::List(_))).map(|(name, _)| plain(name)).collect();
    for (name, value) in members.iter_mut() {
        let Json::List(items) = value else { continue };
        let is_flat = items.iter().all(|item| matches!(item, Json::Scalar(_) | Json::Text(_)));
        if plain(name).starts_with('_') || !is_flat {
            continue;
        }
        if twins.contains(&format!("_{}", plain(name))) {
            items.iter_mut().filter(|item| item.is_nothing()).for_each(|item| *item = Json::is_null());
        } else {
            items.retain(|item| !item.is_nothing());
        }
    }
    members.retain(|(_, value)| !value.is_nothing());
}

fn list(items: &[Json], kind: Kind, is_text: bool, extensions: bool, may_have_twin: bool, patients: &mut bool) -> Vec<Json> {
    let mut seen = false;
    let mut out = Vec::new();
    for item in items {
        seen |= matches!(item, Json::List(_) | Json::Object(_));
        let made = match item {
            Json::Scalar(scalar) if scalar != "null" && is_text => Json::Text(scalar.clone()),
            Json::Scalar(_) | Json::Text(_) => item.clone(),
            Json::List(items) => Json::List(list(items, kind, false, false, false, patients)),
            Json::Object(members) => {
                let members = object(members, kind, patients);
                let has = |wanted: &dyn Fn(&str, &Json) -> bool| members.iter().any(|(name, value)| wanted(&plain(name), value));
                let has_url = has(&|name, value| name == "url" && !matches!(value, Json::List(_) | Json::Object(_)));
                let has_value = has(&|name, _| name == "extension" || name.trim_start_matches('_').starts_with("value"));
                Json::Object(if extensions && !(has_url && has_value) { Vec::new() } else { members })
            }
        };
        out.push(made);
    }
    if seen || !may_have_twin {
        out.retain(|item| !item.is_nothing());
    }
    out
}

fn twins(items: &[Json], kind: Kind, patients: &mut bool) -> Vec<Json> {
    let mut out: Vec<Json> = Vec::new();
    for item in items {
        let made = match item {
            Json::Object(members) => Json::Object(object(members, kind, patients)),
            Json::List(items) => Json::List(list(items, kind, false, false, false, patients)),
            Json::Scalar(_) | Json::Text(_) => item.clone(),
        };
        out.push(if made.is_nothing() { Json::is_null() } else { made });
    }
    if out.iter().all(Json::is_nothing) { Vec::new() } else { out }
}

/// Documents with what the repairs look at.
pub(super) fn anything() -> impl Strategy<Value = Json> {
    let text = prop::sample::select(vec![
        "",
        "",
        "x",
        "2.16.840.1",
        "DataAbsentReason",
        "SNOMED-CT:12",
        "http://snomed.info/sct",
        "ValueSet",
        "Group",
        "Patient/1",
        "<div>a & b</div>",
        "<div>a</div>",
        r#"\u003cdiv> \"&"#,
        r"\\",
    ]);
    let scalar = prop::sample::select(vec!["null", "null", "5", "-1.50e+3", "true"]);
    let leaf =
        prop_oneof![text.prop_map(|text| Json::Text(text.to_owned())), scalar.prop_map(|scalar| Json::Scalar(scalar.to_owned()))];
    let name = prop::sample::select(vec![
        "extension",
        "extension",
        "url",
        "valueString",
        "coding",
        "code",
        "system",
        "display",
        "given",
        "given",
        "_given",
        "_given",
        "name",
        "text",
        "div",
        "resource",
        "resourceType",
        "status",
        "identifier",
        "value",
        "member",
        "entity",
        "reference",
        "id",
        "contained",
        "modifierExtension",
        "line",
        "_line",
        "type",
        "actual",
        "",
        "_",
    ]);
    let value = leaf.prop_recursive(6, 60, 5, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..5);
        prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Json::List), members.prop_map(named)]
    });
    prop::collection::vec(
        (
            prop::sample::select(vec![
                "entry",
                "name",
                "given",
                "_given",
                "text",
                "extension",
                "resource",
                "coding",
                "resourceType",
                "member",
            ]),
            value,
        ),
        0..5,
    )
    .prop_map(named)
}

fn named(members: Vec<(&'static str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The document in one of its spellings.
pub(super) fn write(json: &Json, spelling: u64) -> String {
    let (mut out, mut random) = (String::new(), spelling);
    append(json, &mut out, &mut random);
    out
}

fn space(out: &mut String, random: &mut u64) {
    *random = random.wrapping_mul(6_364_136_223_846_793_005);
    out.push_str(["", "", "", " ", "\r\n\t"][(*random >> 60) as usize % 5]);
}

fn append(json: &Json, out: &mut String, random: &mut u64) {
    space(out, random);
    match json {
        Json::Scalar(scalar) => out.push_str(scalar),
        Json::Text(text) => *out += &format!("\"{text}\""),
        Json::List(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                append(item, out, random);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (number, (name, value)) in members.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                space(out, random);
                match (name.chars().next(), *random >> 61) {
                    (Some(first), 0) => *out += &format!("\"\\u{:04x}{}\"", u32::from(first), &name[1..]),
                    _ => *out += &format!("\"{name}\""),
                }
                space(out, random);
                out.push(':');
                append(value, out, random);
            }
            out.push('}');
        }
    }
    space(out, random);
}

/// Reads a document.
pub(super) fn parse(document: &str) -> Json {
    let mut rest = document;
    let json = value(&mut rest);
    assert_eq!(rest.trim(), "", "{document}");
    json
}

fn value(rest: &mut &str) -> Json {
    *rest = rest.trim_start();
    let (open, behind) = rest.split_at(1);
    match open {
        "\"" => Json::Text(string(rest)),
        "[" | "{" => {
            *rest = behind;
            let (mut items, mut members) = (Vec::new(), Vec::new());
            loop {
                *rest = rest.trim_start();
                if let Some(behind) = rest.strip_prefix([']', '}']) {
                    *rest = behind;
                    return if open == "[" { Json::List(items) } else { Json::Object(members) };
                }
                if !items.is_empty() || !members.is_empty() {
                    *rest = rest.strip_prefix(',').expect("a comma").trim_start();
                }
                if open == "[" {
                    items.push(value(rest));
                } else {
                    let name = string(rest);
                    *rest = rest.trim_start().strip_prefix(':').expect("a colon");
                    members.push((name, value(rest)));
                }
            }
        }
        _ => {
            let end = rest.find([',', ']', '}', ' ', '\r', '\n', '\t']).unwrap_or(rest.len());
            let (scalar, behind) = rest.split_at(end);
            *rest = behind;
            assert!(!scalar.is_empty());
            Json::Scalar(scalar.to_owned())
        }
    }
}

fn string(rest: &mut &str) -> String {
    let text = rest.strip_prefix('"').expect("a quote");
    let mut escaped = false;
    let end = text.find(|character| {
        let is_end = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    });
    let (text, behind) = text.split_at(end.expect("its end"));
    *rest = &behind[1..];
    text.to_owned()
}

//! What 8.0 and 7.0.3 write that R4, or US Core, does not allow. The next OpenEMR is taken to write it right.

use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use super::personality::Personality;

/// How the sandbox writes its resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shapes {
    /// Valid by R4.
    Valid,
    /// As the release writes them, its mistakes included.
    #[default]
    OpenEmr,
}

impl fmt::Display for Shapes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Shapes::Valid => "valid",
            Shapes::OpenEmr => "openemr",
        })
    }
}

/// Shapes that there are not.
#[derive(Debug, thiserror::Error)]
#[error("resources are not written {0:?}: use valid or openemr")]
pub struct UnknownShapes(String);

impl FromStr for Shapes {
    type Err = UnknownShapes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "valid" => Ok(Shapes::Valid),
            "openemr" => Ok(Shapes::OpenEmr),
            other => Err(UnknownShapes(other.to_owned())),
        }
    }
}

/// A place in a resource: the names of members; `*` stands for every element of an array.
type Place = &'static [&'static str];

/// What happens at a place.
enum Change {
    /// The member is missing.
    Without,
    /// The value is this JSON instead.
    Is(fn(&Value) -> Value),
}
use Change::{Is, Without};

/// The releases, the type, the place (its parent must be there), and what a valid resource is changed to.
type Row = (&'static [Personality], &'static str, Place, Change);

const BOTH: &[Personality] = &[Personality::V8_0, Personality::V7_0_3];
const EIGHT: &[Personality] = &[Personality::V8_0];
const SEVEN: &[Personality] = &[Personality::V7_0_3];

const ROWS: &[Row] = &[
    (BOTH, "ValueSet", &["name"], Without),
    (BOTH, "ValueSet", &["title"], Without),
    (BOTH, "ValueSet", &["status"], Without),
    (BOTH, "ValueSet", &["id"], Is(|id| json!(text(id).replace('-', "_")))),
    (BOTH, "ValueSet", &["compose", "include", "*", "system"], Without),
    (
        BOTH,
        "ValueSet",
        &["compose", "include", "*", "concept", "*", "display"],
        Is(|display| match text(display) {
            "Not known" => json!(""),
            _ => display.clone(),
        }),
    ),
    (BOTH, "Group", &["type"], Without),
    (BOTH, "Group", &["actual"], Without),
    (BOTH, "Goal", &["target", "*", "measure", "coding", "*", "display"], Is(|_| absent())),
    (BOTH, "Person", &["address"], Is(or_null)),
    (BOTH, "Organization", &["address"], Is(or_null)),
    (BOTH, "Immunization", &["site", "coding", "*", "code"], Is(|_| Value::Null)),
    (
        EIGHT,
        "Medication",
        &["code", "coding", "*", "code"],
        Is(|code| text(code).parse::<u64>().map_or(code.clone(), Value::from)),
    ),
    (BOTH, "Patient", &["text", "div"], Is(unescaped)),
    (BOTH, "Organization", &["text", "div"], Is(unescaped)),
    (
        EIGHT,
        "Patient",
        &["extension", "*"],
        Is(|extension| {
            let mut extension = extension.clone();
            if extension.get("url").is_some_and(|url| text(url).ends_with("us-core-sex"))
                && let Some(system) = extension.pointer_mut("/valueCoding/system")
            {
                *system = json!("DataAbsentReason");
            }
            extension
        }),
    ),
    // A performer that is not known.
    (
        BOTH,
        "Observation",
        &["performer", "*"],
        Is(|performer| match performer.get("extension") {
            Some(extension) => json!({"extension": [{"extension": extension}]}),
            None => performer.clone(),
        }),
    ),
    (EIGHT, "Observation", &[], Is(smoking_status)),
    (SEVEN, "Observation", &[], Is(without_a_value)),
    (SEVEN, "Condition", &["code", "coding", "*", "system"], Is(|_| json!("2.16.840.1.113883.6.90"))),
    (SEVEN, "Condition", &["code", "coding", "*", "display"], Is(|_| json!(""))),
    (SEVEN, "Device", &["type", "coding", "*", "display"], Is(|_| json!(""))),
    (
        EIGHT,
        "Procedure",
        &["code", "coding", "*"],
        Is(|coding| {
            let mut coding = coding.clone();
            if coding.get("system").is_some_and(|system| text(system) == SNOMED)
                && let Some(code) = coding.get_mut("code")
            {
                *code = json!(prefixed(code));
            }
            coding
        }),
    ),
];

const SNOMED: &str = "http://snomed.info/sct";

/// Returns a resource as a release writes it.
pub(super) fn written_by(personality: Personality, mut resource: Value) -> Value {
    let resource_type = resource.get("resourceType").map(text).unwrap_or_default().to_owned();
    for (releases, of_type, place, change) in ROWS {
        if *of_type == resource_type && releases.contains(&personality) {
            apply(&mut resource, place, change);
        }
    }
    resource
}

fn apply(value: &mut Value, place: &[&str], change: &Change) {
    match (place, value) {
        ([], value) => {
            if let Is(made) = change {
                *value = made(value);
            }
        }
        (["*", rest @ ..], Value::Array(items)) => items.iter_mut().for_each(|item| apply(item, rest, change)),
        ([name], Value::Object(members)) => match change {
            Without => drop(members.shift_remove(*name)),
            Is(made) => {
                let held = members.get(*name).cloned();
                let new = made(held.as_ref().unwrap_or(&Value::Null));
                if held.is_some() || !new.is_null() {
                    members.insert((*name).to_owned(), new);
                }
            }
        },
        ([name, rest @ ..], Value::Object(members)) => {
            if let Some(member) = members.get_mut(*name) {
                apply(member, rest, change);
            }
        }
        _ => {}
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns a code of SNOMED CT with OpenEMR's own prefix.
fn prefixed(code: &Value) -> String {
    format!("SNOMED-CT:{}", text(code))
}

/// Returns the object that OpenEMR writes wherever something is missing.
fn absent() -> Value {
    json!({"extension": [{
        "valueCode": "unknown", "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
    }]})
}

/// Returns a list of an address that is not known, where there is none.
fn or_null(address: &Value) -> Value {
    if address.is_null() { json!([null]) } else { address.clone() }
}

/// Returns a narrative with the names in it as they are.
fn unescaped(div: &Value) -> Value {
    json!(text(div).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

/// Social history has its value in a text, and a performer whose id was never filled in.
fn smoking_status(observation: &Value) -> Value {
    let mut observation = observation.clone();
    let code = observation.pointer("/valueCodeableConcept/coding/0/code").map(prefixed);
    if let (Some(code), Some(members)) = (code, observation.as_object_mut()) {
        members.shift_remove("valueCodeableConcept");
        members.insert("valueString".to_owned(), json!(code));
        let performer = json!({"reference": "Practitioner/provider_uuid", "type": "Practitioner"});
        members.insert("performer".to_owned(), json!([performer]));
    }
    observation
}

/// What is preliminary has no value, nor a reason for that, and no name of its code.
fn without_a_value(observation: &Value) -> Value {
    let mut observation = observation.clone();
    let is_preliminary = observation.get("status").is_some_and(|status| text(status) == "preliminary");
    if let (true, Some(members)) = (is_preliminary, observation.as_object_mut()) {
        members.shift_remove("valueQuantity");
        if let Some(display) = members.get_mut("code").and_then(|code| code.pointer_mut("/coding/0/display")) {
            *display = json!("");
        }
    }
    observation
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::{super::population::Population, *};

    #[test]
    fn every_mistake_is_made_by_the_releases_that_make_it() {
        for (releases, resource_type, place, change) in ROWS {
            for personality in *releases {
                let population = Population::written(Shapes::Valid, *personality, "http://emr", 40, 1, 0);
                let changed = population.all(resource_type).iter().any(|resource| {
                    let mut changed = resource.value.clone();
                    apply(&mut changed, place, change);
                    changed != resource.value
                });
                assert!(changed, "{personality} {resource_type} {place:?}");
            }
        }
    }

    #[test]
    fn the_next_release_makes_none() {
        let everything = |shapes, personality| {
            let population = Population::written(shapes, personality, "http://emr", 40, 1, 0);
            let types = super::super::discovery::search_parameters(personality).into_keys();
            let mut wires: Vec<_> = types.flat_map(|name| population.all(&name).to_vec()).map(|one| one.wire_at(0)).collect();
            wires.sort();
            wires
        };
        for personality in [Personality::V8_0, Personality::V7_0_3, Personality::Next] {
            let alike = everything(Shapes::Valid, personality) == everything(Shapes::OpenEmr, personality);
            assert_eq!(alike, personality == Personality::Next, "{personality}");
        }
    }
}

//! A resource that a client submits, as OpenEMR can take it.
//!
//! OpenEMR fails on any `extension` of a Patient, those that it wrote itself among them, and reads of several names the official
//! one alone. So extensions are left out, and the first name is sent as the official one where none is. Whether something is lost
//! by that is told to the caller of this module.
//!
//! Decision: `docs/decisions/34-submitted-resources.md`.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The types whose resources are looked at: those that OpenEMR takes.
const TYPES: [&str; 3] = ["Patient", "Practitioner", "Organization"];
/// The types that have names of persons.
const PERSONS: [&str; 2] = ["Patient", "Practitioner"];
/// The longest name of a member that stands in a path, in bytes.
const LONGEST_NAME: usize = 64;

/// Whether resources of a type are looked at.
#[must_use]
pub(crate) fn is_looked_at(resource_type: &str) -> bool {
    TYPES.contains(&resource_type)
}

/// A resource in the body of a create or an update.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Submitted {
    resource_type: &'static str,
    resource: Value,
}

/// What OpenEMR makes of the names of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// One is official, or there is none at all.
    AsTheyAre,
    /// This one, by its place, is sent as the official one: it has no use, or is the usual one.
    Official(usize),
    /// The uses say that none of them is the official one; the first one could be sent as that.
    NoneOfficial,
}

impl Submitted {
    /// Reads a body; `None` where it is no JSON object.
    #[must_use]
    pub(crate) fn read(body: &[u8], resource_type: &'static str) -> Option<Self> {
        let resource: Value = serde_json::from_slice(body).ok()?;
        resource.is_object().then_some(Self { resource_type, resource })
    }

    /// The paths of the extensions that change the meaning of what they stand in: they can never be left out.
    #[must_use]
    pub(crate) fn modifiers(&self) -> Vec<String> {
        self.paths("modifierExtension")
    }

    /// The paths of all other extensions.
    #[must_use]
    pub(crate) fn extensions(&self) -> Vec<String> {
        self.paths("extension")
    }

    /// The paths of those extensions that `held`, the resource as OpenEMR has it, does not have in the same place. Without it,
    /// all.
    #[must_use]
    pub(crate) fn changed_extensions(&self, held: Option<&[u8]>) -> Vec<String> {
        let held: Value = held.and_then(|held| serde_json::from_slice(held).ok()).unwrap_or_default();
        let (mut submitted, mut known) = (Vec::new(), HashMap::new());
        collect(&self.resource, self.resource_type, "extension", &mut |path, list| submitted.push((path, list.clone())));
        collect(&held, self.resource_type, "extension", &mut |path, list| {
            known.insert(path, list.clone());
        });
        let is_known = |path: &str, extension: &Value| {
            known.get(path).and_then(Value::as_array).is_some_and(|list| list.contains(extension))
        };
        let mut changed = Vec::new();
        for (path, list) in &submitted {
            match list.as_array() {
                Some(list) => {
                    let new = list.iter().enumerate().filter(|(_, extension)| !is_known(path, extension));
                    changed.extend(new.map(|(at, _)| format!("{path}.extension[{at}]")));
                }
                None => changed.push(format!("{path}.extension")),
            }
        }
        changed
    }

    /// Takes all extensions out, and elements that had nothing else.
    pub(crate) fn leave_out_extensions(&mut self) {
        strip(&mut self.resource);
    }

    /// What OpenEMR makes of the names.
    #[must_use]
    pub(crate) fn names(&self) -> Names {
        let names = self.resource.get("name").and_then(Value::as_array).filter(|_| PERSONS.contains(&self.resource_type));
        let Some(names) = names.filter(|names| !names.is_empty()) else { return Names::AsTheyAre };
        let used_as = |name: &Value| name.get("use").and_then(Value::as_str).map(str::to_owned);
        if names.iter().any(|name| used_as(name).as_deref() == Some("official")) {
            return Names::AsTheyAre;
        }
        let can_be = |name: &Value| name.is_object() && used_as(name).is_none_or(|used| used == "usual");
        names.iter().position(can_be).map_or(Names::NoneOfficial, Names::Official)
    }

    /// Makes a name the official one.
    pub(crate) fn make_official(&mut self, at: usize) {
        if let Some(Value::Object(name)) = self.resource.get_mut("name").and_then(|names| names.get_mut(at)) {
            name.insert("use".to_owned(), Value::from("official"));
        }
    }

    /// The resource as a body.
    #[must_use]
    pub(crate) fn body(&self) -> Vec<u8> {
        self.resource.to_string().into_bytes()
    }

    fn paths(&self, member: &str) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.resource, self.resource_type, member, &mut |path, list| match list.as_array() {
            Some(list) => paths.extend((0..list.len()).map(|at| format!("{path}.{member}[{at}]"))),
            None => paths.push(format!("{path}.{member}")),
        });
        paths
    }
}

/// Shows each member of this name, with the path of the element in which it stands. Extensions of extensions belong to them.
fn collect<'a>(value: &'a Value, path: &str, member: &str, found: &mut impl FnMut(String, &'a Value)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name == member {
                    found(path.to_owned(), value);
                } else if name != "extension" {
                    collect(value, &format!("{path}.{}", shown(name)), member, found);
                }
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                collect(value, &format!("{path}[{at}]"), member, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The name of a member in a path. The extensions of a primitive stand under its name with an underscore (FHIR R4, "JSON").
fn shown(name: &str) -> &str {
    let element = name.strip_prefix('_').unwrap_or(name);
    let is_name = element.len() <= LONGEST_NAME && element.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name && !element.is_empty() { element } else { "…" }
}

/// Takes extensions out. False where nothing is left of the value by that.
fn strip(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => {
            let had_any = !members.is_empty();
            strip_members(members);
            !members.is_empty() || !had_any
        }
        Value::Array(list) => {
            let had_any = !list.is_empty();
            // The places in a list of primitives' elements are those of the primitives.
            let mut is_left = false;
            list.retain_mut(|one| {
                let is_element = one.is_object();
                let stays = strip(one);
                is_left |= stays && !one.is_null();
                stays || !is_element
            });
            is_left || !had_any
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn strip_members(members: &mut Map<String, Value>) {
    let mut emptied = vec!["extension".to_owned()];
    for (name, value) in members.iter_mut().filter(|(name, _)| *name != "extension") {
        if !strip(value) {
            emptied.push(name.clone());
        }
    }
    for name in emptied {
        members.shift_remove(&name);
    }
}

#[cfg(test)]
mod tests;

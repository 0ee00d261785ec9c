//! `scopes`: a list, or one text as in the token request.

use serde_yaml::Value as Yaml;

use super::node::{Node, Value};
use super::problem::{Findings, Place, Written, did_you_mean, shown};
use super::section::{elements, text};
use super::setting::Setting;
use super::shape::Shape;
use crate::fhir::resource_type;
use crate::scopes::scope::{Scope, ScopeError, Scopes};

impl Setting for Scopes {
    fn shape() -> Shape {
        Shape::List(Box::new(Shape::Text("scope")))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written: Vec<Written<String>> = match &node.value {
            Value::Text(words) | Value::Substituted(words) => {
                let scope = |word: &str| Written { value: word.to_owned(), place: place.clone() };
                words.split_whitespace().map(scope).collect()
            }
            _ => {
                let before = findings.problems.len();
                let written = elements(node, place, findings)?;
                let written = written.filter_map(|(node, place)| text(node, place, findings)).collect();
                if findings.problems.len() > before {
                    return None;
                }
                written
            }
        };
        if written.is_empty() {
            let problem = place.problem("is empty; OpenEMR would grant a token that opens nothing");
            findings.problem(problem.remedy("write what the client is registered for:  [system/Patient.read]"));
            return None;
        }
        let scopes: Vec<Option<Scope>> = written.iter().map(|one| scope(one, findings)).collect();
        Self::new(scopes.into_iter().collect::<Option<Vec<Scope>>>()?)
    }

    fn to_yaml(&self) -> Yaml {
        self.iter().map(|scope| scope.as_str().into()).collect::<Vec<Yaml>>().into()
    }
}

fn scope(written: &Written<String>, findings: &mut Findings) -> Option<Scope> {
    match Scope::parse(&written.value) {
        Ok(scope) => {
            if let Some(meant) = misspelt(scope.as_str()) {
                let message = format!("`{}` names no resource type of FHIR R4", shown(scope.as_str()));
                findings.problem(written.place.problem(message).remedy(format!("did you mean `{meant}`?")));
                return None;
            }
            Some(scope)
        }
        Err(error) => {
            let problem = written.place.problem(format!("`{}` {error}", shown(&written.value)));
            findings.problem(match (error, misspelt(&written.value)) {
                (ScopeError::Wildcard, _) => {
                    problem.remedy("name each resource type:  system/Patient.read, system/Observation.read")
                }
                (ScopeError::NotSystem, _) => {
                    problem.remedy("leave it out; a gateway without a user asks for system/… scopes alone")
                }
                (ScopeError::Malformed, Some(meant)) => problem.remedy(format!("did you mean `{meant}`?")),
                (ScopeError::Malformed, None) => problem.remedy("write one scope an entry, like  system/Patient.read"),
            });
            None
        }
    }
}

/// The scope that was probably meant: its resource type or its permission is nearly a known one.
fn misspelt(written: &str) -> Option<String> {
    let (resource, permission) = written.strip_prefix("system/")?.split_once('.')?;
    let resource_type = match resource_type::known(resource.as_bytes()) {
        Some(known) => known,
        None => resource_type::meant(resource.as_bytes())?,
    };
    let permission = match Scope::parse(&format!("system/{resource_type}.{permission}")) {
        Ok(_) => permission,
        Err(_) => did_you_mean(permission, ["read", "write"])?,
    };
    let meant = format!("system/{resource_type}.{permission}");
    (meant != written).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_scope_is_recognized() {
        for (written, meant) in [
            ("system/Patients.read", Some("system/Patient.read")),
            ("system/patient.read", Some("system/Patient.read")),
            ("system/Observatoin.rs", Some("system/Observation.rs")),
            ("system/Patient.reed", Some("system/Patient.read")),
            ("system/Patient.READ", Some("system/Patient.read")),
            ("system/Patient.read", None),
            ("system/Patient.cruds", None),
            ("system/Patient.$export", None),
            ("system/*.$export", None),
            ("system/Invented.read", None),
            ("openid", None),
        ] {
            assert_eq!(misspelt(written).as_deref(), meant, "{written}");
        }
    }
}

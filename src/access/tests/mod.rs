//! Decisions and tests of resources, by tables, and beside a second evaluator that knows nothing of the first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod decisions;
mod grants;
mod naive;
mod random;
mod resources;

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::access::caller::{Caller, Credential};
use crate::access::decision::{Decision, Verdict, decide};
use crate::access::grants::{ExportGrant, OperationGrant};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::policy::Policy;
use crate::access::question::{Asked, Question};
use crate::access::rule::Rule;

const VITAL: &str = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";
const LABORATORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";

fn rules(scopes: &str) -> Vec<Rule> {
    let line = |number| Line { key: format!("access.policies.test.scopes[{number}]"), number: Some(number) };
    scopes.split_whitespace().enumerate().map(|(at, scope)| Rule::parse(scope, line(at)).unwrap()).collect()
}

fn listed(ids: &[&str]) -> Patients {
    Patients::Listed(Arc::new(ids.iter().copied().collect()))
}

fn policy(scopes: &str) -> Policy {
    let line = Line { key: "access.policies.test".to_owned(), number: Some(1) };
    Policy { name: "test".to_owned(), line, rules: rules(scopes), ..Policy::default() }
}

fn caller(policy: Policy) -> Caller {
    Caller { client: Some("test".into()), policy: Arc::new(policy), found: None, credential: Credential::ApiKey }
}

/// The clients of the cases: by scopes, for two patients, with grants of exports and operations.
fn client(name: &str) -> Caller {
    let vital = format!("system/Observation.rs?category={VITAL}");
    let two_patients = listed(&["P1", "P2"]);
    caller(match name {
        "all" => policy("system/*.cruds"),
        "pat" => policy("system/Patient.rs"),
        "split" => policy("system/Patient.r system/Observation.s"),
        "v1" => policy("system/Patient.read system/Observation.write"),
        "vit" => policy(&vital),
        "two" => policy(&format!("{vital} system/Observation.rs?category={LABORATORY}")),
        "wide" => policy(&format!("{vital} system/Observation.rs")),
        "pair" => policy(&format!("system/Observation.rs?category={VITAL}&status=final")),
        "inc" => policy(&format!("{vital} system/Patient.r system/Group.r system/Device.r system/Location.r")),
        "tag" => policy("system/*.cruds?_tag=a"),
        "panel" => Policy { patients: two_patients, ..policy("system/*.rs") },
        "pvit" => Policy { patients: two_patients, ..policy(&vital) },
        "pwri" => Policy {
            patients: two_patients,
            operations: ["docref", "lastn"].map(|name| operation(Some("DocumentReference"), name)).to_vec(),
            export: vec![ExportGrant::Patient],
            ..policy("system/*.cruds")
        },
        "nobody" => Policy { patients: listed(&[]), ..policy("system/*.rs") },
        "claim" => Policy { patients: Patients::Claim("patients".to_owned()), ..policy("system/*.cruds") },
        "wri" => policy("system/Patient.cu"),
        "vwri" => policy(&format!("system/Observation.cud?category={VITAL}")),
        "exp" => Policy { export: vec![ExportGrant::Patient], ..policy("system/Patient.rs system/Observation.rs system/Goal.r") },
        "vexp" => Policy { export: vec![ExportGrant::Patient], ..policy(&vital) },
        "grp" => Policy { export: vec![ExportGrant::Group("G1".to_owned())], ..policy("system/*.rs") },
        "doc" => Policy {
            operations: vec![operation(Some("DocumentReference"), "docref"), operation(None, "closure")],
            ..policy("system/DocumentReference.rs")
        },
        "far" => Policy { sites: Some(vec!["other".to_owned()]), ..policy("system/*.cruds") },
        "none" => policy(""),
        other => panic!("no client {other}"),
    })
}

fn operation(resource_type: Option<&'static str>, name: &str) -> OperationGrant {
    OperationGrant { resource_type, name: name.to_owned() }
}

fn bases() -> Vec<String> {
    vec!["https://gw/fhir".to_owned(), "https://emr/apis/default/fhir".to_owned()]
}

/// The decision on a request line, such as `GET /Patient?name=a`, with a form and a field.
fn decided(caller: &Caller, request: &str, form: &str, field: Option<(&'static str, &str)>) -> Decision {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields: HeaderMap = field.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let (method, bases): (Method, _) = (method.parse().unwrap(), bases());
    let asked = Asked {
        site: "default",
        method: &method,
        path: path.as_bytes(),
        query: query.as_bytes(),
        form: form.as_bytes(),
        fields: &fields,
        bases: &bases,
        plans_searches: true,
    };
    decide(caller, &Question::read(&asked).unwrap())
}

/// A verdict in short: `allow`, `check`, `narrow …`, or the text of the refusal.
fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Check(_) => "check".to_owned(),
        Verdict::Narrow(added, _) => {
            let pairs: Vec<_> = added.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("narrow {}", pairs.join("&"))
        }
        Verdict::Refuse(refusal) => refusal.to_string().replace("The policy of this client does not permit it: the", "The"),
    }
}

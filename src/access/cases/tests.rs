//! The policy cases that are decided on a request line, by `decide` itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use http::Method;

#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "rows.rs"]
mod case_rows;

use crate::access::caller::{Caller, Credential};
use crate::access::decision::{Verdict, decide};
use crate::access::grants::{ExportGrant, OperationGrant};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::policy::Policy;
use crate::access::question::Question;
use crate::access::refusal::Refusal;
use crate::access::rule::Rule;
use crate::fhir::interaction::Interaction;
use case_rows::{CASES, CLIENTS, Case, Expected, filled};

fn caller(client: &str) -> Caller {
    let (name, scopes, more) = CLIENTS.iter().find(|(name, ..)| *name == client).unwrap();
    let more: serde_json::Value = serde_json::from_str(&filled(&format!("{{{more}}}"))).unwrap();
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let listed = texts(&more["patients"]["ids"]);
    let export = texts(&more["export"]).into_iter().map(|grant| match grant.as_str() {
        "patient" => ExportGrant::Patient,
        group => ExportGrant::Group(group.strip_prefix("Group/").unwrap().to_owned()),
    });
    let operations = texts(&more["operations"]).into_iter().map(|operation| {
        let (_, name) = operation.split_once("/$").unwrap();
        OperationGrant { resource_type: Some("DocumentReference"), name: name.to_owned() }
    });
    let policy = Policy {
        name: (*name).to_owned(),
        line: Line { key: format!("access.clients.{name}"), number: None },
        rules: scopes.split_whitespace().map(|scope| Rule::parse(&filled(scope), Line::default()).unwrap()).collect(),
        patients: if listed.is_empty() { Patients::All } else { Patients::Listed(Arc::new(listed.into_iter().collect())) },
        export: export.collect(),
        operations: operations.collect(),
        ..Policy::default()
    };
    Caller { client: Some((*name).into()), policy: Arc::new(policy), found: None, credential: Credential::ApiKey }
}

fn verdict(case: &Case) -> Verdict {
    let (method, target) = case.request.split_once(' ').unwrap();
    let target = filled(target);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let form = case.body.filter(|(kind, _)| kind.contains("form")).map(|(_, body)| filled(body)).unwrap_or_default();
    let parameters = [query, &form].iter().flat_map(|text| form_urlencoded::parse(text.as_bytes()).into_owned()).collect();
    let question = Question {
        site: "default",
        interaction: Interaction::of(&Method::from_bytes(method.as_bytes()).unwrap(), path.as_bytes()),
        path: path.as_bytes(),
        parameters,
        if_none_exist: case.field.filter(|(name, _)| *name == "If-None-Exist").map(|(_, value)| value),
        bases: &["https://gw/fhir".to_owned()],
    };
    decide(&caller(case.client), &question).verdict
}

/// Whether the verdict is that of the table, as far as it rests on the request line and the parameters: bodies, and what PHP would
/// read otherwise, are others' matter.
fn is_right(case: &Case, verdict: &Verdict) -> bool {
    let goes_on = !matches!(verdict, Verdict::Refuse(_));
    let is_refused = matches!(verdict, Verdict::Refuse(Refusal::Scope(_) | Refusal::Forbidden(_)));
    match case.expected {
        Expected::Allow => matches!(verdict, Verdict::Allow),
        Expected::Permitted => goes_on,
        Expected::Narrow(parameter) => {
            let (name, value) = parameter.split_once('=').unwrap();
            let sorted = |text: &str| {
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            let has = |added: &[(String, String)]| {
                added.iter().any(|(known, own)| known == name && sorted(own) == sorted(&filled(value)))
            };
            matches!(verdict, Verdict::Narrow(added, _) if has(added))
        }
        Expected::Check | Expected::Hidden => matches!(verdict, Verdict::Check(_) | Verdict::Narrow(..)),
        // The subject in a body is tested later.
        Expected::Refused if case.number.starts_with("G1") && case.client == "pwri" => {
            is_refused || matches!(verdict, Verdict::Check(_))
        }
        Expected::Refused => is_refused,
        Expected::Bad | Expected::BadOrNarrow => !matches!(verdict, Verdict::Allow) || case.number.starts_with(['G', 'H', 'E']),
        Expected::Early(404) => !goes_on,
        Expected::Early(_) => true,
    }
}

#[test]
fn every_case_is_decided_as_the_table_says() {
    let wrong: Vec<String> = CASES
        .iter()
        .filter_map(|case| {
            let verdict = verdict(case);
            (!is_right(case, &verdict)).then(|| format!("{} {} {}: {verdict:?}", case.number, case.client, case.request))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

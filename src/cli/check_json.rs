//! What `check` found, as one JSON document.

use serde_json::{Map, Value, json};

use crate::diagnosis::outcome::{Outcome, Verdict};

/// The document. `docs/check.md` describes it.
pub(super) fn document(outcomes: &[Outcome], code: u8) -> String {
    let has = |verdict| outcomes.iter().any(|outcome| outcome.finding.verdict == verdict);
    let verdict = [Verdict::Failed, Verdict::Warning].into_iter().find(|verdict| has(*verdict)).unwrap_or(Verdict::Ok);
    let steps: Vec<Value> = outcomes.iter().map(step).collect();
    format!("{:#}\n", json!({ "verdict": verdict.name(), "exit_code": code, "steps": steps }))
}

fn step(outcome: &Outcome) -> Value {
    let finding = &outcome.finding;
    let mut step = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            step.insert(name.to_owned(), value);
        }
    };
    set("step", Some(json!(outcome.step.name())));
    set("site", outcome.site.as_ref().map(|site| json!(site)));
    set("verdict", Some(json!(finding.verdict.name())));
    set("did", Some(json!(outcome.did)));
    set("found", Some(json!(finding.found)));
    set("cause", finding.cause.as_ref().map(|cause| json!(cause)));
    set("remedy", finding.remedy.as_ref().map(|remedy| json!(remedy)));
    set("because", finding.because.map(|because| json!(because.name())));
    set("details", Some(json!(finding.details)).filter(|_| !finding.details.is_empty()));
    let certificate = finding.to_trust.as_ref().map(|certificate| {
        json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "sha256": certificate.sha256,
            "until": certificate.until,
            "pem": certificate.to_pem(),
        })
    });
    set("certificate_to_trust", certificate);
    Value::Object(step)
}

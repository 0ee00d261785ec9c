//! Published vulnerabilities of OpenEMR: which the running release has, and that the gateway blocks what it says it does.

use super::{check, check_with, says};
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use serde_json::Value;

fn of<'a>(steps: &[&'a Value], id: &str) -> Option<&'a Value> {
    steps.iter().copied().find(|step| step["did"].as_str().unwrap().starts_with(id))
}

#[test]
fn a_release_is_told_what_it_has_and_what_is_blocked() {
    let old = check(&config(&OpenEmr::with(&["--openemr", "7.0.3"])));
    let steps = old.steps("vulnerability");
    let blocked = of(&steps, "CVE-2026-24908").unwrap();
    assert_eq!(blocked["verdict"], "ok");
    says(blocked, &["this release has it, and the gateway blocks it", "upgrade OpenEMR to 8.0.0 or later", "nvd.nist.gov"]);
    let open = of(&steps, "CVE-2026-34055").unwrap();
    assert_eq!(open["verdict"], "warning");
    says(open, &["this release has it, and the gateway cannot block it", "upgrade OpenEMR to 8.0.0.3 or later"]);

    let openemr = OpenEmr::start();
    let unknown = check(&config(&openemr));
    says(of(&unknown.steps("vulnerability"), "CVE-2026-34055").unwrap(), &["may have it"]);

    let known = check_with(&config(&openemr), &["--release", "8.0.0.3", "--strict"]);
    let steps = known.steps("vulnerability");
    assert!(steps.len() == 1 && known.code == 0, "{}", known.said);
    says(steps[0], &["do not concern this release", "openemr/openemr/security/advisories"]);
    let known = check_with(&config(&openemr), &["--release", "8.0.0.2"]);
    assert!(of(&known.steps("vulnerability"), "CVE-2026-34055").is_some());
    assert!(of(&known.steps("vulnerability"), "CVE-2026-24908").is_none());
}

#[test]
fn a_clients_own_token_does_not_reach_openemr() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let own = ("Authorization", "Bearer patient-token");
    gateway.caller().send("GET", "/fhir/Patient?_count=1", &[own], b"");
    let received = openemr.received("authorization");
    assert!(received.iter().all(|value| value.starts_with("Bearer eyJ")), "{received:?}");
    assert!(!openemr.state().to_string().contains("patient-token"));
}

#[test]
fn only_the_fhir_api_is_reached() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    let before = openemr.state()["paths"].clone();
    let apis = ["api/patient/1/document", "api/insurance_company", "portal/patient", "api/patient/1/encounter/1/vital"];
    for api in apis {
        for target in [
            format!("/apis/default/{api}"),
            format!("/{api}"),
            format!("/fhir/../{api}"),
            format!("/fhir/%2e%2e/{api}"),
            format!("/fhir/{api}"),
            format!("/fhir/Patient?_REWRITE_COMMAND=default/{api}"),
            format!("/fhir/Patient&_REWRITE_COMMAND=default/{api}"),
        ] {
            for method in ["GET", "POST", "PUT"] {
                let answer = gateway.caller().send(method, &target, &[], b"");
                assert!((400..500).contains(&answer.status) || answer.status == 501, "{method} {target}: {}", answer.status);
            }
        }
    }
    assert_eq!(openemr.state()["paths"], before, "a request arrived");
}

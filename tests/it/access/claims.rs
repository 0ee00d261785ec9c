//! What a JWT says of its client: its patients, and scopes that narrow its policy.

use serde_json::{Value, json};

use super::api_keys::{digest_of, key_of};
use super::provider::Provider;
use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";
const OBSERVATIONS: &str = "/fhir/Observation?_count=1";
const CONDITIONS: &str = "/fhir/Condition?_count=1";

/// A gateway whose client `lab` has JWTs of a provider, and this policy.
struct Door {
    provider: Provider,
    openemr: OpenEmr,
    gateway: Gateway,
}

impl Door {
    fn with(policy: Value, scope_claim: Option<&str>) -> Self {
        let (openemr, provider) = (OpenEmr::start(), Provider::start());
        let mut config = config(&openemr);
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["issuers"] = json!({"corp": provider.issuer()});
        if let Some(claim) = scope_claim {
            config["access"]["issuers"]["corp"]["scope_claim"] = json!(claim);
        }
        let mut lab = policy;
        lab["jwt"] = json!({"issuer": "corp", "subject": "lab-service"});
        config["access"]["clients"] = json!({"lab": lab});
        Self { gateway: Gateway::with(config), openemr, provider }
    }

    /// A GET with a JWT that has this claim besides, or not.
    fn get(&self, target: &str, claim: &str, value: Option<&Value>, more: &[(&str, &str)]) -> Answer {
        let mut claims = Provider::claims();
        if let Some(value) = value {
            claims[claim] = value.clone();
        }
        let bearer = format!("Bearer {}", self.provider.sign(&claims));
        let fields = [&[("Authorization", bearer.as_str())], more].concat();
        self.gateway.caller().send("GET", target, &fields, b"")
    }
}

#[test]
fn a_jwt_without_a_good_list_of_patients_shows_nobody() {
    let door = Door::with(json!({"scopes": ["system/*.rs"], "patients": {"claim": "patients"}}), None);
    let before = door.openemr.count("fhir_requests");
    for claim in [
        None,
        Some(json!(null)),
        Some(json!(7)),
        Some(json!(true)),
        Some(json!({"id": "p1"})),
        Some(json!(["p1", 7])),
        Some(json!([["p1"]])),
        Some(json!("Group/7")),
        Some(json!(["Patient/p1", "Patient/p2/x"])),
        Some(json!("https://id.example.org/Patient/p1")),
    ] {
        for target in [PATIENTS, "/fhir/Patient/p1", "/fhir/Observation?patient=p1", "/fhir/Organization?_count=1"] {
            let answer = door.get(target, "patients", claim.as_ref(), &[]);
            let text = answer.outcome(403);
            assert!(text.contains("patients of this client are not known"), "{claim:?} {target}: {text}");
            assert!(answer.field("www-authenticate").is_none(), "another credential would not help");
        }
        assert_eq!(door.get("/fhir/metadata", "patients", claim.as_ref(), &[]).status, 200);
    }
    // A list that is known permits nobody beside those on it; an empty one permits nobody.
    for list in [json!("p1"), json!("Patient/p1 p2"), json!(["p1"]), json!([])] {
        let answer = door.get("/fhir/Observation?patient=p9", "patients", Some(&list), &[]);
        let text = answer.outcome(403);
        assert!(!text.contains("not known"), "{list}: {text}");
    }
    assert_eq!(door.openemr.count("fhir_requests"), before, "none reached OpenEMR");
}

#[test]
fn the_scopes_of_a_jwt_narrow_the_policy_and_never_widen_it() {
    let door = Door::with(json!({"scopes": ["system/Patient.rs", "system/Observation.rs"]}), Some("scope"));
    for (scope, [patients, observations]) in [
        (Some(json!("openid system/Patient.rs")), [200, 403]),
        (Some(json!("system/Patient.read")), [200, 403]),
        (Some(json!("system/Observation.s")), [403, 200]),
        (Some(json!(["system/Observation.rs", "profile"])), [403, 200]),
        (Some(json!("system/*.cruds")), [200, 200]),
        (Some(json!("system/*.*")), [200, 200]),
        (Some(json!("system/Patient.r")), [403, 403]),
        (Some(json!("patient/*.rs user/*.cruds")), [403, 403]),
        (Some(json!("SYSTEM/*.rs system/patient.rs")), [403, 403]),
        (Some(json!({"system/*.rs": true})), [403, 403]),
        (Some(json!("")), [403, 403]),
        (None, [403, 403]),
    ] {
        for (target, status) in [(PATIENTS, patients), (OBSERVATIONS, observations), (CONDITIONS, 403)] {
            let answer = door.get(target, "scope", scope.as_ref(), &[]);
            assert_eq!(answer.status, status, "{scope:?} {target}: {}", answer.text());
        }
    }
}

#[test]
fn no_policy_is_too_wide_to_be_narrowed_and_no_credential_beside_the_jwt_undoes_it() {
    let door = Door::with(json!({"policy": "everything", "api_keys": [digest_of("lab")]}), Some("scope"));
    let (scope, key) = (json!("system/Patient.rs"), key_of("lab"));
    for more in [&[][..], &[("X-API-Key", key.as_str())]] {
        assert_eq!(door.get(PATIENTS, "scope", Some(&scope), more).status, 200);
        door.get(OBSERVATIONS, "scope", Some(&scope), more).outcome(403);
        door.get(OBSERVATIONS, "scope", None, more).outcome(403);
    }
    let alone = door.gateway.caller().send("GET", OBSERVATIONS, &[("X-API-Key", &key)], b"");
    assert_eq!(alone.status, 200);
}

#[test]
fn a_reload_that_narrows_or_removes_the_client_of_a_jwt_counts_at_its_next_request() {
    let door = Door::with(json!({"scopes": ["system/Patient.rs"]}), None);
    let status = || door.get(PATIENTS, "scope", None, &[]).status;
    assert_eq!(status(), 200);
    let mut config = door.gateway.config.clone();
    config["access"]["clients"]["lab"]["scopes"] = json!(["system/Patient.r"]);
    assert!(door.gateway.reload(&config).contains("is in force"));
    assert_eq!(status(), 403);
    let subject = json!({"issuer": "corp", "subject": "another-service"});
    config["access"]["clients"]["lab"]["jwt"] = subject;
    assert!(door.gateway.reload(&config).contains("is in force"));
    assert_eq!(status(), 401);
}

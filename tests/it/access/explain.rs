//! `access explain` and `access check`: what a policy permits, by which line, and whether OpenEMR grants as much.

use crate::support::command::{Ended, Folder, GOOD};

const VITALS: &str = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

/// A folder with clients of many kinds.
fn folder() -> Folder {
    let folder = Folder::good();
    let key = |digit: u8| format!("api_keys: [\"sha256:{}\"]", format!("{digit:02x}").repeat(32));
    let clients = [
        ("all", "policy: everything".to_owned()),
        ("pat", "scopes: [system/Patient.rs], rate: 20/s, at_once: 4".to_owned()),
        ("vit", format!("scopes: [\"system/Observation.rs?category={VITALS}\"]")),
        ("panel", "scopes: [system/Patient.rs, system/Observation.rs], patients: {ids: [P1, P2]}".to_owned()),
        ("group", "scopes: [system/Patient.rs], patients: {group: Group/7}".to_owned()),
        ("none", "policy: metadata-only".to_owned()),
        ("feed", format!("scopes: [\"system/Observation.cud?category={VITALS}\"]")),
    ];
    let lines = clients.iter().zip(1..).map(|((name, policy), digit)| format!("    {name}: {{{policy}, {}}}\n", key(digit)));
    folder.write("conf/gateway.yaml", &format!("{GOOD}access:\n  clients:\n{}", lines.collect::<String>()));
    folder
}

fn explain(folder: &Folder, client: &str, request: &str, more: &[&str]) -> String {
    let who: &[&str] = if client.is_empty() { &["--anonymous"] } else { &["--client", client] };
    let ended = folder.run(&[&["access", "explain", "--request", request], who, more].concat());
    assert_eq!(ended.code, 0, "{}", ended.err);
    ended.out
}

#[test]
fn the_decision_is_told_with_its_lines() {
    let folder = folder();
    for (client, request, words) in [
        ("all", "GET /fhir/Condition", &["allowed     everything is", "the built-in policy everything"][..]),
        (
            "pat",
            "GET /fhir/Patient/P1",
            &[
                "limits      20/s, 20 after a pause; 4 at once",
                "allowed     as it is",
                "by          access.clients.pat.scopes[0] (line 11)",
            ],
        ),
        ("pat", "GET /fhir/Observation?patient=P1", &["refused     403: ", "system/Observation.s"]),
        (
            "vit",
            "GET /fhir/Observation?patient=P1",
            &[
                "narrowed    to category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs; what the policy",
                "access.clients.vit.scopes[0] (line 12)",
            ],
        ),
        (
            "vit",
            "GET /fhir/Observation/O1",
            &["checked     a resource that", "as an unknown id", "access.clients.vit.scopes[0] (line 12)"],
        ),
        ("vit", "GET /fhir/Observation/O1/_history", &["refused     403: This client may see a part"]),
        ("panel", "GET /fhir/Patient/P9", &["refused     403: This patient is not among those"]),
        ("panel", "GET /fhir/Patient", &["narrowed    to _id=P1,P2; ", "access.clients.panel.scopes[0] (line 13)"]),
        (
            "panel",
            "GET /fhir/Observation?patient=P1",
            &["checked     what the policy does not permit is left out", "scopes[1] (line 13)"],
        ),
        ("panel", "GET /fhir/Observation?patient=P9", &["refused     403: The search names a patient that is not among"]),
        ("feed", "POST /fhir/Observation", &["checked     the resource in the body must be"]),
        ("feed", "PUT /fhir/Observation/O1", &["checked     the resource in the body, and the one that is there"]),
        ("feed", "DELETE /fhir/Observation/O1", &["checked     the resource that is there"]),
        ("feed", "PATCH /fhir/Observation/O1", &["refused     403: This client may see a part"]),
        ("feed", "POST /fhir", &["refused     403: The policy of this client does not permit batches"]),
        ("none", "GET /fhir/Patient", &["refused     403: ", "by          "]),
        ("", "GET /fhir/Patient", &["refused     401: ", "access.anonymous"]),
        ("", "GET /fhir/metadata", &["allowed "]),
        ("group", "GET /fhir/Patient", &["refused     403: ", "the members of Group/7 are known to OpenEMR alone"]),
        ("pat", "GET /fhir/Patient%2FP1", &["refused     400, whatever the policy: "]),
        ("pat", "GET /fhir/Patient?_REWRITE_COMMAND=x", &["refused     400, whatever the policy: "]),
        ("pat", "CONNECT /fhir/Patient", &["refused     405, whatever the policy: "]),
    ] {
        let out = explain(&folder, client, request, &[]);
        for word in words {
            assert!(out.contains(word), "{client} {request}: {word} in\n{out}");
        }
    }
    folder.replace("conf/gateway.yaml", "access:\n", "access:\n  anonymous: metadata-only\n");
    let out = explain(&folder, "", "GET /fhir/Patient", &[]);
    assert!(out.contains("refused     401: ") && out.contains("metadata-only"), "{out}");
    let out = explain(&folder, "group", "GET /fhir/Patient/P1", &["--patient", "P1"]);
    assert!(out.contains("checked     ") && out.contains("access.clients.group.scopes[0]"), "{out}");
    let out = explain(&folder, "pat", "POST /fhir/Patient/_search", &["--form", "_REWRITE_COMMAND=x"]);
    assert!(out.contains("refused     400"), "{out}");
}

#[test]
fn what_cannot_be_explained_is_an_error_that_says_what_to_write() {
    let folder = folder();
    for (arguments, message) in [
        (&["--client", "lba", "--request", "GET /fhir/Patient"][..], "there is no client `lba`"),
        (&["--client", "pat", "--request", "Patient"], "`Patient` is no request"),
        (&["--client", "pat", "--request", "GET /health"], "this path is none of the FHIR API"),
    ] {
        let ended = folder.run(&[&["access", "explain"], arguments].concat());
        assert!(ended.code == 1 && ended.err.contains(message), "{message} in\n{}", ended.err);
    }
}

fn check(folder: &Folder) -> Ended {
    folder.run(&["access", "check"])
}

#[test]
fn a_policy_beyond_what_openemr_grants_is_named_with_its_line() {
    let folder = folder();
    folder.replace("conf/gateway.yaml", "system/Observation.cud", "system/Observation.rs");
    let ended = check(&folder);
    assert_eq!(ended.code, 1);
    for words in ["pat: policy pat lies within the scopes of default", "vit: policy vit lies", "panel: policy panel lies"] {
        assert!(ended.out.contains(words), "{words} in\n{}", ended.out);
    }
    // The site has .read of two types, and no export.
    assert!(ended.err.contains("the built-in policy everything: site default has no scope"), "{}", ended.err);
    for words in ["system/Patient.c", "system/*.$export", "system/Binary.read"] {
        assert!(ended.err.contains(words), "{words} in {}", ended.err);
    }
    folder.replace(
        "conf/gateway.yaml",
        "policy: everything",
        "scopes: [system/*.rs, system/Condition.rs], operations: [DocumentReference/$docref]",
    );
    let ended = check(&folder);
    assert_eq!(ended.code, 1);
    let missing = "conf/gateway.yaml: access.clients.all.scopes[1] (line 10): site default has no scope system/Condition.r system/Condition.s";
    assert!(ended.err.contains(missing), "{}", ended.err);
    assert!(
        ended.err.contains("access.clients.all.operations (line 10): site default has no scope system/DocumentReference.$docref"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("scopes[0]"), "{}", ended.err);
    folder.replace("conf/gateway.yaml", ", system/Condition.rs], operations: [DocumentReference/$docref]", "]");
    assert_eq!((check(&folder).code, check(&folder).err), (0, String::new()));
}

//! `access`: clients, their credentials and policies; every mistake is found, and none lets in more than was meant.

use crate::support::command::{Folder, check, fails, passes, with};

const CONFIG: &str = "conf/gateway.yaml";
const KEY: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "sha256:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CORP: &str = "{issuer: \"https://id.example.org\", audience: gw, jwks_uri: \"https://id.example.org/jwks\"}";

/// A good configuration with this under `access`.
fn access(members: &str) -> Folder {
    with(&format!("access: {{allow_from: [127.0.0.0/8], {members}}}\n"))
}

/// A good configuration with a client of these members.
fn client(members: &str) -> Folder {
    access(&format!("issuers: {{corp: {CORP}}}, clients: {{lab: {{{members}}}}}"))
}

#[test]
fn every_form_of_a_client_is_read_and_shown_as_a_configuration_again() {
    let folder = with(&format!(
        "\
access:
  allow_from: [127.0.0.0/8]
  anonymous: metadata-only
  policies:
    listed: {{patients: {{ids: [b, a]}}, export: [system, patient, group, Group/7], operations: [DocumentReference/$docref, $x]}}
    filed: {{patients: {{file: lists/panel.txt}}, sites: [default], local: [force_refresh, token]}}
    claimed: {{patients: {{claim: patients}}}}
  clients:
    lab:
      policy: listed
      allow_from: [127.0.0.2]
      api_keys: [\"{KEY}\", {{sha256: \"{OTHER_KEY}\", expires: 2999-01-31}}]
      certificates: [{{subject_cn: lab}}, {{san_dns: Lab.example.org}}, {{san_uri: \"urn:lab\"}}, {{fingerprint: \"{colons}\"}}]
    app: {{policy: claimed, jwt: {{issuer: corp, subject: app}}}}
    bulk: {{policy: filed, smart: {{jwks: keys/jwks.json}}}}
    far: {{patients: {{group: Group/7}}, smart: {{jwks_uri: \"https://far.example.org/jwks?v=1\", ca_file: certs/far.pem}}}}
    own: {{policy: {{patients: {{ids: c}}}}, smart: {{jwks_uri: \"http://127.0.0.1:9/jwks\"}}}}
  issuers:
    corp: {{issuer: \"https://id.example.org/realms/emr\", audience: gw, jwks_uri: \"https://id.example.org/certs\", algorithms: [ES384], client_claim: azp, scope_claim: scope}}
",
        colons = ["AB"; 32].join(":"),
    ));
    assert_eq!(folder.run(&["keys", "certificate", "--host", "far", "--out", "certs"]).code, 0);
    folder.write("lists/panel.txt", "# the panel\n\na\nb  # of 2026\n");
    let out = passes(&folder, &[]);
    for line in [
        "anonymous: metadata-only",
        KEY,
        "expires: 2999-01-31",
        "san_dns: lab.example.org",
        "file: lists/panel.txt",
        "group: Group/7",
        "jwks: keys/jwks.json",
        "jwks_uri: https://far.example.org/jwks?v=1",
        "ca_file: certs/far.pem",
        "client_claim: azp",
        "- DocumentReference/$docref",
        "- Group/7",
        "- force_refresh",
        "policy: listed",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
    folder.write(CONFIG, &out);
    assert_eq!(passes(&folder, &[]), out);
}

#[test]
fn without_credentials_everything_is_open_to_this_machine_until_there_are_clients() {
    assert!(passes(&with(""), &[]).contains("anonymous: everything"));
    let folder = client(&format!("policy: metadata-only, api_keys: \"{KEY}\""));
    assert!(passes(&folder, &[]).contains("anonymous: none"));
}

#[test]
fn each_mistake_of_a_client_is_named_with_its_remedy() {
    let key = format!("api_keys: [\"{KEY}\"]");
    for (members, message, remedy) in [
        (
            format!("policy: metadata-onyl, {key}"),
            ".lab.policy: there is no policy `metadata-onyl`",
            "did you mean `metadata-only`?",
        ),
        (key.clone(), ".lab: `policy` is missing", "scopes: [system/Patient.rs]"),
        ("policy: everything".to_owned(), ".lab: has no credential", "access new-key"),
        ("policy: everything, api_keys: []".to_owned(), ".lab: has no credential", "access new-key"),
        (format!("policy: everything, scopes: [], {key}"), ".lab.scopes: is written, and `policy` too", "leave `policy` out"),
        (format!("policy: everything, allow_from: [], {key}"), ".lab.allow_from: names no network", "leave the key out"),
        (
            "policy: everything, api_keys: [oegw_1_2]".to_owned(),
            ".lab.api_keys[0]: holds the key itself",
            "take the key out of use",
        ),
        ("policy: everything, api_keys: [\"sha256:12\"]".to_owned(), ".lab.api_keys[0]: is no SHA-256", "access new-key"),
        (
            format!("policy: everything, api_keys: [{{sha256: \"{KEY}\", expires: 31.1.2027}}]"),
            ".lab.api_keys[0].expires: `31.1.2027` is no date",
            "2027-01-31",
        ),
        (
            "policy: everything, certificates: [{subject_cn: a, san_dns: b}]".to_owned(),
            ".lab.certificates[0]: names several facts of a certificate",
            "write one an entry",
        ),
        ("policy: everything, certificates: [{}]".to_owned(), ".lab.certificates[0]: names no fact", "write one an entry"),
        (
            "policy: everything, jwt: {issuer: crop, subject: x}".to_owned(),
            ".lab.jwt.issuer: there is no identity provider `crop`",
            "did you mean `corp`?",
        ),
        ("policy: everything, smart: {}".to_owned(), ".lab.smart: names no JWK Set", "jwks_uri"),
        (
            "policy: everything, smart: {jwks_uri: \"http://lab.example.org/jwks\"}".to_owned(),
            ".lab.smart.jwks_uri: is not https",
            "https://id.example.org/jwks.json",
        ),
        (
            "policy: everything, smart: {jwks: keys/jwks.json, ca_file: certs/ca.pem}".to_owned(),
            ".lab.smart.ca_file: has no effect without `jwks_uri`",
            "leave it out",
        ),
        ("policy: everything, smart: {jwks: keys/none.json}".to_owned(), ".lab.smart.jwks: keys/none.json", "public keys"),
        (
            "policy: everything, smart: {jwks: keys/private_key.pem}".to_owned(),
            ".lab.smart.jwks: keys/private_key.pem",
            "public keys",
        ),
        (format!("patients: {{claim: p}}, {key}"), ".lab: has its patients in the claim `p`, and no JWT", "jwt: {"),
        (format!("patients: {{}}, {key}"), ".lab.patients: is not one list of patients", "{ group: Group/7 }"),
        (format!("patients: {{ids: []}}, {key}"), ".lab.patients.ids: names no patient", "take its entry out"),
        (format!("patients: {{ids: [Patient/1]}}, {key}"), ".lab.patients.ids[0]: is no id of a patient", "without Patient/"),
        (format!("patients: {{ids: [a], group: Group/7}}, {key}"), ".lab.patients: is not one list of patients", "write one of"),
        (format!("patients: {{group: 'Group/a/b'}}, {key}"), ".lab.patients.group: `Group/a/b` is no Group", "Group/7"),
        (format!("patients: {{file: lists/none.txt}}, {key}"), ".lab.patients.file: lists/none.txt", "one id of a patient"),
        (format!("export: [patients], {key}"), ".lab.export: `patients` is no level of an export", "did you mean `patient`?"),
        (format!("export: [all, x], {key}"), ".lab.export: `all` is no level of an export", "Group/7"),
        (
            format!("operations: [DocumentReferenc/$docref], {key}"),
            ".lab.operations: `DocumentReferenc/$docref` names no resource type",
            "did you mean `DocumentReference/$docref`?",
        ),
        (format!("operations: [docref], {key}"), ".lab.operations: `docref` is no operation", "DocumentReference/$docref"),
        (format!("operations: [Patient/$export], {key}"), ".lab.operations: `Patient/$export` is a bulk export", "export: ["),
        (format!("sites: [defualt], {key}"), ".lab.sites: there is no site `defualt`", "did you mean `default`?"),
        (format!("local: [refresh], {key}"), ".lab.local: `refresh` is not one of", "force_refresh"),
    ] {
        let errors = check(&client(&members), &[]).err;
        let message = format!("access.clients{message}").replace(".lab.export:", ".lab.export[0]:");
        let message = message.replace(".lab.operations:", ".lab.operations[0]:").replace(".lab.sites:", ".lab.sites[0]:");
        let message = message.replace(".lab.local:", ".lab.local[0]:");
        assert!(errors.starts_with("error: ") && errors.contains(&message), "{message} in\n{errors}");
        assert!(errors.contains(remedy), "{remedy} in\n{errors}");
    }
}

#[test]
fn two_clients_never_share_a_name_or_a_credential() {
    let pair = |one: &str, other: &str| {
        let issuers = format!("issuers: {{corp: {CORP}}}");
        let (one, other) = (format!("{{policy: everything, {one}}}"), format!("{{policy: metadata-only, {other}}}"));
        check(&access(&format!("{issuers}, clients: {{lab: {one}, app: {other}}}")), &[]).err
    };
    let key = format!("api_keys: [\"{KEY}\"]");
    assert!(pair(&key, &key).contains("access.clients.app.api_keys[0]: is a key of `lab` too"));
    let same_id = format!("api_keys: [\"{}00\"]", &KEY[..KEY.len() - 2]);
    assert!(pair(&key, &same_id).contains("access.clients.app.api_keys[0]: has the id of a key of `lab` too"));
    let rules = |name: &str| format!("certificates: [{{san_dns: {name}}}]");
    let errors = pair(&rules("lab.example.org"), &rules("LAB.example.org"));
    assert!(errors.contains("access.clients.app.certificates[0]: is a rule of `lab` too"), "{errors}");
    let jwt = "jwt: {issuer: corp, subject: x}";
    assert!(pair(jwt, jwt).contains("access.clients.app.jwt: is the subject of `lab` too"));
    let twice = format!(
        "access: {{allow_from: open, clients: {{a: {{policy: everything, {key}}}, a: {{policy: everything, {key}}}}}}}\n"
    );
    fails(&with(&twice), &[], "conf/gateway.yaml: access.clients.a: is written twice", "keep one of the two");
}

#[test]
fn names_and_policies_that_could_be_mistaken_are_refused() {
    let key = format!("api_keys: [\"{KEY}\"]");
    for name in ["\"\"", "\"a b\"", "a/b", &"a".repeat(65), "ä"] {
        let errors = check(&access(&format!("clients: {{{name}: {{policy: everything, {key}}}}}")), &[]).err;
        assert!(errors.contains("is no name of a client"), "{name}: {errors}");
    }
    let errors = check(&access("policies: {none: {scopes: []}}"), &[]).err;
    assert!(errors.contains("access.policies.none: is no name for a policy"), "{errors}");
    let errors = check(&access("anonymous: metadata"), &[]).err;
    assert!(errors.contains("access.anonymous: there is no policy `metadata`"), "{errors}");
    let errors = check(&access("anonymous: p, policies: {p: {patients: {claim: c}}}"), &[]).err;
    assert!(errors.contains("access.anonymous: has a policy with `patients: { claim }`"), "{errors}");
    let errors =
        check(&with(&format!("token_exposure: always\naccess: {{clients: {{a: {{policy: everything, {key}}}}}}}\n")), &[]).err;
    assert!(errors.contains("token_exposure: is `always`, and there are clients"), "{errors}");
}

#[test]
fn identity_providers_are_reached_over_https_and_take_no_weak_algorithm() {
    let issuer = |members: &str| check(&access(&format!("issuers: {{corp: {{{members}}}}}")), &[]).err;
    let good = "issuer: i, audience: a, jwks_uri: \"https://id.example.org/k\"";
    assert_eq!(issuer(good), "");
    for (members, message) in [
        ("audience: a, jwks_uri: \"https://id.example.org/k\"", "access.issuers.corp: `issuer` is missing"),
        ("issuer: i, jwks_uri: \"https://id.example.org/k\"", "access.issuers.corp: `audience` is missing"),
        ("issuer: i, audience: \"\", jwks_uri: \"https://id.example.org/k\"", "access.issuers.corp.audience: is empty"),
        ("issuer: i, audience: a, jwks_uri: \"http://id.example.org/k\"", "access.issuers.corp.jwks_uri: is not https"),
        (&format!("{good}, ca_file: keys/none.pem"), "access.issuers.corp.ca_file: keys/none.pem"),
        (&format!("{good}, algorithms: [none]"), "access.issuers.corp.algorithms[0]: `none` is not one of RS256"),
        (&format!("{good}, algorithms: [HS256]"), "access.issuers.corp.algorithms[0]: `HS256` is not one of RS256"),
        (&format!("{good}, algorithms: []"), "access.issuers.corp.algorithms: is empty"),
    ] {
        let errors = issuer(members);
        assert!(errors.contains(message), "{message} in\n{errors}");
    }
    let errors = check(&access(&format!("issuers: {{one: {CORP}, two: {CORP}}}")), &[]).err;
    assert!(errors.contains("access.issuers.two.issuer: is that of `one` too"), "{errors}");
}

#[test]
fn a_list_of_patients_is_good_to_the_last_line_or_refused() {
    let folder = client(&format!("patients: {{file: lists/panel.txt}}, api_keys: [\"{KEY}\"]"));
    folder.write("lists/panel.txt", "p1\r\n p2 \n#p3\n");
    passes(&folder, &[]);
    folder.write("lists/panel.txt", "p1\nJane Doe\np2\np3/x\n");
    let errors = check(&folder, &[]).err;
    for line in [2, 4] {
        assert!(errors.contains(&format!("access.clients.lab.patients.file: line {line} of lists/panel.txt")), "{errors}");
    }
    assert!(!errors.contains("Jane"), "{errors}");
    for nothing in ["", "# p1\n\n"] {
        folder.write("lists/panel.txt", nothing);
        assert!(check(&folder, &[]).err.contains("names no patient"), "{nothing:?}");
    }
    folder.write("lists/panel.txt", &"p\n".repeat(1_000_001));
    assert!(check(&folder, &[]).err.contains("has more than 1000000 lines"));
}

#[test]
fn keys_of_clients_are_public_and_usable() {
    let folder = client("policy: everything, smart: {jwks: lab.json}");
    for (text, message) in [
        ("{}", "lab.json"),
        ("{\"keys\": []}", "holds no public key that can be used"),
        ("{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}", "holds no public key that can be used"),
        (
            "{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-384\", \"x\": \"AQAB\", \"y\": \"AQAB\", \"d\": \"AQAB\"}]}",
            "holds private members: keys[0].d",
        ),
    ] {
        folder.write("lab.json", text);
        let errors = check(&folder, &[]).err;
        assert!(errors.contains("access.clients.lab.smart.jwks: lab.json") && errors.contains(message), "{text}: {errors}");
    }
}

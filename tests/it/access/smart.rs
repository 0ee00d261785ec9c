//! Access tokens for SMART clients: who gets one, and what it is good for.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use super::smart_client::{ENDPOINT, SmartClient, ask, ask_at, encoded, form, get, now, refused};
use crate::support::gateway::{Gateway, config, site};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually, keys};

const PATIENTS: &str = "/fhir/Patient?_count=1";
const OBSERVATIONS: &str = "/fhir/Observation?_count=1";

/// A configuration in which these clients are all that there is; the keys of tokens are in `folder`.
fn config_of(openemr: &OpenEmr, folder: &Path, clients: &[(&SmartClient, Value)]) -> Value {
    let mut config = config(openemr);
    config["access"]["token_key"] = json!(folder.join("token-key.pem"));
    for (client, policy) in clients {
        config["access"]["clients"][client.name] = client.configured(folder, policy);
    }
    config
}

fn everything() -> Value {
    json!({"scopes": ["system/*.cruds"]})
}

#[test]
fn a_client_finds_the_endpoint_gets_a_token_and_uses_it() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let (rsa, ec) = (SmartClient::rs384("lab"), SmartClient::es384("study"));
    let reader = json!({"scopes": ["system/Patient.rs", "system/Observation.read"]});
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&rsa, reader.clone()), (&ec, reader)]));
    let configuration = gateway.caller().get("/fhir/.well-known/smart-configuration").json();
    let url = configuration["token_endpoint"].as_str().unwrap();
    assert_eq!(url, ENDPOINT);
    assert_eq!(configuration["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    assert_eq!(configuration["token_endpoint_auth_signing_alg_values_supported"], json!(["RS384", "ES384"]));
    assert_eq!(configuration["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(configuration["scopes_supported"], json!(["system/Observation.rs", "system/Patient.rs"]));
    let capabilities = &configuration["capabilities"];
    assert_eq!(*capabilities, json!(["client-confidential-asymmetric", "permission-v1", "permission-v2"]));
    let security = &gateway.caller().get("/fhir/metadata").json()["rest"][0]["security"];
    assert_eq!(security["extension"][0]["extension"], json!([{"url": "token", "valueUri": url}]));
    assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR");

    for client in [&rsa, &ec] {
        let answer = ask(&gateway.caller(), &form(&client.assertion(url), "system/Patient.rs"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((answer.field("cache-control"), answer.field("pragma")), (Some("no-store"), Some("no-cache")));
        let given = answer.json();
        let told = (&given["token_type"], &given["expires_in"], &given["scope"]);
        assert_eq!(told, (&json!("bearer"), &json!(300), &json!("system/Patient.rs")));
        let token = given["access_token"].as_str().unwrap();
        // Twice: the second time the token is known.
        for _ in 0..2 {
            assert_eq!(get(&gateway, PATIENTS, token).status, 200);
            get(&gateway, OBSERVATIONS, token).outcome(403);
        }
    }
    gateway.caller().get(PATIENTS).outcome(401);
    let mode = fs::metadata(folder.path().join("token-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let log = gateway.log();
    assert!(!log.contains("eyJ"), "{log}");
}

#[test]
fn each_fault_of_an_assertion_is_named() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let (lab, other) = (SmartClient::rs384("lab"), SmartClient::es384("other"));
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&lab, everything()), (&other, everything())]));
    let url = ENDPOINT;
    let with = |name: &str, value: Value| {
        let mut claims = lab.claims(url);
        claims[name] = value;
        lab.sign(&lab.header(), &claims)
    };
    let headed = |header: Value| lab.sign(&header, &lab.claims(url));
    let stranger = SmartClient::es384("stranger");
    let public = fs::read(keys("RS384").join("public_key.pem")).unwrap();
    let public_der = pem::parse(&public).unwrap().into_contents();
    let hmac = |alg: &str, secret: &[u8]| {
        let message =
            format!("{}.{}", encoded(json!({"alg": alg, "kid": "k"}).to_string()), encoded(lab.claims(url).to_string()));
        let algorithm = if alg == "HS256" { aws_lc_rs::hmac::HMAC_SHA256 } else { aws_lc_rs::hmac::HMAC_SHA384 };
        let key = aws_lc_rs::hmac::Key::new(algorithm, secret);
        format!("{message}.{}", encoded(aws_lc_rs::hmac::sign(&key, message.as_bytes())))
    };
    let unsigned =
        |alg: &str| format!("{}.{}.", encoded(json!({"alg": alg, "kid": "k"}).to_string()), encoded(lab.claims(url).to_string()));
    for (assertion, named) in [
        (with("aud", json!("https://other.example.org/token")), "aud"),
        (with("aud", json!("http://gateway.example/second/auth/token")), "aud"),
        (with("exp", json!(now() + 400)), "more than five minutes"),
        (with("exp", json!(now() - 60)), "expired"),
        (with("exp", Value::Null), "exp"),
        (with("jti", Value::Null), "jti"),
        (with("iss", json!("other")), "iss and sub"),
        (with("nbf", json!(now() + 100)), "nbf"),
        (headed(json!({"alg": "RS384"})), "kid"),
        (headed(json!({"alg": "RS384", "kid": "unknown"})), "kid"),
        (headed(json!({"alg": "RS384", "kid": "k", "jku": "https://evil.example/jwks"})), "jku"),
        (headed(json!({"alg": "RS256", "kid": "k"})), "algorithm"),
        (headed(json!({"alg": "ES384", "kid": "k"})), "signature"),
        (unsigned("none"), "algorithm"),
        (unsigned("RS384"), "signature"),
        (hmac("HS256", &public), "algorithm"),
        (hmac("HS256", &public_der), "algorithm"),
        (hmac("HS384", &public), "algorithm"),
        (hmac("RS384", &public), "signature"),
        (stranger.assertion(url), "No client of this name"),
        // Another client's key, for this client.
        (other.sign(&other.header(), &lab.claims(url)), "signature"),
        (stranger.sign(&stranger.header(), &other.claims(url)), "signature"),
        ("x".to_owned(), "no signed JWT"),
    ] {
        let said = refused(&ask(&gateway.caller(), &form(&assertion, "system/Patient.rs")), 401, "invalid_client");
        assert!(said.contains(named), "{named}: {said}");
    }
    // What was refused used nothing up, and the client still gets its token.
    lab.token(&gateway, "system/Patient.rs");
}

#[test]
fn a_request_that_is_none_gets_the_error_of_rfc_6749() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&lab, everything())]));
    let caller = gateway.caller();
    let assertion = || lab.assertion(ENDPOINT);
    let good = || form(&assertion(), "system/Patient.rs");
    for (form, status, error, named) in [
        (String::new(), 400, "invalid_request", "grant_type"),
        (good().replace("client_credentials", "authorization_code"), 400, "unsupported_grant_type", "client_credentials"),
        (good().replace("jwt-bearer", "saml2-bearer"), 400, "invalid_request", "jwt-bearer"),
        (format!("{}&scope=system/*.rs", good()), 400, "invalid_request", "scope comes twice"),
        (format!("{}&client_id=other", good()), 401, "invalid_client", "client_id"),
        (format!("{}&client_secret=abc", good()), 401, "invalid_client", "client_secret"),
        ("grant_type=client_credentials&scope=system/*.rs".to_owned(), 401, "invalid_client", "client_assertion is missing"),
        (form(&assertion(), ""), 400, "invalid_scope", "scope is missing"),
        (form(&assertion(), "openid launch/patient nonsense system/Patient.sr"), 400, "invalid_scope", "scope"),
        (format!("{}&x={}", good(), "a".repeat(40_000)), 413, "invalid_request", "32 KiB"),
    ] {
        let said = refused(&ask(&caller, &form), status, error);
        assert!(said.contains(named), "{named}: {said}");
    }
    let json = caller.post("/auth/token", &[("Content-Type", "application/json")], b"{}");
    assert!(refused(&json, 400, "invalid_request").contains("form"));
    let fields = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", "Basic bGFiOng=")];
    refused(&caller.post("/auth/token", &fields, good().as_bytes()), 400, "invalid_request");
    let get = caller.get("/auth/token");
    assert_eq!((get.status, get.field("allow")), (405, Some("POST")));
    assert_eq!(ask(&caller, &format!("{}&client_id=lab&unknown=x", good())).status, 200);
}

#[test]
fn an_assertion_is_good_once_also_after_a_restart() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let mut config = config_of(&openemr, folder.path(), &[(&lab, everything())]);
    config["public_url"] = json!("https://gw.example");
    let form = form(&lab.assertion("https://gw.example/auth/token"), "system/Patient.rs");
    let first = Gateway::with(config.clone());
    assert_eq!(ask(&first.caller(), &form).status, 200);
    assert!(refused(&ask(&first.caller(), &form), 401, "invalid_client").contains("jti"));
    assert!(first.reload(&first.config).contains("is in force"));
    refused(&ask(&first.caller(), &form), 401, "invalid_client");
    drop(first);
    let second = Gateway::with(config);
    assert!(refused(&ask(&second.caller(), &form), 401, "invalid_client").contains("jti"));
    // As it is called, the endpoint has another URL than public_url says: that is good, too.
    lab.token(&second, "system/Patient.rs");
}

#[test]
fn scopes_are_those_of_the_policy_narrowed_to_those_asked_for() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let policy = json!({"scopes": [
        "system/Patient.rs",
        "system/Condition.cruds",
        "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
    ]});
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&lab, policy)]));
    let laboratory = "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
    for (asked, granted) in [
        ("system/Patient.read", "system/Patient.read"),
        ("system/Patient.r", "system/Patient.r"),
        ("system/Patient.cruds", "system/Patient.rs"),
        ("system/Patient.*", "system/Patient.rs"),
        ("system/Condition.write system/Goal.rs openid", "system/Condition.write"),
        ("system/Observation.read", laboratory),
        ("system/Patient.rs system/Patient.rs", "system/Patient.rs"),
    ] {
        assert_eq!(lab.ask(&gateway, asked).json()["scope"], granted, "{asked}");
    }
    let mut all: Vec<String> =
        lab.ask(&gateway, "system/*.read").json()["scope"].as_str().unwrap().split(' ').map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, ["system/Condition.rs", laboratory, "system/Patient.rs"]);
    for asked in ["system/Goal.rs", "system/Patient.d", "patient/Patient.rs", "user/Patient.read"] {
        refused(&lab.ask(&gateway, asked), 400, "invalid_scope");
    }
    let search_only = lab.token(&gateway, "system/Patient.s");
    assert_eq!(get(&gateway, PATIENTS, &search_only).status, 200);
    get(&gateway, &format!("/fhir/Patient/{}", Uuid::nil()), &search_only).outcome(403);
}

#[test]
fn a_reload_counts_at_the_next_request() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let (lab, other) = (SmartClient::es384("lab"), SmartClient::es384("other"));
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&lab, everything()), (&other, everything())]));
    let token = lab.token(&gateway, "system/*.rs");
    for target in [PATIENTS, OBSERVATIONS] {
        assert_eq!(get(&gateway, target, &token).status, 200);
    }
    let mut changed = gateway.config.clone();
    changed["access"]["clients"]["lab"]["scopes"] = json!(["system/Observation.rs"]);
    assert!(gateway.reload(&changed).contains("is in force"));
    get(&gateway, PATIENTS, &token).outcome(403);
    assert_eq!(get(&gateway, OBSERVATIONS, &token).status, 200);
    changed["access"]["clients"]["lab"]["allow_from"] = json!(["127.0.0.9/32"]);
    assert!(gateway.reload(&changed).contains("is in force"));
    get(&gateway, OBSERVATIONS, &token).outcome(403);
    changed["access"]["clients"].as_object_mut().unwrap().remove("lab");
    assert!(gateway.reload(&changed).contains("is in force"));
    get(&gateway, OBSERVATIONS, &token).outcome(401);
    refused(&lab.ask(&gateway, "system/*.rs"), 401, "invalid_client");
    // With the last client the endpoint goes.
    changed["access"]["clients"]["other"].as_object_mut().unwrap().remove("smart");
    changed["access"]["clients"]["other"]["api_keys"] = json!([format!("sha256:{}", "a".repeat(64))]);
    assert!(gateway.reload(&changed).contains("is in force"));
    let gone = other.ask(&gateway, "system/*.rs");
    assert!(matches!(gone.status, 401 | 404), "{}", gone.text());
    let configuration = gateway.caller().get("/fhir/.well-known/smart-configuration").json();
    assert_eq!(configuration.get("token_endpoint"), None);
}

#[test]
fn gateways_with_one_key_file_take_each_others_tokens() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let config = config_of(&openemr, folder.path(), &[(&lab, everything())]);
    let mut apart = config.clone();
    apart["access"]["token_key"] = json!(folder.path().join("other-key.pem"));
    let gateways = [Gateway::with(config.clone()), Gateway::with(config), Gateway::with(apart)];
    let [one, same, other] = &gateways;
    let token = lab.token(one, "system/Patient.rs");
    assert_eq!(get(same, PATIENTS, &token).status, 200);
    get(other, PATIENTS, &token).outcome(401);
    // A new key in front signs, and what the old one has signed is still good.
    let (file, mut text) = (folder.path().join("token-key.pem"), String::new());
    for name in ["other-key.pem", "token-key.pem"] {
        text += &fs::read_to_string(folder.path().join(name)).unwrap();
    }
    fs::write(&file, text).unwrap();
    let newer = lab.token(same, "system/Patient.rs");
    for gateway in &gateways {
        assert_eq!(get(gateway, PATIENTS, &newer).status, 200);
    }
    assert_eq!(get(same, PATIENTS, &token).status, 200);
    get(other, PATIENTS, &token).outcome(401);
}

#[test]
fn a_token_is_for_one_site() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let (lab, guest) = (SmartClient::es384("lab"), SmartClient::es384("guest"));
    let here = json!({"scopes": ["system/*.rs"], "sites": ["default"]});
    let mut config = config_of(&openemr, folder.path(), &[(&lab, everything()), (&guest, here)]);
    let mut second = site(&openemr.base, "RS384");
    second.as_object_mut().unwrap().remove("openemr");
    second["fhir_base"] = json!(format!("{}/apis/default/fhir", openemr.base));
    second["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    config["sites"]["second"] = second;
    let gateway = Gateway::with(config);
    let url = gateway.caller().get("/second/fhir/.well-known/smart-configuration").json()["token_endpoint"].clone();
    let url = url.as_str().unwrap();
    assert_eq!(url, "http://gateway.example/second/auth/token");
    let answer = ask_at(&gateway.caller(), "/second/auth/token", &form(&lab.assertion(url), "system/Patient.rs"));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(get(&gateway, "/second/fhir/Patient?_count=1", &token).status, 200);
    get(&gateway, PATIENTS, &token).outcome(401);
    get(&gateway, "/second/fhir/Patient?_count=1", &lab.token(&gateway, "system/Patient.rs")).outcome(401);
    // An assertion for one endpoint is none for another.
    let crossed = form(&lab.assertion(ENDPOINT), "system/Patient.rs");
    assert!(refused(&ask_at(&gateway.caller(), "/second/auth/token", &crossed), 401, "invalid_client").contains("aud"));
    let elsewhere = form(&guest.assertion(url), "system/Patient.rs");
    refused(&ask_at(&gateway.caller(), "/second/auth/token", &elsewhere), 403, "unauthorized_client");
}

#[test]
fn a_client_has_its_addresses() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let policy = json!({"scopes": ["system/*.rs"], "allow_from": ["127.0.0.1/32"]});
    let gateway = Gateway::with(config_of(&openemr, folder.path(), &[(&lab, policy)]));
    let token = lab.token(&gateway, "system/Patient.rs");
    let form = form(&lab.assertion(ENDPOINT), "system/Patient.rs");
    let away: IpAddr = "127.0.0.2".parse().unwrap();
    let send = |method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]| {
        let mut connection = gateway.caller().connect_from(away);
        connection.write(&request(method, target, fields, body));
        connection.read(method)
    };
    let asked = send("POST", "/auth/token", &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes());
    refused(&asked, 403, "unauthorized_client");
    send("GET", PATIENTS, &[("Authorization", &format!("Bearer {token}"))], b"").outcome(403);
}

#[test]
fn a_gateway_without_a_usable_key_file_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let lab = SmartClient::es384("lab");
    let mut config = crate::support::gateway::config_for("http://127.0.0.1:9");
    let key = folder.path().join("token-key.pem");
    fs::copy(keys("ES384").join("private_key.pem"), &key).unwrap();
    config["access"]["token_key"] = json!(key);
    config["access"]["clients"]["lab"] = lab.configured(folder.path(), &everything());
    config["listen"] = json!([{"address": crate::support::gateway::free_address().to_string()}]);
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, config.to_string()).unwrap();
    let mut process = Process::start(&["serve", "--config", file.to_str().unwrap()]);
    let ended = eventually("the gateway ends", || process.ended());
    let log = process.log();
    assert!(!ended.success() && log.contains("access.token_key") && log.contains("P-256"), "{log}");
}

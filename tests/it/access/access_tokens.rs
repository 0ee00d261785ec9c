//! Access tokens of the gateway's own, and the assertions for which it gives them, in the hands of somebody who forges, replays
//! and mixes them.

use std::fs;
use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::api_keys::{digest_of, key_of};
use super::smart_client::{ENDPOINT, SmartClient, ask, encoded, form, get, now, refused};
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";
const OBSERVATIONS: &str = "/fhir/Observation?_count=1";

/// A gateway with these clients, whose keys of tokens are in `folder`.
fn gateway(openemr: &OpenEmr, folder: &Path, clients: Value) -> Gateway {
    let mut config = config(openemr);
    config["access"]["token_key"] = json!(folder.join("token-key.pem"));
    config["access"]["clients"] = clients;
    Gateway::with(config)
}

fn reader() -> Value {
    json!({"scopes": ["system/Patient.rs", "system/Observation.rs"]})
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

#[test]
fn a_token_that_was_changed_or_forged_is_refused() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = gateway(&openemr, folder.path(), json!({"lab": lab.configured(folder.path(), &reader())}));
    let token = lab.token(&gateway, "system/Patient.rs");
    assert_eq!(get(&gateway, PATIENTS, &token).status, 200);
    let (header, claims) = (part(&token, 0), part(&token, 1));
    let signature = token.rsplit_once('.').unwrap().1;
    let signed = |header: &Value, claims: &Value| format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let pem = fs::read_to_string(folder.path().join("token-key.pem")).unwrap();
    let key = pem::parse(&pem[pem.find("-----BEGIN").unwrap()..]).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.contents()).unwrap();
    let hs256 = |secret: &[u8]| {
        let message = signed(&with(header.clone(), "alg", json!("HS256")), &claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{message}.{}", encoded(hmac::sign(&key, message.as_bytes())))
    };
    let point = pair.public_key().as_ref();
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[9] ^= 1;
    for (what, forged) in [
        ("more scopes", format!("{}.{signature}", signed(&header, &with(claims.clone(), "scope", json!("system/*.rs"))))),
        ("a longer life", format!("{}.{signature}", signed(&header, &with(claims.clone(), "exp", json!(now() + 9_999))))),
        ("one bit", format!("{}.{}", token.rsplit_once('.').unwrap().0, encoded(flipped))),
        ("no signature", format!("{}.", signed(&header, &claims))),
        ("alg none", format!("{}.", signed(&with(header.clone(), "alg", json!("none")), &claims))),
        ("alg None, signed", format!("{}.{signature}", signed(&with(header.clone(), "alg", json!("None")), &claims))),
        ("the public key as a secret", hs256(point)),
        ("its coordinates as a secret", hs256(&point[1..])),
        ("the client's own key", lab.sign(&with(header.clone(), "alg", json!("ES384")), &claims)),
        ("the client's own key, as ES256", lab.sign(&header, &claims)),
        ("a client assertion", lab.assertion(ENDPOINT)),
        ("another kid", format!("{}.{signature}", signed(&with(header.clone(), "kid", json!("k")), &claims))),
        ("four parts", format!("{token}.x")),
    ] {
        let answer = get(&gateway, PATIENTS, &forged);
        answer.outcome(401);
        assert!(answer.field("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{what}");
    }
    assert_eq!(get(&gateway, PATIENTS, &token).status, 200);
}

#[test]
fn an_access_token_is_no_client_assertion() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = gateway(&openemr, folder.path(), json!({"lab": lab.configured(folder.path(), &reader())}));
    let token = lab.token(&gateway, "system/Patient.rs");
    refused(&ask(&gateway.caller(), &form(&token, "system/*.rs")), 401, "invalid_client");
}

#[test]
fn a_key_beside_a_token_does_not_undo_what_the_token_narrows() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let mut client = lab.configured(folder.path(), &reader());
    client["api_keys"] = json!([digest_of("lab")]);
    let gateway = gateway(&openemr, folder.path(), json!({"lab": client}));
    let (token, key) = (lab.token(&gateway, "system/Patient.rs"), key_of("lab"));
    let bearer = format!("Bearer {token}");
    let both = [("Authorization", bearer.as_str()), ("X-API-Key", key.as_str())];
    let send = |target: &str, fields: &[(&str, &str)]| gateway.caller().send("GET", target, fields, b"");
    assert_eq!(send(PATIENTS, &both).status, 200);
    send(OBSERVATIONS, &both).outcome(403);
    assert_eq!(send(OBSERVATIONS, &both[1..]).status, 200);
}

#[test]
fn of_an_assertion_that_is_sent_many_times_at_once_one_is_good() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let clients = json!({"lab": lab.configured(folder.path(), &reader())});
    // Two gateways with one folder are one token server.
    let gateways = [gateway(&openemr, folder.path(), clients.clone()), gateway(&openemr, folder.path(), clients)];
    let form = form(&lab.assertion(ENDPOINT), "system/Patient.rs");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking = |at: usize| {
            let (caller, form) = (gateways[at % 2].caller(), &form);
            scope.spawn(move || ask(&caller, form).status)
        };
        let asked: Vec<_> = (0..16).map(asking).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 15, "{statuses:?}");
}

#[test]
fn the_kid_of_an_assertion_says_which_key_of_the_set_it_is_signed_with() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let (rsa, ec, old) = (SmartClient::rs384("lab"), SmartClient::es384("lab"), SmartClient::es384("lab"));
    let jwk = |client: &SmartClient, kid: &str| with(client.jwk_set()["keys"][0].clone(), "kid", json!(kid));
    // A set in which an id names keys of two kinds, as in a change from one to the other.
    let set = json!({"keys": [jwk(&rsa, "new"), jwk(&ec, "new"), jwk(&old, "old")]});
    let file = folder.path().join("lab.jwks.json");
    fs::write(&file, set.to_string()).unwrap();
    let gateway = gateway(&openemr, folder.path(), json!({"lab": with(reader(), "smart", json!({"jwks": file}))}));
    let asked = |client: &SmartClient, kid: &str| {
        let assertion = client.sign(&with(client.header(), "kid", json!(kid)), &client.claims(ENDPOINT));
        ask(&gateway.caller(), &form(&assertion, "system/Patient.rs"))
    };
    for (client, kid) in [(&rsa, "new"), (&ec, "new"), (&old, "old")] {
        assert_eq!(asked(client, kid).status, 200, "{} {kid}", client.alg());
    }
    for (client, kid, named) in
        [(&ec, "old", "signature"), (&old, "new", "signature"), (&rsa, "old", "signature"), (&ec, "k", "kid")]
    {
        let said = refused(&asked(client, kid), 401, "invalid_client");
        assert!(said.contains(named), "{kid}: {said}");
    }
}

#[test]
fn an_assertion_lives_five_minutes_at_most() {
    let (openemr, folder) = (OpenEmr::start(), tempfile::tempdir().unwrap());
    let lab = SmartClient::es384("lab");
    let gateway = gateway(&openemr, folder.path(), json!({"lab": lab.configured(folder.path(), &reader())}));
    // Clocks may be 30 s apart.
    for (exp, status) in [(json!(now() + 300), 200), (json!(now() + 340), 401), (json!(u64::MAX), 401), (json!("300"), 401)] {
        let assertion = lab.sign(&lab.header(), &with(lab.claims(ENDPOINT), "exp", exp.clone()));
        let answer = ask(&gateway.caller(), &form(&assertion, "system/Patient.rs"));
        assert_eq!(answer.status, status, "{exp}: {}", answer.text());
    }
}

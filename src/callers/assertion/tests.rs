#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::keys::SigningKey;
use crate::keys::generate::{NewKey, generate};
use crate::keys::jwk_set::JwkSet;

const URL: &str = "http://gw/auth/token";
const NOW: i64 = 1_800_000_000;

fn claims() -> Value {
    json!({"iss": "lab", "sub": "lab", "aud": URL, "exp": NOW + 300, "jti": "one"})
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap()))
}

fn header(key: &SigningKey, kid: &str) -> Value {
    json!({"alg": key.algorithm().as_str(), "kid": kid, "typ": "JWT"})
}

fn verified(text: &str, set: &JwkSet) -> Result<Verified, OAuthError> {
    let assertion = Assertion::parse(text)?;
    assert_eq!(assertion.client()?, "lab");
    assertion.verify(set.keys().iter(), &[URL.to_owned(), "https://gw.example.org/auth/token".to_owned()], NOW)
}

fn why(text: &str, set: &JwkSet) -> String {
    verified(text, set).unwrap_err().error_description.into_owned()
}

#[test]
fn both_algorithms_of_smart_are_taken() {
    for kind in [NewKey::Rsa2048, NewKey::P384] {
        let key = generate(kind).unwrap().key;
        let set = JwkSet::of(&key, "k");
        let good = Verified { jti: "one".to_owned(), until: NOW + 330 };
        assert_eq!(verified(&signed(&key, &header(&key, "k"), &claims()), &set), Ok(good));
        for (name, value) in [
            ("aud", json!([URL, "x"])),
            ("aud", json!("https://gw.example.org/auth/token")),
            ("exp", json!(NOW + 330)),
            ("exp", json!(NOW - 29)),
            ("exp", json!(NOW as f64 + 0.5)),
            ("nbf", json!(NOW + 30)),
            ("iat", json!(NOW - 9999)),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert!(verified(&signed(&key, &header(&key, "k"), &claims), &set).is_ok(), "{claims}");
        }
    }
}

#[test]
fn each_fault_of_the_claims_is_named() {
    let key = generate(NewKey::P384).unwrap().key;
    let set = JwkSet::of(&key, "k");
    for (name, value, named) in [
        ("aud", json!(null), "no aud"),
        ("aud", json!("http://other/auth/token"), "The aud of"),
        ("aud", json!("http://gw/auth/token/"), "The aud of"),
        ("aud", json!([]), "The aud of"),
        ("aud", json!(7), "no JSON object"),
        ("exp", json!(null), "no exp"),
        ("exp", json!(NOW - 30), "has expired"),
        ("exp", json!(NOW + 331), "more than five minutes"),
        ("exp", json!(1e300), "no exp"),
        ("exp", json!(-5), "no exp"),
        ("exp", json!("soon"), "no JSON object"),
        ("nbf", json!(NOW + 31), "nbf or iat"),
        ("iat", json!(NOW + 31), "nbf or iat"),
        ("jti", json!(null), "no jti"),
        ("jti", json!(""), "no jti"),
        ("iss", json!("other"), "iss and sub"),
        ("sub", json!(null), "lacks iss or sub"),
    ] {
        let mut claims = claims();
        claims[name] = value;
        let said = why(&signed(&key, &header(&key, "k"), &claims), &set);
        assert!(said.contains(named), "{claims}: {said}");
    }
    let twice = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header(&key, "k").to_string()),
        URL_SAFE_NO_PAD.encode(r#"{"sub":"lab","sub":"all"}"#)
    );
    assert!(Assertion::parse(&format!("{twice}.AA")).unwrap_err().error_description.contains("each once"));
}

#[test]
fn no_other_key_and_no_other_algorithm_will_do() {
    let key = generate(NewKey::P384).unwrap().key;
    let rsa = SigningKey::from_pem(include_str!("../../../tests/keys/rsa2048-pkcs8.pem").as_bytes()).unwrap();
    let other = generate(NewKey::P384).unwrap().key;
    let set = JwkSet::of(&key, "k");
    for (text, named) in [
        (signed(&key, &header(&key, "x"), &claims()), "no key with the kid"),
        (signed(&other, &header(&other, "k"), &claims()), "signature"),
        (signed(&rsa, &header(&rsa, "k"), &claims()), "signature"),
        (signed(&key, &json!({"alg": "RS384", "kid": "k"}), &claims()), "signature"),
        (signed(&key, &json!({"alg": "none", "kid": "k"}), &claims()), "algorithm"),
        (signed(&key, &json!({"alg": "HS384", "kid": "k"}), &claims()), "algorithm"),
        (signed(&key, &json!({"alg": "es384", "kid": "k"}), &claims()), "algorithm"),
        (signed(&key, &json!({"alg": "ES384"}), &claims()), "no kid"),
        (signed(&key, &json!({"alg": "ES384", "kid": "k", "typ": "at+jwt"}), &claims()), "typ"),
        (signed(&key, &json!({"alg": "ES384", "kid": "k", "crit": ["exp"]}), &claims()), "crit"),
        ("a.b".to_owned(), "no signed JWT"),
        (String::new(), "no signed JWT"),
    ] {
        let said = why(&text, &set);
        assert!(said.contains(named), "{text}: {said}");
    }
    let unsigned = signed(&key, &header(&key, "k"), &claims());
    let unsigned = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert!(why(&unsigned, &set).contains("signature"));
}

#[test]
fn of_several_keys_with_one_kid_each_of_the_kind_is_tried() {
    let keys = [generate(NewKey::P384).unwrap().key, generate(NewKey::P384).unwrap().key];
    let rsa = SigningKey::from_pem(include_str!("../../../tests/keys/rsa2048-pkcs8.pem").as_bytes()).unwrap();
    let jwks: Vec<Jwk> = std::iter::once(&rsa).chain(&keys).map(|key| Jwk::of(key, "k")).collect();
    for key in std::iter::once(&rsa).chain(&keys) {
        let text = signed(key, &header(key, "k"), &claims());
        assert!(Assertion::parse(&text).unwrap().verify(jwks.iter(), &[URL.to_owned()], NOW).is_ok());
    }
    // A key that its owner keeps for other uses signs nothing here.
    let mut encryption = keys[0].jwk("k");
    encryption["use"] = json!("enc");
    let text = signed(&keys[0], &header(&keys[0], "k"), &claims());
    let jwk = Jwk::from_value(&encryption).unwrap();
    assert!(Assertion::parse(&text).unwrap().verify(std::iter::once(&jwk), &[URL.to_owned()], NOW).is_err());
}

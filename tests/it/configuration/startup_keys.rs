//! Start-up fails, with the remedy, for private keys and JWK Sets that do not fit each other or OpenEMR.

use crate::support::command::{Folder, changed, check, fails, own_key, passes};

const JWKS: &str = "keys/jwks.json";
const KEY: &str = "keys/private_key.pem";

#[test]
fn keys_that_cannot_sign() {
    for (pem, message, remedy) in [
        (include_str!("../../keys/rsa1024.pem"), "holds an RSA key of 1024 bits; at least 2048 are needed", "keys generate"),
        (
            include_str!("../../keys/p256.pem"),
            "holds an EC P-256 key; client assertions are signed with an RSA or an EC P-384 key",
            "keys generate",
        ),
        (
            include_str!("../../keys/ed25519.pem"),
            "holds an Ed25519 key; client assertions are signed with an RSA or an EC P-384 key",
            "keys generate",
        ),
        (
            include_str!("../../keys/rsa-pss.pem"),
            "holds an RSA-PSS key; client assertions are signed with an RSA or an EC P-384 key",
            "keys generate",
        ),
        (
            include_str!("../../keys/encrypted-pkcs8.pem"),
            "is encrypted with a passphrase",
            "openssl pkey -in keys/private_key.pem -out",
        ),
        (
            include_str!("../../keys/encrypted-pkcs1.pem"),
            "is encrypted with a passphrase",
            "openssl pkey -in keys/private_key.pem -out",
        ),
        (include_str!("../../keys/public.pem"), "holds a PUBLIC KEY, not a private key", "name the private key's file"),
        ("hello", "is not a PEM file", "keys generate"),
    ] {
        let folder = Folder::good();
        folder.secret(KEY, pem);
        fails(
            &folder,
            &[],
            &format!(
                "conf/gateway.yaml: sites.default.private_key: keys/private_key.pem ({{abs}}keys/private_key.pem) {message}"
            ),
            remedy,
        );
    }
}

#[test]
fn a_key_in_place_of_its_file_is_not_repeated() {
    let pem = include_str!("../../keys/rsa2048-pkcs8.pem");
    let folder = changed("private_key: keys/private_key.pem", "private_key: ${KEY}");
    let ended = check(&folder, &[("KEY", pem)]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("sites.default.private_key: holds a key"), "{}", ended.err);
    let secret = pem.lines().nth(1).unwrap();
    assert!(!ended.err.contains(secret.get(..20).unwrap()), "{}", ended.err);
}

#[test]
fn every_good_form_of_key_passes() {
    for pem in [include_str!("../../keys/rsa2048-pkcs1.pem"), include_str!("../../keys/rsa2048-pkcs8.pem")] {
        let folder = Folder::good();
        folder.secret(KEY, pem);
        passes(&folder, &[]);
    }
    for pem in [include_str!("../../keys/p384-pkcs8.pem"), include_str!("../../keys/p384-sec1.pem")] {
        let folder = Folder::good();
        folder.secret(KEY, pem);
        folder.make_jwks();
        let ended = check(&folder, &[]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.contains("warning: ") && ended.err.contains("ES384"), "{}", ended.err);
    }
}

const OTHER: &str = r#"{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4gs_7svlJJQ4H9_NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBIY2EaV7t7LjJaynVJCpkv4LKjTTAumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw","e":"AQAB","kid":"other"}"#;

fn set(folder: &Folder, keys: &[&serde_json::Value]) {
    folder.write(JWKS, &serde_json::json!({ "keys": keys }).to_string());
}

#[test]
fn jwk_sets_that_do_not_fit() {
    let other: serde_json::Value = serde_json::from_str(OTHER).unwrap();
    let of_set = "conf/gateway.yaml: sites.default.jwks:";
    let file = "keys/jwks.json ({abs}keys/jwks.json)";

    let folder = Folder::good();
    let own = own_key(&folder);
    let kid = own["kid"].as_str().unwrap().to_owned();
    set(&folder, &[&other]);
    fails(
        &folder,
        &[],
        &format!("{of_set} kid `{kid}` is not in {file}, which holds other"),
        "move that file away, and write the key's own:  openemr-gateway keys jwks --private-key keys/private_key.pem --out keys/jwks.json",
    );

    let folder = changed("client_id: abc", "client_id: abc\n    kid: wrong");
    fails(
        &folder,
        &[],
        &format!("conf/gateway.yaml: sites.default.kid: kid `wrong` is not in {file}, which holds {kid}"),
        &format!("stands there as `{kid}`"),
    );

    let folder = changed("client_id: abc", "client_id: abc\n    kid: other");
    set(&folder, &[&other]);
    fails(
        &folder,
        &[],
        &format!(
            "{of_set} the key of kid `other` in {file} does not belong to keys/private_key.pem ({{abs}}keys/private_key.pem)"
        ),
        "keys jwks",
    );

    let folder = Folder::good();
    let mut private = own.clone();
    private["d"] = "c2VjcmV0".into();
    private["qi"] = "c2VjcmV0".into();
    set(&folder, &[&private]);
    fails(&folder, &[], &format!("{of_set} {file} holds private members: keys[0].d, keys[0].qi"), "make a new key");
    assert!(!check(&folder, &[]).err.contains("c2VjcmV0"));

    let folder = Folder::good();
    set(&folder, &[&other, &own]);
    fails(
        &folder,
        &[],
        &format!(
            "{of_set} in {file} another RSA key (other) stands before the signing one (`{kid}`); OpenEMR verifies with the first, whatever the kid"
        ),
        "move the signing key to the front",
    );
    set(&folder, &[&own, &other]);
    passes(&folder, &[]);

    set(&folder, &[&own, &own]);
    fails(&folder, &[], &format!("{of_set} {file} holds more than one key of kid `{kid}`"), "keep one");

    folder.write(JWKS, "not json");
    fails(&folder, &[], &format!("{of_set} {file} is not JSON (line 1, column 2)"), "keys jwks");
    folder.write(JWKS, &own.to_string());
    fails(&folder, &[], &format!("{of_set} {file} is a single JWK, not a JWK Set"), "keys jwks");
    folder.write(JWKS, &" ".repeat(256 * 1024 + 1));
    fails(&folder, &[], &format!("{of_set} {file} is larger than 262144 bytes"), "keys jwks");
}

#[test]
fn a_kid_of_somebody_elses_making_is_found() {
    let folder = Folder::good();
    let mut own = own_key(&folder);
    own["kid"] = "registered-in-2023".into();
    set(&folder, &[&own]);
    assert!(passes(&folder, &[]).contains("kid: registered-in-2023\n"));
}

//! The forms in which files and keys come: from editors, from environment variables, from other tools. Each is read, or named for
//! what it is.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::command::{Folder, GOOD, check, fails, own_key, passes};
use crate::support::gateway::{Gateway, config, copy_keys};
use crate::support::openemr::OpenEmr;

const CONFIG: &str = "conf/gateway.yaml";
const KEY: &str = "keys/private_key.pem";
const JWKS: &str = "keys/jwks.json";
const PEM: &str = include_str!("../../keys/rsa2048-pkcs8.pem");

/// The DER of the first block of a PEM file.
fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_key_is_read_in_every_wrapping() {
    let plain = passes(&Folder::good(), &[]);
    let escaped = PEM.replace('\n', "\\n");
    let base64 = STANDARD.encode(PEM);
    for key in [
        format!("\u{feff}{PEM}"),
        PEM.replace('\n', "\r\n"),
        PEM.replace('\n', " "),
        escaped.clone(),
        format!("\"{escaped}\"\n"),
        base64.clone(),
        base64.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect(),
        STANDARD.encode(escaped),
    ] {
        let folder = Folder::good();
        folder.secret(KEY, &key);
        assert_eq!(passes(&folder, &[]), plain, "{key}");
        let jwks = folder.run(&["keys", "jwks", "--private-key", KEY]);
        assert_eq!((jwks.code, jwks.out), (0, folder.read(JWKS)), "{key}");
    }
}

#[test]
fn what_is_no_private_key_in_pem_is_named_and_not_answered_with_a_new_key() {
    let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert;
    let public = include_str!("../../keys/public.pem");
    for (key, message, remedy) in [
        (der(PEM), "is a DER file, not PEM", "openssl pkey -inform DER"),
        (STANDARD.encode(der(PEM)).into_bytes(), "holds the base64 of a key without the lines", "openssl base64 -d"),
        (der(public), "holds a public key in DER, not a private key", "name the private key's file"),
        (certificate.der().to_vec(), "holds a certificate in DER, not a private key", "name the private key's file"),
        (certificate.pem().into_bytes(), "holds a CERTIFICATE, not a private key", "name the private key's file"),
        (der(include_str!("../../keys/encrypted-pkcs8.pem")), "is encrypted with a passphrase", "openssl pkey -in"),
        (STANDARD.encode(include_str!("../../keys/encrypted-pkcs8.pem")).into(), "is encrypted", "openssl pkey -in"),
        (utf16(PEM), "is UTF-16 text, not ASCII or UTF-8", "iconv"),
        (b"PuTTY-User-Key-File-3: ssh-rsa".to_vec(), "is in PuTTY's own format", "puttygen"),
        (b"ssh-rsa AAAAB3NzaC1yc2E a@b".to_vec(), "holds a public key in OpenSSH's format", "name the private key's file"),
        (br#"{"kty":"RSA","n":"AQAB"}"#.to_vec(), "holds JSON, as a JWK is, not PEM", "convert the key to PEM"),
        (PEM.replace("-----END", "END").into_bytes(), "is damaged: a block has no END line", "copy it again, whole"),
    ] {
        let folder = Folder::good();
        fs::write(folder.path(KEY), &key).unwrap();
        let ended = check(&folder, &[]);
        let named = "sites.default.private_key: keys/private_key.pem (";
        assert!(ended.code == 1 && ended.err.contains(named) && ended.err.contains(message), "{}", ended.err);
        assert!(ended.err.contains(remedy) && !ended.err.contains("create one"), "{message}: {}", ended.err);
        let jwks = folder.run(&["keys", "jwks", "--private-key", KEY]);
        assert!(jwks.code != 0 && jwks.err.contains(message) && !jwks.err.contains("create one"), "{}", jwks.err);
    }
}

#[test]
fn a_key_where_its_file_is_named_is_not_repeated_in_any_form() {
    for key in [
        PEM.to_owned(),
        PEM.replace('\n', "\\n"),
        STANDARD.encode(PEM),
        STANDARD.encode(der(PEM)),
        r#"{"kty":"RSA","n":"AQAB","d":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#.to_owned(),
    ] {
        for (variable, place) in [("PRIVATE_KEY_PATH", "PRIVATE_KEY_PATH"), ("JWKS_PATH", "JWKS_PATH")] {
            let ended = check(&Folder::good(), &[(variable, &key)]);
            assert!(ended.code == 1 && ended.err.contains(&format!("{place}: holds a key")), "{}", ended.err);
            assert!(!ended.err.contains("create one"), "{}", ended.err);
            let secret = &key[key.len() / 2..key.len() / 2 + 16];
            assert!(!ended.err.contains(secret), "{}", ended.err);
        }
    }
}

#[test]
fn the_key_of_a_listener_is_read_and_named_likewise() {
    let listen = "listen: [{address: \"127.0.0.1:8443\", tls: {certificate: certs/localhost.pem, private_key: certs/localhost-key.pem}}]\n";
    let folder = Folder::good();
    folder.write(CONFIG, &format!("{listen}{GOOD}"));
    assert_eq!(folder.run(&["keys", "certificate"]).code, 0);
    let file = "certs/localhost-key.pem";
    let pem = folder.read(file);
    for key in [pem.replace('\n', "\\n"), STANDARD.encode(&pem)] {
        folder.secret(file, &key);
        passes(&folder, &[]);
    }
    fs::write(folder.path(file), der(&pem)).unwrap();
    let ended = check(&folder, &[]);
    assert!(ended.code == 1 && ended.err.contains("it is a DER file, not PEM"), "{}", ended.err);
}

#[test]
fn utf_16_is_named_and_a_byte_order_mark_is_read_over() {
    let folder = Folder::good();
    fs::write(folder.path(CONFIG), utf16(GOOD)).unwrap();
    let ended = check(&folder, &[]);
    assert!(ended.err.contains("is UTF-16 text, not UTF-8\n  save it as UTF-8"), "{}", ended.err);

    let folder = Folder::good();
    fs::write(folder.path(JWKS), utf16(&folder.read(JWKS))).unwrap();
    assert!(check(&folder, &[]).err.contains("is UTF-16 text; JSON is UTF-8"));

    let folder = Folder::good();
    folder.write(".env", "\u{feff}CLIENT_ID=from-the-file\r\n");
    let ended = folder.run(&["config", "check", "--env-file", ".env"]);
    assert!(ended.code == 0 && ended.out.contains("client_id: from-the-file\n"), "{}{}", ended.out, ended.err);
    fs::write(folder.path(".env"), utf16("CLIENT_ID=x\n")).unwrap();
    let ended = folder.run(&["config", "check", "--env-file", ".env"]);
    assert!(ended.code == 1 && ended.err.contains("is UTF-16 text, not UTF-8"), "{}", ended.err);
}

#[test]
fn references_in_the_env_file_are_replaced_and_what_is_not_set_is_named() {
    let folder = Folder::good();
    let text = "HOST=emr.example.org\nOEMR_BASE=\"https://${HOST}\"\nCLIENT_ID=${NAME:-a}-${HOST}\nSITE='default'\n";
    folder.write(".env", text);
    let run = |variables: &[(&str, &str)]| folder.run_with(&["config", "check", "--env-file", ".env"], variables);
    let ended = run(&[]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("fhir_base: https://emr.example.org/apis/default/fhir\n"), "{}", ended.out);
    assert!(ended.out.contains("client_id: a-emr.example.org\n"), "{}", ended.out);
    // The process's own variables come first.
    let ended = run(&[("HOST", "other.example.org"), ("NAME", "b")]);
    assert!(ended.out.contains("client_id: b-other.example.org\n"), "{}", ended.out);
    // In single quotes everything is literal.
    folder.write(".env", "HOST=emr.example.org\nCLIENT_ID='${HOST}'\n");
    let ended = run(&[]);
    assert!(ended.out.contains("client_id: $${HOST}\n"), "{}{}", ended.out, ended.err);
    folder.write(".env", "CLIENT_ID=abc${MISSING}\n");
    let ended = run(&[]);
    assert!(ended.out.contains("client_id: abc\n"), "{}{}", ended.out, ended.err);
    assert!(
        ended.err.starts_with("warning: .env: line 1 of .env (") && ended.err.contains("${MISSING} is not set"),
        "{}",
        ended.err
    );
}

/// A set of these keys, as JSON.
fn set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

#[test]
fn malformed_keys_of_others_are_ignored_with_a_warning() {
    let folder = Folder::good();
    let own = own_key(&folder);
    let plain = passes(&folder, &[]);
    for (other, reason) in [
        (json!({"kty": "RSA", "kid": "x", "e": "AQAB"}), "keys[0]: `n` is missing or malformed"),
        (json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}), "keys[0]: `x` is missing or malformed"),
        (json!({"kid": "x"}), "keys[0]: `kty` is missing or malformed"),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "keys[0]: it is a symmetric key"),
        (json!(7), "keys[0]: it is no object"),
    ] {
        folder.write(JWKS, &set(&[&other, &own]));
        let ended = check(&folder, &[]);
        assert_eq!((ended.code, &ended.out), (0, &plain), "{other}: {}", ended.err);
        assert!(ended.err.starts_with("warning: ") && ended.err.contains(reason), "{other}: {}", ended.err);
        assert!(!ended.err.contains("c2VjcmV0"), "{}", ended.err);
    }
    for other in [json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), json!({"kty": "new", "x": 1})] {
        folder.write(JWKS, &set(&[&other, &own]));
        assert_eq!(passes(&folder, &[]), plain, "{other}");
    }
    // The gateway's own key is no key of others.
    let mut broken = own.clone();
    broken["n"] = json!("");
    folder.write(JWKS, &set(&[&broken]));
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.jwks: keys/jwks.json ({abs}keys/jwks.json) keys[0]: `n` is missing or malformed",
        "keys jwks",
    );
}

#[test]
fn a_jwk_that_contradicts_the_signing_is_an_error_everywhere() {
    for (member, value, words) in [
        ("alg", json!("RS256"), "says `alg` RS256, and the gateway signs with RS384"),
        ("use", json!("enc"), "says `use` enc, and it is used for signatures (sig)"),
        ("key_ops", json!(["encrypt"]), "has no `verify` in `key_ops`"),
    ] {
        let folder = Folder::good();
        let mut own = own_key(&folder);
        own[member] = value;
        folder.write(JWKS, &set(&[&own]));
        for command in [&["config", "check"][..], &["serve", "--test"], &["keys", "status"]] {
            let ended = folder.run(command);
            assert!(ended.code != 0 && ended.err.contains(words), "{command:?}: {}", ended.err);
        }
    }
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let mut config = config(&openemr);
    copy_keys(&mut config, &folder.path(""));
    let gateway = Gateway::with(config.clone());
    let jwks = gateway.caller().get("/.well-known/jwks.json").json();
    let mut own = jwks["keys"][0].clone();
    own["use"] = json!("enc");
    folder.write("jwks.json", &set(&[&own]));
    let log = gateway.reload(&gateway.config);
    assert!(log.contains("says `use` enc") && log.contains("stays as it is"), "{log}");
    assert_eq!(gateway.caller().get("/.well-known/jwks.json").json(), jwks);
}

#[test]
fn every_list_and_required_key_left_blank_is_named() {
    for (from, to, message) in [
        ("[system/Patient.read, system/Observation.read]", "[]", "sites.default.scopes"),
        ("[system/Patient.read, system/Observation.read]", "\"\"", "sites.default.scopes"),
        ("[system/Patient.read, system/Observation.read]", "[\"\"]", "sites.default.scopes"),
        ("[system/Patient.read, system/Observation.read]", "[~]", "sites.default.scopes"),
        ("client_id: abc", "client_id: \"\"", "sites.default.client_id"),
        ("client_id: abc", "client_id: \" \"", "sites.default.client_id"),
        ("openemr: https://emr.example.org", "openemr: []", "sites.default.openemr"),
        ("openemr: https://emr.example.org", "openemr: \"\"", "sites.default.openemr"),
        ("private_key: keys/private_key.pem", "private_key: \"\"", "sites.default.private_key"),
        ("jwks: keys/jwks.json", "jwks: \"\"", "sites.default.jwks"),
    ] {
        let folder = Folder::good();
        folder.replace(CONFIG, from, to);
        let ended = check(&folder, &[]);
        assert!(
            ended.code == 1 && ended.err.contains("error: conf/gateway.yaml:") && ended.err.contains(message),
            "{to}: {}",
            ended.err
        );
    }
}

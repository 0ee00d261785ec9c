//! JWTs of the organisation's identity provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::api_keys::{client, key_of};
use super::provider::{Provider, now};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway whose client `lab` has JWTs of a provider.
struct Door {
    provider: Provider,
    openemr: OpenEmr,
    gateway: Gateway,
}

impl Door {
    fn open(provider: Provider) -> Self {
        let openemr = OpenEmr::start();
        let mut config = config(&openemr);
        config["log"]["level"] = json!("debug");
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["issuers"] = json!({"corp": provider.issuer()});
        let lab = json!({"policy": "everything", "jwt": {"issuer": "corp", "subject": "lab-service"}});
        config["access"]["clients"] = json!({"lab": lab, "app": client("app")});
        Self { gateway: Gateway::with(config), openemr, provider }
    }

    fn get(&self, token: &str) -> Answer {
        self.gateway.caller().send("GET", PATIENTS, &[("Authorization", &format!("Bearer {token}"))], b"")
    }

    fn status(&self, token: &str) -> u16 {
        self.get(token).status
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = Provider::claims();
    change(&mut claims);
    claims
}

#[test]
fn a_good_token_shows_its_client_and_travels_nowhere() {
    let door = Door::open(Provider::start());
    let sign = |algorithm, kid| door.provider.sign_as(algorithm, kid, &Provider::claims());
    for token in [
        sign(Algorithm::RS256, Some("rsa")),
        sign(Algorithm::ES256, Some("ec")),
        sign(Algorithm::RS256, None),
        door.provider.sign(&changed(|claims| claims["aud"] = json!(["other", "openemr-gateway"]))),
        door.provider.sign(&changed(|claims| claims["exp"] = json!(now() - 30))),
    ] {
        let answer = door.get(&token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = door.openemr.received("authorization");
        assert!(sent.len() == 1 && !sent[0].contains(&token), "{sent:?}");
        let line = door.gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains("client=lab"), "{line}");
        let signature = token.rsplit_once('.').unwrap().1;
        assert!(!door.gateway.log().contains(signature), "the token is in the log");
    }
    assert_eq!(door.provider.asked(), 1, "the keys are kept");
    // Beside another credential: of another client, and of nobody.
    let bearer = format!("Bearer {}", door.provider.sign(&Provider::claims()));
    for (key, status) in [(key_of("app"), 400), (key_of("nobody"), 401)] {
        let fields = [("Authorization", bearer.as_str()), ("X-API-Key", key.as_str())];
        door.gateway.caller().send("GET", PATIENTS, &fields, b"").outcome(status);
    }
}

#[test]
fn a_token_that_is_not_good_is_401() {
    let door = Door::open(Provider::start());
    let sign = |change: fn(&mut Value)| door.provider.sign(&changed(change));
    let good = door.provider.sign(&Provider::claims());
    assert_eq!(door.status(&good), 200);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let claims = signed.split_once('.').unwrap().1;
    let with_header = |header: &str, signature: &str| format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(header));
    let flipped = {
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 4;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let as_hs256 = door.provider.sign_as(Algorithm::HS256, Some("rsa"), &Provider::claims());
    let before = door.openemr.count("fhir_requests");
    for (what, token) in [
        ("one bit changed", format!("{signed}.{flipped}")),
        ("no signature", format!("{signed}.")),
        ("alg none", with_header(r#"{"alg":"none"}"#, "")),
        ("alg none with a kid", with_header(r#"{"alg":"none","kid":"rsa"}"#, signature)),
        ("the public key as a secret", as_hs256),
        ("an algorithm that is not on the list", door.provider.sign_as(Algorithm::RS512, Some("rsa"), &Provider::claims())),
        ("a key of another kind", door.provider.sign_as(Algorithm::RS256, Some("ec"), &Provider::claims())),
        ("crit", with_header(r#"{"alg":"RS256","kid":"rsa","crit":["x"],"x":1}"#, signature)),
        ("another aud", sign(|claims| claims["aud"] = json!("other"))),
        ("no aud", sign(|claims| drop(claims.as_object_mut().unwrap().remove("aud")))),
        ("no exp", sign(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("expired", sign(|claims| claims["exp"] = json!(now() - 100))),
        ("not good yet", sign(|claims| claims["nbf"] = json!(now() + 100))),
        ("another iss", sign(|claims| claims["iss"] = json!("https://id.example.org"))),
        ("no iss", sign(|claims| drop(claims.as_object_mut().unwrap().remove("iss")))),
        ("nobody's azp", sign(|claims| claims["azp"] = json!("lab"))),
        ("an azp that is a list", sign(|claims| claims["azp"] = json!(["lab-service"]))),
        ("no azp", sign(|claims| drop(claims.as_object_mut().unwrap().remove("azp")))),
        ("overlong", format!("{}{good}", "A".repeat(17_000))),
        ("two dots", "..".to_owned()),
    ] {
        let answer = door.get(&token);
        answer.outcome(401);
        assert_eq!(answer.json()["issue"][0]["code"], "login", "{what}");
        assert!(answer.field("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{what}");
    }
    assert_eq!(door.openemr.count("fhir_requests"), before, "none reached OpenEMR");
    assert_eq!(door.status(&good), 200);
}

#[test]
fn a_flood_of_unknown_keys_costs_the_provider_one_fetch() {
    let door = Door::open(Provider::start());
    let good = door.provider.sign(&Provider::claims());
    assert_eq!(door.status(&good), 200);
    let flood = |part: usize| {
        let mut connection = door.gateway.caller().connect();
        for index in 0..100 {
            let token = door.provider.sign_as(Algorithm::ES256, Some(&format!("{part}-{index}")), &Provider::claims());
            connection.write(&request("GET", PATIENTS, &[("Authorization", &format!("Bearer {token}"))], b""));
            assert_eq!(connection.read("GET").status, 401);
        }
    };
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || flood(part));
        }
    });
    // The first fetch is under half a minute old, or one more was due.
    assert!(door.provider.asked() <= 3, "{}", door.provider.asked());
    assert_eq!(door.status(&good), 200);
}

#[test]
fn while_the_provider_is_down_its_keys_stay_in_use() {
    let door = Door::open(Provider::start());
    let good = door.provider.sign(&Provider::claims());
    assert_eq!(door.status(&good), 200);
    door.provider.set_down(true);
    let unknown = door.provider.sign_as(Algorithm::ES256, Some("new"), &Provider::claims());
    assert_eq!((door.status(&good), door.status(&unknown), door.status(&good)), (200, 401, 200));
    let mut config = door.gateway.config.clone();
    config["access"]["clients"]["more"] = client("more");
    assert!(door.gateway.reload(&config).contains("is in force"));
    assert_eq!(door.status(&good), 200, "over a reload, too");
}

#[test]
fn where_no_key_is_known_the_answer_is_503() {
    let provider = Provider::start();
    provider.set_down(true);
    let door = Door::open(provider);
    let good = door.provider.sign(&Provider::claims());
    let answer = door.get(&good);
    answer.outcome(503);
    assert!(answer.field("retry-after").is_some());
    let log = door.gateway.logs(&["JWK Set", "none is known"]);
    assert!(log.contains("127.0.0.1"), "{log}");
    let asked = door.provider.asked();
    assert_eq!(door.status(&good), 503);
    assert!(door.provider.asked() <= asked + 1);
    door.provider.set_down(false);
    crate::support::eventually("the keys are fetched", || (door.status(&good) == 200).then_some(()));
}

#[test]
fn the_keys_of_a_smart_client_come_from_its_url_and_a_flood_costs_one_fetch() {
    let (provider, openemr) = (Provider::start(), OpenEmr::start());
    let mut config = config(&openemr);
    config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
    config["access"]["clients"] = json!({"bulk": {"policy": "everything", "smart": {"jwks_uri": provider.jwks_uri()}}});
    let folder = tempfile::tempdir().unwrap();
    config["access"]["token_key"] = json!(folder.path().join("token-key.pem"));
    let gateway = Gateway::with(config);
    let endpoint = gateway.caller().get("/fhir/.well-known/smart-configuration").json()["token_endpoint"].clone();
    let error = |kid: &str, jti: String| {
        let claims = json!({"iss": "bulk", "sub": "bulk", "aud": endpoint, "exp": now() + 100, "jti": jti});
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", "system/Patient.rs")
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &provider.sign_as(Algorithm::RS384, Some(kid), &claims))
            .finish();
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = gateway.caller().post("/auth/token", &fields, form.as_bytes());
        (answer.status, answer.json()["error"].as_str().map(str::to_owned))
    };
    // The client is known: what it may have is the policy's matter.
    let known = |(status, error): (u16, Option<String>)| status == 200 || error.as_deref() == Some("invalid_scope");
    assert!(known(error("smart", "a".to_owned())));
    assert_eq!(provider.asked(), 1);
    for index in 0..100 {
        let (status, error) = error(&format!("unknown {index}"), index.to_string());
        assert_eq!((status, error.as_deref()), (401, Some("invalid_client")));
    }
    assert!(provider.asked() <= 2, "{}", provider.asked());
    provider.set_down(true);
    assert!(known(error("smart", "b".to_owned())), "what is known stays in use");
}

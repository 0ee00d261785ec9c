#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;
use crate::access::clients::Subject;
use crate::access::policy::Policy;
use crate::access::remote_keys::RemoteKeys;
use crate::keys::SigningKey;

const URL: &str = "http://127.0.0.1:1/keys";
const RSA: &str = include_str!("../../../tests/keys/rsa2048-pkcs1.pem");

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An identity provider with a key of each kind: `rsa`, `p256` and `p384`.
struct Corp {
    rsa: EncodingKey,
    p256: EncodingKey,
    p384: EncodingKey,
    set: Value,
    algorithms: Vec<JwtAlgorithm>,
    policy: Policy,
    scope_claim: Option<&'static str>,
}

impl Corp {
    fn new() -> Self {
        let public = SigningKey::from_pem(RSA.as_bytes()).unwrap().jwk("rsa");
        let mut keys = vec![json!({"kty": "RSA", "kid": "rsa", "n": public["n"], "e": public["e"]})];
        let mut ec = |kid: &str, crv: &str, algorithm| {
            let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).unwrap();
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let [x, y] = [x, y].map(|at| URL_SAFE_NO_PAD.encode(at));
            keys.push(json!({"kty": "EC", "kid": kid, "crv": crv, "x": x, "y": y, "use": "sig"}));
            EncodingKey::from_ec_der(der.as_ref())
        };
        let p256 = ec("p256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
        let p384 = ec("p384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING);
        let rsa = EncodingKey::from_rsa_der(pem::parse(RSA).unwrap().contents());
        let algorithms = vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256];
        Self { rsa, p256, p384, set: json!({"keys": keys}), algorithms, policy: Policy::default(), scope_claim: None }
    }

    async fn asked(&self, token: &str) -> Result<(Arc<Client>, Caller), NotTaken> {
        let issuer = Issuer {
            name: "corp".to_owned(),
            issuer: "https://id.example.org".to_owned(),
            audience: "gateway".to_owned(),
            keys: RemoteKeys::at(URL),
            algorithms: self.algorithms.clone(),
            client_claim: "azp".to_owned(),
            scope_claim: self.scope_claim.map(str::to_owned),
        };
        let client = Client {
            name: "lab".into(),
            line: Line::default(),
            policy: Arc::new(self.policy.clone()),
            allow_from: None,
            api_keys: Vec::new(),
            certificates: Vec::new(),
            jwt: Some(Subject { issuer: "corp".to_owned(), subject: "lab-service".to_owned() }),
            smart: None,
            recipient: None,
            purpose: None,
        };
        let clients = Clients::new(vec![client], vec![issuer], None);
        let providers: Vec<_> = clients.issuers.iter().map(Provider::new).collect();
        let sets = JwkSets::known(URL, &self.set.to_string()).await;
        caller(token, &providers, &sets, &clients).await
    }

    async fn why(&self, token: &str) -> Option<NotTaken> {
        self.asked(token).await.err()
    }
}

fn claims() -> Value {
    json!({"iss": "https://id.example.org", "aud": "gateway", "azp": "lab-service", "exp": now() + 300})
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

#[tokio::test]
async fn a_good_token_shows_its_client() {
    let mut corp = Corp::new();
    corp.algorithms.extend([JwtAlgorithm::Es384, JwtAlgorithm::Ps256, JwtAlgorithm::Rs512]);
    let rs256 = |change: fn(&mut Header)| {
        let mut header = header(Algorithm::RS256, Some("rsa"));
        change(&mut header);
        header
    };
    for (header, claims, key) in [
        (rs256(|_| {}), claims(), &corp.rsa),
        (header(Algorithm::RS512, Some("rsa")), claims(), &corp.rsa),
        (header(Algorithm::PS256, Some("rsa")), claims(), &corp.rsa),
        (header(Algorithm::ES256, Some("p256")), claims(), &corp.p256),
        (header(Algorithm::ES384, Some("p384")), claims(), &corp.p384),
        (header(Algorithm::ES256, None), claims(), &corp.p256),
        (rs256(|header| header.typ = None), claims(), &corp.rsa),
        (rs256(|header| header.typ = Some("at+jwt".to_owned())), claims(), &corp.rsa),
        (rs256(|header| header.typ = Some("application/AT+JWT".to_owned())), claims(), &corp.rsa),
        (rs256(|_| {}), changed(|claims| claims["aud"] = json!(["other", "gateway"])), &corp.rsa),
        (rs256(|_| {}), changed(|claims| claims["exp"] = json!(now() - 30)), &corp.rsa),
        (rs256(|_| {}), changed(|claims| claims["nbf"] = json!(now() + 30)), &corp.rsa),
        (rs256(|_| {}), changed(|claims| claims["exp"] = json!(now() as f64 + 0.5)), &corp.rsa),
    ] {
        let shown = corp.asked(&signed(&header, &claims, key)).await;
        let (client, caller) = shown.unwrap_or_else(|why| panic!("{why}: {header:?} {claims}"));
        assert_eq!((&*client.name, caller.client.as_deref(), caller.credential), ("lab", Some("lab"), Credential::Jwt));
    }
}

#[tokio::test]
async fn a_token_with_bad_claims_is_not_taken() {
    let corp = Corp::new();
    let without = |name: &'static str| changed(move |claims| drop(claims.as_object_mut().unwrap().remove(name)));
    let with = |name: &'static str, value: Value| changed(move |claims| claims[name] = value);
    for (claims, why) in [
        (without("exp"), NotTaken::Claims),
        (with("exp", json!("tomorrow")), NotTaken::Claims),
        (with("exp", json!(null)), NotTaken::Claims),
        (with("exp", json!(now() - 90)), NotTaken::Expired),
        (with("nbf", json!(now() + 90)), NotTaken::Early),
        (with("nbf", json!("now")), NotTaken::Claims),
        (without("aud"), NotTaken::Audience),
        (with("aud", json!("other")), NotTaken::Audience),
        (with("aud", json!(["other"])), NotTaken::Audience),
        (with("aud", json!([])), NotTaken::Audience),
        (with("aud", json!("gateway ")), NotTaken::Audience),
        (with("aud", json!(7)), NotTaken::Audience),
        (without("iss"), NotTaken::Issuer),
        (with("iss", json!("https://id.example.org/")), NotTaken::Issuer),
        (with("iss", json!(["https://id.example.org"])), NotTaken::Issuer),
        (without("azp"), NotTaken::Claims),
        (with("azp", json!(["lab-service"])), NotTaken::Claims),
        (with("azp", json!("lab")), NotTaken::Client),
    ] {
        let token = signed(&header(Algorithm::RS256, Some("rsa")), &claims, &corp.rsa);
        assert_eq!(corp.why(&token).await, Some(why), "{claims}");
    }
}

#[tokio::test]
async fn no_algorithm_is_taken_for_another() {
    let corp = Corp::new();
    let text = claims().to_string();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = |header: &str| format!("{}.{}.", part(header), part(&text));
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","kid":"rsa"}"#, r#"{"alg":"NONE","typ":"JWT"}"#, r#"{"alg":""}"#] {
        assert_eq!(corp.why(&unsigned(header)).await, Some(NotTaken::Algorithm), "{header}");
    }
    // Signed with what everybody knows: the public key in each of its forms.
    let n = corp.set["keys"][0]["n"].as_str().unwrap().to_owned();
    let public = include_bytes!("../../../tests/keys/public.pem").to_vec();
    for secret in [n.clone().into_bytes(), URL_SAFE_NO_PAD.decode(&n).unwrap(), public, Vec::new()] {
        for kid in [Some("rsa"), None] {
            let token = signed(&header(Algorithm::HS256, kid), &claims(), &EncodingKey::from_secret(&secret));
            assert_eq!(corp.why(&token).await, Some(NotTaken::Algorithm));
        }
    }
    // The right key, and an algorithm that is not on the list; a key of another kind; one that is another's.
    for (algorithm, kid, key, why) in [
        (Algorithm::RS384, "rsa", &corp.rsa, NotTaken::Algorithm),
        (Algorithm::PS256, "rsa", &corp.rsa, NotTaken::Algorithm),
        (Algorithm::ES384, "p384", &corp.p384, NotTaken::Algorithm),
        (Algorithm::RS256, "p256", &corp.rsa, NotTaken::Key),
        (Algorithm::ES256, "p384", &corp.p256, NotTaken::Key),
        (Algorithm::ES256, "rsa", &corp.p256, NotTaken::Key),
        (Algorithm::RS256, "unknown", &corp.rsa, NotTaken::Key),
    ] {
        let token = signed(&header(algorithm, Some(kid)), &claims(), key);
        assert_eq!(corp.why(&token).await, Some(why), "{algorithm:?} {kid}");
    }
    let other = Corp::new();
    let token = signed(&header(Algorithm::ES256, Some("p256")), &claims(), &other.p256);
    assert_eq!(corp.why(&token).await, Some(NotTaken::Signature));
}

#[tokio::test]
async fn a_token_that_was_changed_or_is_no_jwt_is_not_taken() {
    let corp = Corp::new();
    let good = signed(&header(Algorithm::RS256, Some("rsa")), &claims(), &corp.rsa);
    let parts: Vec<&str> = good.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(changed(|claims| claims["admin"] = json!(true)).to_string());
    let flipped = {
        let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        signature[100] ^= 1;
        URL_SAFE_NO_PAD.encode(signature)
    };
    for (token, why) in [
        (format!("{}.{other}.{}", parts[0], parts[2]), NotTaken::Signature),
        (format!("{}.{}.{flipped}", parts[0], parts[1]), NotTaken::Signature),
        (format!("{}.{}.", parts[0], parts[1]), NotTaken::Signature),
        (format!("{}.{}", parts[0], parts[1]), NotTaken::Malformed),
        (format!("{good}.{}", parts[2]), NotTaken::Malformed),
        (good.replacen('.', "..", 1), NotTaken::Malformed),
        (format!("{good}="), NotTaken::Malformed),
        ("x".repeat(100_000), NotTaken::Malformed),
        (String::new(), NotTaken::Malformed),
    ] {
        assert_eq!(corp.why(&token).await, Some(why), "{token:.60}");
    }
    let with = |header: &str| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]);
    for header in [
        r#"{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"dpop+jwt"}"#,
    ] {
        assert_eq!(corp.why(&with(header)).await, Some(NotTaken::Header), "{header}");
    }
}

#[tokio::test]
async fn the_patients_of_a_token_are_ids_or_references() {
    let mut corp = Corp::new();
    corp.policy.patients = Patients::Claim("patients".to_owned());
    for (claim, ids) in [
        (json!(["Patient/a", "b"]), Some(vec!["a", "b"])),
        (json!("a  Patient/b"), Some(vec!["a", "b"])),
        (json!([]), Some(vec![])),
        (json!(""), Some(vec![])),
        (json!(null), None),
        (json!(["a", 1]), None),
        (json!(["a", "Group/b"]), None),
        (json!(["https://other.example/Patient/a"]), None),
        (json!({"a": true}), None),
        (json!(7), None),
    ] {
        let claims = changed(|claims| claims["patients"] = claim.clone());
        let token = signed(&header(Algorithm::RS256, Some("rsa")), &claims, &corp.rsa);
        let (_, caller) = corp.asked(&token).await.unwrap();
        let mut found: Option<Vec<&str>> = caller.found.as_ref().map(|list| list.ids().collect());
        if let Some(found) = &mut found {
            found.sort_unstable();
        }
        assert_eq!(found, ids, "{claim}");
    }
    let token = signed(&header(Algorithm::RS256, Some("rsa")), &claims(), &corp.rsa);
    assert!(corp.asked(&token).await.unwrap().1.found.is_none(), "no claim");
}

#[tokio::test]
async fn a_claim_with_scopes_narrows_and_a_missing_one_leaves_nothing() {
    let mut corp = Corp::new();
    corp.policy.is_everything = true;
    let policy = |claims: Value| {
        let token = signed(&header(Algorithm::RS256, Some("rsa")), &claims, &corp.rsa);
        let corp = &corp;
        async move { corp.asked(&token).await.unwrap().1.policy }
    };
    assert!(policy(claims()).await.is_everything, "the provider has no such claim");
    corp.scope_claim = Some("scope");
    let policy = |claims: Value| {
        let token = signed(&header(Algorithm::RS256, Some("rsa")), &claims, &corp.rsa);
        let corp = &corp;
        async move { corp.asked(&token).await.unwrap().1.policy }
    };
    for scope in [json!(null), json!(7), json!(["system/*.rs", 7]), json!("openid profile patient/*.rs user/*.rs"), json!("")] {
        let narrowed = policy(changed(|claims| claims["scope"] = scope.clone())).await;
        assert!(narrowed.rules.is_empty() && !narrowed.is_everything, "{scope}");
    }
    assert!(policy(claims()).await.rules.is_empty());
}

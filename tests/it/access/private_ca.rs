//! JWK Sets at servers whose certificate is of a private CA.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::provider::{Provider, now};
use super::smart_client::{ENDPOINT, ask, form};
use crate::support::certificates::{Ca, Files};
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

#[test]
fn a_server_of_keys_is_trusted_by_the_ca_that_its_entry_names_and_by_no_other() {
    let (openemr, files, ca) = (OpenEmr::start(), Files::new(), Ca::new("clinic"));
    let provider = Provider::start_tls(&ca);
    let named = json!(files.write("ca.pem", ca.pem()));
    let other = json!(files.write("other.pem", Ca::new("other").pem()));
    let mut config = config(&openemr);
    config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
    config["access"]["token_key"] = json!(files.write("unused", "").with_file_name("token-key.pem"));
    config["access"]["issuers"] = json!({"corp": provider.issuer()});
    config["access"]["issuers"]["corp"]["ca_file"] = named.clone();
    config["access"]["clients"] = json!({
        "lab": {"scopes": ["system/Patient.rs"], "jwt": {"issuer": "corp", "subject": "lab-service"}},
        "bulk": {"scopes": ["system/Patient.rs"], "smart": {"jwks_uri": provider.jwks_uri(), "ca_file": named}},
    });
    let gateway = Gateway::with(config);
    let reload = |of_issuer: &Value, of_client: &Value| {
        let mut config = gateway.config.clone();
        config["access"]["issuers"]["corp"]["ca_file"] = of_issuer.clone();
        config["access"]["clients"]["bulk"]["smart"]["ca_file"] = of_client.clone();
        assert!(gateway.reload(&config).contains("is in force"));
    };
    let statuses = || {
        let bearer = format!("Bearer {}", provider.sign(&Provider::claims()));
        let fields = [("Authorization", bearer.as_str())];
        let by_jwt = gateway.caller().send("GET", "/fhir/Patient?_count=1", &fields, b"").status;
        let jti = uuid::Uuid::new_v4().to_string();
        let claims = json!({"iss": "bulk", "sub": "bulk", "aud": ENDPOINT, "exp": now() + 100, "jti": jti});
        let assertion = provider.sign_as(Algorithm::RS384, Some("smart"), &claims);
        (by_jwt, ask(&gateway.caller(), &form(&assertion, "system/Patient.rs")).status)
    };
    assert_eq!(statuses(), (200, 200));
    // What is known by one entry is not known by another, which trusts others.
    reload(&Value::Null, &named);
    assert_eq!(statuses(), (503, 200));
    gateway.logs(&["the JWK Set cannot be had", "ca_file"]);
    reload(&named, &other);
    assert_eq!(statuses(), (200, 503));
    reload(&named, &named);
    assert_eq!(statuses(), (200, 200));
    assert_eq!(provider.asked(), 1, "one set for both, and nothing was asked of a server that is not trusted");
}

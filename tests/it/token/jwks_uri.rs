//! A client that is registered with a `jwks_uri` at the gateway: OpenEMR fetches the JWK Set during the exchange, so that the set
//! has to be served before the first exchange that needs it.

use serde_json::{Value, json};

use crate::support::command::Folder;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, free_address, site};
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// An OpenEMR that fetches the keys of its client from the gateway at `path`, and a configuration of that gateway.
fn at_the_gateway(path: &str, config: &mut Value) -> OpenEmr {
    let address = free_address();
    config["listen"] = json!([{"address": address.to_string()}]);
    OpenEmr::with_jwks(&format!("http://{address}{path}"), &[])
}

fn waits(gateway: &Gateway, target: &str) {
    eventually("the site serves", || (gateway.caller().get(target).status == 200).then_some(()));
}

#[test]
fn the_first_exchange_finds_the_keys() {
    let mut config = json!({"sites": {}});
    let openemr = at_the_gateway("/.well-known/jwks.json", &mut config);
    config["sites"]["default"] = site(&openemr.base, "RS384");
    let gateway = Gateway::with(config);
    waits(&gateway, PATIENTS);
    assert_eq!(openemr.count("token_requests"), 1);
    assert!(!gateway.log().contains("no token"), "{}", gateway.log());
    // The gateway is announced when there is a token.
    let log = gateway.log();
    assert!(log.find("token 1 for").unwrap() < log.find("listening on ").unwrap(), "{log}");
}

#[test]
fn a_site_that_a_reload_adds_finds_its_keys_at_the_first_exchange() {
    let first = OpenEmr::start();
    let mut start = config(&first);
    let second = at_the_gateway("/second/.well-known/jwks.json", &mut start);
    let gateway = Gateway::with(start);
    waits(&gateway, PATIENTS);
    // The change of the first site takes its time.
    first.order(&json!({"token": {"delay_ms": 1000}}));
    let mut changed = gateway.config.clone();
    changed["sites"]["default"]["scopes"] = json!(["system/Patient.read"]);
    let mut site = site(&second.base, "RS384");
    site.as_object_mut().unwrap().remove("openemr");
    site["fhir_base"] = json!(format!("{}/apis/default/fhir", second.base));
    site["token_url"] = json!(format!("{}/oauth2/default/token", second.base));
    changed["sites"]["second"] = site;
    let log = gateway.reload(&changed);
    assert!(log.contains("is in force"), "{log}");
    waits(&gateway, "/second/fhir/Patient?_count=1");
    assert_eq!(second.count("token_requests"), 1);
    assert!(!gateway.log().contains("no token"), "{}", gateway.log());
}

#[test]
fn other_keys_for_another_client_are_served_before_they_sign() {
    let mut start = json!({"sites": {}});
    let openemr = at_the_gateway("/.well-known/jwks.json", &mut start);
    start["sites"]["default"] = site(&openemr.base, "RS384");
    let gateway = Gateway::with(start);
    waits(&gateway, PATIENTS);
    let folder = Folder::empty();
    assert_eq!(folder.run(&["keys", "generate", "--out", "keys"]).code, 0);
    let mut changed = gateway.config.clone();
    let default = &mut changed["sites"]["default"];
    default["scopes"] = json!(["system/Patient.read"]);
    default["private_key"] = json!(folder.path("keys/private_key.pem"));
    default["jwks"] = json!(folder.path("keys/jwks.json"));
    let log = gateway.reload(&changed);
    assert!(log.contains("is in force") && !log.contains("no token"), "{log}");
    let published = gateway.caller().get("/.well-known/jwks.json").json();
    let own: Value = serde_json::from_str(&folder.read("keys/jwks.json")).unwrap();
    assert_eq!(published["keys"][0]["kid"], own["keys"][0]["kid"]);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    // One that OpenEMR does not accept leaves the set of the running one in place.
    let mut refused = changed.clone();
    refused["sites"]["default"]["client_id"] = json!("nobody");
    refused["sites"]["default"]["private_key"] = gateway.config["sites"]["default"]["private_key"].clone();
    refused["sites"]["default"]["jwks"] = gateway.config["sites"]["default"]["jwks"].clone();
    let log = gateway.reload(&refused);
    assert!(log.contains("stays as it is"), "{log}");
    assert_eq!(gateway.caller().get("/.well-known/jwks.json").json(), published);
}

//! Clients that show who they are by a certificate, alone and beside another credential.

use std::sync::Arc;

use serde_json::json;

use super::api_keys::{client as with_key, key_of};
use crate::support::certificates::{Ca, Files, Identity, client};
use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;

#[test]
fn a_certificate_shows_the_client_with_a_rule_for_it() {
    let openemr = OpenEmr::start();
    let (ca, files, server) = (Ca::new("clinic"), Files::new(), Certificate::make());
    let lab = ca.issue(1, "feed", &["lab.example.org"]);
    let app = ca.issue(2, "app", &[]);
    let both = ca.issue(3, "app", &["lab.example.org"]);
    let pinned = ca.issue(4, "pinned", &[]);
    let nobody = ca.issue(5, "nobody", &["nobody.example.org"]);
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": server.tls()}]);
    config["listen"][0]["tls"]["client_ca"] = json!(files.write("ca.pem", ca.pem()));
    config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
    config["access"]["clients"] = json!({
        "lab": {"policy": "everything", "certificates": [{"san_dns": "lab.example.org"}]},
        "app": {"policy": "everything", "certificates": [{"subject_cn": "app"}], "api_keys": with_key("app")["api_keys"]},
        "pin": {"policy": "everything", "certificates": [{"fingerprint": pinned.fingerprint()}], "allow_from": ["192.0.2.1"]},
    });
    let gateway = Gateway::with(config);
    let get = |identity: Option<&Identity>, fields: &[(&str, &str)]| {
        let mut connection = gateway.caller().connect_as(Arc::new(client(&server.certificate, identity)));
        connection.write(&request("GET", "/fhir/Patient?_count=1", fields, b""));
        connection.read("GET")
    };
    let (key, foreign) = (key_of("app"), key_of("nobody"));
    for (identity, fields, status) in [
        (Some(&lab), &[][..], 200),
        (Some(&app), &[], 200),
        (Some(&app), &[("X-API-Key", key.as_str())], 200),
        (Some(&nobody), &[("X-API-Key", &key)], 200),
        (None, &[("X-API-Key", &key)], 200),
        (None, &[], 401),
        (Some(&nobody), &[], 401),
        (Some(&app), &[("X-API-Key", &foreign)], 401),
        (Some(&lab), &[("X-API-Key", &key)], 400),
        (Some(&both), &[], 400),
        (Some(&pinned), &[], 403),
    ] {
        let answer = get(identity, fields);
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.text());
        if status != 200 {
            answer.outcome(status);
        }
    }
    let unnamed = get(Some(&nobody), &[]);
    assert!(unnamed.text().contains("certificate is that of no client"), "{}", unnamed.text());
    let line = gateway.access_line(get(Some(&lab), &[]).field("x-request-id").unwrap());
    assert!(line.contains("client=lab"), "{line}");
}

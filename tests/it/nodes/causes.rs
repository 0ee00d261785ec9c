//! What newcomers meet first: the log names the URL, the cause in an operator's words, and the configuration key that mends it.

use std::net::TcpListener;
use std::path::PathBuf;

use crate::support::broken::{Certified, canned};
use crate::support::gateway::{Gateway, config, config_for, free_address};
use crate::support::openemr::OpenEmr;
use rcgen::{BasicConstraints, IsCa};
use serde_json::{Value, json};

/// A site at `base` that trusts a certificate besides the system's.
fn trusting(base: &str, certificate: &PathBuf) -> Value {
    let mut config = config_for(base);
    config["sites"]["default"]["ca_file"] = json!(certificate);
    config
}

/// What the log says of the first token that does not come.
fn no_token(config: Value, words: &[&str]) {
    let gateway = Gateway::with(config);
    let line = gateway.logs(&[&["ERROR", "no token"], words].concat());
    assert!(!line.contains("client_assertion") && !line.contains("eyJ"), "{line}");
}

#[test]
fn a_self_signed_certificate_names_ca_file() {
    let openemr = OpenEmr::with(&["--tls"]);
    no_token(config_for(&openemr.base), &[&openemr.base, "self-signed", "UnknownIssuer", "ca_file"]);
}

#[test]
fn a_certificate_made_as_an_authoritys_names_the_command_that_makes_another() {
    let files = Certified::write(&["127.0.0.1"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let openemr = files.openemr();
    let words = [openemr.base.as_str(), "marked as that of an authority", "keys certificate --host 127.0.0.1", "ca_file"];
    no_token(trusting(&openemr.base, &files.certificate), &words);
}

#[test]
fn a_certificate_for_other_names_names_them() {
    let files = Certified::write(&["emr.example.org", "emr.internal"], |_| {});
    let openemr = files.openemr();
    let words = [openemr.base.as_str(), "not valid for name 127.0.0.1", "only for emr.example.org or emr.internal", "in openemr"];
    no_token(trusting(&openemr.base, &files.certificate), &words);
}

#[test]
fn a_certificate_without_a_name_that_counts_says_so() {
    let files = Certified::write(&[], |_| {});
    let openemr = files.openemr();
    no_token(trusting(&openemr.base, &files.certificate), &[&openemr.base, "no subjectAltName", "keys certificate --host"]);
}

#[test]
fn an_expired_certificate_says_so() {
    let files = Certified::write(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let openemr = files.openemr();
    no_token(trusting(&openemr.base, &files.certificate), &[&openemr.base, "its certificate has expired"]);
}

#[test]
fn https_to_a_plain_port_says_so() {
    let openemr = OpenEmr::start();
    let base = openemr.base.replace("http:", "https:");
    no_token(config_for(&base), &[&base, "does not speak TLS", "in openemr"]);
}

#[test]
fn http_to_a_port_that_speaks_tls_says_so() {
    let openemr = OpenEmr::with(&["--tls"]);
    let base = openemr.base.replace("https:", "http:").replace("localhost", "127.0.0.1");
    no_token(config_for(&base), &[&base, "the port speaks TLS", "Write https:// in openemr"]);
}

#[test]
fn the_400_of_a_web_server_to_http_on_its_tls_port_is_understood() {
    let nginx = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>";
    let base = canned(nginx);
    no_token(config_for(&base), &[&base, "the port speaks TLS", "Write https:// in openemr"]);
}

#[test]
fn a_refused_connection_names_the_address() {
    let base = format!("http://{}", free_address());
    no_token(config_for(&base), &[&base, "Connection refused", "is OpenEMR running", "openemr"]);
}

#[test]
fn an_unknown_name_is_named() {
    let base = "https://no-such-host.invalid";
    no_token(config_for(base), &[base, "no-such-host.invalid cannot be resolved", "is the name in openemr right?"]);
}

#[test]
fn a_silent_server_names_the_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let mut config = config_for(&base);
    config["sites"]["default"]["timeouts"] = json!({"token": "300ms"});
    no_token(config, &[&base, "did not answer within 300ms", "timeouts.token"]);
}

#[test]
fn a_wrong_sub_folder_is_named() {
    let openemr = OpenEmr::start();
    let base = format!("{}/wrong", openemr.base);
    no_token(config_for(&base), &[&base, "the answer is 404", "/wrong", "OpenEMR's sub-folder", "openemr"]);
}

#[test]
fn a_web_page_at_the_token_url_names_the_key() {
    let openemr = OpenEmr::start();
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\nConnection: close\r\n\r\n<html>Welcome</html>";
    let mut config = config(&openemr);
    let token_url = format!("{}/oauth2/default/token", canned(page));
    config["sites"]["default"]["token_url"] = json!(token_url);
    no_token(config, &[&token_url, "HTML page", "Is the path in token_url right?"]);
}

#[test]
fn a_redirect_at_the_token_url_says_where_it_leads() {
    let redirect = "HTTP/1.1 301 Moved Permanently\r\nLocation: https://emr.example.org/oauth2/default/token?code=secret\r\nContent-Length: 0\r\n\r\n";
    let base = canned(redirect);
    let gateway = Gateway::with(config_for(&base));
    let leads_to = "redirects to https://emr.example.org/oauth2/default/token (status 301)";
    let line = gateway.logs(&["ERROR", "no token", &base, leads_to, "Write that address in openemr"]);
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn a_wrong_fhir_base_is_named_where_the_token_endpoint_is_to_be_discovered() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    let site = config["sites"]["default"].as_object_mut().unwrap();
    site.remove("openemr");
    let base = format!("{}/wrong/fhir", openemr.base);
    site.insert("fhir_base".to_owned(), json!(base));
    no_token(config, &[&base, "/.well-known/smart-configuration", "the answer is 404", "Is the path in fhir_base right?"]);
}

#[test]
fn a_check_that_ejects_a_node_says_why() {
    let openemr = OpenEmr::start();
    let gone = format!("http://{}", free_address());
    let mut config = config(&openemr);
    config["sites"]["default"]["openemr"] = json!([openemr.base, gone]);
    config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", openemr.base));
    config["sites"]["default"]["health_check"] = json!({"interval": "100ms"});
    let gateway = Gateway::with(config);
    gateway.logs(&["WARN", &format!("node {gone}"), "is left out", "Connection refused", "is OpenEMR running"]);
}

/// What the log says of a request that failed at `fhir_base`, while tokens come from an OpenEMR that works.
fn failed_request(fhir_base: &str, ca_file: Option<&PathBuf>, words: &[&str]) {
    let tokens = OpenEmr::start();
    let mut config = config(&tokens);
    let site = config["sites"]["default"].as_object_mut().unwrap();
    site.insert("token_url".to_owned(), json!(format!("{}/oauth2/default/token", tokens.base)));
    site.insert("fhir_base".to_owned(), json!(fhir_base));
    site.insert("timeouts".to_owned(), json!({"read": "300ms"}));
    if let Some(file) = ca_file {
        site.insert("ca_file".to_owned(), json!(file));
    }
    let gateway = Gateway::with(config);
    let answer = gateway.caller().get("/fhir/Patient?name=Zebedee");
    assert!(matches!(answer.status, 502 | 504), "{}", answer.text());
    let line = gateway.logs(&[&["WARN", "request_id=", "site default", &format!("node {fhir_base}: ")], words].concat());
    assert!(!line.contains("Zebedee"), "{line}");
    assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains("ca_file"), "{}", answer.text());
}

#[test]
fn a_failed_request_names_node_stage_and_cause() {
    let self_signed = OpenEmr::with(&["--tls"]);
    let base = format!("{}/apis/default/fhir", self_signed.base);
    failed_request(&base, None, &["connecting", "self-signed", "UnknownIssuer", "ca_file"]);

    let files = Certified::write(&["emr.example.org"], |_| {});
    let other_name = files.openemr();
    let base = format!("{}/apis/default/fhir", other_name.base);
    failed_request(&base, Some(&files.certificate), &["connecting", "only for emr.example.org", "in fhir_base"]);

    let plain = OpenEmr::start();
    let base = format!("{}/apis/default/fhir", plain.base.replace("http:", "https:"));
    failed_request(&base, None, &["connecting", "does not speak TLS", "in fhir_base"]);

    let base = format!("{}/apis/default/fhir", self_signed.base.replace("https:", "http:"));
    failed_request(&base, None, &["waiting for the answer", "the port speaks TLS", "Write https:// in fhir_base"]);

    let base = format!("http://{}/apis/default/fhir", free_address());
    failed_request(&base, None, &["connecting", "Connection refused", "the port in fhir_base"]);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/apis/default/fhir", silent.local_addr().unwrap());
    failed_request(&base, None, &["waiting for the answer", "no answer came in time", "timeouts"]);
}

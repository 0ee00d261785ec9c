//! The table "The gateway does not reach OpenEMR" of docs/troubleshooting.md.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Checked, check, check_in, check_with, says};
use crate::support::broken::{Certified, canned};
use crate::support::command::Folder;
use crate::support::gateway::{config, config_for, free_address};
use crate::support::openemr::OpenEmr;
use rcgen::{BasicConstraints, IsCa};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// A site at `base` that trusts a certificate besides the system's.
fn trusting(base: &str, certificate: &std::path::Path) -> Value {
    let mut config = config_for(base);
    config["sites"]["default"]["ca_file"] = json!(certificate);
    config
}

/// Checks that what comes after TLS was not done because of it.
fn stops(checked: &Checked, at: &str) {
    for name in ["discovery", "clock", "token", "scopes", "metadata"] {
        assert_eq!(checked.ended(name, "skipped")["because"], at, "{}", checked.said);
    }
    assert_eq!(checked.ended("count", "skipped")["because"], at);
}

#[test]
fn a_self_signed_certificate_is_shown_saved_and_then_trusted() {
    let openemr = OpenEmr::with(&["--tls"]);
    let folder = Folder::empty();
    folder.write("gateway.yaml", &config_for(&openemr.base).to_string());
    let checked = check_in(&folder, &["--config", "gateway.yaml", "--save-certificate", "openemr.pem"]);
    let tls = checked.fails("tls", 3, &["self-signed", "ca_file: openemr.pem", "subject", "issuer", "SHA-256"]);
    stops(&checked, "tls");
    let certificate = &tls["certificate_to_trust"];
    says(tls, &[certificate["sha256"].as_str().unwrap()]);
    assert_eq!(certificate["sha256"].as_str().unwrap().len(), 32 * 3 - 1);
    let same = |text: &str| text.split_whitespace().collect::<String>();
    let presented = same(&fs::read_to_string(&openemr.certificate).unwrap());
    assert_eq!(same(&folder.read("openemr.pem")), presented);
    assert_eq!(same(certificate["pem"].as_str().unwrap()), presented);
    let again = check_in(&folder, &["--config", "gateway.yaml", "--save-certificate", "openemr.pem"]);
    says(
        again.ended("files", "failed"),
        &["save the certificate to openemr.pem", "cannot be written", "name a file that does not"],
    );
    assert_eq!((again.code, &again.document["exit_code"]), (3, &json!(3)), "the first failure counts: {}", again.said);
    says(
        checked.steps("files").last().unwrap(),
        &["openemr.pem", "the one with the SHA-256", certificate["sha256"].as_str().unwrap()],
    );

    let trusted = check(&trusting(&openemr.base, &folder.path("openemr.pem")));
    trusted.passes();
    says(trusted.ended("tls", "ok"), &["trusted", "valid until"]);
}

#[test]
fn a_certificate_of_an_authority_that_is_not_sent_names_the_authority() {
    let (authority, files) = Certified::signed(&["127.0.0.1"], "The Hospital's Own Authority");
    let openemr = files.openemr();
    let checked = check(&config_for(&openemr.base));
    let tls = checked.fails("tls", 3, &["private authority", "The Hospital's Own Authority", "does not send it", "ca_file"]);
    assert_eq!(tls["certificate_to_trust"], Value::Null);
    check(&trusting(&openemr.base, &authority)).passes();
}

#[test]
fn a_certificate_made_as_an_authoritys_names_the_command_that_makes_another() {
    let files = Certified::write(&["127.0.0.1"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let openemr = files.openemr();
    let words = ["marked as that of an authority", "keys certificate --host 127.0.0.1"];
    check(&trusting(&openemr.base, &files.certificate)).fails("tls", 3, &words);
}

#[test]
fn a_certificate_for_other_names_names_them() {
    let files = Certified::write(&["emr.example.org"], |_| {});
    let openemr = files.openemr();
    let words = ["not valid for name 127.0.0.1", "only for emr.example.org", "in openemr"];
    check(&trusting(&openemr.base, &files.certificate)).fails("tls", 3, &words);
}

#[test]
fn a_certificate_that_has_expired_or_soon_will() {
    let expired = Certified::write(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let openemr = expired.openemr();
    let checked = check(&trusting(&openemr.base, &expired.certificate));
    checked.fails("tls", 3, &["has expired", "Renew it", "until    2020-01-01"]);

    let soon = Certified::write(&["127.0.0.1"], |params| {
        params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(10 * 24 * 3600)).into();
    });
    let openemr = soon.openemr();
    let config = trusting(&openemr.base, &soon.certificate);
    let checked = check(&config);
    checked.passes();
    says(checked.ended("tls", "warning"), &["expires on", "renew it"]);
    assert_eq!(check_with(&config, &["--strict"]).code, 5);
}

#[test]
fn https_to_a_port_that_speaks_http_and_the_reverse() {
    let plain = OpenEmr::start();
    let checked = check(&config_for(&plain.base.replace("http:", "https:")));
    checked.fails("tls", 3, &["does not speak TLS", "in openemr"]);
    stops(&checked, "tls");

    let tls = OpenEmr::with(&["--tls"]);
    let base = tls.base.replace("https:", "http:").replace("localhost", "127.0.0.1");
    let checked = check(&config_for(&base));
    says(checked.ended("token", "failed"), &["the port speaks TLS", "Write https:// in openemr"]);
    assert_eq!(checked.code, 3, "{}", checked.said);
}

#[test]
fn a_port_where_nothing_listens() {
    let checked = check(&config_for(&format!("http://{}", free_address())));
    checked.fails("tcp", 3, &["nothing listens there", "is OpenEMR running, and the port in openemr right?"]);
    assert_eq!(checked.ended("tls", "skipped")["because"], "tcp");
    stops(&checked, "tcp");
}

/// A server that takes no more connections, and those that fill its queue.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok());
    let waiting = waiting.take(100).collect();
    (listener, waiting)
}

#[test]
fn a_server_that_takes_no_connection_names_the_limits() {
    let (listener, _waiting) = full();
    let mut config = config_for(&format!("http://{}", listener.local_addr().unwrap()));
    config["sites"]["default"]["timeouts"] = json!({"connect": "300ms", "total_connect": "300ms"});
    let checked = check(&config);
    checked.fails("tcp", 3, &["no connection within timeouts.connect", "is a firewall in between"]);
    stops(&checked, "tcp");
}

#[test]
fn a_server_that_takes_connections_and_does_not_speak() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config_for(&format!("https://{}", listener.local_addr().unwrap()));
    config["sites"]["default"]["timeouts"] = json!({"connect": "1s", "total_connect": "1s"});
    let checked = check(&config);
    checked.fails("tls", 3, &["the TLS handshake does not end within timeouts.total_connect", "is the port in openemr one"]);
    checked.ended("tcp", "ok");
    stops(&checked, "tls");
}

#[test]
fn an_address_without_a_route() {
    let checked = check_in(&Folder::empty(), &["--openemr", "https://255.255.255.255"]);
    checked.fails("tcp", 3, &["there is no route to that address", "is the address in openemr right?"]);
}

#[test]
fn a_name_that_nobody_knows() {
    let checked = check(&config_for("https://no-such-host.invalid"));
    checked.fails("dns", 3, &["no-such-host.invalid cannot be resolved", "is the name in openemr right?"]);
    assert_eq!(checked.ended("tcp", "skipped")["because"], "dns");
    stops(&checked, "dns");
}

#[test]
fn a_redirect_names_the_address_to_write() {
    let base = canned(
        "HTTP/1.1 301 Moved Permanently\r\nLocation: https://emr.example.org/oauth2/default/token?code=secret\r\nContent-Length: 0\r\n\r\n",
    );
    let checked = check(&config_for(&base));
    let token = checked.ended("token", "failed");
    let cause = token["cause"].as_str().unwrap();
    assert!(cause.starts_with("it redirects to https://emr.example.org/oauth2/default/token"), "{cause}");
    assert_eq!(token["remedy"], "Write that address in openemr");
    assert!(checked.code == 3 && !checked.said.contains("secret"), "{}", checked.said);
}

#[test]
fn a_sub_folder_that_is_wrong_or_too_much() {
    let openemr = OpenEmr::start();
    let checked = check(&config_for(&format!("{}/wrong", openemr.base)));
    for step in ["token", "metadata"] {
        says(checked.ended(step, "failed"), &["OpenEMR's API is not there", "Is /wrong OpenEMR's sub-folder?"]);
    }
    assert_eq!(checked.code, 3, "{}", checked.said);
    let checked = check(&config_for(&format!("{}/apis/default/fhir", openemr.base)));
    checked.fails("configuration", 1, &["goes on behind OpenEMR's address", "sites.default.openemr"]);
}

#[test]
fn of_two_nodes_the_one_that_is_out_is_named_and_the_other_used() {
    let openemr = OpenEmr::start();
    let gone = free_address();
    let mut config = config(&openemr);
    config["sites"]["default"]["openemr"] = json!([format!("http://{gone}"), openemr.base]);
    config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", openemr.base));
    let checked = check(&config);
    checked.fails("tcp", 3, &[&gone.to_string(), "nothing listens there"]);
    checked.ended("token", "ok");
    checked.ended("count", "ok");
}

//! Mistakes that people make in a configuration: each is found, with its position, and none lets the gateway run without
//! what was meant.

use crate::support::command::{Folder, GOOD, changed, check, fails, passes, with};

const CONFIG: &str = "conf/gateway.yaml";

/// What `config check` says about this configuration, with the positions.
fn errors_of(text: &str) -> String {
    let folder = Folder::good();
    folder.write(CONFIG, text);
    let ended = folder.run(&["config", "check"]);
    assert_eq!(ended.code, 1, "{}", ended.err);
    ended.err
}

#[test]
fn every_problem_stands_at_its_line_and_column() {
    let text = "\
listen:
  - address: nowhere
colour: red
log:
  level: loud
sites:
  default:
    openemr: https://emr.example.org
    client_id:
    private_key: keys/private_key.pem
    scopes:
      - system/Patient.read
      - openid
    timeouts: {read: x, connect: 1s}
    timeouts: {}
limits: {response_head: 2MiB}
server: {threads: 0}
";
    let errors = errors_of(text);
    for place in [
        "2:14: listen[0].address: `nowhere`",
        "3:1: colour: unknown key",
        "5:10: log.level: `loud`",
        "9:5: sites.default.client_id: is left blank",
        "7:3: sites.default.jwks: is missing",
        "13:9: sites.default.scopes[1]: `openid`",
        "14:22: sites.default.timeouts.read: `x`",
        "15:5: sites.default.timeouts: is written twice",
        "16:25: limits.response_head: is outside",
        "17:19: server.threads: `0`",
    ] {
        assert!(errors.contains(&format!("error: conf/gateway.yaml:{place}")), "{place} in\n{errors}");
    }
    assert_eq!(errors.matches("error: ").count(), 10, "{errors}");
    assert!(errors_of("listen:\n\t- address: x\n").contains("error: conf/gateway.yaml:2:"));
    let folder = Folder::good();
    std::fs::write(folder.path(CONFIG), b"# caf\xc3\xa9\nlog: {level: \xe9}\n").unwrap();
    let errors = folder.run(&["config", "check"]).err;
    assert!(errors.starts_with("error: conf/gateway.yaml:2:14: conf/gateway.yaml ("), "{errors}");
}

#[test]
fn a_variable_that_is_wrong_is_named_with_where_it_was_set() {
    let folder = Folder::good();
    folder.write(".env", "# old\nSITE=default\nCLIENT_ID=a b\n");
    let ended = folder.run(&["config", "check", "--env-file", ".env"]);
    assert!(ended.err.starts_with("error: .env:3:11: CLIENT_ID: `a b` is no client id\n"), "{}", ended.err);
}

#[test]
fn a_required_key_left_blank_is_an_error_like_a_missing_one() {
    for (line, key) in [
        ("client_id: abc", "client_id"),
        ("openemr: https://emr.example.org", "openemr"),
        ("private_key: keys/private_key.pem", "private_key"),
        ("jwks: keys/jwks.json", "jwks"),
        ("scopes: [system/Patient.read, system/Observation.read]", "scopes"),
    ] {
        for blank in [format!("{key}:"), format!("{key}: null"), format!("{key}: ~")] {
            let message = format!("conf/gateway.yaml: sites.default.{key}: is left blank");
            fails(&changed(line, &blank), &[], &message, &format!("write  {key}: "));
        }
    }
    for (more, message) in [
        ("listen: [{address: }]\n", "listen[0]: `address` is left blank"),
        (
            "listen: [{address: \"127.0.0.1:1\", tls: {certificate: , private_key: }}]\n",
            "listen[0].tls: `certificate` is left blank",
        ),
        ("access: {allow_from: }\n", "access: `allow_from` is left blank"),
    ] {
        let ended = check(&with(more), &[]);
        assert!(ended.code == 1 && ended.err.contains(&format!("error: conf/gateway.yaml: {message}\n")), "{}", ended.err);
    }
    let cors = changed("client_id: abc", "client_id: abc\n    cors: {origins: }");
    fails(&cors, &[], "conf/gateway.yaml: sites.default.cors: `origins` is left blank", "https://app.example.org");
}

#[test]
fn a_configuration_without_a_site_is_an_error() {
    for sites in ["", "sites:\n", "sites: {}\n", "sites: null\n"] {
        let folder = Folder::good();
        folder.write(CONFIG, &format!("log: {{level: info}}\n{sites}"));
        fails(&folder, &[], "conf/gateway.yaml: sites: names no OpenEMR site", "sites: { default:");
    }
    let folder = Folder::good();
    folder.write(CONFIG, "sites: {default: }\n");
    let ended = check(&folder, &[]);
    assert!(ended.err.contains("sites.default: nothing where a mapping was due"), "{}", ended.err);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read_like_nothing() {
    let folder = Folder::good();
    let plain = passes(&folder, &[]);
    folder.write(CONFIG, &format!("\u{feff}{GOOD}"));
    assert_eq!(passes(&folder, &[]), plain);
    folder.write(CONFIG, &format!("\u{feff}{}", GOOD.replace('\n', "\r\n")));
    assert_eq!(passes(&folder, &[]), plain);
    let jwks = folder.read("keys/jwks.json");
    folder.write("keys/jwks.json", &format!("\u{feff}{jwks}"));
    assert_eq!(passes(&folder, &[]), plain);
}

#[test]
fn a_duration_of_whole_hours_prints_as_hours() {
    let out = passes(&changed("client_id: abc", "client_id: abc\n    bulk_data: {keep: 24h}"), &[]);
    assert!(out.contains("keep: 24h\n"), "{out}");
    let out = passes(&changed("client_id: abc", "client_id: abc\n    bulk_data: {keep: 90m}"), &[]);
    assert!(out.contains("keep: 90m\n"), "{out}");
}

#[test]
fn scopes_may_stand_in_one_text() {
    let list = "scopes: [system/Patient.read, system/Observation.read]";
    let expected = passes(&Folder::good(), &[]);
    assert_eq!(passes(&changed(list, "scopes: system/Patient.read  system/Observation.read"), &[]), expected);
    assert_eq!(passes(&changed(list, "scopes: >\n      system/Patient.read\n      system/Observation.read"), &[]), expected);
    fails(
        &changed(list, "scopes: \" \""),
        &[],
        "conf/gateway.yaml: sites.default.scopes: is empty; OpenEMR would grant a token that opens nothing",
        "system/Patient.read",
    );
}

#[test]
fn a_misspelt_scope_gets_a_suggestion() {
    let place = "conf/gateway.yaml: sites.default.scopes[0]:";
    for (written, message, meant) in [
        ("system/Patients.read", "`system/Patients.read` names no resource type of FHIR R4", "system/Patient.read"),
        ("system/Observatoin.rs", "`system/Observatoin.rs` names no resource type of FHIR R4", "system/Observation.rs"),
        ("system/patient.read", "`system/patient.read` is not of the form", "system/Patient.read"),
        ("system/Patient.reed", "`system/Patient.reed` is not of the form", "system/Patient.read"),
    ] {
        let ended = check(&changed("[system/Patient.read, system/Observation.read]", &format!("[{written}]")), &[]);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(&format!("error: {place} {message}")), "{}", ended.err);
        assert!(ended.err.contains(&format!("\n  did you mean `{meant}`?\n")), "{}", ended.err);
    }
}

#[test]
fn a_network_that_names_one_address_is_warned_of() {
    let ended = check(
        &with(
            "access: {allow_from: [10.0.0.5/8]}\npublic_url: https://gw.example.org\ntrusted_proxies: [{from: \"fd00::1/8\", fields: forwarded}, {from: 192.0.2.7, fields: x_forwarded}]\n",
        ),
        &[],
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    for warning in [
        "warning: conf/gateway.yaml: access.allow_from[0]: `10.0.0.5/8` names one address, and is read as the whole network 10.0.0.0/8\n  write  10.0.0.0/8  or, for that address alone,  10.0.0.5\n",
        "warning: conf/gateway.yaml: trusted_proxies[0].from: `fd00::1/8` names one address",
    ] {
        assert!(ended.err.contains(warning), "{warning} in\n{}", ended.err);
    }
    assert_eq!(ended.err.matches("warning: ").count(), 2, "{}", ended.err);
}

#[test]
fn shared_pages_that_are_not_cut_here_are_warned_of() {
    for (paging, is_warned) in [("slice", false), ("native", true), ("off", true)] {
        let site = format!("client_id: abc\n    share_pages: 20s\n    paging: {paging}");
        let ended = check(&changed("client_id: abc", &site), &[]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let warning = "warning: conf/gateway.yaml: sites.default.share_pages: is set, and no page is shared";
        assert_eq!(ended.err.starts_with(warning), is_warned, "{paging}: {}", ended.err);
    }
}

#[test]
fn settings_that_expose_more_than_was_meant_are_warned_of() {
    let proxy = "trusted_proxies: [{from: 10.0.0.7, fields: x_forwarded}]\n";
    let plain = "listen: [{address: \"0.0.0.0:8000\"}]\n";
    let loopback = "listen: [{address: \"127.0.0.1:8000\"}, {address: \"[::1]:8000\"}]\n";
    for (keys, warnings) in [
        (proxy.to_owned(), vec!["public_url: is missing, and there are trusted_proxies"]),
        (format!("{proxy}public_url: https://gw.example.org\n"), vec![]),
        (
            format!("{plain}access: {{allow_from: open, anonymous: metadata-only}}\n"),
            vec!["access: is open, and 0.0.0.0:8000 speaks plain HTTP"],
        ),
        (
            format!("{plain}access: {{allow_from: [10.0.0.0/8], anonymous: everything}}\n"),
            vec!["access.anonymous: is `everything`, and 0.0.0.0:8000 can be reached from other machines"],
        ),
        (format!("{plain}access: {{allow_from: [10.0.0.0/8], anonymous: none}}\n"), vec![]),
        (format!("{loopback}access: open\ntoken_exposure: always\n"), vec![]),
        (
            format!("{plain}access: {{allow_from: [10.0.0.0/8], anonymous: metadata-only}}\ntoken_exposure: always\n"),
            vec!["token_exposure: is `always`, and 0.0.0.0:8000 can be reached from other machines"],
        ),
    ] {
        let ended = check(&with(&keys), &[]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(ended.err.matches("warning: ").count(), warnings.len(), "{}", ended.err);
        for warning in warnings {
            let begins = format!("warning: conf/gateway.yaml: {warning}");
            assert!(ended.err.contains(&begins) && ended.err.contains("\n  "), "{begins} in\n{}", ended.err);
        }
    }
}

#[cfg(feature = "otlp")]
#[test]
fn an_endpoint_of_traces_that_cannot_work_is_an_error_or_warned_of() {
    fails(
        &with("tracing: {endpoint: http://127.0.0.1:4318/v1/traces}\n"),
        &[],
        "conf/gateway.yaml: tracing.endpoint: ends in /v1/traces, which is appended to it",
        "leave /v1/traces out",
    );
    fails(
        &with("tracing: {sample: 25%}\n"),
        &[],
        "conf/gateway.yaml: tracing.sample: `25%` is no share; write a number from 0 to 1",
        "write it like  0.1",
    );
    for (tracing, warning) in [
        ("{endpoint: http://127.0.0.1:4317}", "has port 4317, on which collectors speak gRPC"),
        ("{endpoint: http://otel.example:4318, headers_file: h}", "what headers_file holds goes there in the clear"),
    ] {
        let ended = check(&with(&format!("tracing: {tracing}\n")), &[]);
        assert!(ended.code == 0 && ended.err.contains(warning), "{}", ended.err);
    }
    assert!(passes(&with("tracing: {endpoint: 'http://otel:4318', sample: 0.25}\n"), &[]).contains("sample: 0.25\n"));
}

#[cfg(not(feature = "otlp"))]
#[test]
fn an_endpoint_of_traces_needs_a_program_with_opentelemetry() {
    fails(
        &with("tracing: {endpoint: 'http://127.0.0.1:4318'}\n"),
        &[],
        "conf/gateway.yaml: tracing.endpoint: is written, and this program was built without OpenTelemetry",
        "Cargo feature  otlp",
    );
}

#[test]
fn an_address_that_goes_on_behind_openemrs_own_is_refused() {
    for (written, address, below) in [
        ("https://emr.example.org/fhir", "https://emr.example.org", "/fhir"),
        ("https://emr.example.org/apis/default/fhir", "https://emr.example.org", "/apis/default/fhir"),
        ("https://emr.example.org/openemr/oauth2/default", "https://emr.example.org/openemr", "/oauth2/default"),
        (
            "https://emr.example.org/openemr/interface/login/login.php",
            "https://emr.example.org/openemr",
            "/interface/login/login.php",
        ),
    ] {
        fails(
            &changed("openemr: https://emr.example.org", &format!("openemr: {written}")),
            &[],
            &format!("conf/gateway.yaml: sites.default.openemr: `{written}` goes on behind OpenEMR's address, with {below}"),
            &format!("write  openemr: {address}  "),
        );
    }
    passes(&changed("openemr: https://emr.example.org", "openemr: https://emr.example.org/fhirserver/openemr"), &[]);
}

#[test]
fn a_certificate_that_has_expired_or_soon_will_is_warned_of() {
    let day = 24 * 60 * 60;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    for (from, until, words) in [(-20, -10, "expired on "), (-20, 10, ", in 10 days"), (5, 100, "is not valid before ")] {
        let folder = with(
            "listen: [{address: \"127.0.0.1:8443\", tls: {certificate: certs/server.pem, private_key: certs/server-key.pem}}]\n",
        );
        let (certificate, key) = certificate(now + from * day, now + until * day + day / 2);
        folder.write("certs/server.pem", &certificate);
        folder.secret("certs/server-key.pem", &key);
        folder.replace(CONFIG, "client_id: abc", "client_id: abc\n    ca_file: certs/server.pem");
        let ended = check(&folder, &[]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        for key in ["listen[0].tls.certificate", "sites.default.ca_file"] {
            let place = format!("warning: conf/gateway.yaml: {key}: certs/server.pem (");
            let line = ended.err.lines().find(|line| line.starts_with(&place));
            assert!(line.is_some_and(|line| line.contains(words)), "{place} {words} in\n{}", ended.err);
        }
    }
    let folder = with("listen: [{address: \"127.0.0.1:8443\", tls: {certificate: certs/a.pem, private_key: certs/a-key.pem}}]\n");
    let (certificate, key) = certificate(now - day, now + 40 * day);
    folder.write("certs/a.pem", &certificate);
    folder.secret("certs/a-key.pem", &key);
    passes(&folder, &[]);
}

/// A self-signed certificate and its key, in PEM; the times are seconds since 1970.
fn certificate(from: i64, until: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let date = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds as u64);
    (parameters.not_before, parameters.not_after) = (date(from), date(until));
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn hostile_files_get_one_clear_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "));
    }
    for (text, message) in [
        (bomb.into_bytes(), "holds more than 50000 values"),
        (b"[".repeat(1024 * 1024), "is not valid YAML: nested too deeply"),
        (b"{a: ".repeat(200_000), "is not valid YAML: "),
        (b"- ".repeat(500_000), "is not valid YAML: "),
        ("a:\n ".repeat(200_000).into_bytes(), "is not valid YAML: "),
        (b"&a ".repeat(300_000), "is not valid YAML: "),
        (b"'".repeat(1_000_001), "is not valid YAML: "),
        ("x: y\n".repeat(200_000).into_bytes(), "holds more than 250000 values"),
        (b"sites:\n\tdefault: 1\n".to_vec(), "is not valid YAML: "),
        (b"sites: \xff\xfe\n".to_vec(), "is not UTF-8 text"),
        (b"sites: \x00\n".to_vec(), "is not valid YAML: "),
        ("\u{feff}\u{feff}sites: {}\n".into(), ""),
        (b"<<: {a: 1}\n".to_vec(), "unknown key `<<`"),
        (b"? [a, b]\n: c\n".to_vec(), "a list cannot be a key"),
        (b"- sites\n".to_vec(), "a list where a mapping was due"),
        (b"sites\n".to_vec(), "text where a mapping was due"),
    ] {
        let folder = Folder::good();
        std::fs::write(folder.path(CONFIG), &text).unwrap();
        let ended = folder.run(&["config", "check"]);
        let start = String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned();
        assert_eq!(ended.code, 1, "{start}: {}", ended.err);
        assert!(ended.err.starts_with("error: conf/gateway.yaml") && ended.err.contains(message), "{start}: {}", ended.err);
        assert!(!ended.err.contains("panicked") && ended.err.len() < 4_000, "{start}: {}", ended.err);
    }
}

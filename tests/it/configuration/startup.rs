//! Start-up fails with the remedy: each error of the configuration, through the built binary, by both commands that
//! check it.

use crate::support::command::{Folder, GOOD, changed, check, fails, passes, with, without_positions};

const CONFIG: &str = "conf/gateway.yaml";
const JWKS: &str = "keys/jwks.json";
const KEY: &str = "keys/private_key.pem";

#[test]
fn the_good_one_passes() {
    passes(&Folder::good(), &[]);
}

#[test]
fn no_configuration_file() {
    let folder = Folder::good();
    std::fs::remove_file(folder.path(CONFIG)).unwrap();
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: conf/gateway.yaml ({abs}conf/gateway.yaml) does not exist",
        "name the file with --config",
    );
    folder.write("conf/gateway.yaml/x", "");
    fails(&folder, &[], "conf/gateway.yaml: conf/gateway.yaml ({abs}conf/gateway.yaml) is not a regular file", "--config");
}

#[test]
fn a_named_file_must_exist_whatever_the_environment_says() {
    let folder = Folder::good();
    let variables = [
        ("OEMR_BASE", "https://emr"),
        ("CLIENT_ID", "a"),
        ("PRIVATE_KEY_PATH", KEY),
        ("JWKS_PATH", JWKS),
        ("SCOPE", "system/Patient.read"),
    ];
    let ended = folder.run_with(&["config", "check", "--config", "conf/typo.yaml"], &variables);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("does not exist"), "{}", ended.err);
}

#[test]
fn bad_yaml() {
    for (text, message) in [
        ("sites: [", "is not valid YAML: "),
        ("sites: {default: !secret x}", "is not valid YAML: "),
        ("a: &a [*a]", "is not valid YAML: "),
    ] {
        let folder = Folder::good();
        folder.write(CONFIG, text);
        let ended = check(&folder, &[]);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(message), "{}", ended.err);
    }
    let folder = Folder::good();
    folder.write(CONFIG, &"#".repeat(32 * 1024 * 1024 + 1));
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: conf/gateway.yaml ({abs}conf/gateway.yaml) is larger than 33554432 bytes",
        "--config",
    );
    folder.write(CONFIG, "# nothing yet\n");
    fails(&folder, &[], "conf/gateway.yaml: sites: names no OpenEMR site", "sites: { default:");
}

#[test]
fn missing_keys() {
    for (line, key, variable) in [
        ("    openemr: https://emr.example.org\n", "openemr", "OEMR_BASE"),
        ("    client_id: abc\n", "client_id", "CLIENT_ID"),
        ("    private_key: keys/private_key.pem\n", "private_key", "PRIVATE_KEY_PATH"),
        ("    jwks: keys/jwks.json\n", "jwks", "JWKS_PATH"),
        ("    scopes: [system/Patient.read, system/Observation.read]\n", "scopes", "SCOPE"),
    ] {
        fails(
            &changed(line, ""),
            &[],
            &format!("conf/gateway.yaml: sites.default.{key}: is missing"),
            &format!("or set {variable}"),
        );
    }
}

#[test]
fn unknown_and_duplicate_keys() {
    fails(&with("lisen: []\n"), &[], "conf/gateway.yaml: lisen: unknown key `lisen`", "did you mean `listen`?");
    fails(&with("colour: red\n"), &[], "conf/gateway.yaml: colour: unknown key `colour`", "known here: listen, routes");
    fails(
        &changed("client_id: abc", "client_id: abc\n    clientId: abc"),
        &[],
        "conf/gateway.yaml: sites.default.clientId: unknown key `clientId`",
        "did you mean `client_id`?",
    );
    fails(
        &changed("client_id: abc", "client_id: abc\n    client_id: abd"),
        &[],
        "conf/gateway.yaml: sites.default.client_id: is written twice",
        "keep one",
    );
    fails(
        &with("server: { thread: 1 }\n"),
        &[],
        "conf/gateway.yaml: server.thread: unknown key `thread`",
        "did you mean `threads`?",
    );
    fails(
        &with("limits: { request_haed: 1KiB }\n"),
        &[],
        "conf/gateway.yaml: limits.request_haed: unknown key `request_haed`",
        "did you mean `request_head`?",
    );
}

#[test]
fn wrong_types() {
    for (more, message) in [
        ("listen: 8000\n", "listen: a number where a list was due"),
        ("routes: /fhir\n", "routes: text where a mapping was due"),
        ("log: { level: [info] }\n", "log.level: a list where text was due"),
        ("limits: { keepalive_requests: many }\n", "limits.keepalive_requests: `many` is no whole number above 0"),
        ("limits: { request_head: 64KB }\n", "limits.request_head: `64KB` is no size; write 64KiB, 1MiB or a number of bytes"),
        ("limits: { request_head: 100 }\n", "limits.request_head: is outside 1KiB to 1MiB"),
        ("limits: { read_timeout: 5 minutes }\n", "limits.read_timeout: `5 minutes` is no duration; write 500ms, 5s, 2m or 1h"),
        ("limits: { read_timeout: 0 }\n", "limits.read_timeout: `0` is too short; at least 1ms is needed"),
        ("limits: { read_timeout: 48h }\n", "limits.read_timeout: `48h` is too long; at most 24h are accepted"),
        ("server: { threads: 0 }\n", "server.threads: `0` is outside 1 to 1024"),
    ] {
        let ended = check(&with(more), &[]);
        assert_eq!(ended.code, 1, "{more}");
        assert!(ended.err.starts_with(&format!("error: conf/gateway.yaml: {message}\n")), "{}", ended.err);
    }
    let ended = check(&with("server: { threads: many }\n"), &[]);
    assert!(ended.code == 1 && ended.err.starts_with("error: conf/gateway.yaml: server.threads: "), "{}", ended.err);
    fails(
        &changed("client_id: abc", "client_id: 12"),
        &[],
        "conf/gateway.yaml: sites.default.client_id: a number where text was due",
        "\"12\"",
    );
    fails(
        &changed("client_id: abc", "client_id: <client_id>"),
        &[],
        "conf/gateway.yaml: sites.default.client_id: `<client_id>` is still the placeholder",
        "at registration",
    );
}

#[test]
fn a_part_is_not_longer_than_the_whole() {
    let folder = changed("client_id: abc", "client_id: abc\n    timeouts: { connect: 15s }");
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.timeouts: connect (15s) is longer than total_connect (10s), of which it is a part",
        "raise total_connect",
    );
}

#[test]
fn every_error_is_found_not_only_the_first() {
    let folder = Folder::empty();
    folder.write(
        CONFIG,
        "listen: [{address: nowhere}]\ncolour: red\nlog: {level: loud}\nsites:\n  default:\n    openemr: ftp://emr\n    client_id: a b\n    private_key: k.pem\n    jwks: j.json\n    scopes: [openid, system/*.read]\n    timeouts: {read: x}\n",
    );
    let ended = check(&folder, &[]);
    for path in [
        "listen[0].address",
        "colour",
        "log.level",
        "sites.default.openemr",
        "sites.default.client_id",
        "sites.default.private_key",
        "sites.default.jwks",
        "sites.default.scopes[0]",
        "sites.default.scopes[1]",
        "sites.default.timeouts.read",
    ] {
        assert!(ended.err.contains(&format!("error: conf/gateway.yaml: {path}: ")), "{path} in\n{}", ended.err);
    }
    assert_eq!(ended.err.matches("error: ").count(), 10, "{}", ended.err);
}

#[test]
fn files_missing_or_unreadable() {
    let folder = Folder::good();
    std::fs::remove_file(folder.path(KEY)).unwrap();
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.private_key: keys/private_key.pem ({abs}keys/private_key.pem) does not exist",
        "create one:  openemr-gateway keys generate --out keys",
    );

    let folder = Folder::good();
    std::fs::remove_file(folder.path(JWKS)).unwrap();
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.jwks: keys/jwks.json ({abs}keys/jwks.json) does not exist",
        "write the key's own:  openemr-gateway keys jwks --private-key keys/private_key.pem --out keys/jwks.json",
    );

    let absolute = Folder::good();
    let missing = absolute.path("elsewhere.pem").display().to_string();
    absolute.replace(CONFIG, "keys/private_key.pem", &missing);
    fails(&absolute, &[], &format!("conf/gateway.yaml: sites.default.private_key: {missing} does not exist"), "keys generate");

    fails(
        &changed("keys/private_key.pem", "keys"),
        &[],
        "conf/gateway.yaml: sites.default.private_key: keys ({abs}keys) is not a regular file",
        "name the PEM file",
    );
    fails(
        &changed("client_id: abc", "client_id: abc\n    ca_file: certs/ca.pem"),
        &[],
        "conf/gateway.yaml: sites.default.ca_file: certs/ca.pem ({abs}certs/ca.pem) does not exist",
        "leave the key out",
    );

    let folder = Folder::good();
    folder.chmod(KEY, 0);
    // The superuser reads everything.
    if std::fs::read(folder.path(KEY)).is_err() {
        fails(
            &folder,
            &[],
            "conf/gateway.yaml: sites.default.private_key: keys/private_key.pem ({abs}keys/private_key.pem) cannot be read: permission denied",
            "chown",
        );
    }
}

#[test]
fn urls_that_cannot_be() {
    let openemr = |url: &str| changed("openemr: https://emr.example.org", &format!("openemr: \"{url}\""));
    let place = "conf/gateway.yaml: sites.default.openemr:";
    fails(
        &openemr("http://emr.example.org"),
        &[],
        &format!("{place} `http://emr.example.org` is not https, and emr.example.org is not this machine"),
        "ca_file",
    );
    fails(
        &openemr("emr.example.org"),
        &[],
        &format!("{place} `emr.example.org` does not begin with https:// or http://"),
        "https://emr.example.org/openemr",
    );
    fails(
        &openemr("https://emr.example.org?x=1"),
        &[],
        &format!("{place} `https://emr.example.org?x=1` has a query or a fragment"),
        "write it like",
    );
    let folder = openemr("https://admin:hunter2@emr.example.org");
    fails(&folder, &[], &format!("{place} holds a user name or a password"), "leave it out");
    assert!(!check(&folder, &[]).err.contains("hunter2"));
    for url in
        ["http://127.0.0.1:9300", "http://127.8.8.8", "http://[::1]:80", "http://localhost:8080/openemr", "https://emr/openemr/"]
    {
        passes(&openemr(url), &[]);
    }
    let folder = changed("client_id: abc", "client_id: abc\n    token_url: http://emr.example.org/token");
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.token_url: `http://emr.example.org/token` is not https, and emr.example.org is not this machine",
        "https",
    );
}

#[test]
fn scopes_that_openemr_refuses() {
    let scopes = |list: &str| changed("[system/Patient.read, system/Observation.read]", list);
    let place = "conf/gateway.yaml: sites.default.scopes";
    fails(
        &scopes("[]"),
        &[],
        &format!("{place}: is empty; OpenEMR would grant a token that opens nothing"),
        "system/Patient.read",
    );
    fails(&scopes("[system/Patient.read, openid]"), &[], &format!("{place}[1]: `openid` is not a system scope"), "leave it out");
    fails(&scopes("[user/Patient.read]"), &[], &format!("{place}[0]: `user/Patient.read` is not a system scope"), "leave it out");
    fails(
        &scopes("[system/*.read]"),
        &[],
        &format!("{place}[0]: `system/*.read` is a wildcard, which OpenEMR refuses"),
        "name each resource type",
    );
    fails(
        &scopes("[system/Patient]"),
        &[],
        &format!("{place}[0]: `system/Patient` is not of the form system/<ResourceType>.<read|write|cruds letters|$operation>"),
        "like  system/Patient.read",
    );
    passes(&scopes("[\"system/Patient.$export\", system/Patient.rs]"), &[]);
}

#[test]
fn addresses() {
    let place = "conf/gateway.yaml: listen[0].address:";
    let listen = |address: &str| with(&format!("listen: [{{address: \"{address}\"}}]\n"));
    fails(&listen("localhost:8000"), &[], &format!("{place} `localhost:8000` is no IP address with a port"), "127.0.0.1:8000");
    fails(&listen("127.0.0.1"), &[], &format!("{place} `127.0.0.1` is no IP address with a port"), "127.0.0.1:8000");
    fails(&listen("127.0.0.1:0"), &[], &format!("{place} `127.0.0.1:0` has port 0, another one at each start"), "8000");
    fails(&with("listen: []\n"), &[], "conf/gateway.yaml: listen: names no address", "127.0.0.1:8000");
    fails(
        &with("listen: [{address: \"127.0.0.1:1\"}, {address: \"127.0.0.1:1\"}]\n"),
        &[],
        "conf/gateway.yaml: listen[1].address: `127.0.0.1:1` is listened on twice",
        "keep one",
    );
    fails(
        &with("listen: [\"127.0.0.1:8000\"]\n"),
        &[],
        "conf/gateway.yaml: listen[0]: `127.0.0.1:8000` stands alone",
        "- address: 127.0.0.1:8000",
    );
}

#[test]
fn an_address_of_another_machine_is_found_by_serve() {
    // TEST-NET-1 (RFC 5737) is nobody's.
    let folder = with("listen: [{address: \"192.0.2.1:8000\"}]\naccess: {allow_from: open, anonymous: none}\n");
    assert_eq!(folder.run(&["config", "check"]).code, 0);
    let ended = folder.run(&["serve", "--test"]);
    assert_eq!(ended.code, 1);
    assert!(
        without_positions(&ended.err)
            .0
            .contains("\nerror: conf/gateway.yaml: listen[0].address: `192.0.2.1:8000` cannot be listened on: "),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("name an address of this machine"), "{}", ended.err);
}

#[test]
fn a_port_that_is_taken_is_found_by_serve() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = with(&format!("listen: [{{address: \"{address}\"}}]\n"));
    for command in [&["serve"][..], &["serve", "--test"]] {
        let ended = folder.run(command);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(&format!("listen[0].address: `{address}` cannot be listened on: ")), "{}", ended.err);
        assert!(ended.err.contains("stop the program that listens there"), "{}", ended.err);
    }
}

#[test]
fn a_daemons_log_that_cannot_be_written_to_is_found_by_serve() {
    let folder = with("server: {daemon: true, error_log: missing/gateway.log, pid_file: gateway.pid}\n");
    for command in [&["serve"][..], &["serve", "--test"]] {
        let ended = folder.run(command);
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(ended.err.contains("server.error_log: missing/gateway.log cannot be written to: "), "{}", ended.err);
    }
    assert!(!folder.path("missing").exists(), "a test changes nothing");
}

#[test]
fn a_log_that_cannot_be_written_is_found_by_serve() {
    for (log, problem, remedy) in [
        ("to: file", "log.to: is `file`, and `log.file.path` is missing", "write  file: { path: "),
        ("to: file, file: {path: missing/log}", "log.file.path: the folder missing does not exist", "install -d -m 750"),
        (
            "to: file, file: {path: conf/gateway.yaml/log}",
            "log.file.path: conf/gateway.yaml is no folder",
            "name a file in a folder",
        ),
        ("to: file, file: {path: keys}", "log.file.path: keys is no regular file", "write  to: stderr"),
        ("to: file, file: {path: link}", "log.file.path: link is a symbolic link", "name the file itself"),
        ("to: file, file: {path: log, max_size: 1KiB}", "log.file.max_size: is below 64KiB", "write it like  100MiB"),
        ("to: journald, journal_socket: keys", "log.journal_socket: keys is no socket", "write  to: stderr"),
    ] {
        let folder = with(&format!("log: {{{log}}}\n"));
        std::os::unix::fs::symlink("elsewhere", folder.path("link")).unwrap();
        for command in [&["serve"][..], &["serve", "--test"]] {
            let ended = folder.run(command);
            assert_eq!(ended.code, 1, "{}", ended.err);
            assert!(ended.err.contains(problem) && ended.err.contains(remedy), "{problem} in {}", ended.err);
        }
        assert!(!folder.path("elsewhere").exists() && !folder.path("log").exists(), "a test changes nothing");
    }
    let unused = check(&with("log: {file: {path: log}}\n"), &[]);
    assert!(unused.code == 0 && unused.err.contains("warning: "), "{}", unused.err);
    assert!(unused.err.contains("log.file: names a file, and `log.to` is not `file`"), "{}", unused.err);
}

#[test]
fn other_machines_need_access_rules() {
    let listen = "listen: [{address: \"0.0.0.0:8000\"}]\n";
    fails(
        &with(listen),
        &[],
        "conf/gateway.yaml: access: is missing, and 0.0.0.0:8000 can be reached from other machines: whoever calls reads patient data",
        "anonymous: everything",
    );
    let open = check(&with(&format!("{listen}access: {{allow_from: open, anonymous: everything}}\n")), &[]);
    assert_eq!(open.code, 0, "{}", open.err);
    assert!(
        open.err.starts_with("warning: conf/gateway.yaml: access: is open, and 0.0.0.0:8000 speaks plain HTTP"),
        "{}",
        open.err
    );
    assert!(!open.err.contains("error: "), "{}", open.err);
    let networks = "allow_from: [10.0.0.0/8, \"fd00::/8\", 192.0.2.7]";
    passes(&with(&format!("{listen}access: {{{networks}, anonymous: metadata-only}}\n")), &[]);
    for unsaid in [format!("access: {{{networks}}}\n"), "access: open\n".to_owned()] {
        fails(
            &with(&format!("{listen}{unsaid}")),
            &[],
            "conf/gateway.yaml: access: names no `clients`, and 0.0.0.0:8000 can be reached from other machines: whoever calls reads patient data",
            "anonymous: everything",
        );
    }
    fails(
        &with("access: {allow_from: []}\n"),
        &[],
        "conf/gateway.yaml: access.allow_from: names no network, so that nobody could call",
        "127.0.0.0/8",
    );
    fails(
        &with("access: {allow_from: [10.0.0.0/33]}\n"),
        &[],
        "conf/gateway.yaml: access.allow_from[0]: `10.0.0.0/33` is no network",
        "10.0.0.0/8",
    );
    fails(&with("access: closed\n"), &[], "conf/gateway.yaml: access: `closed` is no access rule", "access: open");
    fails(&with("access: {}\n"), &[], "conf/gateway.yaml: access: `allow_from` is missing", "allow_from: [");
}

#[test]
fn listener_certificates() {
    let tls = "listen: [{address: \"127.0.0.1:8443\", tls: {certificate: certs/localhost.pem, private_key: certs/localhost-key.pem}}]\n";
    let folder = with(tls);
    let ended = check(&folder, &[]);
    assert_eq!(ended.err.matches("does not exist").count(), 2, "{}", ended.err);
    assert!(ended.err.contains("openemr-gateway keys certificate --host localhost --out certs"), "{}", ended.err);
    assert_eq!(folder.run(&["keys", "certificate"]).code, 0);
    passes(&folder, &[]);

    folder.secret("certs/localhost-key.pem", include_str!("../../keys/p384-pkcs8.pem"));
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: listen[0].tls.certificate: certs/localhost.pem ({abs}certs/localhost.pem) and certs/localhost-key.pem ({abs}certs/localhost-key.pem) do not fit together: the certificate is for another key",
        "name the key that the certificate was made for",
    );
    folder.secret("certs/localhost-key.pem", include_str!("../../keys/encrypted-pkcs8.pem"));
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: listen[0].tls.private_key: certs/localhost-key.pem ({abs}certs/localhost-key.pem) is encrypted with a passphrase",
        "openssl pkey",
    );
    folder.write("certs/localhost.pem", "nothing");
    folder.secret("certs/localhost-key.pem", include_str!("../../keys/p384-sec1.pem"));
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: listen[0].tls.certificate: certs/localhost.pem ({abs}certs/localhost.pem) holds no PEM certificate",
        "BEGIN CERTIFICATE",
    );
    fails(
        &with("listen: [{address: \"127.0.0.1:8443\", tls: {certificate: a}}]\n"),
        &[],
        "conf/gateway.yaml: listen[0].tls: `private_key` is missing",
        "keys certificate",
    );
}

#[test]
fn a_private_ca() {
    let folder = changed("client_id: abc", "client_id: abc\n    ca_file: certs/localhost.pem");
    assert_eq!(folder.run(&["keys", "certificate"]).code, 0);
    passes(&folder, &[]);
    folder.write("certs/localhost.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let ended = check(&folder, &[]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("sites.default.ca_file: certificate 1 of certs/localhost.pem ("), "{}", ended.err);
}

#[test]
fn routes_and_sites() {
    let place = "conf/gateway.yaml: routes";
    fails(
        &with("routes: {health: health}\n"),
        &[],
        &format!("{place}.health: `health` is no path for a route"),
        "begin it with /",
    );
    fails(&with("routes: {fhir: /fhir/}\n"), &[], &format!("{place}.fhir: `/fhir/` is no path for a route"), "end it with none");
    fails(
        &with("routes: {health: /x, token: /x}\n"),
        &[],
        &format!("{place}.token: `/x` is already taken by health (`/x`)"),
        "a path of its own",
    );
    fails(
        &with("routes: {health: /fhir/health}\n"),
        &[],
        &format!("{place}.health: `/fhir/health` is already taken by fhir (`/fhir`)"),
        "a path of its own",
    );
    assert!(passes(&with("routes: {health: null}\n"), &[]).contains("health: null\n"));

    let two = |name: &str| {
        let site = GOOD.trim_start_matches("sites:\n").replace("  default:", &format!("  {name}:"));
        with(&site)
    };
    fails(
        &two("health"),
        &[],
        "conf/gateway.yaml: sites.health: a site `health` would be served below the local route /health",
        "move that route",
    );
    fails(
        &two("oauth"),
        &[],
        "conf/gateway.yaml: sites.oauth: a site `oauth` would be served below the local route /oauth/token",
        "move that route",
    );
    fails(&two("\"a/b\""), &[], "conf/gateway.yaml: sites.a/b: `a/b` is no site id of OpenEMR's", "letters, digits");
    let out = passes(&two("clinic-2"), &[]);
    assert!(out.contains("fhir_base: https://emr.example.org/apis/clinic-2/fhir\n"), "{out}");
}

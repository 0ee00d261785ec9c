//! Where the configuration comes from, and what takes effect: defaults, variables, the shipped file.

use crate::support::command::{Folder, changed, check, fails, own_key, passes, with, without_positions};

const CONFIG: &str = "conf/gateway.yaml";
const JWKS: &str = "keys/jwks.json";
const KEY: &str = "keys/private_key.pem";

#[test]
fn urls_are_made_of_openemr_and_the_site() {
    let folder = changed("openemr: https://emr.example.org", "openemr: https://emr.example.org/openemr/");
    let out = passes(&folder, &[]);
    for line in [
        "fhir_base: https://emr.example.org/openemr/apis/default/fhir",
        "token_url: https://emr.example.org/openemr/oauth2/default/token",
        "token_audience: https://emr.example.org/openemr/oauth2/default/token",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
}

#[test]
fn variables_in_values() {
    let folder = changed("client_id: abc", "client_id: ${ID}");
    fails(&folder, &[], "conf/gateway.yaml: sites.default.client_id: ${ID} is not set", "set ID");
    fails(&folder, &[("ID", "")], "conf/gateway.yaml: sites.default.client_id: ${ID} is not set", "set ID");
    assert!(passes(&folder, &[("ID", "from-env")]).contains("client_id: from-env\n"));
    let folder = changed("client_id: abc", "client_id: ${ID");
    fails(&folder, &[], "conf/gateway.yaml: sites.default.client_id: `${ID` holds a ${ that names no variable", "$${");
    let out = passes(&with("limits: {keepalive_requests: \"${N}\"}\nserver: {threads: \"${N}\"}\n"), &[("N", "7")]);
    assert!(out.contains("keepalive_requests: 7\n") && out.contains("threads: 7\n"), "{out}");
}

#[test]
fn several_threads_share_their_work_unless_it_is_said() {
    for (written, expected) in [
        ("{threads: 1}", "work_stealing: false\n"),
        ("{threads: 3}", "work_stealing: true\n"),
        ("{threads: 3, work_stealing: false}", "work_stealing: false\n"),
        ("{threads: 1, work_stealing: true}", "work_stealing: true\n"),
    ] {
        let out = passes(&with(&format!("server: {written}\n")), &[]);
        assert!(out.contains(expected), "{written}: {out}");
    }
}

#[test]
fn the_python_proxys_variables_need_no_file() {
    let folder = Folder::good();
    std::fs::remove_file(folder.path(CONFIG)).unwrap();
    let variables = [
        ("OEMR_BASE", "https://emr.example.org"),
        ("SITE", "clinic"),
        ("CLIENT_ID", "abc"),
        ("PRIVATE_KEY_PATH", KEY),
        ("JWKS_PATH", JWKS),
        ("KID", ""),
        ("SCOPE", "system/Patient.read  system/Goal.read"),
        ("LOG_LEVEL", "WARNING"),
    ];
    let out = passes(&folder, &variables);
    for line in [
        "- address: 127.0.0.1:8000\n",
        "- 127.0.0.0/8\n  - ::1/128\n",
        "\n  default:\n",
        "fhir_base: https://emr.example.org/apis/clinic/fhir\n",
        "token_url: https://emr.example.org/oauth2/clinic/token\n",
        "- system/Patient.read\n    - system/Goal.read\n",
        "level: warn\n",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }

    // The same from a file, in dotenv syntax; the process environment wins.
    folder.write(".env", "# old proxy\nexport OEMR_BASE='https://emr.example.org'\nSITE=clinic\nCLIENT_ID=\"abc\" # registered\nPRIVATE_KEY_PATH=keys/private_key.pem\nJWKS_PATH=keys/jwks.json\nSCOPE=system/Patient.read system/Goal.read\nLOG_LEVEL=DEBUG\n");
    let ended = folder.run_with(&["config", "check", "--env-file", ".env"], &[("LOG_LEVEL", "WARNING")]);
    assert_eq!((ended.code, ended.out), (0, out));

    folder.replace(".env", "SCOPE=system/Patient.read system/Goal.read", "SCOPE=\"openid system/Patient.read\"");
    let ended = folder.run(&["serve", "--test", "--env-file", ".env"]);
    assert_eq!(
        (ended.code, without_positions(&ended.err).0.as_str()),
        (
            1,
            "error: .env: SCOPE: `openid` is not a system scope\n  leave it out; a gateway without a user asks for system/… scopes alone\n"
        )
    );

    let ended = folder.run_with(&["config", "check"], &[("OEMR_BASE", "http://emr")]);
    assert!(ended.err.contains("error: environment: OEMR_BASE: `http://emr` is not https"), "{}", ended.err);
    assert!(ended.err.contains("client_id: is missing\n") && ended.err.contains("or set CLIENT_ID"), "{}", ended.err);

    folder.write(".env", "OEMR_BASE\n");
    let ended = folder.run(&["config", "check", "--env-file", ".env"]);
    assert!(ended.code == 1 && ended.err.contains("error: .env: line 1 of .env ("), "{}", ended.err);
    let ended = folder.run(&["config", "check", "--env-file", "none.env"]);
    assert!(
        ended.code == 1 && ended.err.contains("error: none.env: none.env (") && ended.err.contains("does not exist"),
        "{}",
        ended.err
    );
}

#[test]
fn the_old_env_file_goes_with_the_shipped_file() {
    let folder = Folder::good();
    folder.write(CONFIG, include_str!("../../../conf/gateway.yaml"));
    folder.write(".env", "OEMR_BASE=https://old.example.org\nSITE=default\nCLIENT_ID=abc\nPRIVATE_KEY_PATH=keys/private_key.pem\nJWKS_PATH=keys/jwks.json\nSCOPE=system/Goal.read\n");
    let ended = folder.run(&["config", "check", "--env-file", ".env"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("fhir_base: https://old.example.org/apis/default/fhir\n"), "{}", ended.out);
    assert!(ended.out.contains("scopes:\n    - system/Goal.read\n    ca_file"), "{}", ended.out);
}

#[test]
fn variables_override_the_default_site() {
    let out = passes(
        &Folder::good(),
        &[("CLIENT_ID", "over"), ("TOKEN_URL", "https://a.example.org/t"), ("FHIR_BASE", "https://b.example.org/f")],
    );
    for line in [
        "client_id: over\n",
        "token_url: https://a.example.org/t\n",
        "token_audience: https://a.example.org/t\n",
        "fhir_base: https://b.example.org/f\n",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
    let folder = changed("  default:", "  clinic:");
    let ended = check(&folder, &[("SCOPE", "system/Goal.read")]);
    assert_eq!(ended.code, 0);
    assert!(ended.err.starts_with("warning: environment: SCOPE: is set, but there is no site `default`"), "{}", ended.err);
}

#[test]
fn the_effective_configuration_is_one_and_shows_no_secret() {
    let folder = with(
        "listen: [{address: \"[::1]:8443\", tls: {certificate: certs/localhost.pem, private_key: certs/localhost-key.pem}}]\nroutes: {token: null}\naccess: open\nlog: {format: json}\nlimits: {read_timeout: 1500ms}\n",
    );
    assert_eq!(folder.run(&["keys", "certificate"]).code, 0);
    let out = passes(&folder, &[]);
    folder.write(CONFIG, &out);
    assert_eq!(passes(&folder, &[]), out);
    for file in [KEY, "certs/localhost-key.pem"] {
        for line in folder.read(file).lines().filter(|line| !line.starts_with("-----")) {
            assert!(!out.contains(line));
        }
    }
}

#[test]
fn the_shipped_file_is_true() {
    let shipped = include_str!("../../../conf/gateway.yaml");
    let folder = Folder::good();
    assert_eq!(folder.run(&["keys", "certificate"]).code, 0);
    let registered = shipped.replace("<client_id>", "abc");
    folder.write(CONFIG, &registered);
    let as_shipped: serde_yaml::Value = serde_yaml::from_str(&passes(&folder, &[])).unwrap();

    folder.write(CONFIG, shipped);
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.client_id: `<client_id>` is still the placeholder",
        "at registration\n  or have it written:  openemr-gateway register --config conf/gateway.yaml",
    );

    // A commented setting is a # before a key or a list item, without a blank between.
    let uncomment = |line: &str| match line.split_once('#') {
        Some((blanks, rest)) if blanks.trim().is_empty() && !rest.starts_with([' ', '\n']) && !rest.is_empty() => {
            format!("{blanks}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let kid = own_key(&folder)["kid"].as_str().unwrap().to_owned();
    let whole: String = registered.lines().map(uncomment).collect();
    let whole = whole.replace("0123456789abcdef0123456789abcdef", &kid).replace("certs/ca.pem", "certs/localhost.pem");
    folder.write(CONFIG, &whole);
    let whole_effective: serde_yaml::Value = serde_yaml::from_str(&passes(&folder, &[])).unwrap();

    // What the comments call defaults are the defaults.
    let mut expected = as_shipped.clone();
    let mut found = whole_effective.clone();
    for value in [&mut expected, &mut found] {
        value["server"]["threads"] = 0.into();
        value["sites"]["default"]["ca_file"] = serde_yaml::Value::Null;
        value["listen"] = serde_yaml::Value::Null;
        value["admin"]["address"] = serde_yaml::Value::Null;
        // Their defaults follow from other settings, and the file shows an example.
        value["limits"]["connections"] = serde_yaml::Value::Null;
        value["limits"]["connections_per_address"] = serde_yaml::Value::Null;
        value["sites"]["default"]["in_flight"]["most_of_a_client"] = serde_yaml::Value::Null;
        value["sites"]["default"]["in_flight"]["most_of_exports"] = serde_yaml::Value::Null;
        value["tracing"]["sample_continued"] = serde_yaml::Value::Null;
        value["store"] = serde_yaml::Value::Null;
    }
    assert_eq!(expected, found);

    // And there is no key that the file does not know.
    let written: serde_yaml::Value = serde_yaml::from_str(&whole).unwrap();
    assert_keys_of(&as_shipped, &written, "");
}

fn assert_keys_of(effective: &serde_yaml::Value, written: &serde_yaml::Value, path: &str) {
    if let serde_yaml::Value::Mapping(entries) = effective {
        for (key, value) in entries {
            let key = key.as_str().unwrap();
            assert!(written.get(key).is_some(), "{path}.{key} is not in the shipped file");
            assert_keys_of(value, &written[key], &format!("{path}.{key}"));
        }
    }
}

#[test]
fn several_nodes_are_one_site() {
    let nodes = "openemr: [https://emr1.example.org, https://emr2.example.org/openemr]\n    token_audience: https://emr.example.org/oauth2/default/token";
    let folder = changed("openemr: https://emr.example.org", nodes);
    let out = passes(&folder, &[]);
    for list in [
        "fhir_base:\n    - https://emr1.example.org/apis/default/fhir\n    - https://emr2.example.org/openemr/apis/default/fhir\n",
        "token_url:\n    - https://emr1.example.org/oauth2/default/token\n    - https://emr2.example.org/openemr/oauth2/default/token\n",
    ] {
        assert!(out.contains(list), "{list} in\n{out}");
    }
    folder.write(CONFIG, &out);
    assert_eq!(passes(&folder, &[]), out, "the effective configuration is one");

    // One token URL for all nodes; its audience can be derived from no single one of several.
    let folder = changed(
        "openemr: https://emr.example.org",
        "openemr: [https://a.example.org, https://b.example.org]\n    token_url: https://emr.example.org/oauth2/default/token\n    token_audience: https://emr.example.org/oauth2/default/token",
    );
    assert_eq!(passes(&folder, &[]).matches("- https://emr.example.org/oauth2/default/token\n").count(), 2);
}

#[test]
fn nodes_that_make_no_site_are_refused() {
    for (nodes, message, remedy) in [
        (
            "openemr: [https://a.example.org, https://b.example.org]",
            "conf/gateway.yaml: sites.default.token_audience: is missing, and with several nodes it cannot be derived",
            "OpenEMR's public token URL",
        ),
        (
            "openemr: []",
            "conf/gateway.yaml: sites.default.openemr: names 0 addresses; 1 to 64 nodes make a site",
            "https://emr1.example.org",
        ),
        (
            "openemr: [https://a.example.org, https://a.example.org/]\n    token_audience: https://a.example.org/t",
            "conf/gateway.yaml: sites.default.openemr[1]: `https://a.example.org` is named twice",
            "keep one",
        ),
        (
            "openemr: [https://a.example.org, https://b.example.org, https://c.example.org]\n    token_url: [https://a.example.org/t, https://b.example.org/t]\n    token_audience: https://a.example.org/t",
            "conf/gateway.yaml: sites.default: 3 FHIR bases and 2 token URLs are no nodes",
            "as many of the one as of the other",
        ),
    ] {
        fails(&changed("openemr: https://emr.example.org", nodes), &[], message, remedy);
    }
}

#[test]
fn flags_and_rules_are_read_strictly() {
    let out = passes(&with("watch: true\nready: any\ndrain_delay: 500ms\n"), &[]);
    assert!(out.contains("watch: true\n") && out.contains("ready: any\n") && out.contains("drain_delay: 500ms\n"), "{out}");
    fails(&with("watch: 1\n"), &[], "conf/gateway.yaml: watch: a number where true or false was due", "write true or false");
    fails(&with("ready: both\n"), &[], "conf/gateway.yaml: ready: `both` is not one of all, any", "write all or any");
    let many: Vec<String> = (1..=33).map(|port| format!("{{address: \"127.0.0.1:{port}\"}}")).collect();
    let many = with(&format!("listen: [{}]\n", many.join(", ")));
    fails(&many, &[], "conf/gateway.yaml: listen: names 33 addresses", "name 32 at most");
    let zero = check(&changed("client_id: abc", "client_id: abc\n    in_flight: {most: 0}"), &[]);
    assert_eq!(zero.code, 1);
    assert!(zero.err.contains("sites.default.in_flight.most: `0` is no whole number above 0"), "{}", zero.err);
}

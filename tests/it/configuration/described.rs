//! What the program says about its keys: the JSON Schema, the reference, the shipped file.

use serde_json::Value;

use crate::support::command::Folder;

fn printed(subcommand: &str) -> String {
    let ended = Folder::empty().run(&["config", subcommand]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    ended.out
}

/// The paths of all keys of a schema, `sites.*.client_id` among them.
fn paths(schema: &Value, path: &str, found: &mut Vec<String>) {
    for inner in schema["anyOf"].as_array().into_iter().flatten().chain(schema.get("items")) {
        paths(inner, path, found);
    }
    if schema["additionalProperties"].is_object() {
        paths(&schema["additionalProperties"], &format!("{path}*."), found);
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        found.push(format!("{path}{key}"));
        paths(schema, &format!("{path}{key}."), found);
    }
}

#[test]
fn the_schema_has_every_key_and_refuses_others() {
    let schema: Value = serde_json::from_str(&printed("schema")).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let mut found = Vec::new();
    paths(&schema, "", &mut found);
    for key in [
        "listen.address",
        "listen.tls.certificate",
        "sites.*.client_id",
        "sites.*.timeouts.read",
        "sites.*.repairs.links",
        "sites.*.cors.origins",
        "access.allow_from",
        "limits.request_head",
        "server.threads",
    ] {
        assert!(found.iter().any(|path| path == key), "{key} in {found:?}");
    }
    // The key that only a variable sets is no key of the file.
    assert!(!found.iter().any(|path| path.ends_with("openemr_site")), "{found:?}");
    let limits = &schema["properties"]["limits"]["properties"];
    assert_eq!(limits["request_head"]["default"], "64KiB");
    assert!(limits["request_head"]["description"].as_str().unwrap().contains("431"));
}

#[test]
fn the_reference_has_type_default_bounds_and_change_of_each_key() {
    let reference = printed("reference");
    for row in [
        "| `request_head` | size, 1KiB to 1MiB | `64KiB` | reload |",
        "| `keepalive_requests` | count of requests | `10000` | restart |",
        "| `client_id` | text | required | reload |",
        "| `keep` | duration | `24h` | reload |",
        "| `CLIENT_ID` | `sites.default.client_id` |",
    ] {
        assert!(reference.contains(row), "{row} in\n{reference}");
    }
    let mut keys = Vec::new();
    paths(&serde_json::from_str(&printed("schema")).unwrap(), "", &mut keys);
    for key in keys {
        let name = key.rsplit('.').next().unwrap();
        assert!(reference.contains(&format!("| `{name}` |")), "{key} is not in the reference");
    }
}

#[test]
fn a_listener_without_tls_shows_none() {
    let out = crate::support::command::passes(&Folder::good(), &[]);
    assert!(out.starts_with("listen:\n- address: 127.0.0.1:8000\n  http2: true\n  h2c: false\nroutes:\n"), "{out}");
}

#[test]
fn the_shipped_file_names_the_schema_for_editors() {
    let shipped = include_str!("../../../conf/gateway.yaml");
    assert!(shipped.starts_with("# yaml-language-server: $schema=gateway.schema.json\n"));
    assert_eq!(include_str!("../../../conf/gateway.schema.json"), printed("schema"));
}

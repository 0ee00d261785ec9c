//! What a configuration says about answers: repairs, paging, browsers, limits, compression.

use crate::support::command::{changed, fails, passes, with};
use serde_yaml::Value;

fn site(keys: &str) -> Value {
    let folder = changed("client_id: abc", &format!("client_id: abc\n    {keys}"));
    let effective: Value = serde_yaml::from_str(&passes(&folder, &[])).unwrap();
    effective["sites"]["default"].clone()
}

fn repairs_that_are(on: bool, site: &Value) -> Vec<String> {
    let repairs = site["repairs"].as_mapping().unwrap();
    repairs.iter().filter(|(_, value)| **value == Value::Bool(on)).map(|(name, _)| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_repair_is_made_unless_it_is_switched_off() {
    assert_eq!(repairs_that_are(true, &site("paging: slice")).len(), 22);
    assert_eq!(repairs_that_are(false, &site("repairs: {links: false, head: false}")), ["links", "head"]);
    assert_eq!(repairs_that_are(true, &site("conformance: pass_through")), Vec::<String>::new());
    assert_eq!(repairs_that_are(true, &site("conformance: pass_through\n    repairs: {errors: true}")), ["errors"]);
}

#[test]
fn answers_are_shared_unless_openemrs_are_to_pass_as_they_are() {
    for (keys, shares) in [
        ("paging: slice", true),
        ("share_answers: false", false),
        ("conformance: pass_through", false),
        ("conformance: pass_through\n    share_answers: true", true),
    ] {
        assert_eq!(site(keys)["share_answers"], Value::Bool(shares), "{keys}");
    }
}

#[test]
fn what_is_written_takes_effect() {
    let answers = site(
        "paging: native\n    also_known_as: [\"http://old.example.org/apis/default/fhir/\"]\n    documents: {max_age: 1h}\n    bulk_data: {folder: /var/lib/gateway, keep: 2h}",
    );
    assert_eq!(answers["paging"], "native");
    assert_eq!((&answers["share_pages"], &site("share_pages: 20s")["share_pages"]), (&Value::Null, &"20s".into()));
    assert_eq!(answers["also_known_as"][0], "http://old.example.org/apis/default/fhir");
    assert_eq!((&answers["documents"]["max_age"], &answers["bulk_data"]["keep"]), (&"1h".into(), &"2h".into()));
    assert_eq!(answers["bulk_data"]["folder"], "/var/lib/gateway");
    let cors = site("cors: {origins: [https://APP.example.org, \"http://localhost:3000\"], methods: [GET]}")["cors"].clone();
    assert_eq!(cors["origins"][0], "https://app.example.org");
    assert_eq!(cors["methods"].as_sequence().unwrap().len(), 1);
    assert!(cors["exposed"].as_sequence().unwrap().contains(&"ETag".into()));
    assert_eq!(site("cors: {origins: \"*\"}")["cors"]["origins"], "*");
    let out = passes(
        &with(
            "public_url: https://gw.example.org/emr/\ntrusted_proxies: [{from: 10.0.0.1, fields: forwarded}]\ncompression: {enabled: false, level: 9}\nlimits: {request_body: 1MiB, header_fields: 20}\n",
        ),
        &[],
    );
    for line in [
        "public_url: https://gw.example.org/emr\n",
        "trusted_proxies:\n- from: 10.0.0.1/32\n  fields: forwarded\n  host: false\n",
        "enabled: false\n",
        "level: 9\n",
        "request_body: 1MiB\n",
        "header_fields: 20\n",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy() {
    for (keys, message, remedy) in [
        (
            "conformance: strict",
            "sites.default.conformance: `strict` is not one of repair, pass_through",
            "write repair or pass_through",
        ),
        ("repairs: {link: true}", "sites.default.repairs.link: unknown key `link`", "did you mean `links`?"),
        ("share_answers: 1", "sites.default.share_answers: a number where true or false was due", "write true or false"),
        ("share_pages: 2m", "sites.default.share_pages: `2m` is above 1m", "write it like  20s"),
        ("paging: on", "sites.default.paging: `on` is not one of slice, native, off", "write slice or native or off"),
        (
            "also_known_as: emr.example.org",
            "sites.default.also_known_as: `emr.example.org` does not begin with https:// or http://",
            "https://emr.example.org/apis/default/fhir",
        ),
        ("cors: {methods: [GET]}", "sites.default.cors: `origins` is missing", "origins: [https://app.example.org]"),
        (
            "cors: {origins: \"*\", credentials: true}",
            "sites.default.cors.origins: `*` and credentials do not go together",
            "name the origins",
        ),
        (
            "cors: {origins: [https://a.example.org/app]}",
            "sites.default.cors.origins[0]: `https://a.example.org/app` is no origin",
            "scheme, host and port",
        ),
        (
            "cors: {origins: \"*\", headers: [\"a b\"]}",
            "sites.default.cors.headers[0]: `a b` is no name of a method or field",
            "one name an entry",
        ),
    ] {
        let message = format!("conf/gateway.yaml: {message}");
        fails(&changed("client_id: abc", &format!("client_id: abc\n    {keys}")), &[], &message, remedy);
    }
    for (keys, message, remedy) in [
        (
            "public_url: gw.example.org",
            "public_url: `gw.example.org` does not begin with https:// or http://",
            "https://gateway.example.org",
        ),
        ("trusted_proxies: [{from: proxy, fields: forwarded}]", "trusted_proxies[0].from: `proxy` is no network", "10.0.0.0/8"),
        (
            "trusted_proxies: [10.0.0.0/8]",
            "trusted_proxies[0]: `10.0.0.0/8` stands alone: which fields does the proxy write?",
            "write  - { from: \"10.0.0.0/8\", fields: x_forwarded }  or, if it writes Forwarded,  - { from: \"10.0.0.0/8\", fields: forwarded }",
        ),
        ("trusted_proxies: [{from: 10.0.0.1}]", "trusted_proxies[0]: `fields` is missing", "write  fields: x_forwarded"),
        (
            "trusted_proxies: [{from: 10.0.0.1, fields: both}]",
            "trusted_proxies[0].fields: `both` is not one of x_forwarded, forwarded",
            "write x_forwarded or forwarded",
        ),
        (
            "trusted_proxies: [{from: 10.0.0.0/8, fields: forwarded}, {from: 10.1.0.0/16, fields: x_forwarded}]",
            "trusted_proxies[1]: `10.1.0.0/16` lies within trusted_proxies[0], which counts",
            "write it before that one, or leave it out",
        ),
        ("compression: {level: 11}", "compression.level: `11` is above 9", "1 (fast) to 9"),
        (
            "limits: {request_target: 100}",
            "limits.request_target: is outside 256 bytes to request_head",
            "lower it, or raise request_head",
        ),
        ("limits: {response_head: 2MiB}", "limits.response_head: is outside 1KiB to 1MiB", "64KiB"),
    ] {
        fails(&with(&format!("{keys}\n")), &[], &format!("conf/gateway.yaml: {message}"), remedy);
    }
}

//! The address and the identifiers of a request are passed on to OpenEMR and written to the log.

use std::net::IpAddr;

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENT: &str = "/fhir/Patient?_count=1";

/// A gateway that trusts 127.0.0.2 to speak for others by `X-Forwarded-For`, and 127.0.0.4 by `Forwarded`.
fn trusting(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["trusted_proxies"] = json!([
        {"from": "127.0.0.2", "fields": "x_forwarded"},
        {"from": "10.0.0.0/8", "fields": "x_forwarded"},
        {"from": "127.0.0.4", "fields": "forwarded"},
    ]);
    config["access"] = json!("open");
    config
}

fn from(gateway: &Gateway, source: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut connection = gateway.caller().connect_from(source.parse::<IpAddr>().unwrap());
    connection.write(&request("GET", target, fields, b""));
    connection.read("GET")
}

#[test]
fn openemr_sees_the_true_client() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    for (source, sent, received, caller) in [
        ("127.0.0.1", &[][..], "127.0.0.1", "127.0.0.1"),
        // Anybody can say anything.
        ("127.0.0.3", &[("X-Forwarded-For", "192.0.2.1")], "127.0.0.3", "127.0.0.3"),
        ("127.0.0.3", &[("Forwarded", "for=192.0.2.1")], "127.0.0.3", "127.0.0.3"),
        ("127.0.0.2", &[], "unknown, 127.0.0.2", "-"),
        ("127.0.0.2", &[("X-Forwarded-For", "192.0.2.1")], "192.0.2.1, 127.0.0.2", "192.0.2.1"),
        ("127.0.0.2", &[("X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.0.0.9")], "192.0.2.1, 10.0.0.9, 127.0.0.2", "192.0.2.1"),
        ("127.0.0.2", &[("X-Forwarded-For", "x\"y, 2001:db8::1")], "2001:db8::1, 127.0.0.2", "2001:db8::1"),
        ("127.0.0.4", &[("Forwarded", "for=\"[2001:db8::1]:4711\";proto=https")], "2001:db8::1, 127.0.0.4", "2001:db8::1"),
    ] {
        let answer = from(&gateway, source, PATIENT, sent);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(openemr.received("x-forwarded-for"), [received], "{source} {sent:?}");
        let line = gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains(&format!(" caller={caller} ")), "{line}");
    }
}

#[test]
fn what_changes_openemrs_links_never_reaches_it() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    let said = [
        ("X-Forwarded-Host", "pub.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/x"),
        ("Forwarded", "for=192.0.2.1;host=pub.example;proto=https"),
    ];
    for source in ["127.0.0.1", "127.0.0.2", "127.0.0.4"] {
        from(&gateway, source, PATIENT, &said);
        for (name, _) in said {
            assert!(openemr.received(name).is_empty(), "{name} from {source}");
        }
    }
}

#[test]
fn access_rules_are_about_the_true_client() {
    let openemr = OpenEmr::start();
    let mut config = trusting(&openemr);
    config["access"] = json!({"allow_from": ["127.0.0.1", "192.0.2.0/24"]});
    let gateway = Gateway::with(config);
    for (source, fields, status) in [
        ("127.0.0.1", &[][..], 200),
        ("127.0.0.3", &[], 403),
        ("127.0.0.3", &[("X-Forwarded-For", "192.0.2.1")], 403),
        ("127.0.0.2", &[("X-Forwarded-For", "192.0.2.1")], 200),
        ("127.0.0.2", &[("X-Forwarded-For", "198.51.100.1")], 403),
        ("127.0.0.2", &[], 403),
    ] {
        assert_eq!(from(&gateway, source, PATIENT, fields).status, status, "{source} {fields:?}");
    }
}

#[test]
fn a_proxy_on_this_machine_shows_no_token_to_others() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    let token = |source: &str, fields: &[(&str, &str)]| {
        let mut connection = gateway.caller().connect_from(source.parse::<IpAddr>().unwrap());
        connection.write(&request("POST", "/oauth/token", fields, b""));
        connection.read("POST").json()["access_token"].is_string()
    };
    assert!(token("127.0.0.1", &[]) && !token("127.0.0.2", &[]));
    assert!(!token("127.0.0.2", &[("X-Forwarded-For", "192.0.2.1")]));
    assert!(!token("127.0.0.2", &[("X-Forwarded-For", "127.0.0.1, 192.0.2.1")]));
}

#[test]
fn a_request_has_one_name_in_answer_log_and_at_openemr() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    let mut made = Vec::new();
    for (source, given, kept) in [
        ("127.0.0.1", None, false),
        ("127.0.0.1", Some("not-to-be-believed"), false),
        ("127.0.0.2", Some("0af7651916cd43dd-8448eb211c80319c"), true),
        ("127.0.0.2", Some("Root=1-67891233-abcdef012345678912345678"), true),
        ("127.0.0.2", Some("two words"), false),
        ("127.0.0.2", Some("quote\"d"), false),
        ("127.0.0.2", Some(&*"x".repeat(65)), false),
        ("127.0.0.2", Some(""), false),
    ] {
        let fields: Vec<(&str, &str)> = given.iter().map(|id| ("X-Request-Id", *id)).collect();
        let answer = from(&gateway, source, PATIENT, &fields);
        let id = answer.field("x-request-id").unwrap().to_owned();
        assert_eq!(given == Some(id.as_str()), kept, "{given:?} became {id}");
        assert_eq!(openemr.received("x-request-id"), [id.as_str()]);
        gateway.access_line(&format!("request_id={id} "));
        if !kept {
            made.push(id);
        }
    }
    made.sort_unstable();
    let count = made.len();
    made.dedup();
    assert_eq!(made.len(), count);
    // The gateway's own answers have it, too.
    let answer = from(&gateway, "127.0.0.2", "/nowhere", &[("X-Request-Id", "mine")]);
    assert_eq!((answer.status, answer.field("x-request-id")), (404, Some("mine")));
}

/// `traceparent` at OpenEMR, in its parts.
fn parent_at(openemr: &OpenEmr) -> [String; 4] {
    let received = openemr.received("traceparent");
    assert_eq!(received.len(), 1, "{received:?}");
    received[0].split('-').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_trace_goes_on_and_is_begun_where_there_is_none() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let good = format!("00-{trace}-{span}-01");
    // From any address: it grants no right.
    let answer = from(
        &gateway,
        "127.0.0.3",
        PATIENT,
        &[("traceparent", &good), ("tracestate", "rojo=1,congo=t61"), ("tracestate", "a@b=c")],
    );
    let [version, id, parent, flags] = parent_at(&openemr);
    assert_eq!((version.as_str(), id.as_str(), flags.as_str()), ("00", trace, "01"));
    assert!(parent != span && parent.len() == 16 && parent != "0".repeat(16), "{parent}");
    assert_eq!(openemr.received("tracestate"), ["rojo=1,congo=t61", "a@b=c"]);
    let line = gateway.access_line(answer.field("x-request-id").unwrap());
    assert!(line.contains(&format!(" trace_id={trace} ")), "{line}");

    for fields in [
        &[][..],
        &[("traceparent", "00-0-0-0"), ("tracestate", "rojo=1")],
        &[("tracestate", "rojo=1")],
        &[("traceparent", &good), ("traceparent", &good), ("tracestate", "rojo=1")],
    ] {
        from(&gateway, "127.0.0.3", PATIENT, fields);
        let [version, id, parent, flags] = parent_at(&openemr);
        assert_eq!((version.as_str(), id.len(), parent.len(), flags.as_str()), ("00", 32, 16, "00"), "{fields:?}");
        assert_ne!(id, trace);
        assert!(openemr.received("tracestate").is_empty(), "{fields:?}");
    }
    // A state that is none does not take the trace with it.
    from(&gateway, "127.0.0.3", PATIENT, &[("traceparent", &good), ("tracestate", "no state")]);
    assert_eq!((parent_at(&openemr)[1].as_str(), openemr.received("tracestate").len()), (trace, 0));
}

#[test]
fn via_names_the_gateway_both_ways() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(trusting(&openemr));
    let answer = from(&gateway, "127.0.0.1", PATIENT, &[]);
    assert_eq!(openemr.received("via"), ["1.1 openemr-gateway"]);
    assert_eq!(answer.field("via"), Some("1.1 openemr-gateway"));
    from(&gateway, "127.0.0.1", PATIENT, &[("Via", "1.0 fred, 1.1 p.example.net")]);
    assert_eq!(openemr.received("via").join(", "), "1.0 fred, 1.1 p.example.net, 1.1 openemr-gateway");
    let mut connection = gateway.caller().connect();
    connection.write(format!("GET {PATIENT} HTTP/1.0\r\nHost: gateway.example\r\n\r\n").as_bytes());
    connection.read("GET");
    assert_eq!(openemr.received("via"), ["1.0 openemr-gateway"]);
}

#[test]
fn what_the_gateway_asks_for_a_caller_is_asked_in_his_name() {
    let openemr = OpenEmr::start();
    let mut config = trusting(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Testing", "given": ["Tessa"]}],
        "gender": "female", "birthDate": "1980-02-03",
    });
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let fields = [
        ("Content-Type", "application/fhir+json"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Request-Id", "mine"),
        ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
    ];
    let mut connection = gateway.caller().connect_from("127.0.0.2".parse::<IpAddr>().unwrap());
    connection.write(&request("POST", "/fhir/Patient", &fields, patient.to_string().as_bytes()));
    let answer = connection.read("POST");
    assert_eq!(answer.status, 201, "{}", answer.text());
    // The create's answer is no resource: it was read back.
    assert_eq!(openemr.state()["last_fhir_request"]["method"], "GET");
    assert_eq!(openemr.received("x-forwarded-for"), ["192.0.2.1, 127.0.0.2"]);
    assert_eq!(openemr.received("x-request-id"), ["mine"]);
    assert_eq!(parent_at(&openemr)[1], trace);
}

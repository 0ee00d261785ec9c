//! What the fields `RateLimit-Policy` and `RateLimit` tell, read by a parser of structured fields that is not the gateway's.

use serde_json::json;
use sfv::{BareItem, ListEntry, Parser};

use super::rates::{PATIENTS, of, open, with_clients};
use crate::access::api_keys::key_of;
use crate::support::gateway::Gateway;
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

/// The names of a list with these two integers each.
fn items(value: &str, parameters: [&str; 2]) -> Vec<(String, [u64; 2])> {
    let list = Parser::parse_list(value.as_bytes()).unwrap_or_else(|error| panic!("{error}: {value}"));
    let item = |entry: ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{value}") };
        let BareItem::String(name) = item.bare_item else { panic!("{value}") };
        assert_eq!(item.params.keys().map(String::as_str).collect::<Vec<_>>(), parameters, "{value}");
        let number = |key: &str| item.params[key].as_int().and_then(|number| u64::try_from(number).ok());
        (name, parameters.map(|key| number(key).unwrap_or_else(|| panic!("{key} in {value}"))))
    };
    list.into_iter().map(item).collect()
}

/// The limits that an answer tells of, each with its quota, window, remaining requests, and seconds until there is another one.
pub fn told(answer: &Answer) -> Vec<(String, [u64; 4])> {
    let (policy, state) = (answer.field("ratelimit-policy"), answer.field("ratelimit"));
    let (Some(policy), Some(state)) = (policy, state) else {
        assert_eq!((policy, state), (None, None), "one comes with the other");
        return Vec::new();
    };
    let mut limits = Vec::new();
    for ((name, [quota, window]), (same, [remaining, next])) in
        items(policy, ["q", "w"]).into_iter().zip(items(state, ["r", "t"]))
    {
        assert_eq!(name, same);
        limits.push((name, [quota, window, remaining, next]));
    }
    limits
}

#[test]
fn every_answer_tells_of_the_rates_that_apply() {
    let openemr = OpenEmr::start();
    let mut config = with_clients(&openemr, &["lab"], &json!({"rate": "60/min", "burst": 1000}));
    config["limits"] = json!({"rate_per_address": "1/s", "burst_per_address": 2000});
    config["sites"]["default"]["rate"] = json!("1/h");
    config["sites"]["default"]["burst"] = json!(24);
    config["sites"]["default"]["cors"] = json!({"origins": ["https://app.example.org"]});
    let gateway = Gateway::with(config);
    let key = key_of("lab");
    let key = ("X-API-Key", key.as_str());
    let names = |answer: &Answer| told(answer).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let first = of(&gateway, "lab", PATIENTS);
    let told = told(&first);
    assert_eq!(told[0], ("address".to_owned(), [2000, 2000, 1999, 1]));
    assert_eq!(told[1], ("client".to_owned(), [1000, 1000, 999, 1]));
    assert_eq!((&told[2].0, told[2].1[..3].to_vec()), (&"site".to_owned(), vec![24, 24 * 3600, 23]));
    for (method, target, fields, status, expected) in [
        ("HEAD", PATIENTS, vec![key], 200, &["address", "client", "site"][..]),
        ("GET", "/fhir/Patient/9d6cf1e0-0000-4000-8000-000000000000", vec![key], 404, &["address", "client", "site"]),
        ("GET", PATIENTS, vec![key, ("Accept-Encoding", "gzip")], 200, &["address", "client", "site"]),
        ("GET", "/fhir/Observation", vec![key], 403, &["address", "client"]),
        ("GET", "/fhir/metadata", vec![key], 200, &["address", "client"]),
        ("GET", "/fhir/metadata", vec![], 200, &["address"]),
        ("GET", PATIENTS, vec![], 401, &["address"]),
        ("GET", "/health", vec![], 200, &["local"]),
        ("GET", "/nowhere", vec![key], 404, &["local"]),
    ] {
        let answer = gateway.caller().send(method, target, &fields, b"");
        assert_eq!(
            (answer.status, names(&answer)),
            (status, expected.iter().map(|name| (*name).to_owned()).collect()),
            "{target}"
        );
    }
    let page = gateway.caller().send("GET", PATIENTS, &[key, ("Origin", "https://app.example.org")], b"");
    let exposed: Vec<&str> = page.field("access-control-expose-headers").unwrap().split(", ").collect();
    assert!(exposed.contains(&"RateLimit") && exposed.contains(&"RateLimit-Policy"), "{exposed:?}");
}

#[test]
fn where_no_rate_is_configured_there_are_no_fields_but_on_local_routes() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(open(&openemr));
    assert_eq!(told(&gateway.caller().get(PATIENTS)), []);
    assert_eq!(told(&gateway.caller().get("/fhir/metadata")), []);
    let [(name, [quota, window, ..])] = &told(&gateway.caller().get("/health"))[..] else { panic!("one limit") };
    assert_eq!((name.as_str(), quota, window), ("local", &1000, &5));
}

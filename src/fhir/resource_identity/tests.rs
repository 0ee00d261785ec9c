use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn check(body: &str, id: Option<&str>) -> Result<(), BadIdentity> {
    let whole = IdentityCheck::new("Patient", id).feed(body.as_bytes());
    let mut by_bytes = IdentityCheck::new("Patient", id);
    let pieces = body.as_bytes().chunks(1).try_for_each(|piece| by_bytes.feed(piece));
    assert_eq!(whole, pieces, "{body}");
    whole
}

#[test]
fn the_body_is_the_resource_of_the_url() {
    for (body, create, update) in [
        (r#"{"resourceType":"Patient","id":"1"}"#, Ok(()), Ok(())),
        (r#" { "id" : "1" , "x":[{"id":"2"}], "resourceType" : "Patient" } "#, Ok(()), Ok(())),
        (r#"{"resourceType":"Patient"}"#, Ok(()), Ok(())),
        ("{}", Ok(()), Ok(())),
        ("", Ok(()), Ok(())),
        (r#"{"resourceType":"Observation"}"#, Err(BadIdentity::OtherType), Err(BadIdentity::OtherType)),
        (r#"{"resourceType":"patient"}"#, Err(BadIdentity::OtherType), Err(BadIdentity::OtherType)),
        (r#"{"resourceType":["Patient"]}"#, Err(BadIdentity::OtherType), Err(BadIdentity::OtherType)),
        (r#"{"resourceType":null}"#, Err(BadIdentity::OtherType), Err(BadIdentity::OtherType)),
        (r#"{"id":"2"}"#, Ok(()), Err(BadIdentity::OtherId)),
        (r#"{"id":1}"#, Ok(()), Err(BadIdentity::OtherId)),
        (r#"{"id":"1 "}"#, Ok(()), Err(BadIdentity::OtherId)),
        (r#"{"id":"\u0031"}"#, Ok(()), Ok(())),
        (r#"{"\u0069d":"2"}"#, Ok(()), Err(BadIdentity::OtherId)),
        (r#"{"ID":"2","Id":"3"," id":"4","id\u0000":"5"}"#, Ok(()), Ok(())),
        (r#"{"id":"1","\u0069d":"1"}"#, Err(BadIdentity::Twice("id")), Err(BadIdentity::Twice("id"))),
        (r#"{"id":"1","x":1,"\u0069\u0064":"1"}"#, Err(BadIdentity::Twice("id")), Err(BadIdentity::Twice("id"))),
        (
            r#"{"resourceType":"Patient","resource\u0054ype":"Patient"}"#,
            Err(BadIdentity::Twice("resourceType")),
            Err(BadIdentity::Twice("resourceType")),
        ),
        ("[]", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        (r#"[{"id":"1"}]"#, Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("\"x\"", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("some body", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("\u{feff}{}", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("<Patient/>", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("{}{}", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("{]", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        ("{id:1}", Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
        (r#"{"id""id":"1"}"#, Err(BadIdentity::NoObject), Err(BadIdentity::NoObject)),
    ] {
        assert_eq!(check(body, None), create, "{body}");
        assert_eq!(check(body, Some("1")), update, "{body}");
    }
}

#[test]
fn nothing_hides_behind_depth_or_length() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
    let long = "x".repeat(100_000);
    for before in [deep, deep_objects, format!("\"{long}\""), format!("\"{}\"", r#"\""#.repeat(1000)), " ".repeat(9000) + "1"] {
        assert_eq!(check(&format!(r#"{{"x":{before},"id":"2"}}"#), Some("1")), Err(BadIdentity::OtherId));
        assert_eq!(check(&format!(r#"{{"id":"1","x":{before},"id":"1"}}"#), Some("1")), Err(BadIdentity::Twice("id")));
    }
    assert_eq!(check(&format!(r#"{{"{long}":1,"id":"2"}}"#), Some("1")), Err(BadIdentity::OtherId));
    assert_eq!(check(&format!(r#"{{"id":"1{long}"}}"#), Some("1")), Err(BadIdentity::OtherId));
}

/// Some JSON, with names that matter among the others.
fn json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), "[a-z1\\\\\"{}\\[\\],:é]{0,6}".prop_map(Value::from)];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("id|resourceType|a|b\"c", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// The check finds what a reader of JSON finds.
    #[test]
    fn a_whole_resource_is_judged_by_its_own_members(value in json()) {
        let expected = match &value {
            Value::Object(members) => {
                let is_other = |name: &str, expected: &str| members.get(name).is_some_and(|value| value != expected);
                is_other("resourceType", "Patient") || is_other("id", "1")
            }
            _ => true,
        };
        prop_assert_eq!(check(&value.to_string(), Some("1")).is_err(), expected);
        prop_assert_eq!(check(&format!("{value:#}"), Some("1")).is_err(), expected);
    }

    #[test]
    fn every_split_is_judged_alike(body in "[\\[\\]{}:,\" \\\\id1]{0,40}", cut in any::<prop::sample::Index>()) {
        let (first, second) = body.as_bytes().split_at(cut.index(body.len() + 1));
        let mut split = IdentityCheck::new("Patient", Some("1"));
        let in_two = split.feed(first).and_then(|()| split.feed(second));
        prop_assert_eq!(in_two, IdentityCheck::new("Patient", Some("1")).feed(body.as_bytes()));
    }
}

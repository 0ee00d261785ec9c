use super::*;
use proptest::prelude::*;
use serde_json::json;

fn submitted(resource: &Value) -> Submitted {
    Submitted::read(resource.to_string().as_bytes(), "Patient").unwrap()
}

#[test]
fn extensions_are_found_wherever_they_stand() {
    let patient = json!({
        "resourceType": "Patient",
        "extension": [{"url": "a", "extension": [{"url": "b"}]}, {"url": "c"}],
        "_birthDate": {"extension": [{"url": "d"}]},
        "name": [{"family": "A"}, {"family": "B", "_given": [null, {"extension": [{"url": "e"}]}]}],
        "contact": [{"modifierExtension": [{"url": "f"}]}],
        "a b": {"extension": 7},
    });
    let resource = submitted(&patient);
    assert_eq!(
        resource.extensions(),
        [
            "Patient.extension[0]",
            "Patient.extension[1]",
            "Patient.birthDate.extension[0]",
            "Patient.name[1].given[1].extension[0]",
            "Patient.….extension",
        ]
    );
    assert_eq!(resource.modifiers(), ["Patient.contact[0].modifierExtension[0]"]);
}

#[test]
fn what_openemr_has_itself_is_not_lost() {
    let held = json!({"resourceType": "Patient", "extension": [{"url": "a", "valueCode": "x"}, {"url": "b"}],
        "_birthDate": {"extension": [{"url": "d"}]}});
    for (change, lost) in [
        (json!({}), vec![]),
        (json!({"extension": [{"url": "b"}]}), vec![]),
        (json!({"extension": [{"valueCode": "x", "url": "a"}]}), vec![]),
        (json!({"extension": [{"url": "a", "valueCode": "y"}, {"url": "b"}]}), vec!["Patient.extension[0]"]),
        (json!({"extension": [{"url": "a", "valueCode": "x"}, {"url": "b"}, {"url": "new"}]}), vec!["Patient.extension[2]"]),
        (json!({"name": [{"extension": [{"url": "b"}]}]}), vec!["Patient.name[0].extension[0]"]),
        (json!({"_birthDate": {"extension": [{"url": "x"}]}}), vec!["Patient.birthDate.extension[0]"]),
        (json!({"extension": {"url": "b"}}), vec!["Patient.extension"]),
    ] {
        let mut patient = held.clone();
        patient.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(submitted(&patient).changed_extensions(Some(held.to_string().as_bytes())), lost, "{change}");
    }
    for unknown in [None, Some(&b"<html>"[..]), Some(b"{}")] {
        assert_eq!(submitted(&held).changed_extensions(unknown), submitted(&held).extensions());
    }
}

#[test]
fn nothing_but_extensions_is_left_out() {
    let mut resource = submitted(&json!({
        "id": "7", "resourceType": "Patient",
        "extension": [{"url": "a"}],
        "_birthDate": {"extension": [{"url": "d"}]}, "birthDate": "1980-02-03",
        "_gender": {"id": "g", "extension": [{"url": "d"}]},
        "name": [{"family": "B", "given": ["C", "D"], "_given": [null, {"extension": [{"url": "e"}]}]}, {"extension": [{"url": "x"}]}],
        "address": [], "contact": [{}], "photo": null,
    }));
    resource.leave_out_extensions();
    let expected = json!({
        "id": "7", "resourceType": "Patient", "birthDate": "1980-02-03", "_gender": {"id": "g"},
        "name": [{"family": "B", "given": ["C", "D"]}], "address": [], "contact": [{}], "photo": null,
    });
    assert_eq!(String::from_utf8(resource.body()).unwrap(), expected.to_string());
}

#[test]
fn the_first_name_that_can_be_official_is() {
    for (names, expected) in [
        (json!([{"family": "A"}]), Names::Official(0)),
        (json!([{"use": "usual"}, {"family": "A"}]), Names::Official(0)),
        (json!([{"use": "maiden"}, {"family": "A"}]), Names::Official(1)),
        (json!([{"family": "A"}, {"use": "official"}]), Names::AsTheyAre),
        (json!([{"use": "maiden"}, {"use": "nickname"}]), Names::NoneOfficial),
        (json!([]), Names::AsTheyAre),
        (json!("A"), Names::AsTheyAre),
        (json!([7]), Names::NoneOfficial),
    ] {
        assert_eq!(submitted(&json!({ "name": names })).names(), expected, "{names}");
    }
    let organization = Submitted::read(br#"{"name":[{"family":"A"}]}"#, "Organization").unwrap();
    assert_eq!(organization.names(), Names::AsTheyAre);
    let mut resource = submitted(&json!({"name": [{"use": "usual", "family": "A"}]}));
    resource.make_official(0);
    assert_eq!(resource.body(), br#"{"name":[{"use":"official","family":"A"}]}"#);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), "[a-z]{0,3}".prop_map(Value::from)];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let name = prop_oneof![Just("extension".to_owned()), Just("_name".to_owned()), Just("name".to_owned()), "[a-z]{1,3}"];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..4).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    /// No extension is left, and a resource without one stays as it is.
    #[test]
    fn all_extensions_go_and_nothing_else_does(value in json_value()) {
        let mut resource = submitted(&json!({"resourceType": "Patient", "x": value}));
        let before = resource.clone();
        resource.leave_out_extensions();
        prop_assert!(resource.extensions().is_empty());
        if !before.resource.to_string().contains("\"extension\"") {
            prop_assert_eq!(before, resource);
        }
    }
}

use super::*;
use proptest::prelude::*;

pub(crate) fn plan(types: &[(&'static str, bool)]) -> Plan {
    let since = Some("2026-01-01T00:00:00Z".to_owned());
    let level = Level::Group("g-1".to_owned());
    let kick_off = KickOff { level, types: types.to_vec(), since, left_out: vec![LeftOut::Parameter("_elements".to_owned())] };
    Plan::new(Uuid::from_u128(7), kick_off, "http://gw/fhir/Group/g-1/$export?_type=Patient".to_owned(), Owner::default(), 1_000)
}

#[test]
fn one_type_after_the_other_until_all_have_ended() {
    let mut plan = plan(&[("Patient", false), ("Observation", true), ("Provenance", false)]);
    assert_eq!((plan.step(), plan.progress()), (Step::KickOff(0), (0, 3)));
    plan.kicked_off(0, 2_000);
    plan.accepted(0, "j-0".to_owned(), 3_000);
    assert_eq!(plan.step(), Step::Ask(0, "j-0".to_owned()));
    plan.done(0, vec!["100".to_owned()], vec![], Some(1_990), 4_000);
    assert_eq!((plan.step(), plan.progress(), plan.transaction_time), (Step::KickOff(1), (1, 3), Some(1_990)));
    plan.kicked_off(1, 4_100);
    plan.failed(1, Cause::Status(504), 5_000);
    plan.kicked_off(2, 5_100);
    plan.not_exported(2, 400, 6_000);
    assert_eq!((plan.step(), plan.progress(), plan.finished_at), (Step::Finished, (3, 3), Some(6_000)));
    assert_eq!(plan.openemr_jobs().collect::<Vec<_>>(), ["j-0"]);
    assert_eq!(plan.files_end_at(), Some(2_000 + 3_600_000));
    assert_eq!(plan.types.last().unwrap().state, State::PassedOver);
}

#[test]
fn what_nobody_named_is_passed_over_and_what_was_named_fails() {
    let mut plan = plan(&[("PractitionerRole", true)]);
    plan.kicked_off(0, 1);
    plan.not_exported(0, 400, 2);
    assert_eq!(plan.types.first().unwrap().state, State::Failed { cause: Cause::Status(400), job: None });
}

#[test]
fn a_restart_goes_on_where_it_can_and_kicks_nothing_off_twice() {
    let mut plan = plan(&[("Patient", true), ("Observation", true), ("Goal", true)]);
    plan.kicked_off(0, 1);
    plan.accepted(0, "j".to_owned(), 2);
    let mut after = Plan::parse(&plan.to_bytes()).unwrap();
    assert!(!after.recover(5));
    assert_eq!(after.step(), Step::Ask(0, "j".to_owned()));
    plan.done(0, vec![], vec![], None, 3);
    plan.kicked_off(1, 4);
    let mut after = Plan::parse(&plan.to_bytes()).unwrap();
    assert!(after.recover(5));
    assert_eq!(after.step(), Step::KickOff(2));
    assert_eq!(after.types.get(1).unwrap().state, State::Failed { cause: Cause::Interrupted, job: None });
}

#[test]
fn a_plan_never_grows_beyond_what_is_read_back() {
    let mut all = plan(&[("Patient", true), ("Goal", true)]);
    for (index, count) in [(0, MAX_FILES), (1, MAX_FILES + 1)] {
        all.kicked_off(index, 1);
        all.accepted(index, "j".to_owned(), 2);
        all.done(index, vec!["x".repeat(64); count], vec!["x".repeat(64); count], None, 3);
    }
    assert!(matches!(all.types.first().unwrap().state, State::Done { .. }));
    assert!(matches!(all.types.last().unwrap().state, State::Failed { cause: Cause::NotUnderstood, .. }));
    let one = all.types.first().unwrap().clone();
    // As many as FHIR has types.
    all.types = vec![one; 150];
    all.request = "x".repeat(MAX_URL);
    assert_eq!(Plan::parse(&all.to_bytes()).unwrap(), all);
}

#[test]
fn only_a_sound_plan_is_read_back() {
    let mut sound = plan(&[("Patient", true)]);
    sound.kicked_off(0, 1);
    sound.accepted(0, "j".to_owned(), 2);
    let text = String::from_utf8(sound.to_bytes()).unwrap();
    assert_eq!(Plan::parse(text.as_bytes()).unwrap(), sound);
    for (from, to) in [
        ("\"version\":2", "\"version\":3"),
        ("\"j\"", "\"../j\""),
        ("\"g-1\"", "\"g/1\""),
        ("\"type\":\"Patient\"", "\"type\":\"Jane\""),
        ("2026-01-01T00:00:00Z", "yesterday"),
        ("\"named\":true", "\"named\":true,\"more\":1"),
        ("\"working\"", "\"dreaming\""),
        ("\"version\":2,", ""),
        ("}", ""),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        assert!(Plan::parse(text.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
    }
    assert!(matches!(Plan::parse(&vec![b' '; MAX_PLAN + 1]), Err(PlanError::TooLarge)));
    assert!(matches!(Plan::parse(text.replace("\"version\":2", "\"version\":9").as_bytes()), Err(PlanError::Version(9))));
}

proptest! {
    /// Events in any order leave an ended type as it is, and never kick off a type twice.
    #[test]
    fn no_type_is_kicked_off_twice(events in proptest::collection::vec((0_usize..4, 0_u8..6), 0..60)) {
        let mut plan = plan(&[("Patient", true), ("Observation", false), ("Goal", true)]);
        let mut kicked_off = [0; 3];
        for (now, (index, event)) in events.into_iter().enumerate() {
            let now = i64::try_from(now).unwrap();
            let before = plan.clone();
            match event {
                0 => {
                    if let Step::KickOff(next) = plan.step() {
                        *kicked_off.get_mut(next).unwrap() += 1;
                        plan.kicked_off(next, now);
                    }
                }
                1 => plan.accepted(index, "j".to_owned(), now),
                2 => plan.done(index, vec!["1".to_owned()], vec![], Some(now), now),
                3 => plan.failed(index, Cause::TimedOut, now),
                4 => plan.not_exported(index, 400, now),
                _ => drop(plan.recover(now)),
            }
            prop_assert!(plan.progress().0 >= before.progress().0);
            for (was, is) in before.types.iter().zip(&plan.types) {
                prop_assert!(!was.state.is_ended() || was.state == is.state);
            }
            prop_assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan.clone());
            let (done, of) = plan.progress();
            prop_assert_eq!(plan.finished_at.is_some(), done == of);
            prop_assert_eq!(plan.step() == Step::Finished && plan.types.iter().all(|one| !matches!(one.state, State::KickedOff { .. })), done == of);
        }
        prop_assert!(kicked_off.iter().all(|count| *count <= 1));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Plan::parse(&bytes).is_err());
    }
}

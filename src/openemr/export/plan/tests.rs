use super::*;
use proptest::prelude::*;

fn kick_off(types: &[(&'static str, bool)], provenance_of: &[&'static str]) -> KickOff {
    let since = Some("2026-01-01T00:00:00Z".to_owned());
    let level = Level::Group("g-1".to_owned());
    let left_out = vec![LeftOut::Parameter("_elements".to_owned())];
    KickOff { level, types: types.to_vec(), provenance_of: provenance_of.to_vec(), since, filters: Vec::new(), left_out }
}

fn planned(kick_off: KickOff) -> Plan {
    Plan::new(Uuid::from_u128(7), kick_off, "http://gw/fhir/Group/g-1/$export?_type=Patient".to_owned(), Owner::default(), 1_000)
}

pub(crate) fn plan(types: &[(&'static str, bool)]) -> Plan {
    planned(kick_off(types, &[]))
}

/// A plan that exports planned Encounters alone.
pub(crate) fn filtered(types: &[(&'static str, bool)]) -> Plan {
    let filters = TypeFilter::read(&["Encounter?status=planned"], None).unwrap().filters;
    planned(KickOff { filters, ..kick_off(types, &[]) })
}

/// A plan with the Provenance of these types, and with the types themselves or without.
pub(crate) fn with_provenance(of: &[&'static str], types_too: bool) -> Plan {
    let types: Vec<_> = of.iter().filter(|_| types_too).map(|name| (*name, true)).collect();
    planned(kick_off(&types, of))
}

pub(crate) fn ended(files: &[&str], errors: &[&str], made_from: &[&str]) -> FinishedJob {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    FinishedJob { began: Some(4_000), files: ids(files), errors: ids(errors), made_from: ids(made_from), has_failed: false }
}

#[test]
fn one_type_after_the_other_until_all_have_ended() {
    let mut plan = plan(&[("Patient", false), ("Observation", true), ("Goal", false)]);
    assert_eq!((plan.step(), plan.progress()), (Step::KickOff(0), (0, 3)));
    plan.kicked_off(0, 2_000);
    plan.accepted(0, "j-0".to_owned(), 3_000);
    assert_eq!(plan.step(), Step::Ask(0, "j-0".to_owned()));
    plan.done(0, FinishedJob { began: Some(1_990), ..ended(&["100"], &[], &[]) }, 4_000);
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
    plan.done(0, FinishedJob { began: None, ..ended(&[], &[], &[]) }, 3);
    plan.kicked_off(1, 4);
    let mut after = Plan::parse(&plan.to_bytes()).unwrap();
    assert!(after.recover(5));
    assert_eq!(after.step(), Step::KickOff(2));
    assert_eq!(after.types.get(1).unwrap().state, State::Failed { cause: Cause::Interrupted, job: None });
}

#[test]
fn a_plan_never_grows_beyond_what_is_read_back() {
    let mut all = plan(&[("Patient", true), ("Goal", true)]);
    let many = |count: usize| {
        let ids = || vec!["x".repeat(64); count];
        FinishedJob { files: ids(), errors: ids(), made_from: ids(), ..ended(&[], &[], &[]) }
    };
    for (index, count) in [(0, MAX_FILES), (1, MAX_FILES + 1)] {
        all.kicked_off(index, 1);
        all.accepted(index, "j".to_owned(), 2);
        all.done(index, many(count), 3);
    }
    assert!(matches!(all.types.first().unwrap().state, State::Done { .. }));
    assert!(matches!(all.types.last().unwrap().state, State::Failed { cause: Cause::NotUnderstood, .. }));
    let one = all.types.first().unwrap().clone();
    // As many as FHIR has types, and the Provenance of each.
    all.types = vec![one; 300];
    all.request = "x".repeat(MAX_URL);
    assert_eq!(Plan::parse(&all.to_bytes()).unwrap(), all);
}

/// Carries the next step of a plan out, and returns the part that it was about.
fn carry_out(plan: &mut Plan, now: i64, takes: i64) -> String {
    let Step::KickOff(index) = plan.step() else { panic!("{:?}", plan.step()) };
    plan.kicked_off(index, now);
    plan.accepted(index, "j".to_owned(), now + takes);
    plan.done(index, ended(&["1"], &[], &[]), now + takes);
    plan.types.get(index).unwrap().to_string()
}

#[test]
fn provenance_follows_all_types_the_shortest_job_first() {
    let mut plan = with_provenance(&["Observation", "Patient", "Goal"], true);
    assert_eq!(plan.progress(), (0, 4));
    let types: Vec<_> = [900, 300, 20].into_iter().map(|takes| carry_out(&mut plan, 5_000, takes)).collect();
    assert_eq!(types, ["Observation", "Patient", "Goal"]);
    assert_eq!(plan.progress(), (3, 4));
    let provenance: Vec<_> = (0..3).map(|_| carry_out(&mut plan, 9_000, 1)).collect();
    assert_eq!(provenance, ["Provenance of Goal", "Provenance of Patient", "Provenance of Observation"]);
    assert_eq!((plan.step(), plan.progress()), (Step::Finished, (4, 4)));
    let mut alone = with_provenance(&["Observation", "Goal"], false);
    assert_eq!([carry_out(&mut alone, 1, 1), carry_out(&mut alone, 2, 1)], ["Provenance of Goal", "Provenance of Observation"]);
}

#[test]
fn what_fails_of_provenance_costs_no_type_and_openemr_is_not_asked_twice_while_it_may_be_at_work() {
    for (cause, next) in [
        (Cause::Status(500), Step::KickOff(4)),
        (Cause::Status(504), Step::Finished),
        (Cause::TimedOut, Step::Finished),
        (Cause::Broken, Step::Finished),
    ] {
        let mut plan = with_provenance(&["Patient", "Goal", "Encounter"], true);
        carry_out(&mut plan, 1, 1);
        plan.kicked_off(1, 2);
        plan.failed(1, Cause::Status(504), 3);
        carry_out(&mut plan, 4, 2);
        let states: Vec<_> = plan.types.iter().map(|one| one.state.clone()).collect();
        let failed = |cause| State::Failed { cause, job: None };
        assert_eq!(states.get(4), Some(&failed(Cause::TypeFailed)), "OpenEMR may be at work on Goal");
        assert_eq!(plan.step(), Step::KickOff(3));
        plan.kicked_off(3, 5);
        plan.failed(3, cause, 6);
        let next = if next == Step::Finished { next } else { Step::KickOff(5) };
        assert_eq!(plan.step(), next, "{cause:?}");
        if next == Step::Finished {
            assert_eq!(plan.types.last().unwrap().state, failed(Cause::Withheld));
        }
        assert!(matches!(plan.types.first().unwrap().state, State::Done { .. }));
    }
}

#[test]
fn a_plan_of_an_earlier_version_asks_for_provenance_by_type() {
    let mut plan = plan(&[("Patient", false), ("Goal", false), ("Provenance", false)]);
    plan.version = 2;
    let plan = Plan::parse(&plan.to_bytes()).unwrap();
    let parts: Vec<_> = plan.types.iter().map(ToString::to_string).collect();
    assert_eq!(parts, ["Patient", "Goal", "Provenance of Patient", "Provenance of Goal"]);
}

#[test]
fn only_a_sound_plan_is_read_back() {
    let mut sound = plan(&[("Patient", true)]);
    sound.kicked_off(0, 1);
    sound.accepted(0, "j".to_owned(), 2);
    let text = String::from_utf8(sound.to_bytes()).unwrap();
    assert_eq!(Plan::parse(text.as_bytes()).unwrap(), sound);
    for (from, to) in [
        ("\"version\":3", "\"version\":6"),
        ("\"j\"", "\"../j\""),
        ("\"g-1\"", "\"g/1\""),
        ("\"type\":\"Patient\"", "\"type\":\"Jane\""),
        ("2026-01-01T00:00:00Z", "yesterday"),
        ("\"named\":true", "\"named\":true,\"more\":1"),
        ("\"working\"", "\"dreaming\""),
        ("\"version\":3,", ""),
        ("}", ""),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        assert!(Plan::parse(text.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
    }
    assert!(matches!(Plan::parse(&vec![b' '; MAX_PLAN + 1]), Err(PlanError::TooLarge)));
    assert!(matches!(Plan::parse(text.replace("\"version\":3", "\"version\":9").as_bytes()), Err(PlanError::Version(9))));
}

proptest! {
    /// Events in any order leave an ended type as it is, and never kick off a type twice.
    #[test]
    fn no_type_is_kicked_off_twice(events in proptest::collection::vec((0_usize..4, 0_u8..6), 0..60)) {
        let mut plan = with_provenance(&["Patient", "Observation"], true);
        let mut kicked_off = [0; 4];
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
                2 => plan.done(index, ended(&["1"], &[], &["2"]), now),
                3 => plan.failed(index, Cause::TimedOut, now),
                4 => plan.not_exported(index, 400, now),
                _ => drop(plan.recover(now)),
            }
            prop_assert!(plan.progress().0 >= before.progress().0);
            if let Step::KickOff(next) = plan.step() {
                let at_work = plan.types.iter().any(|one| matches!(one.state, State::KickedOff { .. } | State::Working { .. }));
                prop_assert!(at_work || plan.types.get(next).unwrap().state == State::Waiting);
            }
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

#[test]
fn a_filter_is_stored_and_a_plan_without_one_is_as_it_was() {
    let plan = filtered(&[("Encounter", true), ("Patient", true)]);
    assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan);
    let version = |plan: &Plan| serde_json::from_slice::<serde_json::Value>(&plan.to_bytes()).unwrap()["version"].clone();
    assert_eq!((version(&plan), version(&self::plan(&[("Encounter", true)]))), (4.into(), 3.into()));
    let left_out = vec![LeftOut::FilterOfOther("Goal".to_owned())];
    assert_eq!(version(&planned(KickOff { left_out, ..kick_off(&[("Patient", true)], &[]) })), 4);
    let left_out = vec![LeftOut::NotPermitted("Goal".to_owned())];
    assert_eq!(version(&planned(KickOff { left_out, ..kick_off(&[("Patient", true)], &[]) })), 5);
    let text = String::from_utf8(plan.to_bytes()).unwrap();
    for damaged in [
        text.replace("\"status\"", "\"shoe\""),
        text.replace("[[[\"status\",\"planned\"]]]", "[[]]"),
        text.replace("[[[\"status\",\"planned\"]]]", "[]"),
    ] {
        assert!(matches!(Plan::parse(damaged.as_bytes()), Err(PlanError::Damaged)), "{damaged}");
    }
    assert_eq!(plan.filters.iter().map(|filter| filter.resource_type.as_str()).collect::<Vec<_>>(), ["Encounter"]);
}

#[test]
fn a_plan_of_a_client_is_of_a_version_that_earlier_gateways_leave_alone() {
    let version = |plan: &Plan| serde_json::from_slice::<serde_json::Value>(&plan.to_bytes()).unwrap()["version"].clone();
    for filtered in [false, true] {
        let plan = if filtered { filtered_plan() } else { plan(&[("Patient", true)]) };
        let of_client = Plan::new(plan.job, as_kick_off(&plan), plan.request.clone(), Owner::named("lab"), plan.asked_at);
        assert_eq!(version(&of_client), 5, "{filtered}");
        let read = Plan::parse(&of_client.to_bytes()).unwrap();
        assert_eq!((&read, &read.asked_by), (&of_client, &Owner::named("lab")));
        assert!(version(&plan) != 5);
    }
    // As version 1 wrote it, and as later ones did.
    let text = String::from_utf8(plan(&[("Patient", true)]).to_bytes()).unwrap();
    for stored in [text.replace("\"asked_by\":null,", ""), text.replace("\"asked_by\":null", "\"asked_by\":\"10.0.0.1\"")] {
        assert_ne!(stored, text);
        assert!(!Plan::parse(stored.as_bytes()).unwrap().asked_by.is_client());
    }
}

fn filtered_plan() -> Plan {
    filtered(&[("Encounter", true)])
}

fn as_kick_off(plan: &Plan) -> KickOff {
    KickOff { filters: plan.filters.clone(), ..kick_off(&[("Encounter", true)], &[]) }
}

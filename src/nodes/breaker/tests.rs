use super::*;
use proptest::prelude::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn down(count: usize, now: Instant) -> Breaker {
    let mut breaker = Breaker::new(count);
    for node in 0..count {
        for _ in 0..ALONE {
            breaker.failed(node, now);
        }
    }
    breaker
}

fn trial(breaker: &mut Breaker, now: Instant) -> Trial {
    match breaker.admit(now) {
        Admission::Trial(trial) => trial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_only_node_is_out_after_five_failures_in_a_row() {
    let now = Instant::now();
    let mut breaker = Breaker::new(1);
    for _ in 0..4 {
        assert_eq!(breaker.failed(0, now), []);
    }
    breaker.answered(0, None);
    for _ in 0..4 {
        assert_eq!(breaker.failed(0, now), []);
        assert_eq!(breaker.admit(now), Admission::Pass);
    }
    assert_eq!(breaker.failed(0, now), [Change::Node(0, Health::Ejected), Change::Opened]);
    assert_eq!(breaker.failed(0, now), [], "said once");
    assert_eq!(breaker.admit(now), Admission::Reject(seconds(1)));
}

#[test]
fn one_of_two_is_out_after_three_and_the_circuit_stays_closed() {
    let now = Instant::now();
    let mut breaker = Breaker::new(2);
    breaker.failed(1, now);
    breaker.failed(1, now);
    assert_eq!(breaker.failed(1, now), [Change::Node(1, Health::Ejected)]);
    assert_eq!(breaker.admit(now), Admission::Pass);
    assert_eq!(breaker.answered(1, None), [], "an answer that was on its way proves nothing");
    assert_eq!(breaker.health(1), Health::Ejected);
    assert_eq!(breaker.checked(1, CheckResult::Good, now), [Change::Node(1, Health::Healthy)]);
}

#[test]
fn after_its_pause_an_open_circuit_lets_one_request_try() {
    let now = Instant::now();
    let mut breaker = down(2, now);
    let later = now + seconds(1);
    let first = trial(&mut breaker, later);
    assert_eq!(breaker.admit(later), Admission::Reject(TRIAL_PATIENCE));
    assert_eq!(breaker.answered(1, Some(first)), [Change::Node(1, Health::Healthy), Change::Closed]);
    assert_eq!((breaker.health(0), breaker.health(1)), (Health::Ejected, Health::Healthy));
    assert_eq!(breaker.admit(later), Admission::Pass);
}

#[test]
fn the_pause_doubles_up_to_ten_seconds_and_starts_anew() {
    let mut now = Instant::now();
    let mut breaker = down(1, now);
    for pause in [1, 2, 4, 8, 10, 10] {
        assert_eq!(breaker.admit(now), Admission::Reject(seconds(pause)));
        now += seconds(pause);
        let trial = trial(&mut breaker, now);
        breaker.trial_failed(trial, now);
    }
    breaker.checked(0, CheckResult::Good, now);
    for _ in 0..ALONE {
        breaker.failed(0, now);
    }
    assert_eq!(breaker.admit(now), Admission::Reject(FIRST_PAUSE));
}

#[test]
fn an_abandoned_trial_makes_room_for_the_next() {
    let now = Instant::now() + seconds(1);
    let mut breaker = down(1, now - seconds(1));
    let first = trial(&mut breaker, now);
    breaker.trial_abandoned(first, now);
    let second = trial(&mut breaker, now + seconds(1));
    breaker.trial_abandoned(first, now + seconds(1));
    breaker.trial_failed(first, now + seconds(1));
    assert_eq!(breaker.answered(0, Some(first)), [], "a trial that is over decides nothing");
    assert_eq!(breaker.answered(0, Some(second)).len(), 2);
}

#[test]
fn errors_of_openemrs_never_open_the_circuit() {
    let now = Instant::now();
    let mut breaker = Breaker::new(2);
    for node in [0, 1] {
        for _ in 0..10 {
            breaker.checked(node, CheckResult::Errors, now);
        }
        assert_eq!(breaker.health(node), Health::Degraded);
    }
    assert_eq!(breaker.admit(now), Admission::Pass);
    assert_eq!(breaker.checked(0, CheckResult::Good, now), [Change::Node(0, Health::Healthy)]);
    // And they close it: somebody answers.
    let mut breaker = down(2, now);
    assert_eq!(breaker.checked(1, CheckResult::Errors, now), [Change::Node(1, Health::Degraded), Change::Closed]);
}

#[derive(Debug, Clone)]
enum Event {
    Failed(usize),
    Answered(usize),
    Checked(usize, CheckResult),
    Admit,
    TrialAnswered(usize),
    TrialFailed,
    TrialAbandoned,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0_usize..3;
    prop_oneof![
        4 => node.clone().prop_map(Event::Failed),
        1 => node.clone().prop_map(Event::Answered),
        2 => (node.clone(), prop_oneof![Just(CheckResult::Good), Just(CheckResult::Errors), Just(CheckResult::NoAnswer)])
            .prop_map(|(node, result)| Event::Checked(node, result)),
        3 => Just(Event::Admit),
        1 => node.prop_map(Event::TrialAnswered),
        1 => Just(Event::TrialFailed),
        1 => Just(Event::TrialAbandoned),
        3 => (0_u64..3_000).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn requests_are_refused_when_and_only_when_all_are_out(count in 1_usize..4, events in proptest::collection::vec(event(), 0..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(count);
        let mut trials: Vec<Trial> = Vec::new();
        let mut is_open = false;
        for event in events {
            let changes = match event {
                Event::Failed(node) => breaker.failed(node, now),
                Event::Answered(node) => breaker.answered(node, None),
                Event::Checked(node, result) => breaker.checked(node, result, now),
                Event::TrialAnswered(node) => breaker.answered(node, trials.last().copied()),
                Event::TrialFailed => { trials.last().into_iter().for_each(|trial| breaker.trial_failed(*trial, now)); Vec::new() }
                Event::TrialAbandoned => { trials.last().into_iter().for_each(|trial| breaker.trial_abandoned(*trial, now)); Vec::new() }
                Event::Pass(ms) => { now += Duration::from_millis(ms); Vec::new() }
                Event::Admit => {
                    match breaker.admit(now) {
                        Admission::Pass => prop_assert!(!is_open),
                        Admission::Reject(wait) => prop_assert!(is_open && !wait.is_zero() && wait <= LONGEST_PAUSE),
                        Admission::Trial(trial) => {
                            prop_assert!(is_open);
                            prop_assert!(matches!(breaker.admit(now), Admission::Reject(_)), "one at a time");
                            trials.push(trial);
                        }
                    }
                    Vec::new()
                }
            };
            for change in changes {
                match change {
                    Change::Opened => { prop_assert!(!is_open); is_open = true; }
                    Change::Closed => { prop_assert!(is_open); is_open = false; }
                    Change::Node(node, health) => prop_assert_eq!(breaker.health(node), health),
                }
            }
            let all_out = (0..count).all(|node| breaker.health(node) == Health::Ejected);
            prop_assert_eq!(all_out, is_open);
        }
        // However it got here: when the trial in flight ends, another is due within the longest pause.
        if is_open {
            trials.last().into_iter().for_each(|trial| breaker.trial_abandoned(*trial, now));
            prop_assert!(matches!(breaker.admit(now + LONGEST_PAUSE), Admission::Trial(_)));
        }
    }
}

use super::*;
use crate::config::{self, Balance, BaseUrl, Upstream};
use crate::nodes::breaker::CheckResult;

fn nodes(count: usize, balance: Balance) -> Arc<Nodes> {
    let url = |index: usize| BaseUrl::parse(&format!("https://emr{index}.example.org")).unwrap();
    let of = |index| config::Node { fhir_base: url(index), token_url: Some(url(index)) };
    let upstream = Upstream { balance, ..Upstream::for_tests((0..count).map(of).collect()) };
    Arc::new(Nodes::with("default", upstream))
}

fn chosen(nodes: &Arc<Nodes>, tried: Tried) -> usize {
    NodeLease::take(nodes, tried, Instant::now()).unwrap().index()
}

#[test]
fn a_failed_connect_moves_on_to_each_node_once() {
    let nodes = nodes(3, Balance::RoundRobin);
    let mut tried = Tried::default();
    let mut on = NodeLease::take(&nodes, tried, Instant::now()).unwrap();
    let mut met = vec![on.index()];
    while let Some(next) = on.unreachable(true, &mut tried, Instant::now()) {
        met.push(next.index());
        on = next;
    }
    met.sort_unstable();
    assert_eq!(met, [0, 1, 2]);
    assert_eq!(NodeLease::take(&nodes, tried, Instant::now()).unwrap_err(), NoNode::NoneLeft);
}

#[test]
fn a_node_that_failed_three_times_is_left_out_until_a_good_check() {
    let nodes = nodes(2, Balance::RoundRobin);
    for _ in 0..3 {
        nodes.failed(0, Instant::now());
    }
    assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
    let mut only = Tried::default();
    only.add(1);
    assert!(!nodes.has_another(only), "one that is out is not worth a second try");
    assert!(nodes.by_health(0).map(|node| node.fhir.url().host.as_str()).eq(["emr1.example.org", "emr0.example.org"]));
    nodes.checked(0, CheckResult::Good, None);
    assert!((0..6).any(|_| chosen(&nodes, Tried::default()) == 0));
    assert!(nodes.by_health(3).map(|node| node.fhir.url().host.as_str()).eq(["emr1.example.org", "emr0.example.org"]));
}

#[test]
fn a_sick_node_is_better_than_none() {
    let nodes = nodes(2, Balance::LeastLatency);
    for _ in 0..3 {
        nodes.checked(0, CheckResult::Errors, None);
    }
    assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
    for _ in 0..3 {
        nodes.checked(1, CheckResult::NoAnswer, None);
    }
    assert_eq!(chosen(&nodes, Tried::default()), 0);
    assert_eq!(nodes.rejects_for(Instant::now()), None);
}

#[test]
fn a_trial_goes_to_every_node_and_its_answer_lets_all_through() {
    let nodes = nodes(2, Balance::RoundRobin);
    let start = Instant::now();
    for index in [0, 1] {
        for _ in 0..3 {
            nodes.failed(index, start);
        }
    }
    assert!(matches!(NodeLease::take(&nodes, Tried::default(), start), Err(NoNode::AllOut(_))));
    let later = start + Duration::from_secs(1);
    let mut tried = Tried::default();
    let first = NodeLease::take(&nodes, tried, later).unwrap();
    assert!(matches!(NodeLease::take(&nodes, Tried::default(), later), Err(NoNode::AllOut(_))), "one at a time");
    let index = first.index();
    let mut second = first.unreachable(true, &mut tried, later).unwrap();
    assert_ne!(second.index(), index);
    second.answered(None, false);
    assert_eq!(nodes.rejects_for(later), None);
    assert_eq!(chosen(&nodes, Tried::default()), second.index());
}

#[test]
fn a_request_that_ends_makes_room_for_the_next_trial() {
    let nodes = nodes(1, Balance::RoundRobin);
    let start = Instant::now();
    for _ in 0..5 {
        nodes.failed(0, start);
    }
    drop(NodeLease::take(&nodes, Tried::default(), start + Duration::from_secs(1)).unwrap());
    let wait = nodes.rejects_for(Instant::now()).unwrap();
    assert!(NodeLease::take(&nodes, Tried::default(), Instant::now() + wait).is_ok());
}

#[test]
fn the_quicker_node_gets_more_and_a_quick_error_does_not_make_quick() {
    let nodes = nodes(2, Balance::LeastLatency);
    let answer =
        |index: usize, ms, is_error| NodeLease::of(&nodes, index, None).answered(Some(Duration::from_millis(ms)), is_error);
    for _ in 0..10 {
        answer(0, 200, false);
        answer(1, 20, false);
        answer(0, 1, true);
    }
    assert!((0..10).all(|_| chosen(&nodes, Tried::default()) == 1));
    let busy: Vec<NodeLease> = (0..20).map(|_| NodeLease::of(&nodes, 1, None)).collect();
    assert_eq!(chosen(&nodes, Tried::default()), 0, "twenty in flight there outweigh it");
    drop(busy);
    assert_eq!(chosen(&nodes, Tried::default()), 1);
}

#[test]
fn a_node_that_hangs_holds_its_share_of_the_ceiling_and_no_more() {
    let nodes = nodes(2, Balance::RoundRobin);
    let stuck: Vec<NodeLease> = (0..16).map(|_| NodeLease::of(&nodes, 0, None)).collect();
    assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
    for _ in 0..3 {
        nodes.failed(1, Instant::now());
    }
    assert_eq!(chosen(&nodes, Tried::default()), 0, "the share of the only node is all of it");
    drop(stuck);
}

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BOUNDS: Bounds = Bounds { longest: 1000, longest_of_flow: 1000, target: Duration::from_millis(500) };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn costs(cost: u64) -> Cost {
    Cost { own: ms(cost), before: Duration::ZERO, rank: 0 }
}

/// A queue of requests that are told apart by numbers.
type Queue = FairQueue<u8, u64>;

fn wait(queue: &mut Queue, flow: u8, item: u64, cost: u64) -> u64 {
    match queue.push(flow, item, costs(cost), BOUNDS, Instant::now()) {
        Arrival::Waits(id) => id,
        other => panic!("{other:?}"),
    }
}

fn next(queue: &mut Queue) -> Option<(u8, u64)> {
    match queue.pop(BOUNDS, Instant::now(), |_| true)? {
        Head::Next(flow, item) => Some((flow, item)),
        Head::Cut(item) => panic!("{item} was cut"),
    }
}

fn order(queue: &mut Queue) -> Vec<u64> {
    std::iter::from_fn(|| next(queue)).map(|(_, item)| item).collect()
}

#[test]
fn one_client_is_served_in_the_order_of_arrival() {
    let mut queue = Queue::default();
    for item in 0..5 {
        wait(&mut queue, 1, item, 100 - item);
    }
    assert_eq!(order(&mut queue), [0, 1, 2, 3, 4]);
}

#[test]
fn clients_take_turns_and_a_newcomer_does_not_wait_for_the_rest_of_another() {
    let mut queue = Queue::default();
    for item in 0..4 {
        wait(&mut queue, 1, item, 30);
    }
    assert_eq!(next(&mut queue), Some((1, 0)));
    wait(&mut queue, 2, 10, 30);
    wait(&mut queue, 2, 11, 30);
    assert_eq!(order(&mut queue), [10, 1, 11, 2, 3]);
}

#[test]
fn who_sends_dear_requests_pays_for_them() {
    let mut queue = Queue::default();
    for item in 0..3 {
        wait(&mut queue, 1, item, 900);
    }
    for item in 10..80 {
        wait(&mut queue, 2, item, 30);
    }
    let served = order(&mut queue);
    let second = served.iter().position(|item| *item == 1).unwrap();
    assert_eq!(second, 1 + 30, "for 900 ms the other client is served 30 times");
}

/// One that waits for each answer before it asks again has no request here when it is charged.
#[test]
fn a_pause_neither_saves_anything_up_nor_pays_a_debt() {
    let mut queue = Queue::default();
    for item in 10..100 {
        wait(&mut queue, 2, item, 30);
    }
    wait(&mut queue, 1, 0, 900);
    let mut own = 0;
    for turn in 0..62 {
        let (flow, _) = next(&mut queue).unwrap();
        if flow == 1 {
            own += 1;
            wait(&mut queue, 1, own, 900);
        }
        assert!(own <= 1 + turn / 30, "{own} of {turn}");
    }
    assert_eq!(own, 2);
}

/// 64 clients that ask again at once, and one that asks for less than its share: it is next whenever it comes.
#[test]
fn who_asks_for_less_than_its_share_is_next() {
    let mut queue = Queue::default();
    for flow in 0..64 {
        wait(&mut queue, flow, 0, 30);
    }
    for turn in 0..10_000_u64 {
        if turn > 200 && turn % 100 == 99 {
            wait(&mut queue, 200, turn, 30);
            // Nine newcomers in a row would be one too many.
            if let Some((other, _)) = next(&mut queue).filter(|(flow, _)| *flow != 200) {
                wait(&mut queue, other, turn, 30);
                assert_eq!(next(&mut queue), Some((200, turn)));
            }
        }
        let (flow, _) = next(&mut queue).unwrap();
        wait(&mut queue, flow, turn, 30);
    }
}

#[test]
fn who_was_served_without_a_queue_is_charged_for_it_when_there_is_one() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.push(1, 0, Cost { own: ms(30), before: ms(90), rank: 0 }, BOUNDS, now);
    for item in 10..15 {
        wait(&mut queue, 2, item, 30);
    }
    assert_eq!(order(&mut queue), [10, 11, 12, 0, 13, 14]);
}

#[test]
fn who_took_more_than_it_was_charged_for_pays_the_rest() {
    let mut queue = Queue::default();
    for item in 0..3 {
        wait(&mut queue, 1, item, 30);
        wait(&mut queue, 2, 10 + item, 30);
    }
    assert_eq!(next(&mut queue), Some((1, 0)));
    queue.charge_more(1, ms(600));
    queue.charge_more(9, ms(600));
    assert_eq!(order(&mut queue), [10, 11, 12, 1, 2]);
}

/// A thousand strangers, each new: a client that asks one request after the other is not kept from being served.
#[test]
fn newcomers_without_end_leave_turns_to_those_who_are_here() {
    let (mut queue, now) = (FairQueue::<u64, u64>::default(), Instant::now());
    let of = |rank| Cost { rank, ..costs(30) };
    let (mut stranger, mut own) = (1000, 0);
    queue.push(1, 0, of(0), BOUNDS, now);
    for turn in 0..1000_u64 {
        while queue.len() < 200 {
            stranger += 1;
            queue.push(stranger, 0, of(1), BOUNDS, now);
        }
        if let Some(Head::Next(1, _)) = queue.pop(BOUNDS, now, |_| true) {
            own += 1;
            queue.push(1, 0, of(0), BOUNDS, now);
        }
        assert!(own >= turn / 9, "{own} of {turn}");
    }
}

#[test]
fn of_newcomers_those_who_are_known_are_first() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for flow in 1..4 {
        queue.push(flow, u64::from(flow), Cost { rank: 1, ..costs(30) }, BOUNDS, now);
    }
    queue.push(4, 4, costs(30), BOUNDS, now);
    assert_eq!(order(&mut queue), [4, 1, 2, 3]);
}

#[test]
fn whoever_may_not_be_served_now_keeps_its_place() {
    let mut queue = Queue::default();
    wait(&mut queue, 1, 0, 30);
    wait(&mut queue, 2, 10, 30);
    let now = Instant::now();
    assert_eq!(queue.pop(BOUNDS, now, |flow| flow != 1), Some(Head::Next(2, 10)));
    assert_eq!(queue.pop(BOUNDS, now, |flow| flow != 1), None);
    wait(&mut queue, 2, 11, 30);
    assert_eq!(order(&mut queue), [0, 11]);
}

#[test]
fn a_full_queue_has_room_for_who_is_served_before_others() {
    let bounds = Bounds { longest: 3, ..BOUNDS };
    let (mut queue, now) = (Queue::default(), Instant::now());
    let mut push = |flow: u8, item: u64, cost: u64| queue.push(flow, item, costs(cost), bounds, now);
    for item in 0..3 {
        assert!(matches!(push(1, item, 100), Arrival::Waits(_)));
    }
    assert_eq!(push(1, 3, 100), Arrival::NoRoom(3), "not for more of the same");
    assert!(matches!(push(2, 10, 900), Arrival::InPlaceOf(0, _)), "however dear it is: it has been given nothing");
    assert!(matches!(push(3, 20, 30), Arrival::InPlaceOf(1, _)), "the head of the longest");
    assert_eq!(push(4, 30, 30), Arrival::NoRoom(30), "all are as short by then");
    assert_eq!(push(2, 11, 100), Arrival::NoRoom(11));
    assert_eq!(queue.len(), 3);
    assert_eq!(order(&mut queue), [2, 10, 20]);
}

#[test]
fn a_flow_has_its_own_end() {
    let bounds = Bounds { longest_of_flow: 1, ..BOUNDS };
    let (mut queue, now) = (Queue::default(), Instant::now());
    assert!(matches!(queue.push(1, 0, costs(1), bounds, now), Arrival::Waits(_)));
    assert_eq!(queue.push(1, 1, costs(1), bounds, now), Arrival::NoRoom(1));
    assert!(matches!(queue.push(2, 2, costs(1), bounds, now), Arrival::Waits(_)));
}

/// One client keeps 20 requests here all the time, each of which waits for two seconds: those at its head are cut. Another one has
/// a single request here at a time, which waits as long and is not cut.
#[test]
fn a_standing_queue_is_cut_at_its_head_and_a_single_request_is_not() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    let (mut cut, mut served) = (Vec::new(), 0);
    for turn in 0..200_u64 {
        let now = start + ms(100 * turn);
        while queue.flows.get(&1).is_none_or(|flow| flow.requests.len() < 20) {
            queue.push(1, turn, costs(30), BOUNDS, now);
        }
        if turn % 20 == 0 {
            queue.push(2, 1000 + turn, costs(600), BOUNDS, now);
        }
        loop {
            match queue.pop(BOUNDS, now, |_| true) {
                Some(Head::Next(..)) => break served += 1,
                Some(Head::Cut(item)) => cut.push(item),
                None => break,
            }
        }
    }
    assert!(cut.len() > 10, "{cut:?}");
    assert!(cut.iter().all(|item| *item < 1000), "{cut:?}");
    assert!(cut.is_sorted(), "from the head");
    assert_eq!(served, 200, "a cut request is nobody's turn");
}

#[derive(Debug, Clone)]
enum Event {
    Push(u8, u64),
    Pop,
    Remove(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0_u8..6, 1_u64..1000).prop_map(|(flow, cost)| Event::Push(flow, cost)),
        4 => Just(Event::Pop),
        1 => any::<usize>().prop_map(Event::Remove),
        1 => (0_u64..900).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Nothing is lost, doubled or overtaken within its flow, and no bound is exceeded.
    #[test]
    fn each_request_comes_out_once_in_its_order(longest in 1_usize..12, of_flow in 1_usize..8, events in proptest::collection::vec(event(), 0..300)) {
        let bounds = Bounds { longest, longest_of_flow: of_flow, target: ms(500) };
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let mut waiting: Vec<(u8, u64, u64)> = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            let number = number as u64;
            match event {
                Event::Push(flow, cost) => {
                    let of_this = waiting.iter().filter(|(of, ..)| *of == flow).count();
                    match queue.push(flow, number, costs(cost), bounds, now) {
                        Arrival::Waits(id) => waiting.push((flow, number, id)),
                        Arrival::InPlaceOf(other, id) => {
                            prop_assert_eq!(waiting.len(), longest);
                            let at = waiting.iter().position(|(_, item, _)| *item == other).unwrap();
                            prop_assert!(waiting.remove(at).0 != flow, "never one of its own");
                            waiting.push((flow, number, id));
                        }
                        Arrival::NoRoom(item) => {
                            prop_assert_eq!(item, number);
                            prop_assert!(of_this >= of_flow || waiting.len() == longest);
                        }
                    }
                }
                Event::Pop => match queue.pop(bounds, now, |_| true) {
                    Some(Head::Next(flow, item)) => {
                        let first = waiting.iter().position(|(of, ..)| *of == flow).unwrap();
                        prop_assert_eq!(waiting.remove(first).1, item);
                    }
                    Some(Head::Cut(item)) => {
                        let at = waiting.iter().position(|(_, of, _)| *of == item).unwrap();
                        let (flow, ..) = waiting.remove(at);
                        prop_assert!(waiting.iter().any(|(of, ..)| *of == flow), "never the only one");
                    }
                    None => prop_assert!(waiting.is_empty()),
                },
                Event::Remove(which) if !waiting.is_empty() => {
                    let (flow, item, id) = waiting.remove(which % waiting.len());
                    prop_assert_eq!(queue.remove(flow, id), Some(item));
                    prop_assert_eq!(queue.remove(flow, id), None);
                }
                Event::Remove(_) => {}
                Event::Pass(by) => now += ms(by),
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(waiting.len() <= longest);
            let flows: std::collections::BTreeSet<u8> = waiting.iter().map(|(flow, ..)| *flow).collect();
            prop_assert_eq!(queue.order.len(), flows.len());
        }
    }

    /// Of clients that always have a request here, none gets more of OpenEMR's time than another by more than two requests.
    #[test]
    fn all_get_the_same_time(costs in proptest::collection::vec(1_u64..900, 2..8), turns in 1_usize..400) {
        let mut queue = Queue::default();
        for (flow, cost) in costs.iter().enumerate() {
            wait(&mut queue, flow as u8, 0, *cost);
        }
        let mut given: BTreeMap<u8, u64> = (0..costs.len()).map(|flow| (flow as u8, 0)).collect();
        for _ in 0..turns {
            let (flow, _) = next(&mut queue).unwrap();
            let cost = costs[usize::from(flow)];
            *given.get_mut(&flow).unwrap() += cost;
            wait(&mut queue, flow, 0, cost);
        }
        let (least, most) = (given.values().min().unwrap(), given.values().max().unwrap());
        prop_assert!(most - least <= 2 * costs.iter().max().unwrap(), "{given:?} of {costs:?}");
    }

    #[test]
    fn flows_that_are_gone_are_not_kept(flows in 1_u64..5000) {
        let (mut queue, now) = (FairQueue::<u64, ()>::default(), Instant::now());
        for flow in 0..flows {
            queue.push(flow, (), costs(100), BOUNDS, now);
            queue.pop(BOUNDS, now, |_| true);
        }
        prop_assert!(queue.flows.len() <= MOST_IDLE + 1);
        prop_assert_eq!(queue.len(), 0);
    }
}

/// Five workers, clients in a closed loop: those that rest for longer than a round wait for hardly anybody.
#[test]
fn in_a_closed_loop_who_rests_for_a_round_is_next() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    let (workers, cost, rest) = (5, 30_u64, 500_u64);
    // When each flow comes again; when each worker is free, and for whom.
    let mut coming: BTreeMap<u64, Vec<u8>> = BTreeMap::from([(0, (0..72).collect())]);
    let mut running: Vec<(u64, u8)> = Vec::new();
    let mut since: BTreeMap<u8, u64> = BTreeMap::new();
    let mut waits = Vec::new();
    for now in 0..20_000_u64 {
        for (_, flow) in running.extract_if(.., |(end, _)| *end <= now) {
            let next = if flow < 8 { now + rest } else { now };
            coming.entry(next).or_default().push(flow);
        }
        for flow in coming.remove(&now).unwrap_or_default() {
            queue.push(flow, 0, costs(cost), BOUNDS, start + ms(now));
            since.insert(flow, now);
        }
        while running.len() < workers {
            let Some(Head::Next(flow, _)) = queue.pop(BOUNDS, start + ms(now), |_| true) else { break };
            running.push((now + cost, flow));
            if flow < 8 && now > 5000 {
                waits.push(now - since[&flow]);
            }
        }
    }
    waits.sort_unstable();
    assert!(waits[waits.len() * 99 / 100] <= 60, "{waits:?}");
}

#[test]
fn what_is_ahead_of_a_request_is_its_own_flow_and_as_much_of_each_other() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let push = |queue: &mut Queue, flow, cost, at| queue.push(flow, 0, costs(cost), BOUNDS, at);
    for (flow, cost) in [(1, 400), (1, 400), (2, 100), (3, 250), (3, 250)] {
        push(&mut queue, flow, cost, now);
    }
    let later = now + ms(70);
    let ahead = |flow| queue.ahead(flow, later);
    assert_eq!(ahead(1), Ahead { own: ms(800), of_all: ms(1400), waited: ms(70) });
    assert_eq!(ahead(2), Ahead { own: ms(100), of_all: ms(300), waited: ms(70) });
    assert_eq!(ahead(3), Ahead { own: ms(500), of_all: ms(1100), waited: ms(70) });
    // It has nothing here, and found no room.
    assert_eq!(ahead(4), Ahead { own: ms(0), of_all: ms(1400), waited: ms(0) });
    assert_eq!(Queue::default().ahead(1, now), Ahead { own: ms(0), of_all: ms(0), waited: ms(0) });
}

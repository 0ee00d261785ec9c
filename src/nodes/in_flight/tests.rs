use super::*;
use proptest::prelude::*;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::fhir::interaction::Interaction;
use http::Method;

const TIMEOUT: Duration = Duration::from_secs(5);
const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

/// A fixed limit, of which one client may have all.
fn limit(most: u32, queue: u32) -> InFlightLimit {
    let queue_target = Duration::from_secs(3600);
    InFlightLimit {
        most,
        queue,
        queue_timeout: TIMEOUT,
        queue_target,
        most_of_a_client: Some(most),
        adaptive: false,
        ..InFlightLimit::default()
    }
}

fn of(limit: InFlightLimit) -> Arc<InFlight> {
    Arc::new(InFlight::new("default", limit, None))
}

fn in_flight(most: u32, queue: u32) -> Arc<InFlight> {
    of(limit(most, queue))
}

/// A read of a Patient.
fn read() -> Class {
    Class::of(Interaction::of(&Method::GET, b"/Patient/1"), b"")
}

fn enter(in_flight: &Arc<InFlight>, client: Option<IpAddr>, now: Instant) -> Entry {
    in_flight.enter(in_flight.client(None, client), read(), now)
}

fn admitted(entry: Entry) -> Permit {
    match entry {
        Entry::Admitted(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn queued(entry: Entry) -> Ticket {
    match entry {
        Entry::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// What a waiting request finds that looks at `now`.
#[derive(Debug)]
enum Look {
    Permit(Permit),
    StillWaiting,
    TooLate,
    CutOff,
}

fn look(ticket: &mut Ticket, now: Instant) -> Look {
    match ticket.turn.try_recv() {
        Err(_) => Look::StillWaiting,
        Ok(turn) => match ticket.accept(turn, now) {
            Waited::Admitted(permit) => Look::Permit(permit),
            Waited::TimedOut => Look::TooLate,
            Waited::CutOff => Look::CutOff,
        },
    }
}

fn permit(mut ticket: Ticket, now: Instant) -> Permit {
    match look(&mut ticket, now) {
        Look::Permit(permit) => permit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn beyond_the_ceiling_there_is_the_line_and_beyond_that_nothing() {
    let now = Instant::now();
    let in_flight = in_flight(1, 1);
    let first = admitted(enter(&in_flight, CLIENT, now));
    let mut second = queued(enter(&in_flight, CLIENT, now));
    assert!(matches!(enter(&in_flight, CLIENT, now), Entry::Full));
    assert_eq!(in_flight.counts(), (1, 1));
    assert!(matches!(look(&mut second, now), Look::StillWaiting));
    drop(first);
    let second_permit = permit(second, now);
    assert_eq!(in_flight.counts(), (1, 0));
    drop(second_permit);
    assert_eq!(in_flight.counts(), (0, 0));
}

#[test]
fn who_comes_back_is_not_turned_away() {
    let now = Instant::now();
    let in_flight = in_flight(1, 1);
    let first = admitted(enter(&in_flight, CLIENT, now));
    let waiting = queued(enter(&in_flight, CLIENT, now));
    drop(first);
    let second = permit(waiting, now);
    let mut other = queued(enter(&in_flight, CLIENT, now));
    assert!(matches!(enter(&in_flight, CLIENT, now), Entry::Full));
    let mut back = queued(in_flight.return_to(in_flight.client(None, CLIENT), read(), now));
    drop(second);
    assert!(matches!(look(&mut back, now), Look::StillWaiting), "but it is behind those who wait");
    assert!(matches!(look(&mut other, now), Look::Permit(_)));
}

#[test]
fn without_a_queue_whoever_finds_no_room_is_sent_away() {
    let in_flight = in_flight(1, 0);
    let _permit = admitted(enter(&in_flight, CLIENT, Instant::now()));
    assert!(matches!(enter(&in_flight, CLIENT, Instant::now()), Entry::Full));
}

#[test]
fn who_hangs_up_gives_back_his_place_in_the_line_or_in_flight() {
    let now = Instant::now();
    let in_flight = in_flight(1, 2);
    let first = admitted(enter(&in_flight, CLIENT, now));
    let leaver = queued(enter(&in_flight, CLIENT, now));
    let second_leaver = queued(enter(&in_flight, CLIENT, now));
    drop(leaver);
    assert_eq!(in_flight.counts(), (1, 1));
    let patient = queued(enter(&in_flight, CLIENT, now));
    drop(first);
    // It has a permit, and leaves without having looked.
    drop(second_leaver);
    drop(permit(patient, now));
    assert_eq!(in_flight.counts(), (0, 0));
}

#[test]
fn a_permit_goes_to_the_one_in_the_queue_before_anybody_new() {
    let now = Instant::now();
    let in_flight = in_flight(1, 2);
    let first = admitted(enter(&in_flight, CLIENT, now));
    let waiting = queued(enter(&in_flight, CLIENT, now));
    drop(first);
    let mut newcomer = queued(enter(&in_flight, CLIENT, now));
    let held = permit(waiting, now);
    assert!(matches!(look(&mut newcomer, now), Look::StillWaiting));
    drop(held);
    drop(permit(newcomer, now));
}

#[test]
fn first_come_first_served_but_for_those_who_left_or_whose_time_is_up() {
    let start = Instant::now();
    let in_flight = in_flight(1, 5);
    let first = admitted(enter(&in_flight, CLIENT, start));
    let late = start + TIMEOUT;
    let [a, mut b, mut c, mut d, mut e] =
        [late, start, late, start, late].map(|arrived| queued(enter(&in_flight, CLIENT, arrived)));
    drop(a);
    drop(first);
    // Their timers are late: they look before those fire.
    assert!(matches!(look(&mut b, late), Look::TooLate));
    let Look::Permit(of_c) = look(&mut c, late) else { panic!("c is next") };
    assert!(matches!(look(&mut d, late), Look::StillWaiting));
    drop(of_c);
    assert!(matches!(look(&mut d, late), Look::TooLate));
    assert!(matches!(look(&mut e, late), Look::Permit(_)));
}

#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_none() {
    let in_flight = of(InFlightLimit { queue_timeout: Duration::from_millis(20), ..limit(1, 1) });
    let _permit = admitted(enter(&in_flight, CLIENT, Instant::now()));
    let ticket = queued(enter(&in_flight, CLIENT, Instant::now()));
    assert!(matches!(ticket.wait().await, Waited::TimedOut));
    assert_eq!(in_flight.counts(), (1, 0));
}

/// A client that shares nothing with [`CLIENT`].
fn another(in_flight: &InFlight) -> Option<IpAddr> {
    let place = |client| share(in_flight.client(None, client));
    let mut others = (1..=250).map(|last| Some(IpAddr::from([10, 0, 0, last])));
    others.find(|other| place(*other) != place(CLIENT)).unwrap()
}

#[test]
fn one_client_leaves_places_in_flight_and_in_the_queue_to_others() {
    let now = Instant::now();
    let in_flight = of(InFlightLimit { most_of_a_client: None, ..limit(4, 4) });
    let other = another(&in_flight);
    let mut greedy: Vec<Permit> = (0..3).map(|_| admitted(enter(&in_flight, CLIENT, now))).collect();
    let mut waiting: Vec<Ticket> = (0..3).map(|_| queued(enter(&in_flight, CLIENT, now))).collect();
    assert!(matches!(enter(&in_flight, CLIENT, now), Entry::Full));
    let permit_of_other = admitted(enter(&in_flight, other, now));
    // Now all places are taken; the other client's next request waits for the first that is free, ahead of the greedy one's.
    let next_of_other = queued(enter(&in_flight, other, now));
    // The queue is full by now, and the greedy one has most of it.
    let last_of_other = queued(enter(&in_flight, other, now));
    assert!(matches!(look(&mut waiting.remove(0), now), Look::CutOff));
    let third_of_other = queued(enter(&in_flight, other, now));
    assert!(matches!(look(&mut waiting.remove(0), now), Look::CutOff), "it has had more of OpenEMR, too");
    assert!(matches!(enter(&in_flight, other, now), Entry::Full), "this is all that one client gets of the queue");
    greedy.pop();
    let next = permit(next_of_other, now);
    drop((last_of_other, third_of_other));
    assert!(waiting.iter_mut().all(|ticket| matches!(look(ticket, now), Look::StillWaiting)));
    drop((permit_of_other, next, greedy));
    let served: Vec<Permit> = waiting.into_iter().map(|ticket| permit(ticket, now)).collect();
    assert_eq!(in_flight.counts(), (1, 0));
    drop(served);
    assert_eq!(in_flight.counts(), (0, 0));
}

#[test]
fn a_client_is_known_by_its_name_or_else_by_its_network() {
    let in_flight = in_flight(4, 0);
    let client = |name, address: &str| in_flight.client(name, Some(address.parse().unwrap()));
    assert_eq!(client(None, "2001:db8::1"), client(None, "2001:db8::ffff:1"));
    assert_ne!(client(None, "2001:db8::1"), client(None, "2001:db8:0:1::1"));
    assert_eq!(client(Some("one"), "10.0.0.1"), client(Some("one"), "10.0.0.2"));
    assert_ne!(client(Some("one"), "10.0.0.1"), client(Some("two"), "10.0.0.1"));
    assert_ne!(client(Some("one"), "10.0.0.1"), client(None, "10.0.0.1"));
    assert_ne!(in_flight.client(None, None), client(None, "10.0.0.1"));
    let places: std::collections::HashSet<usize> =
        (0..64).map(|net| share(client(None, &format!("2001:db8:0:{net:x}::1")))).collect();
    assert!(places.len() > 32, "{}", places.len());
}

#[test]
fn who_asks_in_parts_is_charged_for_each() {
    let now = Instant::now();
    let in_flight = of(limit(1, 10));
    let other = another(&in_flight);
    let first = admitted(enter(&in_flight, CLIENT, now));
    let [in_parts, next] = [(); 2].map(|()| queued(enter(&in_flight, CLIENT, now)));
    let others: Vec<Ticket> = (0..3).map(|_| queued(enter(&in_flight, other, now))).collect();
    let [mut one, mut two, mut three]: [Ticket; 3] = others.try_into().unwrap();
    drop(first);
    // It was charged for its first request when it joined the queue.
    drop(permit(std::mem::replace(&mut one, queued(enter(&in_flight, other, now))), now));
    let in_parts = permit(in_parts, now);
    (0..5).for_each(|_| in_parts.sent_again());
    drop(in_parts);
    for ticket in [&mut two, &mut three, &mut one] {
        let Look::Permit(served) = look(ticket, now) else { panic!("it has been given less") };
        drop(served);
    }
    drop(permit(next, now));
}

#[test]
fn exports_have_a_share_of_their_own() {
    let now = Instant::now();
    let in_flight = of(limit(8, 8));
    let exports: Vec<Permit> = (0..2).map(|_| admitted(in_flight.enter(Flow::Exports, read(), now))).collect();
    let next = queued(in_flight.enter(Flow::Exports, read(), now));
    let others: Vec<Permit> = (0..6).map(|_| admitted(enter(&in_flight, CLIENT, now))).collect();
    drop(others);
    assert_eq!(in_flight.counts(), (2, 1), "whoever else ends, exports have no more");
    drop(exports);
    drop(permit(next, now));
}

#[test]
fn gateways_own_requests_have_no_share_but_a_turn() {
    let now = Instant::now();
    let in_flight = of(limit(2, 8));
    let own: Vec<Permit> = (0..2).map(|_| admitted(in_flight.enter(Flow::Own, read(), now))).collect();
    let mut of_client = queued(enter(&in_flight, CLIENT, now));
    let mut next_own = queued(in_flight.enter(Flow::Own, read(), now));
    drop(own.into_iter().next());
    assert!(matches!(look(&mut of_client, now), Look::Permit(_)));
    assert!(matches!(look(&mut next_own, now), Look::Permit(_)));
}

/// The limit grows while it is reached and answers take as long as ever, and comes down when OpenEMR says that it is too much.
#[test]
fn room_is_expected_when_what_waits_has_been_served_and_the_queue_has_timed_out_at_the_latest() {
    let (in_flight, now) = (in_flight(2, 4), Instant::now());
    let flow = in_flight.client(None, CLIENT);
    assert_eq!(in_flight.free_in(flow, now), Duration::ZERO);
    let _flying: Vec<Permit> = (0..2).map(|_| admitted(enter(&in_flight, CLIENT, now))).collect();
    let _waiting: Vec<Ticket> = (0..4).map(|_| queued(enter(&in_flight, CLIENT, now))).collect();
    assert!(matches!(enter(&in_flight, CLIENT, now), Entry::Full));
    // Four requests, two at once.
    let two = in_flight.load.cost(read()) * 2;
    assert_eq!(in_flight.free_in(flow, now).as_micros(), two.as_micros());
    // It goes more slowly than that.
    assert_eq!(in_flight.free_in(flow, now + Duration::from_secs(3)), Duration::from_secs(3));
    assert_eq!(in_flight.free_in(flow, now + Duration::from_secs(60)), TIMEOUT);
}

#[test]
fn the_limit_follows_the_answers() {
    let now = Instant::now();
    let in_flight = of(InFlightLimit { adaptive: true, ..limit(32, 1000) });
    assert_eq!(in_flight.limit(), 4);
    let mut waiting: Vec<Ticket> = Vec::new();
    let mut flying: Vec<Permit> = Vec::new();
    for _ in 0..200_000 {
        if in_flight.limit() == 32 && flying.len() == 32 {
            break;
        }
        while waiting.len() < 50 {
            match enter(&in_flight, CLIENT, now) {
                Entry::Admitted(permit) => flying.push(permit),
                Entry::Queued(ticket) => waiting.push(ticket),
                Entry::Full => panic!("the queue is long"),
            }
        }
        let done = flying.remove(0);
        done.answered(Duration::from_millis(2), StatusCode::OK);
        drop(done);
        waiting.retain_mut(|ticket| match look(ticket, now) {
            Look::Permit(permit) => {
                flying.push(permit);
                false
            }
            Look::StillWaiting => true,
            other => panic!("{other:?}"),
        });
        assert_eq!(flying.len(), in_flight.limit() as usize);
    }
    assert_eq!(in_flight.limit(), 32);
    // What comes right after a change of the limit is not counted.
    for permit in flying.iter().cycle().take(10_000_000) {
        permit.answered(Duration::from_millis(2), StatusCode::SERVICE_UNAVAILABLE);
        if in_flight.limit() < 32 {
            break;
        }
    }
    assert_eq!(in_flight.limit(), 22);
    let after = InFlight::new("default", in_flight.configured(), Some(&in_flight));
    assert_eq!(after.limit(), 22, "a reload does not forget it");
}

#[derive(Debug, Clone)]
enum Event {
    Arrive,
    Finish(usize),
    HangUp(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Arrive),
        3 => any::<usize>().prop_map(Event::Finish),
        1 => any::<usize>().prop_map(Event::HangUp),
        2 => (0_u64..3_000).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn first_come_first_served_never_above_the_ceiling_never_late(
        most in 1_u32..4, queue in 0_u32..5, events in proptest::collection::vec(event(), 0..120)
    ) {
        let mut now = Instant::now();
        let in_flight = in_flight(most, queue);
        let mut flying: Vec<Permit> = Vec::new();
        let mut waiting: Vec<(u64, Ticket)> = Vec::new();
        let (mut arrivals, mut latest_served) = (0_u64, 0);
        for event in events {
            match event {
                Event::Arrive => {
                    arrivals += 1;
                    match enter(&in_flight, CLIENT, now) {
                        Entry::Admitted(permit) => {
                            prop_assert!(waiting.is_empty(), "nobody overtakes");
                            flying.push(permit);
                        }
                        Entry::Queued(ticket) => {
                            prop_assert_eq!(flying.len(), most as usize, "nobody waits while there is room");
                            waiting.push((arrivals, ticket));
                        }
                        Entry::Full => prop_assert_eq!(waiting.len(), queue as usize),
                    }
                }
                Event::Finish(which) if !flying.is_empty() => {
                    drop(flying.swap_remove(which % flying.len()));
                }
                Event::HangUp(which) if !waiting.is_empty() => { waiting.remove(which % waiting.len()); }
                Event::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    // What the timer of each does.
                    waiting.retain(|(_, ticket)| ticket.deadline > now);
                }
                Event::Finish(_) | Event::HangUp(_) => {}
            }
            let mut still = Vec::new();
            for (arrival, mut ticket) in waiting {
                match look(&mut ticket, now) {
                    Look::Permit(permit) => {
                        prop_assert!(arrival > latest_served, "first come, first served");
                        prop_assert!(ticket.deadline > now, "nobody gets a permit when its time is up");
                        latest_served = arrival;
                        flying.push(permit);
                    }
                    Look::StillWaiting => still.push((arrival, ticket)),
                    Look::TooLate | Look::CutOff => {}
                }
            }
            waiting = still;
            prop_assert!(flying.len() <= most as usize);
            prop_assert!(waiting.is_empty() || flying.len() == most as usize, "a permit was lost");
            prop_assert_eq!(in_flight.counts(), (flying.len() as u32, waiting.len() as u32));
        }
    }

    #[test]
    fn late_timers_give_nobody_a_turn_when_his_time_is_up(ages in proptest::collection::vec(0_u64..10_000, 1..8)) {
        let start = Instant::now();
        let in_flight = in_flight(1, 8);
        let first = admitted(enter(&in_flight, CLIENT, start));
        let mut ages = ages;
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let now = start + Duration::from_secs(10);
        let mut tickets: Vec<Ticket> = ages.iter().map(|age| queued(enter(&in_flight, CLIENT, now - Duration::from_millis(*age)))).collect();
        drop(first);
        let mut permits = Vec::new();
        let served: Vec<usize> = (0..tickets.len()).filter(|at| match look(&mut tickets[*at], now) {
            Look::Permit(permit) => { permits.push(permit); true }
            Look::StillWaiting | Look::TooLate | Look::CutOff => false,
        }).collect();
        let due = ages.iter().position(|age| Duration::from_millis(*age) < TIMEOUT);
        prop_assert_eq!(served, due.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn many_threads_lose_no_turn() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let in_flight = of(InFlightLimit { queue_timeout: Duration::from_secs(30), ..limit(3, 64) });
    let (now_flying, most_flying) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..40_u8 {
            let (in_flight, now_flying, most_flying) =
                (Arc::clone(&in_flight), Arc::clone(&now_flying), Arc::clone(&most_flying));
            let client = Some(IpAddr::from([10, 0, 0, task % 7]));
            tasks.spawn(async move {
                for round in 0..500_usize {
                    let permit = match enter(&in_flight, client, Instant::now()) {
                        Entry::Admitted(permit) => permit,
                        // Some leave the queue at once, or as their permit comes.
                        Entry::Queued(ticket) if (usize::from(task) + round) % 7 == 0 => {
                            drop(ticket);
                            continue;
                        }
                        Entry::Queued(ticket) => match ticket.wait().await {
                            Waited::Admitted(permit) => permit,
                            other => panic!("a permit was lost: {other:?}"),
                        },
                        Entry::Full => panic!("40 do not fill a queue of 64"),
                    };
                    most_flying.fetch_max(now_flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now_flying.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    assert_eq!(most_flying.load(Ordering::SeqCst), 3);
    assert_eq!(in_flight.counts(), (0, 0));
}

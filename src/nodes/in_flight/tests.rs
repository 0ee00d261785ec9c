use super::*;
use proptest::prelude::*;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn in_flight(most: u32, queue: u32) -> Arc<InFlight> {
    Arc::new(InFlight::new(InFlightLimit { most, queue, queue_timeout: TIMEOUT, most_of_a_client: Some(most) }))
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
}

fn look(ticket: &mut Ticket, now: Instant) -> Look {
    match ticket.permit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => Look::StillWaiting,
        Poll::Ready(permit) => ticket.accept(permit.unwrap(), now).map_or(Look::TooLate, Look::Permit),
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
    let first = admitted(in_flight.enter(CLIENT, now));
    let mut second = queued(in_flight.enter(CLIENT, now));
    assert!(matches!(in_flight.enter(CLIENT, now), Entry::Full));
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
    let first = admitted(in_flight.enter(CLIENT, now));
    let waiting = queued(in_flight.enter(CLIENT, now));
    drop(first);
    let second = permit(waiting, now);
    let mut other = queued(in_flight.enter(CLIENT, now));
    assert!(matches!(in_flight.enter(CLIENT, now), Entry::Full));
    let mut back = queued(in_flight.return_to(CLIENT, now));
    drop(second);
    assert!(matches!(look(&mut back, now), Look::StillWaiting), "but it is behind those who wait");
    assert!(matches!(look(&mut other, now), Look::Permit(_)));
}

#[test]
fn without_a_queue_whoever_finds_no_room_is_sent_away() {
    let in_flight = in_flight(1, 0);
    let _permit = admitted(in_flight.enter(CLIENT, Instant::now()));
    assert!(matches!(in_flight.enter(CLIENT, Instant::now()), Entry::Full));
}

#[test]
fn who_hangs_up_gives_back_his_place_in_the_line_or_in_flight() {
    let now = Instant::now();
    let in_flight = in_flight(1, 2);
    let first = admitted(in_flight.enter(CLIENT, now));
    let leaver = queued(in_flight.enter(CLIENT, now));
    let second_leaver = queued(in_flight.enter(CLIENT, now));
    drop(leaver);
    assert_eq!(in_flight.counts(), (1, 1));
    let patient = queued(in_flight.enter(CLIENT, now));
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
    let first = admitted(in_flight.enter(CLIENT, now));
    let waiting = queued(in_flight.enter(CLIENT, now));
    drop(first);
    let mut newcomer = queued(in_flight.enter(CLIENT, now));
    let held = permit(waiting, now);
    assert!(matches!(look(&mut newcomer, now), Look::StillWaiting));
    drop(held);
    drop(permit(newcomer, now));
}

#[test]
fn first_come_first_served_but_for_those_who_left_or_whose_time_is_up() {
    let start = Instant::now();
    let in_flight = in_flight(1, 5);
    let first = admitted(in_flight.enter(CLIENT, start));
    let late = start + TIMEOUT;
    let [a, mut b, mut c, mut d, mut e] =
        [late, start, late, start, late].map(|arrived| queued(in_flight.enter(CLIENT, arrived)));
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
    let limit = InFlightLimit { most: 1, queue: 1, queue_timeout: Duration::from_millis(20), most_of_a_client: None };
    let in_flight = Arc::new(InFlight::new(limit));
    let _permit = admitted(in_flight.enter(CLIENT, Instant::now()));
    let ticket = queued(in_flight.enter(CLIENT, Instant::now()));
    assert!(ticket.permit().await.is_none());
    assert_eq!(in_flight.counts(), (1, 0));
}

/// A client that shares nothing with [`CLIENT`].
fn another(in_flight: &InFlight) -> Option<IpAddr> {
    let mut others = (1..=250).map(|last| Some(IpAddr::from([10, 0, 0, last])));
    others.find(|other| in_flight.share_of(*other) != in_flight.share_of(CLIENT)).unwrap()
}

#[test]
fn one_client_leaves_places_in_flight_and_in_the_queue_to_others() {
    let now = Instant::now();
    let limit = InFlightLimit { most: 4, queue: 4, queue_timeout: TIMEOUT, most_of_a_client: None };
    let in_flight = Arc::new(InFlight::new(limit));
    let other = another(&in_flight);
    let mut greedy: Vec<Permit> = (0..3).map(|_| admitted(in_flight.enter(CLIENT, now))).collect();
    let mut waiting: Vec<Ticket> = (0..3).map(|_| queued(in_flight.enter(CLIENT, now))).collect();
    assert!(matches!(in_flight.enter(CLIENT, now), Entry::Full));
    let permit_of_other = admitted(in_flight.enter(other, now));
    // Now all places are taken; the other client's next request waits for the first that is free, ahead of the greedy one's.
    let next_of_other = queued(in_flight.enter(other, now));
    assert!(matches!(in_flight.enter(other, now), Entry::Full), "the queue is full by now");
    greedy.pop();
    let next = permit(next_of_other, now);
    assert!(waiting.iter_mut().all(|ticket| matches!(look(ticket, now), Look::StillWaiting)));
    drop((permit_of_other, next, greedy));
    let served: Vec<Permit> = waiting.into_iter().map(|ticket| permit(ticket, now)).collect();
    assert_eq!(in_flight.counts(), (3, 0));
    drop(served);
    assert_eq!(in_flight.counts(), (0, 0));
}

#[test]
fn an_ipv6_network_is_one_client_and_strangers_are_another() {
    let in_flight = in_flight(4, 0);
    let share = |address: &str| in_flight.share_of(Some(address.parse().unwrap()));
    assert_eq!(share("2001:db8::1"), share("2001:db8::ffff:1"));
    let shares: std::collections::HashSet<usize> =
        (0..64).map(|net| share(&format!("2001:db8:0:{net:x}::1"))).chain([in_flight.share_of(None)]).collect();
    assert!(shares.len() > 32, "{}", shares.len());
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
                    match in_flight.enter(CLIENT, now) {
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
                    Look::TooLate => {}
                }
            }
            waiting = still;
            prop_assert!(flying.len() <= most as usize);
            prop_assert!(waiting.is_empty() || flying.len() == most as usize, "a permit was lost");
            prop_assert_eq!(in_flight.counts(), (flying.len() as u64, waiting.len() as u64));
        }
    }

    #[test]
    fn late_timers_give_nobody_a_turn_when_his_time_is_up(ages in proptest::collection::vec(0_u64..10_000, 1..8)) {
        let start = Instant::now();
        let in_flight = in_flight(1, 8);
        let first = admitted(in_flight.enter(CLIENT, start));
        let mut ages = ages;
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let now = start + Duration::from_secs(10);
        let mut tickets: Vec<Ticket> = ages.iter().map(|age| queued(in_flight.enter(CLIENT, now - Duration::from_millis(*age)))).collect();
        drop(first);
        let mut permits = Vec::new();
        let served: Vec<usize> = (0..tickets.len()).filter(|at| match look(&mut tickets[*at], now) {
            Look::Permit(permit) => { permits.push(permit); true }
            Look::StillWaiting | Look::TooLate => false,
        }).collect();
        let due = ages.iter().position(|age| Duration::from_millis(*age) < TIMEOUT);
        prop_assert_eq!(served, due.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn many_threads_lose_no_turn() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let in_flight = Arc::new(InFlight::new(InFlightLimit {
        most: 3,
        queue: 64,
        queue_timeout: Duration::from_secs(30),
        most_of_a_client: Some(3),
    }));
    let (now_flying, most_flying) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..40 {
            let (in_flight, now_flying, most_flying) =
                (Arc::clone(&in_flight), Arc::clone(&now_flying), Arc::clone(&most_flying));
            tasks.spawn(async move {
                for round in 0..500 {
                    let permit = match in_flight.enter(CLIENT, Instant::now()) {
                        Entry::Admitted(permit) => permit,
                        // Some leave the queue at once, or as their permit comes.
                        Entry::Queued(ticket) if (task + round) % 7 == 0 => {
                            drop(ticket);
                            continue;
                        }
                        Entry::Queued(ticket) => ticket.permit().await.expect("a permit was lost"),
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

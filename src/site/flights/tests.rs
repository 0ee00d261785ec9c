use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};
use std::thread;

use proptest::prelude::*;

use super::*;

fn flights(slots: usize) -> Arc<Flights> {
    Arc::new(Flights::with_slots(slots, Arc::default()))
}

fn key(name: u8) -> Key {
    Key::new(vec![name])
}

fn answer(text: &'static str) -> SharedAnswer {
    SharedAnswer { head: ResponseHeader::build(200, None).unwrap(), body: Bytes::from_static(text.as_bytes()) }
}

fn leader(entry: Entry) -> Leader {
    match entry {
        Entry::Leader(leader) => leader,
        other => panic!("{other:?}"),
    }
}

fn follower(entry: Entry) -> Follower {
    match entry {
        Entry::Follower(follower) => follower,
        other => panic!("{other:?}"),
    }
}

/// What a follower has by now: `None` if it still waits.
fn now(follower: Follower) -> Option<Option<Arc<SharedAnswer>>> {
    match pin!(follower.answer()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

impl Flights {
    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.load().is_none())
    }
}

#[test]
fn one_leads_and_the_others_get_its_answer_which_goes_with_the_last_of_them() {
    let flights = flights(8);
    let first = leader(flights.enter(key(1)));
    let (second, third) = (follower(flights.enter(key(1))), follower(flights.enter(key(1))));
    let landing = first.close().unwrap();
    assert!(flights.is_empty(), "nobody can join what comes in already");
    let content = Arc::downgrade(&landing.0);
    landing.land(answer("one"));
    let got = now(second).unwrap().unwrap();
    assert_eq!(got.body, "one");
    assert!(Arc::ptr_eq(&got, &now(third).unwrap().unwrap()));
    assert!(content.upgrade().is_none(), "the key and the flight are gone");
    let held = Arc::downgrade(&got);
    drop(got);
    assert!(held.upgrade().is_none(), "and so is the answer");
}

#[test]
fn whoever_comes_after_the_head_leads_anew() {
    let flights = flights(8);
    let first = leader(flights.enter(key(1)));
    let early = follower(flights.enter(key(1)));
    let landing = first.close().unwrap();
    let next = leader(flights.enter(key(1)));
    landing.land(answer("old"));
    assert_eq!(now(early).unwrap().unwrap().body, "old");
    let late = follower(flights.enter(key(1)));
    next.close().unwrap().land(answer("new"));
    assert_eq!(now(late).unwrap().unwrap().body, "new");
}

#[test]
fn a_leader_that_nobody_follows_has_nothing_to_keep() {
    let flights = flights(8);
    assert!(leader(flights.enter(key(1))).close().is_none());
    let first = leader(flights.enter(key(1)));
    drop(follower(flights.enter(key(1))));
    assert!(first.close().is_none(), "the one that followed has gone");
    assert!(flights.is_empty());
}

#[test]
fn a_leader_that_fails_lets_the_others_go() {
    for has_begun in [false, true] {
        let flights = flights(8);
        let first = leader(flights.enter(key(1)));
        let waiting = follower(flights.enter(key(1)));
        if has_begun {
            drop(first.close())
        } else {
            drop(first)
        }
        assert!(now(waiting).unwrap().is_none());
        assert!(flights.is_empty());
    }
}

#[test]
fn two_requests_that_meet_in_a_slot_share_nothing() {
    let flights = flights(1);
    let first = leader(flights.enter(key(1)));
    assert!(matches!(flights.enter(key(2)), Entry::Alone));
    assert!(matches!(flights.enter(key(1)), Entry::Follower(_)));
    drop(first);
    drop(leader(flights.enter(key(2))));
    assert!(matches!(Arc::new(Flights::with_slots(0, Arc::default())).enter(key(1)), Entry::Alone));
}

#[tokio::test]
async fn a_follower_is_woken_by_whatever_ends_the_flight() {
    for lands in [true, false] {
        let flights = flights(8);
        let first = leader(flights.enter(key(1)));
        let waiting = tokio::spawn(follower(flights.enter(key(1))).answer());
        tokio::task::yield_now().await;
        let landing = first.close().unwrap();
        tokio::task::yield_now().await;
        if lands {
            landing.land(answer("x"))
        } else {
            drop(landing)
        }
        assert_eq!(waiting.await.unwrap().is_some(), lands);
    }
}

#[test]
fn writes_are_counted() {
    let writes = WriteCount::default();
    writes.note();
    writes.note();
    assert_eq!(writes.get(), 2);
}

#[test]
fn nothing_of_a_request_is_written_to_a_log() {
    let flights = flights(1);
    let first = flights.enter(Key::new(b"secret".to_vec()));
    let text = format!("{first:?} {flights:?} {:?}", Key::new(b"secret".to_vec()));
    assert!(!text.contains("secret") && !text.contains("115"), "{text}");
}

/// What one request of the property does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Enter(u8),
    /// Of the leaders, by number: the head has come.
    Close(usize),
    /// It fails before that.
    Fail(usize),
    /// Of the landings: the body has come.
    Land(usize),
    CutShort(usize),
    /// Of the followers: its client hangs up.
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let number = 0..4_usize;
    prop_oneof![
        4 => (0..4_u8).prop_map(Act::Enter),
        1 => number.clone().prop_map(Act::Close),
        1 => number.clone().prop_map(Act::Fail),
        1 => number.clone().prop_map(Act::Land),
        1 => number.clone().prop_map(Act::CutShort),
        1 => number.prop_map(Act::Leave),
    ]
}

/// Takes an element out, if there are any.
fn taken<T>(all: &mut Vec<T>, number: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.remove(number % all.len()))
}

proptest! {
    /// Whatever happens in whatever order: one leader for a key, a follower only of a leader with its key, and nobody waits for
    /// a flight that has ended.
    #[test]
    fn a_flight_is_led_by_one_and_ends_for_all(slots in 1..5_usize, acts in prop::collection::vec(act(), 0..60)) {
        let flights = flights(slots);
        let (mut leaders, mut landings, mut followers) = (Vec::new(), Vec::new(), Vec::new());
        let mut ends: HashMap<usize, Option<usize>> = HashMap::new();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Enter(name) => {
                    let led = leaders.iter().find(|(known, _, _)| *known == name).map(|(_, flight, _)| *flight);
                    match flights.enter(key(name)) {
                        Entry::Leader(leader) => {
                            prop_assert!(led.is_none());
                            leaders.push((name, number, leader));
                        }
                        Entry::Follower(follower) => followers.push((led.expect("it follows a leader"), follower)),
                        Entry::Alone => prop_assert!(leaders.len() >= slots.min(1) && led.is_none()),
                    }
                }
                Act::Close(which) => if let Some((_, flight, leader)) = taken(&mut leaders, which) {
                    let landing = leader.close();
                    prop_assert_eq!(landing.is_some(), followers.iter().any(|(of, _)| *of == flight));
                    landings.extend(landing.map(|landing| (flight, landing)));
                },
                Act::Fail(which) => if let Some((_, flight, leader)) = taken(&mut leaders, which) {
                    drop(leader);
                    ends.insert(flight, None);
                },
                Act::Land(which) => if let Some((flight, landing)) = taken(&mut landings, which) {
                    landing.land(SharedAnswer { head: ResponseHeader::build(200, None).unwrap(), body: flight.to_string().into() });
                    ends.insert(flight, Some(flight));
                },
                Act::CutShort(which) => if let Some((flight, landing)) = taken(&mut landings, which) {
                    drop(landing);
                    ends.insert(flight, None);
                },
                Act::Leave(which) => drop(taken(&mut followers, which)),
            }
        }
        for (flight, follower) in followers {
            let got = now(follower).map(|outcome| outcome.map(|answer| answer.body.clone()));
            let due = ends.get(&flight).map(|end| end.map(|flight| Bytes::from(flight.to_string())));
            prop_assert_eq!(got, due);
        }
        drop((leaders, landings));
        prop_assert!(flights.is_empty());
    }
}

#[test]
fn threads_agree_on_one_leader_and_none_of_them_is_lost() {
    const THREADS: u32 = 8;
    const ROUNDS: u32 = 2000;
    let flights = flights(2);
    let leading: [AtomicU32; 3] = Default::default();
    let ended = AtomicU32::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (flights, leading, ended) = (&flights, &leading, &ended);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..ROUNDS {
                    let name = (thread + round) % 3;
                    match flights.enter(key(name as u8)) {
                        Entry::Leader(leader) => {
                            let before = leading[name as usize].fetch_add(1, Ordering::SeqCst);
                            assert_eq!(before, 0, "two lead");
                            thread::yield_now();
                            leading[name as usize].fetch_sub(1, Ordering::SeqCst);
                            match (round % 3, leader.close()) {
                                (0, Some(landing)) => landing.land(answer("x")),
                                (_, landing) => drop(landing),
                            }
                        }
                        Entry::Follower(follower) => drop(runtime.block_on(follower.answer())),
                        Entry::Alone => {}
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(ended.into_inner(), THREADS * ROUNDS);
    assert!(flights.is_empty());
}

//! The ceiling on requests in flight at one site, and the queue in front of it: OpenEMR is PHP, each request holds
//! one of a few dozen workers, and beyond those it only gets slower.
//!
//! Who finds room takes it with one compare-and-swap. Who does not stands in line, first come, first served, and gets
//! the place of whoever leaves: a place that is handed on is never free in between, so nobody can jump the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::InFlightLimit;
use crate::nodes::line::Line;

/// One request in flight, and one waiting, in [`InFlight::counts`].
const FLYING: u64 = 1;
const WAITING: u64 = 1 << 32;

/// The ceiling and the queue of one site.
#[derive(Debug)]
pub struct InFlight {
    limit: InFlightLimit,
    /// In flight in the lower half, waiting in the upper. While somebody waits it changes only under the lock of
    /// `line`, and as many are in flight as may be.
    counts: AtomicU64,
    line: Mutex<Line<oneshot::Sender<Permit>>>,
}

/// What became of a request at the ceiling.
#[derive(Debug)]
pub enum Entry {
    /// There was room.
    Go(Permit),
    /// It stands in line.
    Wait(Place),
    /// The line is full.
    Full,
}

/// The right to be in flight, given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<InFlight>);

/// A place in the line, left when dropped.
#[derive(Debug)]
pub struct Place {
    in_flight: Arc<InFlight>,
    ticket: u64,
    deadline: Instant,
    turn: oneshot::Receiver<Permit>,
}

/// What a look at the counts says to one who comes.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Room,
    Line,
    Full,
}

impl InFlight {
    /// With these limits, nobody in flight.
    #[must_use]
    pub fn new(limit: InFlightLimit) -> Self {
        Self { limit, counts: AtomicU64::new(0), line: Mutex::new(Line::default()) }
    }

    /// The limits.
    #[must_use]
    pub fn limit(&self) -> InFlightLimit {
        self.limit
    }

    /// How many are in flight, and how many wait.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let counts = self.counts.load(Ordering::Relaxed);
        (counts & (WAITING - 1), counts / WAITING)
    }

    /// Goes in, or stands in line until `now` + `queue_timeout`.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Entry {
        self.enter_line(now, self.limit.queue)
    }

    /// The same for a request that was in flight before: it finds no line full. There are never more of these than may
    /// be in flight.
    pub fn return_to(self: &Arc<Self>, now: Instant) -> Entry {
        self.enter_line(now, u32::MAX)
    }

    fn enter_line(self: &Arc<Self>, now: Instant, longest: u32) -> Entry {
        if self.try_enter() {
            return Entry::Go(Permit(Arc::clone(self)));
        }
        let mut line = self.line.lock();
        loop {
            let counts = self.counts.load(Ordering::Acquire);
            let next = match arrival(counts, self.limit.most, longest) {
                Arrival::Full => return Entry::Full,
                Arrival::Room => counts + FLYING,
                Arrival::Line => counts + WAITING,
            };
            // Somebody may have left since: then there is room now.
            if self.counts.compare_exchange(counts, next, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            if next == counts + FLYING {
                return Entry::Go(Permit(Arc::clone(self)));
            }
            let (give, turn) = oneshot::channel();
            let deadline = now + self.limit.queue_timeout;
            let ticket = line.join(deadline, give);
            return Entry::Wait(Place { in_flight: Arc::clone(self), ticket, deadline, turn });
        }
    }

    fn try_enter(&self) -> bool {
        let mut counts = self.counts.load(Ordering::Relaxed);
        while arrival(counts, self.limit.most, 0) == Arrival::Room {
            match self.counts.compare_exchange_weak(counts, counts + FLYING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => counts = seen,
            }
        }
        false
    }

    /// Gives one place back: to the first in line whose time is not up, or to nobody.
    fn release(self: &Arc<Self>, now: impl Fn() -> Instant) {
        let mut counts = self.counts.load(Ordering::Relaxed);
        while counts < WAITING {
            match self.counts.compare_exchange_weak(counts, counts - FLYING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => counts = seen,
            }
        }
        let next = {
            let mut line = self.line.lock();
            let (next, left) = line.next(now());
            let freed = if next.is_none() { FLYING } else { 0 };
            self.counts.fetch_sub(left * WAITING + freed, Ordering::AcqRel);
            next
        };
        if let Some(give) = next {
            // Whoever left between our taking him out of the line and this drops the permit, which hands it on.
            let _ = give.send(Permit(Arc::clone(self)));
        }
    }
}

/// What one finds who comes when these are the counts.
fn arrival(counts: u64, most: u32, longest: u32) -> Arrival {
    let (flying, waiting) = (counts & (WAITING - 1), counts / WAITING);
    match waiting {
        0 if flying < u64::from(most) => Arrival::Room,
        _ if waiting < u64::from(longest) => Arrival::Line,
        _ => Arrival::Full,
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release(Instant::now);
    }
}

impl Place {
    /// Waits for its turn; `None` when `queue_timeout` is over. Dropping it leaves the line.
    pub async fn turn(mut self) -> Option<Permit> {
        match tokio::time::timeout_at(self.deadline.into(), &mut self.turn).await {
            Ok(Ok(permit)) => Some(permit),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.in_flight.line.lock();
        if line.leave(self.ticket) {
            self.in_flight.counts.fetch_sub(WAITING, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn in_flight(most: u32, queue: u32) -> Arc<InFlight> {
        Arc::new(InFlight::new(InFlightLimit { most, queue, queue_timeout: TIMEOUT }))
    }

    fn go(entry: Entry) -> Permit {
        match entry {
            Entry::Go(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn wait(entry: Entry) -> Place {
        match entry {
            Entry::Wait(place) => place,
            other => panic!("{other:?}"),
        }
    }

    /// Gives a permit back at a time of the test's choosing.
    fn finish(permit: Permit, now: Instant) {
        let in_flight = Arc::clone(&permit.0);
        std::mem::forget(permit);
        in_flight.release(|| now);
    }

    #[test]
    fn beyond_the_ceiling_there_is_the_line_and_beyond_that_nothing() {
        let now = Instant::now();
        let in_flight = in_flight(1, 1);
        let first = go(in_flight.enter(now));
        let mut second = wait(in_flight.enter(now));
        assert!(matches!(in_flight.enter(now), Entry::Full));
        assert_eq!(in_flight.counts(), (1, 1));
        assert!(second.turn.try_recv().is_err());
        finish(first, now);
        let second_permit = second.turn.try_recv().unwrap();
        drop(second);
        assert_eq!(in_flight.counts(), (1, 0));
        drop(second_permit);
        assert_eq!(in_flight.counts(), (0, 0));
    }

    #[test]
    fn who_comes_back_is_not_turned_away() {
        let now = Instant::now();
        let in_flight = in_flight(1, 1);
        let first = go(in_flight.enter(now));
        let mut waiting = wait(in_flight.enter(now));
        finish(first, now);
        let second = waiting.turn.try_recv().unwrap();
        let _other = wait(in_flight.enter(now));
        assert!(matches!(in_flight.enter(now), Entry::Full));
        let mut back = wait(in_flight.return_to(now));
        finish(second, now);
        assert!(back.turn.try_recv().is_err(), "but he stands behind those who wait");
    }

    #[test]
    fn without_a_queue_whoever_finds_no_room_is_sent_away() {
        let in_flight = in_flight(1, 0);
        let _permit = go(in_flight.enter(Instant::now()));
        assert!(matches!(in_flight.enter(Instant::now()), Entry::Full));
    }

    #[test]
    fn who_hangs_up_gives_back_his_place_in_the_line_or_in_flight() {
        let now = Instant::now();
        let in_flight = in_flight(1, 2);
        let first = go(in_flight.enter(now));
        let leaver = wait(in_flight.enter(now));
        let second_leaver = wait(in_flight.enter(now));
        drop(leaver);
        assert_eq!(in_flight.counts(), (1, 1));
        let mut patient = wait(in_flight.enter(now));
        finish(first, now);
        // His turn has come, and he leaves without having looked.
        drop(second_leaver);
        assert!(patient.turn.try_recv().is_ok());
        assert_eq!(in_flight.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_in_time_is_none() {
        let limit = InFlightLimit { most: 1, queue: 1, queue_timeout: Duration::from_millis(20) };
        let in_flight = Arc::new(InFlight::new(limit));
        let _permit = go(in_flight.enter(Instant::now()));
        let place = wait(in_flight.enter(Instant::now()));
        assert!(place.turn().await.is_none());
        assert_eq!(in_flight.counts(), (1, 0));
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
            let mut waiting: Vec<(u64, Place)> = Vec::new();
            let (mut arrivals, mut latest_turn) = (0_u64, 0);
            for event in events {
                match event {
                    Event::Arrive => {
                        arrivals += 1;
                        match in_flight.enter(now) {
                            Entry::Go(permit) => {
                                prop_assert!(waiting.is_empty(), "nobody jumps the line");
                                flying.push(permit);
                            }
                            Entry::Wait(place) => {
                                prop_assert_eq!(flying.len(), most as usize, "nobody waits while there is room");
                                waiting.push((arrivals, place));
                            }
                            Entry::Full => prop_assert_eq!(waiting.len(), queue as usize),
                        }
                    }
                    Event::Finish(which) if !flying.is_empty() => {
                        let permit = flying.swap_remove(which % flying.len());
                        finish(permit, now);
                    }
                    Event::HangUp(which) if !waiting.is_empty() => { waiting.remove(which % waiting.len()); }
                    Event::Pass(ms) => {
                        now += Duration::from_millis(ms);
                        // What the timer of each does.
                        waiting.retain(|(_, place)| place.deadline > now);
                    }
                    Event::Finish(_) | Event::HangUp(_) => {}
                }
                let mut still = Vec::new();
                for (arrival, mut place) in waiting {
                    match place.turn.try_recv() {
                        Ok(permit) => {
                            prop_assert!(arrival > latest_turn, "first come, first served");
                            prop_assert!(place.deadline > now, "nobody gets a turn when his time is up");
                            latest_turn = arrival;
                            flying.push(permit);
                        }
                        Err(_) => still.push((arrival, place)),
                    }
                }
                waiting = still;
                prop_assert!(flying.len() <= most as usize);
                prop_assert!(waiting.is_empty() || flying.len() == most as usize, "a turn was lost");
                prop_assert_eq!(in_flight.counts(), (flying.len() as u64, waiting.len() as u64));
            }
        }

        #[test]
        fn late_timers_give_nobody_a_turn_when_his_time_is_up(ages in proptest::collection::vec(0_u64..10_000, 1..8)) {
            let start = Instant::now();
            let in_flight = in_flight(1, 8);
            let first = go(in_flight.enter(start));
            let mut ages = ages;
            ages.sort_unstable_by(|a, b| b.cmp(a));
            let now = start + Duration::from_secs(10);
            let mut places: Vec<Place> = ages.iter().map(|age| wait(in_flight.enter(now - Duration::from_millis(*age)))).collect();
            finish(first, now);
            let served: Vec<usize> = (0..places.len()).filter(|at| places[*at].turn.try_recv().is_ok_and(|permit| { std::mem::forget(permit); true })).collect();
            let due = ages.iter().position(|age| Duration::from_millis(*age) < TIMEOUT);
            prop_assert_eq!(served, due.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn many_threads_lose_no_turn() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let in_flight = Arc::new(InFlight::new(InFlightLimit { most: 3, queue: 64, queue_timeout: Duration::from_secs(30) }));
        let (now_flying, most_flying) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..40 {
                let (in_flight, now_flying, most_flying) =
                    (Arc::clone(&in_flight), Arc::clone(&now_flying), Arc::clone(&most_flying));
                tasks.spawn(async move {
                    for round in 0..500 {
                        let permit = match in_flight.enter(Instant::now()) {
                            Entry::Go(permit) => permit,
                            // Some give up their place at once, or as their turn comes.
                            Entry::Wait(place) if (task + round) % 7 == 0 => {
                                drop(place);
                                continue;
                            }
                            Entry::Wait(place) => place.turn().await.expect("a turn was lost"),
                            Entry::Full => panic!("40 do not fill a line of 64"),
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
}

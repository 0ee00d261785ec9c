//! What wakes the thread that writes records.
//!
//! A thread that is woken for each record takes the processor from the one that answers requests, for each of them. Here the wake comes
//! at the end of the runtime's turn, and all requests that are answered in it have one.
//!
//! Decision: `docs/decisions/60-hot-path.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Wakes one thread.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    is_asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

/// Rings when it is dropped.
#[derive(Debug)]
pub(super) struct RingsAtEnd(pub(super) Arc<Doorbell>);

/// Wakes a thread when it is dropped, even if its runtime ends before.
struct Wake(Option<Thread>);

impl Doorbell {
    /// Says that there is something to be looked at. Costs one load while the thread is awake.
    pub(super) fn ring(self: &Arc<Self>) {
        // What was handed over is there before it is asked whether anybody sleeps.
        fence(Ordering::SeqCst);
        if !self.is_asleep.load(Ordering::Relaxed) || !self.is_asleep.swap(false, Ordering::AcqRel) {
            return;
        }
        let wake = Wake(self.sleeper.lock().clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                yield_now().await;
                drop(wake);
            });
        }
    }

    /// Looks, sleeps until somebody rings, and looks again; for so long at most.
    pub(super) fn wait<T>(&self, within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            *self.sleeper.lock() = Some(thread::current());
            self.is_asleep.store(true, Ordering::Relaxed);
            // It is known that this thread sleeps before it is looked for the last time.
            fence(Ordering::SeqCst);
            let found = look();
            let left = within.saturating_sub(since.elapsed());
            if found.is_none() && !left.is_zero() {
                thread::park_timeout(left);
            }
            self.is_asleep.store(false, Ordering::Relaxed);
            if found.is_some() || left.is_zero() {
                return found;
            }
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(sleeper) = &self.0 {
            sleeper.unpark();
        }
    }
}

impl Drop for RingsAtEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    const LONG: Duration = Duration::from_secs(60);

    /// A thread that takes numbers until 0 comes, and gives how often it found some.
    fn taker(bell: &Arc<Doorbell>, numbers: Receiver<u32>) -> thread::JoinHandle<(u32, u32)> {
        let bell = Arc::clone(bell);
        thread::spawn(move || {
            let (mut times, mut sum) = (0, 0);
            loop {
                let mut next = bell.wait(LONG, || numbers.try_recv().ok());
                assert!(next.is_some(), "nobody rang");
                times += 1;
                while let Some(number) = next {
                    if number == 0 {
                        return (times, sum);
                    }
                    sum += number;
                    next = numbers.try_recv().ok();
                }
            }
        })
    }

    #[test]
    fn nobody_who_rings_is_missed() {
        let bell = Arc::new(Doorbell::default());
        let (hand_over, numbers) = channel();
        let taker = taker(&bell, numbers);
        for round in 0..20_000 {
            hand_over.send(1).unwrap();
            bell.ring();
            if round % 64 == 0 {
                thread::yield_now();
            }
        }
        hand_over.send(0).unwrap();
        bell.ring();
        assert_eq!(taker.join().unwrap().1, 20_000);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_task_of_several_threads_is_missed() {
        let bell = Arc::new(Doorbell::default());
        let (hand_over, numbers) = channel();
        let taker = taker(&bell, numbers);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (bell, hand_over) = (Arc::clone(&bell), hand_over.clone());
            tasks.spawn(async move {
                for _ in 0..1_000 {
                    hand_over.send(1).unwrap();
                    bell.ring();
                    yield_now().await;
                }
            });
        }
        tasks.join_all().await;
        hand_over.send(0).unwrap();
        bell.ring();
        assert_eq!(taker.join().unwrap().1, 8_000);
    }

    #[tokio::test]
    async fn all_that_a_turn_hands_over_wakes_the_thread_once() {
        let bell = Arc::new(Doorbell::default());
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        bell.ring();
        assert_eq!(tasks(), before, "nobody sleeps");
        bell.is_asleep.store(true, Ordering::Release);
        for _ in 0..3 {
            bell.ring();
        }
        assert_eq!(tasks(), before + 1);
        assert!(!bell.is_asleep.load(Ordering::Acquire));
    }

    #[test]
    fn a_runtime_that_ends_rings_before() {
        let bell = Arc::new(Doorbell::default());
        let (hand_over, numbers) = channel();
        let taker = taker(&bell, numbers);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while !bell.is_asleep.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let entered = runtime.enter();
        hand_over.send(0).unwrap();
        bell.ring();
        drop(entered);
        drop(runtime);
        assert_eq!(taker.join().unwrap(), (1, 0));
    }

    #[test]
    fn who_waits_for_nothing_waits_no_longer_than_allowed() {
        let bell = Doorbell::default();
        assert_eq!(bell.wait(Duration::ZERO, || None::<()>), None);
        assert_eq!(bell.wait(Duration::from_millis(5), || None::<()>), None);
        assert!(!bell.is_asleep.load(Ordering::Acquire));
    }
}

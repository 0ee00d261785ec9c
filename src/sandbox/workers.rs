//! The workers of PHP: as many requests are processed at once as there are, and the rest wait in the order of their arrival.

use std::{num::NonZeroUsize, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The workers, whose number can change while they work.
pub(super) struct Workers {
    permits: Arc<Semaphore>,
    count: Mutex<Count>,
}

struct Count {
    /// How many there should be.
    wanted: usize,
    /// How many there are: more than wanted, while too many are busy.
    existing: usize,
}

/// A busy worker, until it is dropped.
pub(super) struct Worker<'a> {
    workers: &'a Workers,
    permit: Option<OwnedSemaphorePermit>,
}

impl Workers {
    /// Creates this many.
    pub(super) fn new(count: NonZeroUsize) -> Workers {
        let count = count.get();
        Workers { permits: Arc::new(Semaphore::new(count)), count: Mutex::new(Count { wanted: count, existing: count }) }
    }

    /// Waits for a free worker.
    pub(super) async fn acquire(&self) -> Worker<'_> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        Worker { workers: self, permit: Some(permit) }
    }

    /// Changes their number. Those that are too many end with the requests that they are busy with.
    pub(super) fn set(&self, wanted: NonZeroUsize) {
        let mut count = self.count.lock();
        count.wanted = wanted.get();
        if count.wanted > count.existing {
            self.permits.add_permits(count.wanted - count.existing);
            count.existing = count.wanted;
        } else {
            count.existing -= self.permits.forget_permits(count.existing - count.wanted);
        }
    }

    /// Returns how many there should be.
    pub(super) fn wanted(&self) -> usize {
        self.count.lock().wanted
    }

    /// Returns how many are busy.
    pub(super) fn busy(&self) -> usize {
        self.count.lock().existing.saturating_sub(self.permits.available_permits())
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut count = self.workers.count.lock();
        if let Some(permit) = self.permit.take().filter(|_| count.existing > count.wanted) {
            permit.forget();
            count.existing -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    fn number(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    /// What a future has by now.
    fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// Takes free workers until there are none.
    fn take_all(workers: &Workers) -> Vec<Worker<'_>> {
        std::iter::from_fn(|| now(pin!(workers.acquire()))).collect()
    }

    #[test]
    fn fewer_workers_take_effect_as_their_requests_end_and_more_at_once() {
        let workers = Workers::new(number(5));
        let mut busy = take_all(&workers);
        assert_eq!((busy.len(), workers.busy()), (5, 5));
        workers.set(number(2));
        assert_eq!((workers.wanted(), workers.busy()), (2, 5));
        for left in [4, 3, 2] {
            busy.pop();
            assert_eq!((take_all(&workers).len(), workers.busy()), (0, left), "one more has ended");
        }
        busy.pop();
        busy.extend(take_all(&workers));
        assert_eq!((busy.len(), workers.busy()), (2, 2), "the next request has it");
        workers.set(number(4));
        busy.extend(take_all(&workers));
        assert_eq!((busy.len(), workers.busy()), (4, 4));
        drop(busy);
        workers.set(number(1));
        assert_eq!(workers.busy(), 0);
        assert_eq!(take_all(&workers).len(), 1, "idle ones end at once");
    }

    #[test]
    fn a_change_that_is_taken_back_leaves_as_many_as_before() {
        let workers = Workers::new(number(3));
        let busy = take_all(&workers);
        workers.set(number(1));
        workers.set(number(3));
        drop(busy);
        assert_eq!(take_all(&workers).len(), 3);
    }

    #[test]
    fn a_request_that_waits_gets_a_worker_only_when_there_are_few_enough() {
        let workers = Workers::new(number(2));
        let mut busy = take_all(&workers);
        let mut waiting = pin!(workers.acquire());
        assert!(now(waiting.as_mut()).is_none());
        workers.set(number(1));
        busy.pop();
        assert!(now(waiting.as_mut()).is_none(), "one of two is too many");
        busy.pop();
        assert!(now(waiting.as_mut()).is_some());
    }
}

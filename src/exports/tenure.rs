//! What the holder of a lease knows of it: its fencing number, and whether it may have run out. Without sockets; times are passed in.
//!
//! The store counts from the moment at which it does what it was asked, the holder from the moment at which it asked. So a holder never
//! believes in a lease that the store has given to another, but for a process that stands still between looking and sending; its writes
//! are refused by the fencing number.
//!
//! Decision: `docs/decisions/57-export-leases.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a lease runs.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How long, after a lease has run out and another gateway has asked for it, its holder can still renew it.
pub(super) const HOLDER_FIRST: Duration = Duration::from_secs(5);
/// How often a lease is renewed.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long after a failed renewal the next one begins: several times within [`HOLDER_FIRST`].
pub(super) const RENEW_AGAIN: Duration = Duration::from_millis(500);

/// What the holder of a lease knows of it.
#[derive(Debug)]
pub(super) struct Tenure {
    fence: u64,
    writes: AtomicU64,
    knowledge: Mutex<Knowledge>,
    /// Wakes those who wait for [`Tenure::settled`].
    changed: Notify,
}

#[derive(Debug)]
struct Knowledge {
    runs_until: Instant,
    is_lost: bool,
}

/// Whether a gateway may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The lease runs.
    Held,
    /// It may have run out: nothing may be sent before it is renewed.
    Doubtful,
    /// Another gateway has it.
    Lost,
}

impl Tenure {
    /// The lease with this fencing number, for which the store was asked at `asked`.
    #[must_use]
    pub(super) fn new(fence: u64, asked: Instant) -> Self {
        let knowledge = Knowledge { runs_until: asked + LEASE, is_lost: false };
        Self { fence, writes: AtomicU64::new(0), knowledge: Mutex::new(knowledge), changed: Notify::new() }
    }

    /// The fencing number: larger than that of every earlier lease.
    #[must_use]
    pub(super) const fn fence(&self) -> u64 {
        self.fence
    }

    /// The number of the next write: one that was given up, and comes to the store after it, is refused there.
    #[must_use]
    pub(super) fn next_write(&self) -> u64 {
        self.writes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes that the store has renewed the lease, for which it was asked at `asked`.
    pub(super) fn renewed(&self, asked: Instant) {
        let mut knowledge = self.knowledge.lock();
        knowledge.runs_until = knowledge.runs_until.max(asked + LEASE);
        drop(knowledge);
        self.changed.notify_waiters();
    }

    /// Notes that another gateway has the lease.
    pub(super) fn lose(&self) {
        self.knowledge.lock().is_lost = true;
        self.changed.notify_waiters();
    }

    /// Whether the holder may go on at this time.
    #[must_use]
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let knowledge = self.knowledge.lock();
        match knowledge.is_lost {
            true => Standing::Lost,
            false if now < knowledge.runs_until => Standing::Held,
            false => Standing::Doubtful,
        }
    }

    /// Waits while the lease may have run out; then tells whether it is held.
    pub(super) async fn settled(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            match self.standing(Instant::now()) {
                Standing::Held => return true,
                Standing::Lost => return false,
                Standing::Doubtful => changed.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_doubtful_once_it_may_have_run_out_until_it_is_renewed_or_lost() {
        let asked = Instant::now();
        let tenure = Tenure::new(7, asked);
        let at = |seconds| tenure.standing(asked + Duration::from_secs(seconds));
        assert_eq!((tenure.fence(), at(14), at(15)), (7, Standing::Held, Standing::Doubtful));
        tenure.renewed(asked + Duration::from_secs(20));
        assert_eq!((at(34), at(35)), (Standing::Held, Standing::Doubtful));
        // An answer that comes late takes nothing away.
        tenure.renewed(asked + Duration::from_secs(5));
        assert_eq!(at(34), Standing::Held);
        tenure.lose();
        tenure.renewed(asked + Duration::from_secs(60));
        assert_eq!(at(61), Standing::Lost);
    }

    #[tokio::test]
    async fn whoever_waits_hears_how_it_ends() {
        let long_ago = Instant::now().checked_sub(2 * LEASE).unwrap_or_else(Instant::now);
        for is_renewed in [true, false] {
            let tenure = Tenure::new(1, long_ago);
            assert_eq!(tenure.standing(Instant::now()), Standing::Doubtful);
            let end = async { if is_renewed { tenure.renewed(Instant::now()) } else { tenure.lose() } };
            let (is_held, ()) = tokio::join!(tenure.settled(), end);
            assert_eq!(is_held, is_renewed);
        }
    }
}

//! What the tests share out among themselves, since they run side by side in one process and must not starve each other.

use std::sync::{Condvar, Mutex};

/// So many at once.
pub struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// One of them, until it is dropped.
pub struct Permit(&'static Permits);

/// Programs that are starting. Many at once make each of them slow.
pub static STARTS: Permits = Permits::new(3);

/// Tests that send a load: each keeps all processors busy, and has hundreds of files open.
pub static LOADS: Permits = Permits::new(2);

impl Permits {
    const fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), returned: Condvar::new() }
    }

    /// Waits for one.
    #[must_use]
    pub fn take(&'static self) -> Permit {
        let free = self.free.lock().unwrap();
        let mut free = self.returned.wait_while(free, |free| *free == 0).unwrap();
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap() += 1;
        self.0.returned.notify_one();
    }
}

//! Writes log lines to standard error in a thread of its own, many at once, so that a request does not wait for a system
//! call. When the reader of the log is slower than the gateway, requests wait, and no line is lost.
//!
//! Decision: `docs/decisions/09-log.md`.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long lines are collected before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// The most bytes that may wait to be written; beyond it, the writer of a line waits.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// The longest that [`flush`] waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Signals that there is something to write, or that it is to be written now.
    filled: Condvar,
    /// Signals that everything that waited has been written.
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
    is_urgent: bool,
}

/// The queue; `None` when the thread could not be started.
static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

/// A writer that queues lines for standard error.
///
/// The first line starts the thread: Pingora's daemon forks before it logs, and threads do not survive a fork.
pub(crate) struct LogWriter;

fn start() -> Option<Arc<Queue>> {
    let queue = Arc::new(Queue::default());
    let written = Arc::clone(&queue);
    let thread = thread::Builder::new().name("log".to_owned()).spawn(move || written.write_batches());
    thread.is_ok().then_some(queue)
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(queue) = QUEUE.get_or_init(start) else { return io::stderr().write(line) };
        let mut waiting = queue.waiting.lock();
        while waiting.bytes.len() > MOST_WAITING {
            queue.drained.wait(&mut waiting);
        }
        let was_empty = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if was_empty {
            queue.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until everything that was logged has been written, 2 s at most. It is called before the process ends.
pub(crate) fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let mut waiting = queue.waiting.lock();
    waiting.is_urgent = true;
    queue.filled.notify_one();
    queue.drained.wait_while_for(&mut waiting, |waiting| waiting.is_writing || !waiting.bytes.is_empty(), FLUSH_WITHIN);
}

impl Queue {
    fn write_batches(&self) {
        let mut batch = Vec::new();
        let mut waiting = self.waiting.lock();
        loop {
            self.filled.wait_while(&mut waiting, |waiting| waiting.bytes.is_empty());
            // One wake-up for all lines of these milliseconds; `flush` ends the wait early.
            self.filled.wait_while_for(&mut waiting, |waiting| !waiting.is_urgent, GATHER);
            std::mem::swap(&mut batch, &mut waiting.bytes);
            waiting.is_writing = true;
            parking_lot::MutexGuard::unlocked(&mut waiting, || {
                // The gateway serves on even if standard error is closed.
                let _ = io::stderr().write_all(&batch);
                batch.clear();
            });
            waiting.is_writing = false;
            self.drained.notify_all();
        }
    }
}

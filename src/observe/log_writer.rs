//! Where log lines go: a thread of its own writes them, many at once, so that a request never waits for a
//! system call, nor wakes anybody for each line. When the reader of the log is slower than the gateway,
//! requests wait rather than lines be lost.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// So many bytes may wait; who has more to say waits as well.
const MOST_WAITING: usize = 4 * 1024 * 1024;
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to write, or somebody wants it written now.
    filled: Condvar,
    /// Everything that waited has been written.
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
    is_urgent: bool,
}

/// `None` when the system has no thread to give.
static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

/// A `Write` that puts each line for standard error into the queue.
///
/// The thread is started by the first line: Pingora's daemon forks before it logs, and threads do not survive that.
pub struct LogWriter;

fn start() -> Option<Arc<Queue>> {
    let queue = Arc::new(Queue::default());
    let written = Arc::clone(&queue);
    let thread = thread::Builder::new().name("log".to_owned()).spawn(move || written.write_for_ever());
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

/// Waits until everything that was logged has been written. To be called before the process ends.
pub fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let mut waiting = queue.waiting.lock();
    waiting.is_urgent = true;
    queue.filled.notify_one();
    queue.drained.wait_while_for(&mut waiting, |waiting| waiting.is_writing || !waiting.bytes.is_empty(), FLUSH_WITHIN);
}

impl Queue {
    fn write_for_ever(&self) {
        let mut batch = Vec::new();
        let mut waiting = self.waiting.lock();
        loop {
            self.filled.wait_while(&mut waiting, |waiting| waiting.bytes.is_empty());
            // One wake-up for all the lines of these milliseconds; whoever ends the process ends the waiting, too.
            self.filled.wait_while_for(&mut waiting, |waiting| !waiting.is_urgent, GATHER);
            std::mem::swap(&mut batch, &mut waiting.bytes);
            waiting.is_writing = true;
            parking_lot::MutexGuard::unlocked(&mut waiting, || {
                // A closed standard error is no reason to stop serving.
                let _ = io::stderr().write_all(&batch);
                batch.clear();
            });
            waiting.is_writing = false;
            self.drained.notify_all();
        }
    }
}

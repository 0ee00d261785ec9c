//! Writes log lines to their output in a thread of its own, many at once. Nobody waits for it, unless `log.when_full` is `wait`:
//! lines that the reader of the log does not take in time are dropped and counted, and the count is the next line.
//!
//! Decisions: `docs/decisions/09-log.md`, `docs/decisions/47-log-lines.md` and `docs/decisions/51-log-outputs.md`.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::log_format::Format;
use super::log_output::{LogOutput, Orders, Output};
use super::log_target::LogTarget;

/// How long lines are collected before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// The most bytes of lines that may wait. As many again can be in the hands of the thread.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// The longest that [`flush`] waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a failed write; it doubles up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Signals that there is something to write, or that it is to be written now.
    filled: Condvar,
    /// Signals that there is room again.
    taken: Condvar,
    /// Signals that everything that waited has been written.
    drained: Condvar,
    /// The lines that were lost since the start.
    all_lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// The lines that came when there was no room, since the thread last took what waited. While there are any, every
    /// further line is lost, too, so that the count stands where the lines are missing.
    lost: u64,
    /// What the thread is told when it has written these lines.
    orders: Orders,
    is_writing: bool,
    is_urgent: bool,
}

/// The queue; `None` when the thread could not be started.
static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

/// Whether a line that finds no room waits for it.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Whether the process ends.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Where the lines go.
static TARGET: Mutex<LogTarget> = Mutex::new(LogTarget::Stderr);

/// Decides whether a line that finds no room waits for it, or is dropped.
pub(super) fn set_waits(waits: bool) {
    WAITS.store(waits, Ordering::Relaxed);
}

/// Lets no line wait for room any more: the process ends, and must not depend on who reads its log.
pub(crate) fn stop_waiting() {
    ENDS.store(true, Ordering::Relaxed);
    if let Some(Some(queue)) = QUEUE.get() {
        let _waiting = queue.waiting.lock();
        queue.taken.notify_all();
    }
}

/// Sends the lines that come from now on there. Once there was a line, a file can become another one, and nothing else.
pub(super) fn set_target(target: LogTarget) {
    let mut current = TARGET.lock();
    let queue = QUEUE.get().and_then(Option::as_ref);
    let is_of_one_kind = mem::discriminant(&*current) == mem::discriminant(&target);
    if *current == target || (queue.is_some() && !is_of_one_kind) {
        return;
    }
    current.clone_from(&target);
    if let Some(queue) = queue {
        queue.order(|orders| orders.target = Some(target));
    }
}

/// Opens the log's file again, behind the lines that wait. Returns false if the log goes to no file.
pub(crate) fn reopen() -> bool {
    let is_file = matches!(*TARGET.lock(), LogTarget::File(_));
    if let Some(Some(queue)) = QUEUE.get().filter(|_| is_file) {
        queue.order(|orders| orders.reopen = true);
    }
    is_file
}

/// Queues a line. It does not wait for the line to be written.
///
/// The first line starts the thread: Pingora's daemon forks before it logs, and threads do not survive a fork.
pub(super) fn write(line: &[u8], format: Format) {
    if let Some(queue) = QUEUE.get_or_init(|| start(format)) {
        queue.push(line, || WAITS.load(Ordering::Relaxed) && !ENDS.load(Ordering::Relaxed));
    }
}

/// Waits until everything that was logged has been written, 2 s at most. It is called before the process ends.
pub(crate) fn flush() {
    if let Some(Some(queue)) = QUEUE.get() {
        queue.flush(FLUSH_WITHIN);
    }
}

/// The lines that were lost since the start.
#[must_use]
pub(crate) fn lost() -> u64 {
    QUEUE.get().and_then(Option::as_ref).map_or(0, |queue| queue.all_lost.load(Ordering::Relaxed))
}

fn start(format: Format) -> Option<Arc<Queue>> {
    // Not `io::stderr()`: its lock would be held for as long as a write takes, and others write to it as well.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
    let mut out = Output::new(format, stderr, TARGET.lock().clone());
    let queue = Arc::new(Queue::default());
    let written = Arc::clone(&queue);
    let thread = thread::Builder::new().name("log".to_owned()).spawn(move || written.write_batches(&mut out, format));
    thread.is_ok().then_some(queue)
}

impl Queue {
    fn push(&self, line: &[u8], waits: impl Fn() -> bool) {
        let has_no_room = |waiting: &Waiting| waiting.lines.len() + line.len() > MOST_WAITING;
        let mut waiting = self.waiting.lock();
        // A line that is longer than the room waits until it has all of it.
        let must_wait = |waiting: &Waiting| waiting.lost > 0 || (has_no_room(waiting) && !waiting.lines.is_empty());
        self.taken.wait_while(&mut waiting, |waiting| must_wait(waiting) && waits());
        let was_empty = waiting.is_empty();
        if must_wait(&waiting) {
            waiting.lost += 1;
            self.all_lost.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.lines.extend_from_slice(line);
        }
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.waiting.lock().orders);
        self.filled.notify_one();
    }

    fn flush(&self, within: Duration) {
        let mut waiting = self.waiting.lock();
        waiting.is_urgent = true;
        self.filled.notify_one();
        self.drained.wait_while_for(&mut waiting, |waiting| waiting.is_writing || !waiting.is_empty(), within);
        waiting.is_urgent = false;
    }

    fn write_batches(&self, out: &mut impl LogOutput, format: Format) {
        let mut batch = Vec::new();
        let mut waiting = self.waiting.lock();
        loop {
            self.filled.wait_while(&mut waiting, |waiting| waiting.is_empty());
            // One wake-up for all lines of these milliseconds; `flush` ends the wait early.
            self.filled.wait_while_for(&mut waiting, |waiting| !waiting.is_urgent, GATHER);
            mem::swap(&mut batch, &mut waiting.lines);
            let lost = mem::take(&mut waiting.lost);
            let orders = mem::take(&mut waiting.orders);
            waiting.is_writing = true;
            self.taken.notify_all();
            parking_lot::MutexGuard::unlocked(&mut waiting, || {
                if lost > 0 {
                    batch.extend_from_slice(&format.lost_line(lost));
                }
                write_patiently(out, &batch, thread::sleep);
                batch.clear();
                if orders != Orders::default() {
                    out.follow(orders);
                }
                // Never an error: what standard error refuses is dropped.
                let _ = out.flush();
            });
            waiting.is_writing = false;
            self.drained.notify_all();
        }
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && self.orders == Orders::default()
    }
}

/// Writes all of `batch`, however long that takes. A write that fails (a full disk, a pipe without a reader) is tried again after
/// a pause; meanwhile lines are queued, and then lost.
fn write_patiently(out: &mut impl Write, batch: &[u8], pause: impl Fn(Duration)) {
    let mut rest = batch;
    let mut next_pause = FIRST_PAUSE;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(count) if count > 0 => {
                rest = rest.get(count..).unwrap_or_default();
                next_pause = FIRST_PAUSE;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Standard error may have been made non-blocking by another process that shares it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(FIRST_PAUSE),
            Ok(_) | Err(_) => {
                pause(next_pause);
                next_pause = (next_pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written to it, one piece at a time, when the other side takes it.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LogOutput for Pipe {
        fn follow(&mut self, orders: Orders) {
            let _ = self.0.send(format!("{orders:?}").into_bytes());
        }
    }

    #[test]
    fn without_a_reader_lines_are_lost_and_counted_in_their_place() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let queue = Arc::new(Queue::default());
        let writing = Arc::clone(&queue);
        thread::spawn(move || writing.write_batches(&mut Pipe(sender), Format::Text));
        queue.push(b"first\n", || false);
        while !queue.waiting.lock().is_writing {
            thread::yield_now();
        }
        // The thread is stuck with the first line. One line fills what may wait; two find no room.
        let long = vec![b'x'; MOST_WAITING];
        queue.push(&long, || false);
        queue.push(b"too many\n", || false);
        queue.push(b"too many\n", || false);
        queue.flush(Duration::from_millis(1));
        assert_eq!(queue.waiting.lock().lines.len(), MOST_WAITING);
        assert_eq!(queue.all_lost.load(Ordering::Relaxed), 2);

        assert_eq!(receiver.recv().as_deref(), Ok(&b"first\n"[..]));
        let second = receiver.recv().expect("the thread goes on");
        assert!(second.starts_with(&long) && String::from_utf8_lossy(&second).contains(" WARN  2 lines lost: "));
        queue.push(b"last\n", || false);
        assert_eq!(receiver.recv().as_deref(), Ok(&b"last\n"[..]));
    }

    #[test]
    fn a_line_can_wait_for_room() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let queue = Arc::new(Queue::default());
        let (writing, pushing) = (Arc::clone(&queue), Arc::clone(&queue));
        thread::spawn(move || writing.write_batches(&mut Pipe(sender), Format::Text));
        queue.push(b"first\n", || true);
        while !queue.waiting.lock().is_writing {
            thread::yield_now();
        }
        let long = vec![b'x'; MOST_WAITING];
        queue.push(&long, || true);
        let waiting = thread::spawn(move || pushing.push(b"last\n", || true));
        assert_eq!(receiver.recv().as_deref(), Ok(&b"first\n"[..]));
        assert_eq!(receiver.recv().as_deref(), Ok(&long[..]));
        assert!(waiting.join().is_ok());
        assert_eq!(receiver.recv().as_deref(), Ok(&b"last\n"[..]));
        assert_eq!(queue.all_lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_before_an_order_are_written_before_it() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let queue = Arc::new(Queue::default());
        let writing = Arc::clone(&queue);
        thread::spawn(move || writing.write_batches(&mut Pipe(sender), Format::Text));
        queue.push(b"first\n", || false);
        queue.order(|orders| orders.reopen = true);
        let mut taken = Vec::new();
        while !taken.ends_with(b"}") {
            taken.extend(receiver.recv().expect("the thread goes on"));
        }
        assert!(taken.starts_with(b"first\nOrders { reopen: true"), "{}", String::from_utf8_lossy(&taken));
        // An order alone is followed, too.
        queue.order(|orders| orders.reopen = true);
        assert!(receiver.recv().expect("the thread goes on").starts_with(b"Orders"));
    }

    #[test]
    fn at_the_end_of_the_process_no_line_waits() {
        let (queue, ends) = (Arc::new(Queue::default()), Arc::new(AtomicBool::new(false)));
        queue.push(&vec![b'x'; MOST_WAITING], || true);
        let (pushing, is_over) = (Arc::clone(&queue), Arc::clone(&ends));
        let waiting = thread::spawn(move || pushing.push(b"last\n", || !is_over.load(Ordering::Relaxed)));
        ends.store(true, Ordering::Relaxed);
        while !waiting.is_finished() {
            queue.taken.notify_all();
            thread::yield_now();
        }
        assert_eq!(queue.all_lost.load(Ordering::Relaxed), 1);
    }

    /// Fails a few times, then takes three bytes at a time.
    struct Faulty(u32, Vec<u8>);

    impl Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(ErrorKind::Interrupted.into()),
                2 => Err(ErrorKind::WouldBlock.into()),
                3 => Ok(0),
                4..=14 => Err(ErrorKind::StorageFull.into()),
                _ => self.1.write(bytes.get(..3.min(bytes.len())).unwrap_or_default()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_write_is_tried_again_after_a_longer_pause_each_time() {
        let (pauses, mut out) = (RefCell::new(Vec::new()), Faulty(0, Vec::new()));
        write_patiently(&mut out, b"one\ntwo\n", |pause| pauses.borrow_mut().push(pause));
        assert_eq!(out.1, b"one\ntwo\n");
        let pauses = pauses.into_inner();
        assert_eq!(pauses.len(), 13, "{pauses:?}");
        assert!(pauses.is_sorted() && pauses.last() == Some(&LONGEST_PAUSE), "{pauses:?}");
    }
}

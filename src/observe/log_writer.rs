//! Where log lines go: a thread of its own writes them, many at once, so that a request never waits for a
//! system call. When the reader of the log is slower than the gateway, requests wait rather than lines be lost.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use once_cell::sync::OnceCell;

/// Lines that may wait for the thread.
const WAITING_LINES: usize = 8192;
/// How many bytes are written at once, about.
const BATCH: usize = 64 * 1024;
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

static STDERR: OnceCell<SyncSender<Message>> = OnceCell::new();

/// A `Write` that hands each line for standard error to the thread.
///
/// The thread is started by the first line: Pingora's daemon forks before it logs, and threads do not survive that.
pub struct LogWriter;

fn stderr() -> &'static SyncSender<Message> {
    STDERR.get_or_init(|| {
        let (sender, lines) = sync_channel(WAITING_LINES);
        // Without a thread the channel has no other end, and `write` falls back to writing itself.
        let _ = thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&lines));
        sender
    })
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if stderr().send(Message::Line(line.to_vec())).is_err() {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until everything that was logged has been written. To be called before the process ends.
pub fn flush() {
    if let Some(sender) = STDERR.get() {
        let (done, wait) = channel();
        if sender.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_WITHIN);
        }
    }
}

fn write_all(lines: &Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = lines.recv() {
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => flushed.push(done),
            }
            next = if batch.len() < BATCH { lines.try_recv().ok() } else { None };
        }
        // A closed standard error is no reason to stop serving.
        let _ = io::stderr().write_all(&batch);
        batch.clear();
        for done in flushed {
            let _ = done.send(());
        }
    }
}

//! Whether a client still reads: what its kernel has acknowledged, since a write tells only of room in the kernel here, which
//! comes back in steps of megabytes.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use pingora::protocols::SocketDigest;
use tokio::time::Sleep;

use crate::config::Limits;
use crate::gateway::pace::Pace;

/// The least time between two looks at the socket.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Follows a client while bytes wait for it.
#[derive(Debug)]
pub(super) struct Stall {
    socket: Option<Arc<SocketDigest>>,
    least_rate: usize,
    write_timeout: Duration,
    /// Bytes that went to the kernel, where nothing else is known.
    written: u64,
    watch: Option<Watch>,
}

/// A client that has bytes to read.
#[derive(Debug)]
struct Watch {
    pace: Pace,
    timer: Pin<Box<Sleep>>,
    read: u64,
    holds_up_openemr: bool,
}

impl Stall {
    /// Follows the client behind this socket.
    #[must_use]
    pub(super) fn new(socket: Option<Arc<SocketDigest>>, limits: &Limits) -> Self {
        let Limits { least_rate, write_timeout, .. } = *limits;
        Self { socket, least_rate, write_timeout, written: 0, watch: None }
    }

    /// Nothing waits for the client any more.
    pub(super) fn end(&mut self) {
        self.watch = None;
    }

    /// Counts bytes that went to the kernel.
    pub(super) fn written(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Looks from time to time whether the client reads at the least rate. `holds_up_openemr`: there is no memory for more, so that
    /// it gets 20 s to move at all, not `limits.write_timeout`.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check(&mut self, context: &mut Context<'_>, holds_up_openemr: bool) -> io::Result<()> {
        let now = Instant::now();
        let kept = self.watch.take().filter(|watch| watch.holds_up_openemr || !holds_up_openemr);
        let mut watch = kept.unwrap_or_else(|| {
            let pace = if holds_up_openemr {
                Pace::new(self.least_rate, self.write_timeout, now)
            } else {
                Pace::patient(self.least_rate, self.write_timeout, now)
            };
            let timer = Box::pin(tokio::time::sleep(pace.left(now).min(BETWEEN_LOOKS)));
            Watch { pace, timer, read: self.read(), holds_up_openemr }
        });
        while watch.timer.as_mut().poll(context).is_ready() {
            let read = self.read();
            let count = usize::try_from(read.saturating_sub(watch.read)).unwrap_or(usize::MAX);
            let left = watch.pace.moved(count, now).ok_or(io::ErrorKind::TimedOut)?;
            watch.read = read;
            watch.timer.as_mut().reset((now + left.clamp(Duration::from_millis(1), BETWEEN_LOOKS)).into());
        }
        self.watch = Some(watch);
        Ok(())
    }

    /// Bytes that the client's side has acknowledged.
    fn read(&self) -> u64 {
        self.socket.as_ref().and_then(|socket| socket.tcp_info()).map_or(self.written, |info| info.tcpi_bytes_acked)
    }
}

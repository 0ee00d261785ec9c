//! The connection of a client as Pingora reads and writes it.
//!
//! A read gives no more than who reads ahead can take. A write does not wait for a client that reads slowly while there is
//! memory for what it has not read: OpenEMR is done with an answer then, and the rest goes out by and by, even when Pingora is
//! done with the connection. A client that stops reading is given up. What is written while the gate of the audit trail is closed
//! waits in the same memory.
//!
//! What is written up to a flush is gathered and leaves at once: Pingora writes a chunk in three parts, its length, its bytes and its
//! end. Long ones leave as they are, in one send. The memory for it is there only meanwhile; an idle connection has no buffers.
//!
//! Decisions: `docs/decisions/03-concurrency-limit.md`, `docs/decisions/17-request-bodies.md` and `docs/decisions/60-hot-path.md`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::runtime::Handle;

use crate::audit::gate::Gate;
use crate::config::Limits;
use crate::gateway::backlog::{AnswerMemory, Backlog};
use crate::gateway::connections::Place;
use crate::gateway::read_ahead::LONGEST_READ;
use crate::server::stall::Stall;
use crate::site::lifecycle::Lifecycle;

/// The most bytes that are gathered until the next flush.
const MOST_GATHERED: usize = 32 * 1024;
/// From so many bytes on, what is written at once leaves as it is where nothing waits before it.
const LONG: usize = 16 * 1024;
/// Room for the head of an answer and a short body.
const FIRST_ROOM: usize = 4 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientStream {
    /// `None` only while it is dropped.
    open: Option<Open>,
    lifecycle: Arc<Lifecycle>,
    /// What Pingora hands on to each request: the gate.
    digest: Option<Arc<ProxyDigest>>,
}

/// The parts of an open connection.
#[derive(Debug)]
struct Open {
    stream: Take<Stream>,
    /// What waits for the client, the first bytes first.
    backlog: Backlog,
    /// What waits for the next flush, behind that.
    gathered: BytesMut,
    /// Whether written bytes wait in the buffers of `stream`.
    flush_is_due: bool,
    stall: Stall,
    /// What holds bytes back until a record is written.
    gate: Option<Arc<Gate>>,
    end: End,
    /// Its place among all connections.
    _place: Option<Place>,
}

/// How the connection ends once all is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Pingora still uses it, or breaks it off.
    None,
    /// In order: Pingora has ended it.
    InOrder,
    /// It is broken.
    Broken,
}

impl ClientStream {
    /// Wraps a connection, which keeps its place to its end.
    #[must_use]
    pub(super) fn new(
        stream: Stream,
        place: Option<Place>,
        limits: &Limits,
        memory: &Arc<AnswerMemory>,
        lifecycle: &Arc<Lifecycle>,
        gate: Option<Arc<Gate>>,
    ) -> Self {
        let stall = Stall::new(stream.get_socket_digest(), limits);
        let stream = stream.take(LONGEST_READ as u64);
        let backlog = Backlog::new(Arc::clone(memory));
        let digest = gate.clone().and_then(carrier);
        let gathered = BytesMut::new();
        let open = Open { stream, backlog, gathered, flush_is_due: false, stall, gate, end: End::None, _place: place };
        Self { open: Some(open), lifecycle: Arc::clone(lifecycle), digest }
    }

    /// What every request on the connection is handed.
    pub(super) fn digest(&self) -> Option<&Arc<ProxyDigest>> {
        self.digest.as_ref()
    }

    /// The connection under this one.
    pub(super) fn stream(&self) -> &Stream {
        self.open.as_ref().expect("taken only when dropped").stream.get_ref()
    }

    /// The connection under this one, to be changed.
    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        self.open_mut().stream.get_mut()
    }

    fn open_mut(&mut self) -> &mut Open {
        self.open.as_mut().expect("taken only when dropped")
    }

    /// Ends the connection in order: at once, or when all is written.
    pub(super) async fn end(&mut self) {
        let open = self.open_mut();
        open.end = End::InOrder;
        if !open.has_unwritten() {
            open.stream.get_mut().shutdown().await;
        }
    }
}

/// What carries the gate to the requests of a connection: Pingora has one place for a thing of ours.
fn carrier(gate: Arc<Gate>) -> Option<Arc<ProxyDigest>> {
    let head = ResponseHeader::build(200, Some(0)).ok()?;
    Some(Arc::new(ProxyDigest::new(Box::new(head), Some(Box::new(gate)))))
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let rest = self.open.take().filter(|open| open.has_unwritten() && open.end != End::Broken);
        if let (Some(mut open), Ok(runtime)) = (rest, Handle::try_current()) {
            // The process waits for its last answers.
            let request = self.lifecycle.request();
            runtime.spawn(async move {
                let written = std::future::poll_fn(|context| open.poll_drain(context)).await;
                if written.is_ok() && open.end == End::InOrder {
                    open.stream.get_mut().shutdown().await;
                }
                drop(request);
            });
        }
    }
}

impl Open {
    fn has_unwritten(&self) -> bool {
        self.flush_is_due || self.bytes_wait()
    }

    fn bytes_wait(&self) -> bool {
        !self.backlog.is_empty() || !self.gathered.is_empty()
    }

    /// Writes what waits; ready when nothing does any more.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_unwritten() {
            return Poll::Ready(Ok(()));
        }
        // It is not the client that keeps bytes waiting at a closed gate.
        if let Err(error) = ready!(self.poll_gate(context)) {
            self.end = End::Broken;
            return Poll::Ready(Err(error));
        }
        let drained = self.poll_write_all(context);
        match &drained {
            Poll::Ready(Ok(())) => self.stall.end(),
            Poll::Ready(Err(_)) => self.end = End::Broken,
            Poll::Pending => {
                if let Err(error) = self.stall.check(context, false) {
                    self.end = End::Broken;
                    return Poll::Ready(Err(error));
                }
            }
        }
        drained
    }

    fn poll_write_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(self.stream.get_mut());
        loop {
            let in_backlog = !self.backlog.is_empty();
            let next = if in_backlog { self.backlog.next() } else { &self.gathered };
            if next.is_empty() {
                break;
            }
            let count = ready!(stream.as_mut().poll_write(context, next))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if in_backlog {
                self.backlog.written(count);
            } else {
                self.gathered.advance(count);
            }
            self.stall.written(count);
            self.flush_is_due = true;
        }
        self.gathered = BytesMut::new();
        ready!(stream.poll_flush(context))?;
        self.flush_is_due = false;
        Poll::Ready(Ok(()))
    }

    /// Whether bytes may leave.
    fn poll_gate(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate.as_ref().map_or(Poll::Ready(Ok(())), |gate| gate.poll(context))
    }

    /// Takes bytes that leave with the next flush, if they are few.
    fn gathers(&mut self, parts: &[IoSlice<'_>], length: usize) -> bool {
        let is_long = self.gathered.is_empty() && length >= LONG;
        if is_long || !self.backlog.is_empty() || self.gathered.len() + length > MOST_GATHERED {
            return false;
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(length.max(FIRST_ROOM));
        }
        parts.iter().for_each(|part| self.gathered.extend_from_slice(part));
        true
    }

    /// Counts what is gathered with the memory for what clients have not read; whether there is enough.
    fn keep_gathered(&mut self) -> bool {
        self.backlog.adopt(&mut self.gathered);
        self.gathered.is_empty()
    }

    /// Takes bytes for which the connection has no room now; pending when there is no memory for them, either.
    fn poll_keep(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let kept = if self.keep_gathered() { self.backlog.push(bytes) } else { 0 };
        if kept > 0 { Poll::Ready(Ok(kept)) } else { self.poll_stalled(context) }
    }

    /// Waits for a client for which there is no more memory, if it still reads.
    fn poll_stalled<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Err(error) = self.stall.check(context, true) else { return Poll::Pending };
        self.end = End::Broken;
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let open = self.open_mut();
        // What is gathered waits for its flush.
        if (open.flush_is_due || !open.backlog.is_empty())
            && let Poll::Ready(Err(error)) = open.poll_drain(context)
        {
            return Poll::Ready(Err(error));
        }
        open.stream.set_limit(LONGEST_READ as u64);
        Pin::new(&mut open.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let open = self.open_mut();
        let length = parts.iter().map(|part| part.len()).sum();
        if open.gathers(parts, length) {
            return Poll::Ready(Ok(length));
        }
        if open.bytes_wait() {
            if let Poll::Ready(Err(error)) = open.poll_drain(context) {
                return Poll::Ready(Err(error));
            }
            if open.gathers(parts, length) {
                return Poll::Ready(Ok(length));
            }
        }
        if !open.bytes_wait() {
            match open.poll_gate(context) {
                Poll::Ready(Ok(())) => {
                    let written = Pin::new(open.stream.get_mut()).poll_write_vectored(context, parts);
                    if written.is_ready() {
                        return written;
                    }
                }
                Poll::Ready(Err(error)) => {
                    open.end = End::Broken;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {}
            }
        }
        open.poll_keep(context, parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does not wait for a slow client while there is memory for what it has not read.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.open_mut();
        open.flush_is_due = true;
        match open.poll_drain(context) {
            Poll::Pending if open.keep_gathered() => Poll::Ready(Ok(())),
            Poll::Pending => open.poll_stalled(context),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.open_mut();
        ready!(open.poll_drain(context))?;
        Pin::new(open.stream.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

//! The guard: the byte stream of an HTTP/1 connection, below Pingora and above TLS, which lets pass one well-formed request
//! at a time.
//!
//! A head is held back until it is whole and its framing is unambiguous, so that Pingora reads nothing that two readers could
//! read in two ways, and never a part of a head. What is refused gets its answer from here, behind the answers to the requests
//! before it, and the connection ends. A body is looked at where it lies: of a Content-Length it is counted, of chunks the
//! framing is read.
//!
//! Each wait for a head has a deadline: `limits.head_timeout` for the first one and for one that has begun,
//! `limits.keepalive_timeout` before one begins.
//!
//! Decision: `docs/decisions/30-framing.md`.

mod clock;
mod refusal;
mod stream;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Limits;
use crate::gateway::connections::Connections;
use crate::gateway::guard::clock::Clock;
use crate::http::framing::violation::Violation;
use crate::http::framing::{Framer, HeadLimits};
use crate::site::runtime::Runtime;

/// By how much, in bytes, a head may exceed `limits.request_head` and still be answered as a request, in the client's format.
const ROOM_TO_ANSWER: usize = 16 * 1024;
/// The most field lines of a head that are answered as a request: Pingora reads no more.
const MOST_FIELDS: u32 = 256;
/// How much is read at once while no request has begun, in bytes: most heads.
const ROOM_FOR_A_BEGINNING: usize = 4 * 1024;
/// How long a refused client may take to read its answer.
const LINGER: Duration = Duration::from_secs(2);

/// The stream of one HTTP/1 connection.
pub(crate) struct Guard {
    stream: Stream,
    runtime: Arc<ArcSwap<Runtime>>,
    connections: Arc<Connections>,
    framer: Framer,
    /// What was read and has not passed: a part of a head, or the requests behind the one that is answered.
    held: BytesMut,
    /// How many of the held bytes may pass.
    cleared: usize,
    /// How many of the held bytes are known to hold no whole head.
    looked_at: usize,
    is_first: bool,
    /// Since when a head has been waited for.
    waits_since: Option<Instant>,
    clock: Clock,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The answer to a refused head is being written.
    Refusing(Bytes),
    /// It has been written: what else comes is thrown away, so that the client can read it.
    Lingering,
    /// A body was refused, and whoever reads it has been told or not.
    BadBody(Option<Violation>),
    Ended,
}

impl Guard {
    /// Guards a connection that has just been accepted.
    pub(crate) fn new(stream: Stream, runtime: Arc<ArcSwap<Runtime>>, connections: Arc<Connections>) -> Self {
        let framer = Framer::new(head_limits(&runtime.load().config.limits));
        Self {
            stream,
            runtime,
            connections,
            framer,
            held: BytesMut::new(),
            cleared: 0,
            looked_at: 0,
            is_first: true,
            waits_since: None,
            clock: Clock::default(),
            state: State::Open,
        }
    }

    /// Passes what is cleared of the held bytes.
    fn pass_held(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.cleared.min(into.remaining()).min(self.held.len());
        into.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.cleared -= count;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Looks whether the held bytes begin with a whole request, or with the head of one.
    fn look_at_held(&mut self) -> Result<bool, Violation> {
        self.looked_at = self.held.len();
        let Some(length) = self.framer.head(&self.held)? else { return Ok(false) };
        self.cleared = length + self.framer.body(behind(&self.held, length))?;
        self.head_has_come();
        Ok(true)
    }

    fn head_has_come(&mut self) {
        self.is_first = false;
        self.waits_since = None;
        self.looked_at = 0;
    }

    fn refuse(&mut self, violation: Violation) {
        self.held = BytesMut::new();
        self.waits_since = Some(Instant::now());
        self.state = match violation {
            Violation::NotHttp => State::Ended,
            _ => State::Refusing(refusal::answer(violation, &self.stream, self.runtime.load_full())),
        };
    }

    /// Reads into `buf` behind what is there; returns how many bytes came.
    fn read_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(Ok(buf.filled().len() - before))
    }

    /// While a request is answered, Pingora reads single bytes to see whether the client leaves. The next request stays here.
    fn poll_idle(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if ready!(self.read_more(cx, buf))? == 0 {
            return Poll::Ready(Ok(()));
        }
        self.held.extend_from_slice(behind(buf.filled(), before));
        buf.set_filled(before);
        Poll::Pending
    }

    /// Waits until the next request has begun, or the connection has ended or is refused.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.held.is_empty() || self.cleared > 0 || !matches!(self.state, State::Open) {
            return Poll::Ready(());
        }
        let mut room = [MaybeUninit::uninit(); ROOM_FOR_A_BEGINNING];
        let mut buf = ReadBuf::uninit(&mut room);
        match self.read_more(cx, &mut buf) {
            Poll::Ready(Ok(0) | Err(_)) => self.state = State::Ended,
            Poll::Ready(Ok(_)) => {
                self.held.extend_from_slice(buf.filled());
                if !self.is_first {
                    self.waits_since = None;
                }
            }
            Poll::Pending => return self.poll_deadline(cx).map(drop),
        }
        Poll::Ready(())
    }

    /// Reads up to the end of a head, and as much of the body as came with it.
    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if self.held.len() > self.looked_at {
                match self.look_at_held() {
                    Ok(true) => {
                        self.pass_held(buf);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(false) => {}
                    Err(violation) => {
                        self.refuse(violation);
                        return Poll::Pending;
                    }
                }
            }
            let count = match self.read_more(cx, buf) {
                Poll::Ready(count) => count?,
                Poll::Pending => return self.poll_deadline(cx),
            };
            if count == 0 {
                self.state = State::Ended;
                return Poll::Ready(Ok(()));
            }
            let piece = behind(buf.filled(), before);
            if self.held.is_empty() {
                let mut pass = || -> Result<Option<usize>, Violation> {
                    let Some(length) = self.framer.head(piece)? else { return Ok(None) };
                    Ok(Some(length + self.framer.body(behind(piece, length))?))
                };
                match pass() {
                    Ok(Some(length)) => {
                        self.held.extend_from_slice(behind(piece, length));
                        buf.set_filled(before + length);
                        self.head_has_come();
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => self.looked_at = count,
                    Err(violation) => {
                        buf.set_filled(before);
                        self.refuse(violation);
                        return Poll::Pending;
                    }
                }
                if !self.is_first {
                    self.waits_since = None;
                }
            }
            self.held.extend_from_slice(piece);
            buf.set_filled(before);
        }
    }

    /// Ends a wait for a head that lasts too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let limits = self.runtime.load().config.limits;
        let has_begun = self.is_first || !self.held.is_empty();
        let most = if has_begun { limits.head_timeout } else { self.connections.keepalive(limits.keepalive_timeout) };
        ready!(self.clock.poll(cx, since + most));
        if self.held.is_empty() {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        self.refuse(Violation::Late);
        Poll::Pending
    }

    /// Reads a part of a body, up to its end.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.read_more(cx, buf))?;
        let piece = behind(buf.filled(), before);
        match self.framer.body(piece) {
            Ok(taken) => {
                self.held.extend_from_slice(behind(piece, taken));
                buf.set_filled(before + taken);
            }
            Err(violation) => {
                buf.set_filled(before);
                self.state = State::BadBody(Some(violation));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the answer to what was refused.
    fn poll_refusing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let State::Refusing(answer) = &mut self.state {
            if answer.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.state = State::Lingering;
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, answer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            answer.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what still comes.
    fn poll_drain(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while ready!(self.read_more(cx, buf))? > 0 {
            buf.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes an answer of the guard's own and lingers, for [`LINGER`] at most.
    fn poll_end(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        let ended = match self.poll_refusing(cx) {
            Poll::Ready(Ok(())) => self.poll_drain(cx, buf),
            other => other,
        };
        if ended.is_pending() {
            ready!(self.clock.poll(cx, self.waits_since.unwrap_or_else(Instant::now) + LINGER));
        }
        self.state = State::Ended;
        Poll::Ready(())
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Refusing(_) | State::Lingering => ready!(self.poll_end(cx, buf)),
                State::BadBody(told) => {
                    let Some(violation) = told.take() else { return self.poll_drain(cx, buf) };
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                State::Open if self.cleared > 0 => {
                    self.pass_held(buf);
                    return Poll::Ready(Ok(()));
                }
                State::Open => {
                    let passed = match (self.framer.expects_head(), buf.remaining()) {
                        (true, 1) => return self.poll_idle(cx, buf),
                        (true, _) => self.poll_head(cx, buf),
                        (false, _) => self.poll_body(cx, buf),
                    };
                    // What was refused just now has an answer to be written, or an error to be told.
                    if matches!(self.state, State::Open) {
                        return passed;
                    }
                }
            }
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_pass(cx, buf)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The bytes from there on.
fn behind(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { size: limits.request_head + ROOM_TO_ANSWER, fields: MOST_FIELDS }
}

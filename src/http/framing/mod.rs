//! The framing of HTTP/1 requests (RFC 9112), read strictly from the bytes of a connection: where each head and each body ends,
//! and what is refused because another reader could find another end.
//!
//! The bytes come in any pieces; the verdict is the same for all of them.
//!
//! Decision: `docs/decisions/30-framing.md`.

mod chunks;
mod head;
mod target;
pub(crate) mod violation;

use chunks::Chunks;
pub(crate) use head::HeadLimits;
use head::{Body, HeadReader};
use violation::Violation;

/// Finds the ends of the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framer {
    limits: HeadLimits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    /// So many bytes of a body are to come; never 0.
    Length(u64),
    Chunks(Chunks),
}

impl Framer {
    /// A connection of which nothing has been read.
    #[must_use]
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head(HeadReader::new()) }
    }

    /// Whether the next byte belongs to the head of a request.
    #[must_use]
    pub(crate) fn expects_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Reads a head, of which these are the bytes so far, each time from its beginning. Gives its length once it is whole.
    /// In a body: nothing.
    ///
    /// # Errors
    /// The first violation in the order of the bytes.
    pub(crate) fn head(&mut self, so_far: &[u8]) -> Result<Option<usize>, Violation> {
        let State::Head(reader) = &mut self.state else { return Ok(None) };
        let Some((length, body)) = reader.read(so_far, self.limits)? else { return Ok(None) };
        self.state = match body {
            Body::Length(0) => State::Head(HeadReader::new()),
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Chunks(Chunks::new()),
        };
        Ok(Some(length))
    }

    /// Reads further bytes of a body. Gives how many of them belong to the request; a head begins behind them when they are
    /// not all.
    ///
    /// # Errors
    /// The chunks are not well-formed.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let (taken, is_whole) = match &mut self.state {
            State::Head(_) => (0, false),
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                (taken, *left == 0)
            }
            State::Chunks(chunks) => {
                let taken = chunks.take(bytes)?;
                (taken, chunks.is_whole())
            }
        };
        if is_whole {
            self.state = State::Head(HeadReader::new());
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;

//! The interface of everything that rewrites a body on its way through the gateway.

use std::fmt::Debug;

use bytes::Bytes;

/// Rewrites a body piece by piece, in bounded memory. The pieces may be cut anywhere.
pub trait BodyStep: Debug + Send + Sync {
    /// Takes the next piece and returns the part of the new body that is now known; empty while more is needed. A piece that is
    /// not changed is returned without a copy.
    fn feed(&mut self, piece: Bytes) -> Bytes;

    /// Returns the rest of the new body, after the last piece.
    fn finish(&mut self) -> Bytes;

    /// Why the body must not go on, in the log's words; `None` while it may. Asked after each piece and after the last. If no
    /// step has given anything of the new body by then, the client gets an error; otherwise its answer is broken off.
    fn refusal(&self) -> Option<&'static str> {
        None
    }
}

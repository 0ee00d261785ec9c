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

    /// Whether the body is not what it claims to be, so that nothing more of it must pass.
    fn is_broken(&self) -> bool {
        false
    }
}

//! A step that a body takes on its way through the gateway.

use std::fmt::Debug;

use bytes::Bytes;

/// Takes a body in pieces, cut anywhere, and gives another one in pieces. Memory is bounded, whatever the body's length.
pub trait BodyStep: Debug + Send + Sync {
    /// What can be said after one more piece; empty where more is needed first. A piece that is left alone is handed on
    /// without a copy.
    fn feed(&mut self, piece: Bytes) -> Bytes;

    /// What is left to say, now that the body has ended.
    fn finish(&mut self) -> Bytes;
}

//! JSON documents that come in pieces: where they end, what they are made of, and how they are indented.

pub mod completeness;
pub mod pretty;
pub mod walk;

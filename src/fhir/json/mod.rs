//! JSON documents that come in pieces: where they end, what they are made of, and how they are indented.

pub(crate) mod brackets;
pub(crate) mod completeness;
pub(crate) mod located;
pub(crate) mod member_search;
pub(crate) mod outline;
pub(crate) mod pretty;
pub(crate) mod walk;

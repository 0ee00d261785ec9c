//! `_elements` and `_summary`: which members of a resource are sent, and the step that drops the others.

mod elements;
pub(crate) mod projector;
pub(crate) mod rule;

//! `_elements` and `_summary`: which members of a resource are sent, and the step that drops the others.

pub mod elements;
pub mod projector;
pub mod rule;

//! SMART scopes: what they are, which one an interaction needs, and which ones an export needs.

pub mod export;
pub mod required;
pub mod scope;

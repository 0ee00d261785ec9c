//! The configuration: what is read, what is wrong with it, and what the operator is told.

mod access;
mod admin;
mod answers;
mod described;
#[cfg(feature = "sandbox")]
mod forms;
mod limits;
mod mistakes;
mod permissions;
mod sources;
mod startup;
mod startup_keys;
mod store;

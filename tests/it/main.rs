//! The end-to-end tests: the built binary, driven as a user would drive it.
//!
//! They are one program, because each test binary links the whole gateway. `cargo test --test it token::` runs one
//! topic, `cargo test --test it a_part_of_its_name` one test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[cfg(feature = "sandbox")]
mod access;
#[cfg(feature = "sandbox")]
mod admin;
#[cfg(feature = "sandbox")]
mod answers;
mod audit;
#[cfg(feature = "sandbox")]
mod bulk;
#[cfg(feature = "sandbox")]
mod check;
mod cli;
mod commands;
mod configuration;
#[cfg(feature = "sandbox")]
mod fuzz;
#[cfg(feature = "sandbox")]
mod limits;
#[cfg(feature = "sandbox")]
mod load;
#[cfg(feature = "sandbox")]
mod nodes;
#[cfg(feature = "sandbox")]
mod process;
#[cfg(feature = "sandbox")]
mod replicas;
#[cfg(feature = "sandbox")]
mod requests;
mod rooms;
#[cfg(feature = "sandbox")]
mod sandbox;
mod support;
#[cfg(feature = "sandbox")]
mod token;

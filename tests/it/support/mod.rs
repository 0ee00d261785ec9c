//! The harness of the end-to-end tests: it starts the built binary as OpenEMR and as the gateway, and has clients that read
//! what comes off the wire strictly.

#[cfg(feature = "sandbox")]
pub mod broken;
#[cfg(feature = "sandbox")]
pub mod certificates;
#[cfg(feature = "sandbox")]
pub mod closed_load;
pub mod command;
#[cfg(feature = "sandbox")]
pub mod gateway;
#[cfg(feature = "sandbox")]
pub mod http;
#[cfg(feature = "sandbox")]
pub mod http2;
#[cfg(feature = "sandbox")]
pub mod http2_front;
#[cfg(feature = "sandbox")]
pub mod load;
#[cfg(feature = "sandbox")]
pub mod load_connection;
#[cfg(feature = "sandbox")]
pub mod load_report;
#[cfg(feature = "sandbox")]
pub mod openemr;
#[cfg(feature = "sandbox")]
pub mod permits;
#[cfg(feature = "sandbox")]
mod process;
#[cfg(feature = "sandbox")]
mod random;
#[cfg(feature = "sandbox")]
pub mod raw_openemr;
#[cfg(feature = "sandbox")]
pub mod redis;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "sandbox")]
pub mod told_openemr;

#[cfg(feature = "sandbox")]
pub use process::{DEADLINE, Process, Stop, binary, eventually, keys};

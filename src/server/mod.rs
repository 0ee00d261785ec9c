//! The process: its services and listeners, signals, draining, upgrade and reload.

pub mod certificates;
pub mod drain;
pub mod file_watch;
pub mod first_tokens;
pub mod reload;
pub mod restart_required;
pub mod run;
pub mod signals;
pub mod upgrade;

pub use run::{RunOptions, run};

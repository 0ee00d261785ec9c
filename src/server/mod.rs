//! The process: its services and listeners, signals, draining, upgrade and reload.

mod announcement;
mod before_tls;
mod certificates;
mod client_stream;
pub(crate) mod core_dumps;
mod drain;
mod ending;
mod exports;
mod file_watch;
mod guard;
mod listeners;
mod log_settings;
mod log_signal;
mod opening;
mod options;
mod pingora_conf;
mod process;
mod proxy;
mod reload;
mod run;
mod services;
mod shutdown_times;
mod signals;
mod site_tasks;
mod stall;
mod start_error;
mod start_gate;
mod start_line;
mod stream_traits;
mod upgrade;

pub(crate) use log_settings::start_log;
pub(crate) use options::{ConfigSource, RunOptions};
pub(crate) use run::{check_token_key, run};
pub(crate) use upgrade::socket::UpgradeSocket;
pub(crate) use upgrade::take_over::{NotTaken, running_listeners};

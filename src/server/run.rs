//! Runs the gateway: from a configuration to a Pingora server that serves until a signal ends it.

use std::net::TcpListener;
use std::sync::Arc;

use pingora::server::configuration::Opt;
use pingora::server::{RunArgs, Server};

use crate::config::Config;
use crate::server::options::RunOptions;
use crate::server::pingora_conf::pingora_conf;
use crate::server::process::Process;
use crate::server::services;
use crate::server::shutdown_times::ShutdownTimes;
use crate::server::signals::Signals;
use crate::server::start_error::StartError;

/// Runs the gateway until a signal ends it. `on_ready` is called once, when the listeners are open.
///
/// # Errors
/// The reason why the gateway does not start; no request has been served then.
pub(crate) fn run(
    config: Config,
    options: RunOptions,
    on_ready: impl FnOnce() + Send + Sync + 'static,
) -> Result<(), StartError> {
    if !options.upgrade {
        check_addresses(&config)?;
    }
    let times = ShutdownTimes::of(&config);
    let opt = Opt { upgrade: options.upgrade, ..Opt::default() };
    let mut pingora = Server::new_with_opt_and_conf(Some(opt), pingora_conf(&config, &times));
    let process = Process::new(config, options, on_ready, &pingora);
    services::add_to(&mut pingora, &process);
    let signals = Signals::new(Arc::clone(&process.lifecycle), times);
    pingora.run(RunArgs { shutdown_signal: Box::new(signals) });
    Ok(())
}

/// Checks that every address can be listened on: Pingora panics where this can say what is wrong.
fn check_addresses(config: &Config) -> Result<(), StartError> {
    for listener in &config.listen {
        TcpListener::bind(listener.address).map_err(|source| StartError::Listen { address: listener.address, source })?;
    }
    Ok(())
}

//! Runs the gateway: from a configuration to a Pingora server that serves until a signal ends it.

use std::sync::Arc;

use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;

use crate::callers::access_tokens::AccessTokens;
use crate::config::Config;
use crate::server::ending;
use crate::server::listeners::Listeners;
use crate::server::options::RunOptions;
use crate::server::pingora_conf::pingora_conf;
use crate::server::process::Process;
use crate::server::services;
use crate::server::shutdown_times::ShutdownTimes;
use crate::server::signals::Signals;
use crate::server::start_error::StartError;
use crate::server::upgrade::order::HandOver;
use crate::sinks::opened;
#[cfg(feature = "otlp")]
use crate::sinks::trace_export;

/// Runs the gateway until a signal ends it. `on_ready` is called once, when the listeners are open.
///
/// # Errors
/// The reason why the gateway does not start; no request has been served then.
pub(crate) fn run(
    config: Config,
    options: RunOptions,
    on_ready: impl FnOnce() + Send + Sync + 'static,
) -> Result<(), StartError> {
    // In an upgrade the running process has the addresses.
    let listeners = if options.upgrade { Listeners::default() } else { Listeners::bind(&config)? };
    open_token_key(&config)?;
    let (trail, mut sinks) = opened::open(&config.audit)?;
    let (hand_over, orders) = HandOver::new();
    let times = ShutdownTimes::of(&config);
    let mut pingora = Server::new_with_opt_and_conf(None, pingora_conf(&config, &times));
    let process = Process::new(config, options, listeners, orders, on_ready, &pingora, trail);
    services::add_to(&mut pingora, &process);
    if let Some(repository) = sinks.as_mut().and_then(|sinks| sinks.repository.take()) {
        pingora.add_service(background_service("audit repository", repository));
    }
    #[cfg(feature = "otlp")]
    if let Some(export) = trace_export::open(&process.config.tracing) {
        pingora.add_service(background_service("traces", export));
    }
    let signals = Signals::new(Arc::clone(&process.lifecycle), times, hand_over);
    ending::keep_open(sinks);
    pingora.run(RunArgs { shutdown_signal: Box::new(signals) });
    Ok(())
}

/// Whether the key of access tokens can be used, if there is one. Nothing is made.
///
/// # Errors
/// It cannot be used.
pub(crate) fn check_token_key(config: &Config) -> Result<(), StartError> {
    match AccessTokens::are_given(&config.access.clients) {
        true => AccessTokens::new(&config.access.token_key, None).check().map_err(StartError::TokenKey),
        false => Ok(()),
    }
}

/// Reads or makes the key of access tokens, where a client gets some: a gateway that cannot is not started.
fn open_token_key(config: &Config) -> Result<(), StartError> {
    match AccessTokens::are_given(&config.access.clients) {
        true => AccessTokens::new(&config.access.token_key, None).open().map_err(StartError::TokenKey),
        false => Ok(()),
    }
}

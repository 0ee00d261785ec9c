//! The line of the log that says what has started: the program, the process, its configuration, who may call where.

use log::info;

use crate::config::problem::shown;
use crate::config::{Config, Listener};
use crate::observe::built;
use crate::server::options::RunOptions;

/// Writes the line.
pub(super) fn log(config: &Config, options: &RunOptions) {
    let file = options.source.as_ref().filter(|_| options.sha256.is_some());
    let file = file.map_or_else(|| "none".to_owned(), |source| shown(&source.config.display().to_string()));
    let sites: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
    let listeners: Vec<String> =
        config.listen.iter().map(|listener| format!("{} ({})", url(listener), rule(config, listener))).collect();
    info!(
        commit = built::COMMIT,
        pid = std::process::id(),
        config = file.as_str(),
        config_sha256 = options.sha256.as_deref().unwrap_or("none"),
        sites = sites.join(", ").as_str(),
        listeners = listeners.join(", ").as_str();
        "openemr-gateway {} has started", built::VERSION
    );
}

/// The address of a listener.
pub(super) fn url(listener: &Listener) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", listener.address)
}

/// Who may call at a listener: this machine alone, how many clients, or callers without credentials.
fn rule(config: &Config, listener: &Listener) -> String {
    let clients = &config.access.clients;
    let mut rules = Vec::new();
    if listener.is_loopback() {
        rules.push("loopback only".to_owned());
    }
    match clients.iter().count() {
        0 => {}
        1 => rules.push("1 client".to_owned()),
        several => rules.push(format!("{several} clients")),
    }
    if clients.anonymous.is_some() {
        rules.push("anonymous".to_owned());
    }
    rules.join(", ")
}

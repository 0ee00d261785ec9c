//! What a process keeps from its start to its end, whatever its configuration says later.

use std::net::SocketAddr;

use crate::config::{Config, LogFormat};

/// The settings that only a new process takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The addresses, and whether they speak TLS, HTTP/2 over it, and HTTP/2 without it.
    listen: Vec<(SocketAddr, bool, bool, bool)>,
    server: String,
    keepalive_requests: u32,
    log_format: LogFormat,
    drain_delay: std::time::Duration,
}

impl Fixed {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let listen = config.listen.iter().map(|one| (one.address, one.tls.is_some(), one.http2, one.h2c));
        let mut listen: Vec<_> = listen.collect();
        listen.sort_unstable();
        Self {
            listen,
            // Pingora's settings know neither equality nor order; their text does.
            server: format!("{:?}", config.server),
            keepalive_requests: config.limits.keepalive_requests,
            log_format: config.log.format,
            drain_delay: config.drain_delay,
        }
    }

    /// The names of the settings that `new` has otherwise.
    #[must_use]
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        [
            ("listen", self.listen != new.listen),
            ("server", self.server != new.server),
            ("limits.keepalive_requests", self.keepalive_requests != new.keepalive_requests),
            ("log.format", self.log_format != new.log_format),
            ("drain_delay", self.drain_delay != new.drain_delay),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

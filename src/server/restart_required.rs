//! The configuration keys that a reload cannot change: they take effect with a restart or an upgrade.

use crate::config::{Config, Limits, Listener, Log};

/// The keys that a restart is required for and whose values in `loaded` are not those that the process was `started` with.
#[must_use]
pub fn changed(started: &Config, loaded: &Config) -> Vec<&'static str> {
    // Every key is named, so that a new one is not forgotten here.
    let Config {
        listen,
        drain_delay,
        limits: Limits { keepalive_requests, .. },
        log: Log { format, level: _ },
        server,
        // A reload changes these.
        routes: _,
        sites: _,
        public_url: _,
        trusted_proxies: _,
        access: _,
        token_exposure: _,
        ready: _,
        watch: _,
        compression: _,
    } = started;
    [
        ("listen", sockets(listen) != sockets(&loaded.listen)),
        ("server", *server != loaded.server),
        ("limits.keepalive_requests", *keepalive_requests != loaded.limits.keepalive_requests),
        ("log.format", *format != loaded.log.format),
        ("drain_delay", *drain_delay != loaded.drain_delay),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// The listeners without their certificates, which a reload replaces; in whatever order they are written.
fn sockets(listen: &[Listener]) -> Vec<impl Ord + use<>> {
    let mut sockets: Vec<_> = listen.iter().map(|one| (one.address, one.tls.is_some(), one.http2, one.h2c)).collect();
    sockets.sort_unstable();
    sockets
}

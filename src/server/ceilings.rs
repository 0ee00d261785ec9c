//! How many connections of clients may be open: as many as the process may have files, without those that it needs itself.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::gateway::connections::Connections;

/// The files that the process has open without a client: listeners, the log, keys, and what its threads wait on.
const OWN_FILES: u64 = 64;

/// The connections of a process with this configuration; none is open.
#[must_use]
pub(super) fn connections(config: &Config) -> Connections {
    Connections::new(&config.limits, free_files(), in_flight(config))
}

/// How many files may be opened for clients and for their requests to OpenEMR.
fn free_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OWN_FILES)
}

/// How many requests OpenEMR works on at once, over all sites.
fn in_flight(config: &Config) -> u32 {
    config.sites.iter().map(|site| site.upstream.in_flight.most).fold(0, u32::saturating_add)
}

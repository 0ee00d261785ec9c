//! How the gateway is run, besides its configuration.

use std::path::PathBuf;

/// The options of `server::run`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOptions {
    /// Where the configuration was read from, and is read again on a reload. Without it there are no reloads.
    pub source: Option<ConfigSource>,
    /// The SHA-256 of the configuration's file as it was read, in hexadecimal digits, where there is a file.
    pub sha256: Option<String>,
    /// Take the listeners over from a running gateway.
    pub upgrade: bool,
}

/// The files of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfigSource {
    /// The YAML file.
    pub config: PathBuf,
    /// `--env-file`.
    pub env_file: Option<PathBuf>,
}

//! `serve`: the gateway.

use std::path::PathBuf;

use super::outcome::{Failure, Outcome, failures, load, print};
use crate::config::{CONFIG_FILE, LogFormat, listening};
use crate::observe::log_format::Format;
use crate::observe::start_log;
use crate::server::{self, ConfigSource, RunOptions};

/// `serve`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  openemr-gateway serve --config conf/gateway.yaml\n  openemr-gateway serve --env-file .env --test"
)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Check the configuration and every file that it names, then exit
    #[arg(long)]
    test: bool,
    /// Replace a running gateway without losing a request: start this one, then send SIGQUIT to the running one. It hands its
    /// listeners over and exits when its last request has ended
    #[arg(long, conflicts_with = "test")]
    upgrade: bool,
}

impl Serve {
    /// Runs the command.
    ///
    /// # Errors
    /// Every problem of the configuration, and addresses that cannot be listened on.
    pub(super) fn run(self) -> Outcome {
        let memory = server::core_dumps::forbid();
        let config = load(&self.config, self.env_file.as_deref())?;
        if config.core_dumps {
            memory.allow();
        }
        // While testing or upgrading, the running gateway holds the ports.
        let unusable = listening::unusable(&config.listen, !self.test && !self.upgrade);
        if !unusable.is_empty() {
            return Err(failures(unusable));
        }
        if self.test {
            return print(&format!("{}: the configuration is good\n", self.config.display()));
        }
        let format = match config.log.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        start_log(config.log.level, format);
        let source = ConfigSource { config: self.config.clone(), env_file: self.env_file };
        server::run(config, RunOptions { source: Some(source), upgrade: self.upgrade }, || {}).map_err(|error| {
            vec![Failure::new(
                format!("{}: {error}", self.config.display()),
                "`serve --test` checks the rest of the configuration",
            )]
        })
    }
}

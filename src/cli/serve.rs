//! `serve`: the gateway.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::outcome::{Failure, Outcome, failures, load_with_digest, print};
use crate::config::{CONFIG_FILE, Config, listening};
use crate::server::{self, ConfigSource, NotTaken, RunOptions, UpgradeSocket};

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
    /// Check everything that a start needs, changing nothing, then exit
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
        let (config, sha256) = load_with_digest(&self.config, self.env_file.as_deref())?;
        if config.core_dumps {
            memory.allow();
        }
        let source = ConfigSource { config: self.config.clone(), env_file: self.env_file.clone() };
        let held = self.held_by_running(&config, &source)?;
        let mut problems = failures(listening::unusable(&config.listen, &held));
        problems.extend(self.unusable_log(&config));
        problems.extend(self.unwritable_log(&config));
        problems.extend(self.unusable_token_key(&config));
        if !problems.is_empty() {
            return Err(problems);
        }
        if self.test {
            return print(&format!("{}: the configuration is good\n", self.config.display()));
        }
        server::start_log(&config);
        server::run(config, RunOptions { source: Some(source), sha256, upgrade: self.upgrade }, || {}).map_err(|error| {
            vec![Failure::new(
                format!("{}: {error}", self.config.display()),
                "`serve --test` checks the rest of the configuration",
            )]
        })
    }

    /// The log's file or socket, if it cannot be used.
    fn unusable_log(&self, config: &Config) -> Option<Failure> {
        let error = config.log.target().check().err()?;
        Some(Failure::new(format!("{}: {error}", self.config.display()), error.remedy()))
    }

    /// The file for a daemon's log, if it cannot be written to. Pingora would panic.
    fn unwritable_log(&self, config: &Config) -> Option<Failure> {
        let file = config.server.error_log.as_ref().filter(|_| config.server.daemon)?;
        let file = Path::new(file);
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Nothing is made before the start.
        let error = if file.exists() { OpenOptions::new().append(true).open(file).err() } else { folder.read_dir().err() }?;
        let message = format!("{}: server.error_log: {} cannot be written to: {error}", self.config.display(), file.display());
        Some(Failure::new(message, "make the folder, or name a file in one that the gateway's user can write to"))
    }

    /// The file with the keys of access tokens, if it is there and cannot be used.
    fn unusable_token_key(&self, config: &Config) -> Option<Failure> {
        let error = server::check_token_key(config).err()?;
        let message = format!("{}: {error}", self.config.display());
        Some(Failure::new(message, "name a file with P-256 keys, or one that is not there: it is made at the start"))
    }

    /// The addresses that a start need not bind, because the running gateway of this configuration hands them over.
    fn held_by_running(&self, config: &Config, source: &ConfigSource) -> Result<Vec<SocketAddr>, Vec<Failure>> {
        let Some(socket) = UpgradeSocket::of(config, Some(source)) else { return Ok(Vec::new()) };
        let failed = |error: &dyn Display, remedy| vec![Failure::new(format!("{}: {error}", self.config.display()), remedy)];
        if !self.test && !self.upgrade {
            return socket.check_configured().map(|()| Vec::new()).map_err(|error| failed(&error, error.remedy()));
        }
        if config.server.daemon && self.upgrade {
            // A daemon may run as another user, who has another socket. It finds out itself, before it takes anything over.
            return Ok(config.listen.iter().map(|listener| listener.address).collect());
        }
        match server::running_listeners(&socket) {
            Err(NotTaken::NotRunning(_)) if self.test => Ok(Vec::new()),
            answer => answer.map_err(|error| failed(&error, error.remedy())),
        }
    }
}

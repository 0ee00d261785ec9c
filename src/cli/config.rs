//! `config check`.

use std::path::PathBuf;

use super::outcome::{Outcome, load, print};
use crate::config::{defaults, effective_yaml};

/// `config …`
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration as it takes effect, or every error in it
    #[command(after_help = "Example:\n  openemr-gateway config check --config conf/gateway.yaml")]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
        config: PathBuf,
        /// A file of KEY=VALUE lines; the process environment wins over it
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
}

impl ConfigCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn run(self) -> Outcome {
        match self {
            Self::Check { config, env_file } => {
                let config = load(&config, env_file.as_deref())?;
                print(&effective_yaml(&config))
            }
        }
    }
}

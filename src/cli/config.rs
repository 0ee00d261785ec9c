//! `config`: checks the configuration and describes its keys.

use std::path::PathBuf;

use super::outcome::{Outcome, load, print};
use crate::config::{CONFIG_FILE, json_schema, markdown_reference};

/// `config …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration as it takes effect, or every error in it
    #[command(after_help = "Example:\n  openemr-gateway config check --config conf/gateway.yaml")]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
        config: PathBuf,
        /// A file of KEY=VALUE lines; the process environment wins over it
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration file, for editors
    #[command(after_help = "Example:\n  openemr-gateway config schema > conf/gateway.schema.json")]
    Schema,
    /// Print every key with its type, default and bounds, as Markdown
    #[command(after_help = "Example:\n  openemr-gateway config reference > docs/configuration.md")]
    Reference,
}

impl ConfigCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Check { config, env_file } => {
                let config = load(&config, env_file.as_deref())?;
                print(&config.effective_yaml())
            }
            Self::Schema => print(&json_schema()),
            Self::Reference => print(&markdown_reference()),
        }
    }
}

//! `completions`: the script with which a shell completes the command line.

use clap::Command;
use clap_complete::Shell;

use super::outcome::{Outcome, print};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  openemr-gateway completions bash > /etc/bash_completion.d/openemr-gateway\n  openemr-gateway completions fish > ~/.config/fish/completions/openemr-gateway.fish"
)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub(super) fn run(self, commands: &mut Command) -> Outcome {
        let name = commands.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, commands, name, &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

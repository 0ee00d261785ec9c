//! The command line: the clap tree, and one file a command.

#[cfg(feature = "sandbox")]
pub mod sandbox;

use std::process::ExitCode;

/// Parses the command line and runs the command it names.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}

//! The command line: the clap tree, and one file a command.

mod config;
#[cfg(feature = "sandbox")]
mod demo;
mod keys;
mod keys_rotate;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Problem, Warning};
use crate::observe::log_writer;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "openemr-gateway", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Try the gateway in front of a sandbox, with nothing to configure
    #[cfg(feature = "sandbox")]
    Demo(demo::Demo),
    /// Run the sandbox, a stand-in for OpenEMR, alone
    #[cfg(feature = "sandbox")]
    Sandbox(Box<sandbox::SandboxArgs>),
    /// Make and inspect signing keys and certificates
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Inspect the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Parses the command line and runs the command it names. Exit codes: 0, 1 for a failure, 2 for a wrong command line.
pub fn run() -> ExitCode {
    // One provider of cryptography for everything; Pingora would install another.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        #[cfg(feature = "sandbox")]
        Command::Demo(command) => command.run(),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(command) => sandbox::run(*command).map_err(|error| vec![Failure(error.to_string())]),
        Command::Keys(command) => command.run(),
        Command::Config(command) => command.run(),
    };
    log_writer::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for Failure(text) in failures {
                eprintln!("error: {text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Why a command failed: what happened, the wrong value, and indented on the next line the next step.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure and what to do about it.
    pub fn new(message: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Self {
        Self(format!("{message}\n  {remedy}"))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem.to_string())
    }
}

/// How every command ends: well, or with everything that went wrong.
pub type Outcome = Result<(), Vec<Failure>>;

/// Reads the configuration; warnings go to the terminal.
fn load(config: &std::path::Path, env_file: Option<&std::path::Path>) -> Result<crate::config::Config, Vec<Failure>> {
    let (config, warnings) = crate::config::load(config, env_file).map_err(failures)?;
    for Warning(warning) in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(config)
}

fn failures(problems: Vec<Problem>) -> Vec<Failure> {
    problems.into_iter().map(Failure::from).collect()
}

/// Writes to standard output. A reader that has gone away is no failure, a full disk is.
fn print(text: &str) -> Outcome {
    use std::io::{ErrorKind, Write as _, stdout};
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(vec![Failure::new(format!("standard output cannot be written to: {error}"), "see where it was redirected to")])
        }
        _ => Ok(()),
    }
}

//! The command line: the clap tree, and one file a command.

mod access;
mod access_check;
mod access_explain;
mod access_new_key;
mod audit;
mod audit_disclosures;
mod audit_files;
mod audit_search;
mod audit_tail;
mod audit_verify;
mod check;
mod check_json;
mod check_progress;
mod check_text;
mod completions;
mod config;
#[cfg(feature = "sandbox")]
mod demo;
mod health;
mod import_env;
mod init;
mod init_answers;
mod init_files;
mod init_openemr;
mod keys;
mod keys_rotate;
mod keys_status;
mod keys_target;
mod man;
mod new_files;
mod outcome;
mod own_requests;
mod prompts;
mod register;
mod rewritten_file;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;
mod token;
mod top;
mod top_sheet;
mod top_source;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::observe::{built, flush_log};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "openemr-gateway", version = built::VERSION, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Set the gateway up for the first time: keys, registration, configuration, check
    Init(Box<init::Init>),
    /// Check a set-up from the configuration to OpenEMR's patients, and say what mends it
    Check(check::Check),
    /// Try the gateway in front of a sandbox, with nothing to configure
    #[cfg(feature = "sandbox")]
    Demo(demo::Demo),
    /// Run the sandbox, a stand-in for OpenEMR, alone
    #[cfg(feature = "sandbox")]
    Sandbox(Box<sandbox::SandboxArgs>),
    /// Make and inspect signing keys and certificates
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Make keys for clients, and see what their policies permit
    #[command(subcommand)]
    Access(access::Access),
    /// Read the audit trail
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Inspect the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make a configuration of the Python proxy's variables
    ImportEnv(import_env::ImportEnv),
    /// Register the gateway as a client of OpenEMR
    Register(Box<register::Register>),
    /// Show what a token from OpenEMR is good for
    Token(token::Token),
    /// Ask a running gateway whether it runs, or is ready
    Health(health::Health),
    /// Show in a terminal how a running gateway is, as its status page does
    Top(top::Top),
    /// Print the script that completes commands in a shell
    Completions(completions::Completions),
    /// Print manual pages
    Man(man::Man),
}

/// Parses the command line and runs the command in it. The exit code is 0 for success, 1 for a failure and 2 for a wrong command
/// line; `check` has more.
pub fn run() -> ExitCode {
    // Before Pingora installs another provider of cryptography.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => return command.run(),
        Command::Init(command) => return command.run(),
        #[cfg(feature = "sandbox")]
        Command::Demo(command) => command.run(),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(command) => sandbox::run(*command).map_err(|error| vec![outcome::Failure::of(error)]),
        Command::Keys(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::Access(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::Audit(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::Config(command) => command.run(),
        Command::Token(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::Register(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::ImportEnv(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Top(command) => {
            crate::server::core_dumps::forbid();
            command.run()
        }
        Command::Completions(command) => command.run(&mut Cli::command()),
        Command::Man(command) => command.run(Cli::command()),
    };
    flush_log();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for failure in failures {
                outcome::say(format!("error: {}", failure.text()));
            }
            ExitCode::FAILURE
        }
    }
}

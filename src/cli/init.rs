//! `init`: an interactive first set-up, from the first question to a checked configuration. Every answer is an option, too.
//!
//! Decision: `docs/decisions/52-init.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::check::Check;
use super::init_answers::{Options, path};
use super::init_files::Configuration;
use super::outcome::{Failure, Outcome, failures, print, say, warn};
use super::prompts::{Prompts, Question};
use super::register::{self, Register, WRITE_YOURSELF};
use super::rewritten_file::{self, Backup};
use crate::config::problem::{shell_word, shown, shown_path};
use crate::config::value::duration;
use crate::config::{self, CONFIG_FILE, Unregistered, load_unregistered};
use crate::server::core_dumps;

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing that is there is overwritten: a signing key is used, and a configuration is gone on with, unless --force is given.
On a terminal it asks for what the options leave open; elsewhere, or with --yes, what has no default must be given.
The exit code is that of `check`, or 1 where it does not come to that.

Examples:
  openemr-gateway init
  openemr-gateway init --yes --openemr https://emr.example.org --scopes 'Patient Observation' --wait")]
pub(super) struct Init {
    /// The configuration file to write [default: conf/gateway.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// The id of a client that is registered already, with the signing key
    #[arg(long, value_name = "ID", conflicts_with = "by_hand")]
    client_id: Option<String>,
    /// Register no client, and say what to do by hand in OpenEMR
    #[arg(long)]
    by_hand: bool,
    /// The client's name in OpenEMR
    #[arg(long, value_name = "NAME", default_value = register::NAME)]
    name: String,
    /// An address of the client's administrators
    #[arg(long, value_name = "ADDRESS")]
    contact: Option<String>,
    /// Wait until an administrator has enabled the client, for so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = register::WAIT, value_parser = duration)]
    wait: Option<Duration>,
    /// Write another configuration in the place of one that is there, which is kept as FILE.bak
    #[arg(long)]
    force: bool,
    /// Print the configuration; write nothing, and do not ask OpenEMR
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing
    #[arg(long, short, conflicts_with = "interactive")]
    yes: bool,
    /// Ask although standard input is no terminal
    #[arg(long)]
    interactive: bool,
}

/// How the gateway becomes a client of OpenEMR.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Client {
    /// It is registered now, and perhaps waited for.
    Now(Option<Duration>),
    /// An administrator registers it.
    ByHand,
    /// It is registered.
    Known(String),
}

impl Init {
    /// Runs the command.
    pub(super) fn run(self) -> ExitCode {
        core_dumps::forbid();
        match self.set_up() {
            Ok(code) => code,
            Err(failures) => {
                for failure in failures {
                    say(format!("error: {}", failure.text()));
                }
                ExitCode::FAILURE
            }
        }
    }

    fn set_up(&self) -> Result<ExitCode, Vec<Failure>> {
        let mut prompts = Prompts::new(self.interactive, self.yes);
        let question = Question { words: "Configuration file to write", option: "--config", default: Some(CONFIG_FILE) };
        let config = path(question, self.config.as_deref(), &mut prompts)?;
        let client = match self.present(&config, &mut prompts)? {
            Present::Kept => self.client_of_kept(&config, &mut prompts)?,
            Present::Absent => self.written(&config, None, &mut prompts)?,
            Present::Replaced(old) => self.written(&config, Some(&old), &mut prompts)?,
        };
        match client {
            None => Ok(ExitCode::SUCCESS),
            Some(client) => self.finish(&config, client),
        }
    }

    /// What becomes of a configuration that is there.
    fn present(&self, config: &Path, prompts: &mut Prompts) -> Result<Present, Vec<Failure>> {
        if self.dry_run || fs::symlink_metadata(config).is_err() {
            return Ok(Present::Absent);
        }
        let file = shown(&config.display().to_string());
        let unreadable = |error| vec![Failure::new(format!("{} cannot be read: {error}", shown_path(config)), "move it away")];
        let old = fs::read_to_string(config).map_err(unreadable)?.trim_start_matches('\u{feff}').to_owned();
        if !self.force && is_example(&old) {
            let words =
                format!("{file} is the example that comes with the gateway. Write yours there, and keep it as {file}.bak?");
            if prompts.is_asking() && prompts.confirm(&words, "--force", true)? {
                return Ok(Present::Replaced(old));
            }
            let remedy = "name another file with --config, or write yours in its place with --force";
            return Err(vec![Failure::new(format!("{file} is the example that comes with the gateway"), remedy)]);
        }
        if !self.force && prompts.confirm(&format!("{file} is there. Keep it, and go on with it?"), "--force", true)? {
            print(&format!(
                "{file} is there; it is kept and used as it is, whatever the options say (--force writes another one)\n"
            ))?;
            return Ok(Present::Kept);
        }
        Ok(Present::Replaced(old))
    }

    /// Asks the questions, and writes what was answered. Returns the client that is to be made; none after a dry run.
    fn written(&self, config: &Path, old: Option<&str>, prompts: &mut Prompts) -> Result<Option<Client>, Vec<Failure>> {
        let answers = self.options.answers(config, self.dry_run, prompts)?;
        if self.dry_run {
            let id = self.client_id.as_deref().map(client_id).transpose()?;
            return print(&Configuration::of(&answers, id)?.yaml()).map(|()| None);
        }
        let client = self.client(prompts)?;
        let id = match &client {
            Client::Known(id) => Some(id.clone()),
            Client::Now(_) | Client::ByHand => None,
        };
        let configuration = Configuration::of(&answers, id)?;
        if prompts.is_asking() {
            say(format!("\n{}", configuration.yaml()));
            let words = format!("Write that to {}, and make a key where there is none?", shown(&config.display().to_string()));
            if !prompts.confirm(&words, "--yes", true)? {
                return Err(vec![Failure::new("nothing was written", "run this again for other answers")]);
            }
        }
        configuration.write(config, &answers.openemr, old)?;
        Ok(Some(client))
    }

    /// How a configuration that was kept gets its client, if it has none.
    fn client_of_kept(&self, config: &Path, prompts: &mut Prompts) -> Result<Option<Client>, Vec<Failure>> {
        let unregistered = self.unregistered(config)?;
        let client = match &unregistered.present {
            Some(id) => {
                let again = "openemr-gateway register --again  makes another one";
                print(&format!("its client_id is {}; no other client is registered ({again})\n", shown(id)))?;
                return Ok(Some(Client::Known(id.clone())));
            }
            None => self.client(prompts)?,
        };
        if let Client::Known(id) = &client {
            write_id(config, &unregistered, id)?;
        }
        Ok(Some(client))
    }

    fn unregistered(&self, config: &Path) -> Result<Unregistered, Vec<Failure>> {
        load_unregistered(config, None, None).map_err(failures)
    }

    /// How the gateway becomes a client of OpenEMR.
    fn client(&self, prompts: &mut Prompts) -> Result<Client, Vec<Failure>> {
        if prompts.is_asking() && self.client_id.is_none() && !self.by_hand {
            say("\nBefore a client is registered, an administrator must have switched on, in OpenEMR, under Administration > Config > \
                 Connectors:\n  Enable OpenEMR Standard FHIR REST API\n  Enable OpenEMR FHIR System Scopes"
                .to_owned());
        }
        let given = if self.by_hand { Some("by-hand") } else { self.client_id.as_deref() };
        let words = "Register a client at OpenEMR now, or by-hand in OpenEMR, or the client_id that there is";
        let question = Question { words, option: "--client-id", default: Some("now") };
        let client = prompts.answer(question, given, |text| match text {
            "now" if given.is_none() => Ok(Client::Now(None)),
            "by-hand" => Ok(Client::ByHand),
            id => client_id(id).map(Client::Known),
        })?;
        if client != Client::Now(None) {
            return Ok(client);
        }
        let words = "Wait until an administrator has enabled the client?";
        let wait = match self.wait {
            None if prompts.is_asking() && prompts.confirm(words, "--wait", true)? => duration(register::WAIT).ok(),
            wait => wait,
        };
        Ok(Client::Now(wait))
    }

    /// Makes the client, checks the whole way, and says how to start.
    fn finish(&self, config: &Path, client: Client) -> Result<ExitCode, Vec<Failure>> {
        let word = shell_word(config);
        let again = format!("openemr-gateway init --config {word}");
        let unregistered = self.unregistered(config)?;
        let site = unregistered.site().to_owned();
        let register = |wait| Register::of_file(config.to_owned(), &site, &self.name, self.contact.as_deref(), wait);
        match client {
            Client::ByHand => {
                print(&self.by_hand_steps(&unregistered, &format!("{again} --client-id ID")))?;
                return Ok(ExitCode::SUCCESS);
            }
            Client::Now(wait) => {
                warn(unregistered.warnings);
                let registered = register(wait).run();
                registered.inspect_err(|_| say(format!("What was written stays. To go on from there:  {again}\n")))?;
            }
            Client::Known(_) => {
                if let Some(patience) = self.wait {
                    register(None).wait_for_client(&site, patience)?;
                }
            }
        }
        let code = Check::of_file(config.to_owned()).run();
        let start = format!("Start it:  openemr-gateway serve --config {word}\n");
        if code == ExitCode::SUCCESS {
            print(&format!("\nThe gateway is set up. {start}"))?;
        } else {
            print(&format!("\nMend what failed, then see:  openemr-gateway check --config {word}\n{start}"))?;
        }
        Ok(code)
    }

    fn by_hand_steps(&self, unregistered: &Unregistered, again: &str) -> String {
        let set = unregistered.config.sites.iter().find(|site| site.name.as_str() == unregistered.site());
        let (jwks, scopes) = set.map(|site| (shown_path(&site.jwks_file), site.token.scopes.to_string())).unwrap_or_default();
        format!(
            "\nAn administrator registers the client in OpenEMR, under Admin > System > API Clients, Register New App:\n  \
             kind             confidential, System Client Application\n  \
             name             {}\n  \
             redirect URI     {}\n  \
             JSON Web Key Set the content of {jwks}\n  \
             scopes           {scopes}\n\
             Then, in the list: Edit, Enable Client. With the Client ID that OpenEMR shows:\n  {again}\n",
            shown(&self.name),
            register::REDIRECT_URI
        )
    }
}

/// What becomes of a configuration that is there.
enum Present {
    /// There is none.
    Absent,
    /// It is used as it is.
    Kept,
    /// It is replaced; this is its text.
    Replaced(String),
}

/// Whether a configuration is `conf/gateway.yaml` of the sources, in which nobody has said where OpenEMR is.
fn is_example(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "openemr: https://emr.example.org")
}

fn client_id(text: &str) -> Result<String, Vec<Failure>> {
    config::client_id_of(text, "--client-id").map_err(failures)
}

/// Writes the id into a configuration that has none.
fn write_id(config: &Path, unregistered: &Unregistered, id: &str) -> Outcome {
    let failed = |error| vec![Failure::new(format!("{} {error}", shown_path(config)), WRITE_YOURSELF)];
    let text = unregistered.with_id(id).map_err(failed)?;
    let backup = Backup::prepare(config, false)?;
    rewritten_file::replace(config, unregistered.text(), &text, backup, WRITE_YOURSELF)?;
    print(&format!("wrote {}\n", shown(&config.display().to_string())))
}

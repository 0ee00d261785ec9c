//! `check`: walks from the configuration to a patient, and says at each step what mends it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;

use super::check_json;
use super::check_text::Text;
use super::outcome::{Failure, print, say};
use super::own_requests;
use crate::config::problem::{shown, shown_path};
use crate::config::{self, CONFIG_FILE, Config, Loaded, Problem, Warning};
use crate::diagnosis::outcome::{Area, Finding, Outcome, Step, Verdict, first_failure};
use crate::diagnosis::shields::Release;
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::{Walk, Watcher};
use crate::diagnosis::{local, site};
use crate::nodes::client::Client;
use crate::server::core_dumps;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  everything is good, or warnings alone
  1  something on this machine: the configuration, or the options in its place, a file, a key
  2  the command line cannot be read
  3  the way to OpenEMR: a name, a connection, a certificate, an address
  4  OpenEMR: it refuses the client, the assertion, a scope or a search, fails, or is not set up for this
  5  warnings alone, with --strict
Of several failures the first one counts.

Examples:
  openemr-gateway check --config conf/gateway.yaml
  openemr-gateway check --config conf/gateway.yaml --json
  openemr-gateway check --openemr https://emr.example.org")]
pub(super) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Check what is there without a configuration: OpenEMR's address, with its sub-folder if it has one
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "env_file"])]
    openemr: Option<String>,
    /// With --openemr: a PEM file of certificates that are trusted besides the system's
    #[arg(long, value_name = "FILE", requires = "openemr")]
    ca_file: Option<PathBuf>,
    /// This site alone; with --openemr, OpenEMR's site id [default: every site, or `default`]
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The release of OpenEMR, such as 8.0.0.3, which it does not say itself from 7.0.4 on: see Administration > About there
    #[arg(long, value_name = "NUMBER", value_parser = release)]
    release: Option<Release>,
    /// Write the certificate that would have to be trusted to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    save_certificate: Option<PathBuf>,
    /// Exit with 5 when there are warnings
    #[arg(long)]
    strict: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The exit codes beside clap's 2.
const GOOD: u8 = 0;
const HERE: u8 = 1;
const NETWORK: u8 = 3;
const OPENEMR: u8 = 4;
const WARNINGS: u8 = 5;

impl Check {
    /// The check of a configuration, by itself.
    pub(super) fn of_file(config: PathBuf) -> Self {
        let (env_file, openemr, ca_file, site, release, save_certificate) = (None, None, None, None, None, None);
        Self { config, env_file, openemr, ca_file, site, release, save_certificate, strict: false, json: false }
    }

    /// Runs the command.
    pub(super) fn run(self) -> ExitCode {
        core_dumps::forbid();
        let mut view = if self.json { View::Json } else { View::Text(Text::of_terminal()) };
        let mut walk = Walk::new(&mut view);
        if let Err(failures) = own_requests::wait_for(self.walk(&mut walk)) {
            let starting = walk.begin(Step::Configuration, "start");
            let causes: Vec<&str> = failures.iter().map(Failure::text).collect();
            walk.end(starting, Finding::failed("it cannot").cause(causes.join("\n")));
        }
        self.save(&mut walk);
        let outcomes = walk.into_outcomes();
        let code = self.code(&outcomes);
        match print(&view.end(&outcomes, code)) {
            Ok(()) => ExitCode::from(code),
            Err(failures) => fail(failures),
        }
    }

    async fn walk(&self, walk: &mut Walk<'_>) {
        if let Some(openemr) = &self.openemr {
            let found = |_: &Subject| format!("OpenEMR at {}", shown(openemr));
            if let Some(subject) = local::configuration(walk, "read the options".to_owned(), || self.named(openemr), found) {
                site::check(walk, &own_requests::client(), &subject).await;
            }
            return;
        }
        let did = format!("read {}", shown_path(&self.config));
        let Some(config) = local::configuration(walk, did, || self.read(), sites) else { return };
        local::check_gateway(walk, &config);
        let options = ConnectorOptions::from_server_conf(&config.server);
        let client = Client::new(Arc::new(Connector::new(Some(options))));
        let is_meant = |name: &str| self.site.as_ref().is_none_or(|site| site == name);
        for one in config.sites.iter().filter(|site| is_meant(site.name.as_str())) {
            site::check(walk, &client, &Subject::of(one).running(self.release)).await;
        }
    }

    /// What is named on the command line in place of a configuration.
    fn named(&self, openemr: &str) -> Result<(Subject, Vec<Warning>), Vec<Problem>> {
        let name = self.site.as_deref().unwrap_or("default");
        let (upstream, warnings) = config::upstream_of(openemr, name, self.ca_file.as_deref())?;
        Ok((Subject::at(name, upstream).running(self.release), warnings))
    }

    fn read(&self) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
        let Loaded { config, warnings, .. } = config::load(&self.config, self.env_file.as_deref())?;
        match config.site(self.site.as_deref()) {
            Ok(_) => Ok((config, warnings)),
            Err(problem) => Err(vec![problem]),
        }
    }

    fn code(&self, outcomes: &[Outcome]) -> u8 {
        let is_warning = |outcome: &Outcome| outcome.finding.verdict == Verdict::Warning;
        match first_failure(outcomes) {
            Some(Area::Here) => HERE,
            Some(Area::Network) => NETWORK,
            Some(Area::OpenEmr) => OPENEMR,
            None if self.strict && outcomes.iter().any(is_warning) => WARNINGS,
            None => GOOD,
        }
    }

    /// Writes the certificate that would have to be trusted, where one was asked for.
    fn save(&self, walk: &mut Walk<'_>) {
        let Some(path) = &self.save_certificate else { return };
        walk.leave();
        let saving = walk.begin(Step::Files, format!("save the certificate to {}", shown_path(path)));
        let mut of_tls = walk.outcomes().iter().filter(|outcome| outcome.step == Step::Tls);
        let finding = match of_tls.find_map(|outcome| outcome.finding.to_trust.as_ref()) {
            None => Finding::ok("there is none to be saved: none is untrusted, or its authority did not send its own"),
            Some(certificate) => match write_new(path, &certificate.to_pem()) {
                Ok(()) => Finding::ok(format!("the one with the SHA-256 {}", certificate.sha256)),
                Err(error) => Finding::failed("it cannot be written")
                    .cause(error.to_string())
                    .remedy("name a file that does not exist, in a folder that you may write to".to_owned()),
            },
        };
        walk.end(saving, finding);
    }
}

/// The names of the sites.
fn sites(config: &Config) -> String {
    let names: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
    format!("{} {}", if names.len() == 1 { "site" } else { "sites" }, names.join(", "))
}

fn release(text: &str) -> Result<Release, &'static str> {
    Release::parse(text).ok_or("a release is up to four numbers with points between, such as 8.0.0.3")
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn fail(failures: Vec<Failure>) -> ExitCode {
    for failure in failures {
        say(format!("error: {}", failure.text()));
    }
    ExitCode::from(HERE)
}

/// What is made of the steps.
enum View {
    /// One document at the end.
    Json,
    /// Lines, each when its step has ended.
    Text(Text),
}

impl View {
    fn end(&self, outcomes: &[Outcome], code: u8) -> String {
        match self {
            Self::Json => check_json::document(outcomes, code),
            Self::Text(text) => text.summary(outcomes),
        }
    }
}

impl Watcher for View {
    fn begins(&mut self, did: &str) {
        if let Self::Text(text) = self {
            text.begins(did);
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        if let Self::Text(text) = self {
            text.ended(outcome);
        }
    }
}

//! `register`: registers the gateway as a client of OpenEMR, and writes the id into the configuration.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::outcome::{Failure, Outcome, failures, print, say, warn};
use super::own_requests;
use super::rewritten_file::{self, Backup, Lock};
use super::token;
use crate::config::problem::{shell_word, shown, shown_path};
use crate::config::value::{duration, duration_text};
use crate::config::{self, BaseUrl, CONFIG_FILE, Loaded, Unregistered, load_unregistered};
use crate::nodes::Nodes;
use crate::nodes::client::Limits;
use crate::scopes::scope::Scope;
use crate::smart::exchanged::ExchangeError;
use crate::smart::registration::{self, NotRegistered, PublicKeys, Registration};
use crate::smart::token_response::TokenError;

/// How long an answer to the registration may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often OpenEMR is asked whether the client is enabled.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// How long an administrator has to enable the client, where nothing else is said.
pub(super) const WAIT: &str = "15m";
/// The client's name in OpenEMR, where no other is given.
pub(super) const NAME: &str = "openemr-gateway";
/// A URL that OpenEMR requires and never uses.
pub(super) const REDIRECT_URI: &str = "https://gateway.example.org/unused";
/// What to do where the configuration cannot be written, although the client is registered.
pub(super) const WRITE_YOURSELF: &str = "write the client_id there yourself: the client is registered";
const REGISTER_AGAIN: &str = "nothing was written; see what is wrong with the file, then write the id yourself";

/// The arguments of `register`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  openemr-gateway register --config conf/gateway.yaml --wait\n  openemr-gateway register --openemr https://emr.example.org --jwks keys/jwks.json --scope 'system/Patient.read'"
)]
pub(super) struct Register {
    /// The configuration file, which says where OpenEMR is, and which keys and scopes the client has; the id is written there
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE, conflicts_with = "openemr")]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE", conflicts_with = "openemr")]
    env_file: Option<PathBuf>,
    /// The site; the first one, or `default`, unless it is named
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// OpenEMR's address, to register a client without a configuration; the id is printed
    #[arg(long, value_name = "URL", requires = "scope")]
    openemr: Option<String>,
    /// The file of the JWK Set with the client's public keys
    #[arg(long, value_name = "FILE", requires = "openemr", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// The scopes, separated by blanks
    #[arg(long, value_name = "SCOPES", requires = "openemr")]
    scope: Option<String>,
    /// A PEM file with a private CA, which is trusted besides the system's
    #[arg(long, value_name = "FILE", requires = "openemr")]
    ca_file: Option<PathBuf>,
    /// Let OpenEMR fetch the JWK Set at this URL for each token, in place of keeping a copy. Its keys can be replaced
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// The client's name in OpenEMR
    #[arg(long, value_name = "NAME", default_value = NAME)]
    name: String,
    /// An address of the client's administrators
    #[arg(long, value_name = "ADDRESS")]
    contact: Option<String>,
    /// A URL that OpenEMR requires and never uses
    #[arg(long, value_name = "URL", default_value = REDIRECT_URI)]
    redirect_uri: String,
    /// Register another client although the site has one
    #[arg(long)]
    again: bool,
    /// Keep the configuration as it was in FILE.bak
    #[arg(long, conflicts_with = "openemr")]
    backup: bool,
    /// Wait until an administrator has enabled the client, for so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = WAIT, value_parser = duration, conflicts_with = "openemr")]
    wait: Option<Duration>,
}

impl Register {
    /// The registration of a client for a site of a configuration that has none.
    pub(super) fn of_file(config: PathBuf, site: &str, name: &str, contact: Option<&str>, wait: Option<Duration>) -> Self {
        let (env_file, openemr, jwks, scope, ca_file, jwks_uri) = (None, None, None, None, None, None);
        let (site, name, contact) = (Some(site.to_owned()), name.to_owned(), contact.map(str::to_owned));
        let redirect_uri = REDIRECT_URI.to_owned();
        let (again, backup) = (false, false);
        Self { config, env_file, site, openemr, jwks, scope, ca_file, jwks_uri, name, contact, redirect_uri, again, backup, wait }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration or argument, a refusal of OpenEMR's, a file that cannot be written, a client that is not enabled in
    /// time.
    pub(super) fn run(self) -> Outcome {
        match &self.openemr {
            Some(openemr) => self.without_configuration(openemr),
            None => self.with_configuration(),
        }
    }

    fn without_configuration(&self, openemr: &str) -> Outcome {
        let site = self.site.as_deref().unwrap_or("default");
        let (upstream, warnings) = config::upstream_of(openemr, site, self.ca_file.as_deref()).map_err(failures)?;
        let scope = scope(self.scope.as_deref().unwrap_or_default())?;
        let keys = match (&self.jwks_uri, &self.jwks) {
            (Some(_), _) => None,
            (None, Some(file)) => Some(read_set(file)?),
            (None, None) => return Err(vec![Failure::new("no keys are named", "name them with --jwks FILE or --jwks-uri URL")]),
        };
        let registration = self.registration(scope, keys)?;
        warn(warnings);
        let id = own_requests::wait_for(send(&Nodes::with(site, upstream), &registration))?.map_err(not_registered)?;
        print(&format!("client_id: {id}\n\n{}", self.next_steps()))
    }

    fn with_configuration(&self) -> Outcome {
        // Two at the same time would register two clients, of which one is written.
        let lock = Lock::take(&self.config)?;
        let unregistered = load_unregistered(&self.config, self.env_file.as_deref(), self.site.as_deref()).map_err(failures)?;
        let file = shown_path(&self.config);
        if let Some(present) = unregistered.present.as_ref().filter(|_| !self.again) {
            return Err(vec![Failure::new(
                format!("{file} has the client_id `{}` already", shown(present)),
                "register another client in its place with --again; the one that is there stays in OpenEMR until it is deleted there",
            )]);
        }
        // Found out before anything is registered: that cannot be undone.
        let trial = unregistered.with_id("x");
        trial.map_err(|error| vec![Failure::new(format!("{file} {error}"), "write the client_id at its place, as text")])?;
        let backup = Backup::prepare(&self.config, self.backup)?;
        warn(unregistered.warnings.clone());
        let site = Arc::clone(unregistered.config.site(Some(unregistered.site())).map_err(|problem| vec![problem.into()])?);
        let set = serde_json::from_str(&site.keys.jwks.to_json()).map_err(|error| vec![Failure::of(error)])?;
        let registration = self.registration(site.token.scopes.to_string(), Some(set))?;
        let id = own_requests::wait_for(send(&Nodes::new(&site), &registration))?.map_err(not_registered)?;
        // Whatever happens to the file, the id is known.
        print(&format!("client_id: {id}\n"))?;
        self.write(&unregistered, &id, backup)?;
        drop(lock);
        print(&format!("wrote {}\n\n{}", shown(&self.config.display().to_string()), self.next_steps()))?;
        match self.wait {
            Some(patience) => self.wait_for_client(site.name.as_str(), patience),
            None => Ok(()),
        }
    }

    fn registration(&self, scope: String, keys: Option<Value>) -> Result<Registration, Vec<Failure>> {
        let keys = match (&self.jwks_uri, keys) {
            (Some(url), _) => PublicKeys::At(safe_url(url, "--jwks-uri")?.to_string()),
            (None, Some(set)) => PublicKeys::Inline(set),
            (None, None) => return Err(vec![Failure::new("no keys are named", "name them with --jwks-uri URL")]),
        };
        let (name, contact, redirect_uri) = (self.name.clone(), self.contact.clone(), self.redirect_uri.clone());
        Ok(Registration { name, contact, redirect_uri, scope, keys })
    }

    fn write(&self, unregistered: &Unregistered, id: &str, backup: Backup) -> Outcome {
        let file = shown_path(&self.config);
        let text = unregistered.with_id(id).map_err(|error| vec![Failure::new(format!("{file} {error}"), REGISTER_AGAIN)])?;
        rewritten_file::replace(&self.config, unregistered.text(), &text, backup, WRITE_YOURSELF)
    }

    fn next_steps(&self) -> String {
        format!(
            "OpenEMR has registered the client as disabled. An administrator must now enable it, in OpenEMR:\n  \
             Admin > System > API Clients, Edit \"{}\", Enable Client\n",
            shown(&self.name)
        )
    }

    /// Asks for a token until OpenEMR gives one.
    pub(super) fn wait_for_client(&self, site: &str, patience: Duration) -> Outcome {
        // Its warnings have been shown.
        let Loaded { config, .. } = config::load(&self.config, self.env_file.as_deref()).map_err(failures)?;
        let site = config.site(Some(site)).map_err(|problem| vec![problem.into()])?;
        let until = Instant::now() + patience;
        say(format!("waiting for that, {} at most; Ctrl-C ends the waiting alone", duration_text(patience)));
        own_requests::wait_for(async {
            loop {
                match token::exchange(Arc::clone(site)).await {
                    Ok(_) => return print("the client is enabled, and OpenEMR gives it a token\n"),
                    Err(error) if Instant::now() + ASK_EVERY > until => {
                        let message = format!("the client is not enabled after {}: {error}", duration_text(patience));
                        let check = format!("enable it, then see:  openemr-gateway token --config {}", shell_word(&self.config));
                        return Err(vec![Failure::new(message, check)]);
                    }
                    Err(error) if may_become_enabled(&error) => {
                        let left = until.saturating_duration_since(Instant::now()).as_secs();
                        show_waiting(&format!("not enabled yet; {left:>5} s left"));
                        tokio::time::sleep(ASK_EVERY).await;
                        show_waiting("");
                    }
                    Err(error) => return Err(vec![Failure::new(error, "docs/troubleshooting.md has what helps, by cause")]),
                }
            }
        })?
    }
}

/// Shows these words, and nothing else, on the terminal's line.
fn show_waiting(words: &str) {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r{words:<30}\r");
    }
}

/// Whether an exchange that failed so can succeed without a change on this side: OpenEMR answers 401 while a client is disabled, and a
/// server in front of it has pages of its own while it is busy or restarts.
fn may_become_enabled(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Unreachable(_) | ExchangeError::TimedOut { .. } | ExchangeError::BrokenOff(_) => true,
        ExchangeError::Answer { error: TokenError::Refused(refusal), .. } => {
            matches!(refusal.effective_status(), 401 | 429 | 500..)
        }
        ExchangeError::Answer { error: TokenError::NotUnderstood { status, .. }, .. } => matches!(status, 429 | 500..),
        ExchangeError::Answer { error: TokenError::NothingGranted, .. }
        | ExchangeError::Unknown(_)
        | ExchangeError::Signing(_) => false,
    }
}

/// Registers a client at the first node of a site: its nodes share one database.
async fn send(nodes: &Nodes, registration: &Registration) -> Result<String, NotRegistered> {
    let endpoint = nodes.by_health(0).find_map(|node| node.tokens.known()).ok_or(NotRegistered::NoEndpoint)?;
    let limits = Limits { step: None, total: Some(ANSWER_WITHIN), body: 0 };
    registration::register(&own_requests::client(), &endpoint.origin, limits, registration).await
}

fn not_registered(error: NotRegistered) -> Vec<Failure> {
    vec![match &error {
        NotRegistered::Client(lost) if !lost.is_unsent() => Failure::new(
            error,
            "OpenEMR may have registered the client all the same: see Admin > System > API Clients there before you try again",
        ),
        _ => Failure::of(error),
    }]
}

/// A URL to which keys or assertions go: https, or http on this machine.
fn safe_url(text: &str, option: &str) -> Result<BaseUrl, Vec<Failure>> {
    match BaseUrl::parse(text) {
        Ok(url) if url.https || url.is_loopback() => Ok(url),
        Ok(_) => Err(vec![Failure::new(
            format!("{option}: `{}` is not https, and not on this machine", shown(text)),
            "write https://…",
        )]),
        Err(error) => Err(vec![Failure::new(format!("{option} {error}"), "write it like  https://emr.example.org")]),
    }
}

/// The scopes, one blank between two.
fn scope(text: &str) -> Result<String, Vec<Failure>> {
    let failed = |what: String| {
        vec![Failure::new(format!("--scope {what}"), "write it like  'system/Patient.read system/Observation.read'")]
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Err(failed("names none".to_owned()));
    }
    for word in &words {
        Scope::parse(word).map_err(|error| failed(format!("`{}` {error}", shown(word))))?;
    }
    Ok(words.join(" "))
}

fn read_set(file: &std::path::Path) -> Result<Value, Vec<Failure>> {
    let (set, warnings) = config::read_jwk_set(file).map_err(failures)?;
    warn(warnings);
    serde_json::from_str(&set.to_json()).map_err(|error| vec![Failure::of(error)])
}

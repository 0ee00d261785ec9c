//! The service that reads the configuration again: on SIGHUP, and with `watch: true` when one of its files has changed.
//!
//! A configuration with problems changes nothing. A valid one is swapped in whole; requests under way end on the old one.
//!
//! Decision: `docs/decisions/23-reload.md`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use log::{error, info, warn};
use pingora::server::ShutdownWatch;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::record::{Kind, Outcome, Record};
use crate::callers::access_tokens::AccessTokens;
use crate::callers::key_file::NoTokenKeys;
use crate::config::{self, ClientCertificates, Config, Loaded, Problem, Warning};
use crate::observe::metrics::metrics;
use crate::observe::{UnusableLog, adjust_log};
use crate::server::admin::learn_names;
use crate::server::certificates::ListenerCertificates;
use crate::server::file_watch::FileWatch;
use crate::server::log_settings::log_settings;
use crate::server::options::ConfigSource;
use crate::server::process::Process;
#[cfg(feature = "otlp")]
use crate::sinks::trace_export;
use crate::site::runtime::{Runtime, Tasks};

/// How long a changed site may take to get its first token before the old configuration is kept.
const FIRST_TOKEN_WITHIN: Duration = Duration::from_secs(10);
/// How many changed keys the log names.
const MOST_KEYS: usize = 40;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the configuration again and swaps it in.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let reloader = Reloader {
        source: process.options.source.clone().expect("the service runs only in a process with a source"),
        started: Arc::clone(&process.config),
        runtime: Arc::clone(&process.runtime),
        tasks: process.tasks.clone(),
        certificates: process.certificates.clone(),
    };
    Box::new(background_service("reload", reloader))
}

struct Reloader {
    source: ConfigSource,
    /// The configuration with which the process was started.
    started: Arc<Config>,
    runtime: Arc<ArcSwap<Runtime>>,
    tasks: Tasks,
    certificates: ListenerCertificates,
}

/// Why the running configuration is kept.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("{} problem{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Problems(Vec<Problem>),
    #[error("site {0} gets no token with it, and has one without; the log says above what OpenEMR answered")]
    NoToken(String),
    #[error("access.token_key: {0}")]
    NoTokenKeys(#[from] NoTokenKeys),
    #[error("{0}")]
    Log(#[from] UnusableLog),
    #[error("reading it was broken off")]
    BrokenOff,
}

impl Reloader {
    async fn reload(&self) {
        let result = self.read_and_swap().await;
        let (outcome, said) = match &result {
            Ok(()) => (Outcome::Success, "the configuration was read again and is in force"),
            Err(_) => (Outcome::Failed, "the configuration was read again and cannot be used: the running one stays"),
        };
        self.tasks.trail.record(Record::event(Kind::Reload, Timestamp::now(), outcome, said), None);
        if let Some(metrics) = metrics() {
            metrics.count_reload(result.is_ok());
        }
        match result {
            Ok(()) => info!("{said}"),
            Err(reason) => {
                if let Kept::Problems(problems) = &reason {
                    for problem in problems {
                        error!("{problem}");
                    }
                }
                error!("the running configuration stays as it is: {reason}");
            }
        }
    }

    async fn read_and_swap(&self) -> Result<(), Kept> {
        let (source, running) = (self.source.clone(), self.runtime.load_full());
        let before = Arc::clone(&running.config);
        let read = tokio::task::spawn_blocking(move || {
            config::load(&source.config, source.env_file.as_deref()).map(|loaded| {
                let changed = before.changed_keys(&loaded.config);
                (loaded, changed)
            })
        });
        let (Loaded { config, warnings, sha256 }, changed) = read.await.map_err(|_| Kept::BrokenOff)?.map_err(Kept::Problems)?;
        for Warning(warning) in warnings {
            warn!("{warning}");
        }
        config.log.target().check()?;
        let config = Arc::new(config);
        if AccessTokens::are_given(&config.access.clients) {
            AccessTokens::new(&config.access.token_key, Some(&running.access_tokens)).open()?;
        }
        let next = Runtime::build(Arc::clone(&config), &self.tasks, Some(&running));
        next.look_up_new_names().await;
        wait_for_tokens(&running, &next).await?;
        next.put_in_force();
        let next = Arc::new(next);
        self.runtime.store(Arc::clone(&next));
        // New sites wait until now, when their JWK Sets are served.
        next.begin_exchanges();
        tell_of_sites_without_token(&next);
        self.certificates.replace(&config.listen);
        learn_names(&next);
        adjust_log(log_settings(&config.log));
        #[cfg(feature = "otlp")]
        trace_export::adjust(&config.tracing);
        info!(config_sha256 = sha256.as_deref().unwrap_or("none"); "{}", changes_text(&changed));
        for key in self.started.restart_required().changed(&config.restart_required()) {
            warn!("{key} has changed: that takes effect with an upgrade (serve --upgrade) or a restart");
        }
        Ok(())
    }

    /// Whether files are watched, and which: those of the configuration in force.
    fn watched(&self) -> (bool, Vec<PathBuf>) {
        let config = &self.runtime.load().config;
        let own = std::iter::once(&self.source.config).chain(&self.source.env_file);
        (config.watch, own.chain(named_files(config)).cloned().collect())
    }
}

/// Says which keys have changed, without their values.
fn changes_text(changed: &[String]) -> String {
    let named = changed.get(..MOST_KEYS.min(changed.len())).unwrap_or_default().join(", ");
    match changed.len().saturating_sub(MOST_KEYS) {
        _ if changed.is_empty() => "no key of the configuration has changed".to_owned(),
        0 => format!("changed in the configuration: {named}"),
        more => format!("changed in the configuration: {named} and {more} more"),
    }
}

/// Waits for the first token of every site that has changed and has a token now: a change that OpenEMR does not accept must not
/// cost a site its token. The JWK Set that goes with the change is served meanwhile, since OpenEMR may fetch it.
async fn wait_for_tokens(running: &Runtime, next: &Runtime) -> Result<(), Kept> {
    let now = Instant::now();
    for site in &next.sites {
        let Some(old) = running.sites.iter().find(|old| old.name() == site.name()) else { continue };
        if old.token.usable(now).is_none() || Arc::ptr_eq(&old.token, &site.token) {
            continue;
        }
        let _published = old.keys.publish_instead(&site.keys);
        site.token.begin();
        if site.token.wait(FIRST_TOKEN_WITHIN).await.is_err() {
            return Err(Kept::NoToken(site.name().to_owned()));
        }
    }
    Ok(())
}

/// Says which new sites have no token after their first exchange: `/ready` does not depend on them, so that nothing else would.
fn tell_of_sites_without_token(next: &Runtime) {
    let deadline = Instant::now() + FIRST_TOKEN_WITHIN;
    for site in next.sites.iter().filter(|site| !site.is_counted()).cloned() {
        tokio::spawn(async move {
            site.token.first_outcome(deadline).await;
            if !site.is_counted() {
                warn!(
                    "site {} is new and has no token: its requests are refused, and /ready does not count it until it has one",
                    site.name()
                );
            }
        });
    }
}

/// The files that a configuration names and that are read with it.
fn named_files(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let tls = config.listen.iter().filter_map(|listener| listener.tls.as_ref());
    let tls = tls.flat_map(|tls| {
        [&tls.certificate, &tls.private_key].into_iter().chain(tls.clients.iter().flat_map(ClientCertificates::files))
    });
    let sites = config.sites.iter().flat_map(|site| {
        [&site.private_key_file, &site.jwks_file].into_iter().chain(site.upstream.ca_file.as_ref().map(|file| &file.path))
    });
    let collector = config.tracing.ca_file.as_ref().map(|file| &file.path);
    let store = config.store.iter().flat_map(|store| store.ca_file.iter().map(|file| &file.path));
    tls.chain(sites).chain(config.access.files()).chain(collector).chain(store)
}

#[async_trait]
impl BackgroundService for Reloader {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let hangup = signal(SignalKind::hangup());
        // The listeners wait for this: until SIGHUP is received here, it would end the process.
        ready.notify_ready();
        let mut hangup = match hangup {
            Ok(hangup) => hangup,
            Err(problem) => {
                error!("SIGHUP cannot be received: {problem}");
                return;
            }
        };
        let mut file_watch = FileWatch::default();
        // What changes from now on is seen.
        file_watch.have_changed(&self.watched().1);
        loop {
            let (is_on, files) = self.watched();
            tokio::select! {
                _ = hangup.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    self.reload().await;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if is_on && file_watch.have_changed(&files) {
                        info!("a file has changed: reading the configuration again");
                        self.reload().await;
                    }
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}

//! The configuration read again: on SIGHUP, and with `watch: true` when a file of it has changed.
//!
//! A bad configuration changes nothing. A good one is swapped in whole; requests under way end on the old one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::{error, info, warn};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config, Listener, Problem, Warning};
use crate::server::certificates::ListenerCertificate;
use crate::server::file_watch::Watched;
use crate::server::restart_required::Fixed;
use crate::site::runtime::{Runtime, Settings, Tasks, UnusableHost};

/// How long a changed site may take to get its first token before the old configuration is kept.
const FIRST_TOKEN_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The YAML file.
    pub config: PathBuf,
    /// `--env-file`.
    pub env_file: Option<PathBuf>,
}

/// Why the running configuration stays.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("{} problems", .0.len())]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Host(#[from] UnusableHost),
    #[error("site {0} gets no token with it, and has one without; the log says above what OpenEMR answered")]
    NoToken(String),
    #[error("reading it was broken off")]
    BrokenOff,
}

/// Reads the configuration again and swaps it in.
pub struct Reloader {
    source: ConfigSource,
    runtime: Arc<ArcSwap<Runtime>>,
    tasks: Tasks,
    certificates: Vec<(SocketAddr, Arc<ListenerCertificate>)>,
    running: Mutex<Running>,
}

/// What a reload needs to know of the running configuration, besides the runtime.
#[derive(Debug)]
pub struct Running {
    fixed: Fixed,
    watch: bool,
    files: Vec<PathBuf>,
}

impl Running {
    /// Of this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { fixed: Fixed::of(config), watch: config.watch, files: files(config) }
    }
}

impl Reloader {
    /// Replaces what is in `runtime` and `certificates`; the rest is what the running configuration says.
    #[must_use]
    pub fn new(
        source: ConfigSource,
        running: Running,
        runtime: Arc<ArcSwap<Runtime>>,
        tasks: Tasks,
        certificates: Vec<(SocketAddr, Arc<ListenerCertificate>)>,
    ) -> Self {
        Self { source, runtime, tasks, certificates, running: Mutex::new(running) }
    }

    async fn reload(&self) {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || config::load(&source.config, source.env_file.as_deref())).await;
        let taken = match read {
            Ok(Ok((config, warnings))) => self.take(config, warnings).await,
            Ok(Err(problems)) => Err(Kept::Problems(problems)),
            Err(_) => Err(Kept::BrokenOff),
        };
        match taken {
            Ok(()) => info!("the configuration was read again and is in force"),
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

    async fn take(&self, config: Config, warnings: Vec<Warning>) -> Result<(), Kept> {
        for Warning(warning) in warnings {
            warn!("{warning}");
        }
        let loaded = Running::of(&config);
        let (level, listen) = (config.log.level, config.listen.clone());
        let runtime = self.runtime.load_full();
        let (sites, settings) = Settings::of(config);
        let next = Runtime::build(sites, settings, &self.tasks, Some(&runtime))?;
        next.look_up_new_names().await;
        await_tokens(&runtime, &next).await?;
        next.put_in_force();
        self.runtime.store(Arc::new(next));
        self.replace_certificates(&listen);
        log::set_max_level(level);
        let mut running = self.running.lock();
        for name in running.fixed.changed(&loaded.fixed) {
            warn!("{name} has changed: that takes effect with an upgrade (serve --upgrade) or a restart");
        }
        // What is fixed stays as the process was started with it.
        (running.watch, running.files) = (loaded.watch, loaded.files);
        Ok(())
    }

    fn replace_certificates(&self, listen: &[Listener]) {
        for (address, certificate) in &self.certificates {
            let listener = listen.iter().find(|listener| listener.address == *address);
            if let Some(tls) = listener.and_then(|listener| listener.tls.as_ref()) {
                certificate.replace(Arc::clone(&tls.certified_key));
            }
        }
    }
}

/// A site that changed must not lose its token to a change that OpenEMR does not accept.
async fn await_tokens(running: &Runtime, next: &Runtime) -> Result<(), Kept> {
    let now = std::time::Instant::now();
    for site in &next.sites {
        let Some(old) = running.sites.iter().find(|old| old.name() == site.name()) else { continue };
        let has_one = old.token.usable(now).is_some();
        if has_one && !Arc::ptr_eq(&old.token, &site.token) && site.token.wait(FIRST_TOKEN_WITHIN).await.is_err() {
            return Err(Kept::NoToken(site.name().to_owned()));
        }
    }
    Ok(())
}

/// Every file that a configuration names and that is read with it.
fn files(config: &Config) -> Vec<PathBuf> {
    let tls = config.listen.iter().filter_map(|listener| listener.tls.as_ref());
    let tls = tls.flat_map(|tls| [&tls.certificate, &tls.private_key]);
    let sites = config.sites.iter().flat_map(|site| {
        [&site.private_key_file, &site.jwks_file].into_iter().chain(site.ca_file.as_ref().map(|file| &file.path))
    });
    tls.chain(sites).cloned().collect()
}

#[async_trait]
impl BackgroundService for Reloader {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(problem) => {
                error!("SIGHUP cannot be heard: {problem}");
                return;
            }
        };
        let mut watched = Watched::default();
        loop {
            let (watch, files) = {
                let running = self.running.lock();
                let own = std::iter::once(&self.source.config).chain(&self.source.env_file);
                (running.watch, own.chain(&running.files).cloned().collect::<Vec<_>>())
            };
            tokio::select! {
                _ = hangup.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    self.reload().await;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if watch && watched.have_changed(&files) {
                        info!("a file has changed: reading the configuration again");
                        self.reload().await;
                    }
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}

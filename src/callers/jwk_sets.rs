//! The JWK Sets of identity providers and of clients, by their URLs: fetched when one is first needed, and kept.
//!
//! A set is fetched again when a token names a key that it does not have, and now and then besides; never by two requests at once,
//! and never more often than the pauses below allow, whatever callers send. While the server does not answer, what is known of it
//! stays in use.
//!
//! Decision: `docs/decisions/38-credentials.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};
use log::{info, warn};
use tokio::sync::Mutex;

use crate::access::remote_keys::RemoteKeys;
use crate::callers::public_keys::PublicKeys;
use crate::config::BaseUrl;
use crate::keys::jwk_set::MAX_JWK_SET;
use crate::nodes::cause::Place;
use crate::nodes::client::{Client, Limits, Request};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;

/// How old a set may be before it is fetched again, beside the requests that use it: so long a key that was withdrawn stays good.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// The least time between two fetches of a set.
const PAUSE: Duration = Duration::from_secs(30);
/// The same, after a fetch that failed while nothing was known.
const PAUSE_WITHOUT: Duration = Duration::from_secs(5);
/// How long a fetch may take, and so how long a request waits for it.
const WITHIN: Duration = Duration::from_secs(5);

/// The JWK Sets that have a URL.
#[derive(Debug, Default)]
pub(crate) struct JwkSets(HashMap<RemoteKeys, Arc<RemoteSet>>);

/// The keys at a URL cannot be had: nothing is known of them yet, and the server gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JWK Set cannot be had")]
pub(crate) struct NoKeys;

#[derive(Debug)]
struct RemoteSet {
    client: Client,
    origin: Origin,
    /// Path and query.
    target: String,
    known: ArcSwapOption<Fetched>,
    /// From when on it may be fetched again. Locked while it is fetched.
    due: Mutex<Option<Instant>>,
    is_lost: AtomicBool,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<PublicKeys>,
    at: Instant,
}

impl JwkSets {
    /// The sets at these URLs, each with the configuration key that names it. What `earlier` knows of one is carried over.
    #[must_use]
    pub(crate) fn new<'k>(
        remote: impl Iterator<Item = (&'k RemoteKeys, &'static str)>,
        client: &Client,
        earlier: Option<&Self>,
    ) -> Self {
        let set = |(keys, key): (&RemoteKeys, &'static str)| {
            let known = earlier.and_then(|earlier| earlier.0.get(keys)).map(Arc::clone);
            let set = known.or_else(|| RemoteSet::new(keys, key, client).map(Arc::new))?;
            Some((keys.clone(), set))
        };
        Self(remote.filter_map(set).collect())
    }

    /// The keys at a URL. If they are to have one with the id `kid` and it is not among them, they are fetched again first, unless
    /// that was just done.
    ///
    /// # Errors
    /// [`NoKeys`].
    pub(crate) async fn keys(&self, remote: &RemoteKeys, kid: Option<&str>) -> Result<Arc<PublicKeys>, NoKeys> {
        self.0.get(remote).ok_or(NoKeys)?.keys(kid).await
    }
}

impl RemoteSet {
    /// `None` for what is no URL, which the configuration has made sure of.
    fn new(RemoteKeys { url, authorities }: &RemoteKeys, key: &'static str, client: &Client) -> Option<Self> {
        let base = BaseUrl::parse(url.split_once('?').map_or(url.as_str(), |(base, _)| base)).ok()?;
        // To the letter: with its query, and with a `/` at the end.
        let (_, below) = url.split_once("://")?;
        let target = below.find(['/', '?']).and_then(|at| below.get(at..)).unwrap_or("/");
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Self {
            client: client.clone(),
            origin: Origin::elsewhere(base, key, authorities.as_ref().map(|authorities| authorities.certificates.as_slice())),
            target,
            known: ArcSwapOption::empty(),
            due: Mutex::new(None),
            is_lost: AtomicBool::new(false),
        })
    }

    async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<PublicKeys>, NoKeys> {
        let known = self.known.load_full();
        if let Some(known) = known.as_ref().filter(|known| kid.is_none_or(|kid| known.keys.has(kid))) {
            if known.at.elapsed() > FRESH {
                self.renew();
            }
            return Ok(Arc::clone(&known.keys));
        }
        let due = self.due.lock().await;
        // Another request may have fetched it meanwhile.
        let latest = self.known.load_full();
        let is_newer = match (&latest, &known) {
            (Some(latest), Some(known)) => !Arc::ptr_eq(latest, known),
            (latest, _) => latest.is_some(),
        };
        if !is_newer {
            self.fetch_if_due(due).await;
        }
        self.known.load_full().map(|known| Arc::clone(&known.keys)).ok_or(NoKeys)
    }

    /// Fetches it beside the requests, unless that is being done, or was just tried.
    fn renew(self: &Arc<Self>) {
        let is_due = self.due.try_lock().is_ok_and(|due| due.is_none_or(|due| Instant::now() >= due));
        if is_due {
            let set = Arc::clone(self);
            tokio::spawn(async move {
                let due = set.due.lock().await;
                if set.known.load().as_ref().is_none_or(|known| known.at.elapsed() > FRESH) {
                    set.fetch_if_due(due).await;
                }
            });
        }
    }

    async fn fetch_if_due(self: &Arc<Self>, mut due: tokio::sync::MutexGuard<'_, Option<Instant>>) {
        if due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        *due = Some(Instant::now() + if self.known.load().is_some() { PAUSE } else { PAUSE_WITHOUT });
        // It goes on when the request that began it is gone: others wait for it.
        let set = Arc::clone(self);
        let fetched = tokio::spawn(async move { set.fetch().await }).await;
        if matches!(fetched, Ok(true)) {
            *due = Some(Instant::now() + PAUSE);
        }
    }

    /// Fetches the set. Says whether that went well.
    async fn fetch(&self) -> bool {
        let result = self.try_fetch().await;
        let was_lost = self.is_lost.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(keys) => {
                if was_lost {
                    info!("the JWK Set at {} can be had again", self.origin.url());
                }
                self.known.store(Some(Arc::new(Fetched { keys: Arc::new(keys), at: Instant::now() })));
                true
            }
            Err(problem) => {
                if !was_lost {
                    let rest = if self.known.load().is_some() { "the keys that are known stay in use" } else { "none is known" };
                    warn!("the JWK Set cannot be had, and {rest}: {problem}");
                }
                false
            }
        }
    }

    /// # Errors
    /// What is wrong, for the log.
    async fn try_fetch(&self) -> Result<PublicKeys, String> {
        let limits = Limits { step: None, total: Some(WITHIN), body: MAX_JWK_SET };
        let fields = vec![(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"))];
        let request = Request::get(self.target.clone(), fields);
        let response = self.client.send(&self.origin, request, limits).await.map_err(|error| self.explain(&error))?;
        if response.status != StatusCode::OK {
            return Err(format!("{}: the answer is status {}", self.origin.url(), response.status.as_u16()));
        }
        PublicKeys::parse(&response.body).map_err(|error| format!("{}: the answer {error}", self.origin.url()))
    }

    /// What the error says of itself is about OpenEMR.
    fn explain(&self, error: &ClientError) -> String {
        let Place { url, key } = self.origin.place();
        match error {
            error if error.is_timeout() => format!("{url}: no whole answer came within {WITHIN:?}"),
            error if error.is_servers_fault() => {
                format!(
                    "{url}: no connection comes about. Is the address in {key} right, does the server run, and is its CA one of the system's or in ca_file?"
                )
            }
            error => error.to_string(),
        }
    }
}

#[cfg(test)]
impl JwkSets {
    /// A set that is known, and not fetched again.
    pub(super) async fn known(url: &str, json: &str) -> Self {
        let client = Client::new(Arc::new(pingora::connectors::http::Connector::new(None)));
        let keys = RemoteKeys::at(url);
        let sets = Self::new([(&keys, "access.issuers")].into_iter(), &client, None);
        for set in sets.0.values() {
            let keys = PublicKeys::parse(json.as_bytes()).map(Arc::new).unwrap_or_else(|error| panic!("{error}"));
            set.known.store(Some(Arc::new(Fetched { keys, at: Instant::now() })));
            *set.due.lock().await = Some(Instant::now() + PAUSE);
        }
        sets
    }
}

#[cfg(test)]
mod tests;

//! The store as its users see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use redis::Cmd;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use crate::config::{StoreSettings, StoreUrl};
use crate::store::connection::{Connection, Trust};
use crate::store::link::{Failed, Link};
use crate::store::reply::Reply;
use crate::store::script::{Script, Use};
use crate::store::store_error::StoreError;

/// The least time for opening a connection. Commands do not wait that long.
const LEAST_TO_OPEN: Duration = Duration::from_secs(2);

/// The store. Cloning it is cheap; all clones have the same connection.
#[derive(Debug, Clone)]
pub(crate) struct SharedStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: StoreSettings,
    trust: Trust,
    link: watch::Sender<Link>,
    errors: Arc<Errors>,
}

/// How many commands had no answer, by use.
#[derive(Debug, Default)]
struct Errors([AtomicU64; Use::ALL.len()]);

impl SharedStore {
    /// A store at this address. Nothing is sent before the first command: a store that is away is an error of each of them.
    #[must_use]
    pub(crate) fn connect(settings: &StoreSettings) -> Self {
        Self::counting(settings, Arc::default())
    }

    /// The store of a configuration that replaces another one: the same where the settings are, else a new one that counts on.
    #[must_use]
    pub(crate) fn after(settings: &StoreSettings, earlier: Option<&Self>) -> Self {
        match earlier {
            Some(earlier) if earlier.0.settings == *settings => earlier.clone(),
            Some(earlier) => Self::counting(settings, Arc::clone(&earlier.0.errors)),
            None => Self::connect(settings),
        }
    }

    /// Whether both are the same store, with the same settings.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn counting(settings: &StoreSettings, errors: Arc<Errors>) -> Self {
        let (link, _) = watch::channel(Link::Idle);
        Self(Arc::new(Inner { settings: settings.clone(), trust: Trust::default(), link, errors }))
    }

    /// Runs a script, once at most. The keys get the configured prefix.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::TimedOut`], and where the connection was lost, it may have run all the same.
    pub(crate) async fn run(&self, script: &Script, keys: &[String], arguments: &[Vec<u8>]) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + self.0.settings.timeout;
        let known = self.command("EVALSHA", script.digest(), keys, arguments);
        let result = match self.send(&known, deadline).await {
            Err(error) if error.is_no_script() => {
                self.send(&self.command("EVAL", script.text(), keys, arguments), deadline).await
            }
            result => result,
        };
        self.counted(script.used_for(), result)
    }

    /// Has the store take a write. This also opens a connection that was lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.0.settings.timeout;
        let result = self.within(deadline, async |connection: &Connection| connection.probe(&self.0.settings.prefix).await).await;
        self.counted(Use::Check, result)
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn url(&self) -> &StoreUrl {
        &self.0.settings.url
    }

    /// Why the store is away, if it is. A store that was not asked yet is none that is away.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<StoreError> {
        self.0.link.borrow().usable().and_then(Result::err)
    }

    /// Whether there is a connection that the store has not closed.
    #[cfg(test)]
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.0.link.borrow().usable(), Some(Ok(_)))
    }

    /// How many commands had no answer, by use, since the process began.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (Use, u64)> + '_ {
        Use::ALL.into_iter().zip(&self.0.errors.0).map(|(used_for, count)| (used_for, count.load(Ordering::Relaxed)))
    }

    fn command(&self, name: &str, script: &str, keys: &[String], arguments: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len());
        for key in keys {
            command.arg([self.0.settings.prefix.as_str(), key].concat());
        }
        for argument in arguments {
            command.arg(argument.as_slice());
        }
        command
    }

    async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Reply, StoreError> {
        self.within(deadline, async |connection: &Connection| connection.send(command).await).await
    }

    /// Does something with the connection. One that is of no use after that is given up.
    async fn within<T>(
        &self,
        deadline: Instant,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self.connection(deadline).await?;
        let result = timeout_at(deadline.into(), work(&connection)).await.unwrap_or(Err(StoreError::TimedOut));
        if let Err(error) = &result
            && error.ends_connection()
        {
            self.0.lose(&connection, error);
        }
        result
    }

    /// The connection. Waits for one that is being opened, unless the last attempt failed.
    async fn connection(&self, deadline: Instant) -> Result<Connection, StoreError> {
        if let Some(Ok(connection)) = self.0.link.borrow().usable() {
            return Ok(connection);
        }
        let mut link = self.0.link.subscribe();
        loop {
            self.0.open_if_due();
            let usable = link.borrow_and_update().usable();
            if let Some(usable) = usable {
                return usable;
            }
            // The sender is as long-lived as this store.
            let _ = timeout_at(deadline.into(), link.changed()).await.map_err(|_| StoreError::TimedOut)?;
        }
    }

    fn counted<T>(&self, used_for: Use, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err()
            && let Some(count) = self.0.errors.0.get(used_for as usize)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl Inner {
    /// Opens a connection in the background, if one is due.
    fn open_if_due(self: &Arc<Self>) {
        let now = Instant::now();
        // Many ask while there is nothing to do.
        if self.link.borrow().due(now).is_none() {
            return;
        }
        let mut begun = None;
        self.link.send_if_modified(|link| {
            begun = link.begin(self.time_to_open() * 2, now);
            begun.is_some()
        });
        if let Some(failed) = begun {
            tokio::spawn(Arc::clone(self).open(failed));
        }
    }

    async fn open(self: Arc<Self>, failed: Option<Failed>) {
        let opening = timeout(self.time_to_open(), Connection::open(&self.settings, &self.trust));
        match opening.await.unwrap_or(Err(StoreError::TimedOut)) {
            Ok(connection) => {
                if failed.is_some() {
                    info!("the store at {} answers again", self.settings.url);
                }
                self.link.send_replace(Link::Open(connection));
            }
            Err(error) => self.away(failed.as_ref(), error),
        }
    }

    /// A connection is of no use any more.
    fn lose(&self, lost: &Connection, error: &StoreError) {
        let is_lost = matches!(&*self.link.borrow(), Link::Open(connection) if connection.is(lost));
        if is_lost {
            self.away(None, error.clone());
        }
    }

    fn away(&self, earlier: Option<&Failed>, error: StoreError) {
        if earlier.is_none_or(|earlier| earlier.error != error) {
            warn!("the store at {} {error}", self.settings.url);
        }
        self.link.send_replace(Link::Away(Failed::after(earlier, error, Instant::now(), chance())));
    }

    fn time_to_open(&self) -> Duration {
        self.settings.timeout.max(LEAST_TO_OPEN)
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

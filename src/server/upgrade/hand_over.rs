//! The running side of an upgrade: it answers at the upgrade socket, and hands its listeners over once it was told to.
//!
//! Two things are needed: a process of the same user (or of root) that asks for the listeners, and a SIGQUIT. Until the new
//! process accepts connections, this one serves as if nothing had happened.
//!
//! Decision: `docs/decisions/31-upgrade.md`.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::messages::{self, ACCEPTING, LIST, Listening, RELEASED, TAKE};
use super::order::{NotHandedOver, Order, Orders};
use super::socket::{NoSocket, UpgradeSocket, is_trusted};
use crate::server::listeners::{Listeners, Stage};
use crate::server::process::Process;

/// How long a new process may take from SIGQUIT until it asks for the listeners. It gets its tokens first.
const SUCCESSOR_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take from then on until it accepts connections.
const ACCEPTING_WITHIN: Duration = Duration::from_secs(30);
/// How long a process that has connected may take to say what it wants.
const ASKS_WITHIN: Duration = Duration::from_secs(5);
/// How long nothing is accepted after an error, such as too many open files.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the file of the socket is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Answers at the upgrade socket from the moment at which this process alone listens.
#[must_use]
pub(in crate::server) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let orders = Mutex::new(process.orders.lock().take());
    let door = Door { socket: process.upgrade_socket.clone(), listeners: Arc::clone(&process.listeners), orders };
    Box::new(background_service("upgrade socket", door))
}

struct Door {
    socket: Option<UpgradeSocket>,
    listeners: Arc<Listeners>,
    orders: Orders,
}

#[async_trait]
impl BackgroundService for Door {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (Some(orders), Some(socket)) = (self.orders.lock().take(), &self.socket) else { return };
        let answering = async {
            self.listeners.wait_for(Stage::Alone).await;
            self.answer_until_released(socket, orders).await;
        };
        tokio::select! {
            () = answering => {}
            _ = shutdown.changed() => {}
        }
        self.listeners.forget();
    }
}

/// Why a process does not answer at its upgrade socket.
#[derive(Debug, thiserror::Error)]
enum NotOpen {
    #[error(transparent)]
    NoSocket(#[from] NoSocket),
    #[error("server.upgrade_sock: {} cannot be listened on: {source}", .path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("another process of this configuration answers at {}; name another server.upgrade_sock for one of them", .0.display())]
    Taken(PathBuf),
}

/// The upgrade socket, open; its file is removed at the end.
struct Open {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

async fn open(socket: &UpgradeSocket) -> Result<Open, NotOpen> {
    let path = socket.path()?;
    // A file that nobody listens at is what a process left behind that was killed.
    if UnixStream::connect(&path).await.is_ok() {
        return Err(NotOpen::Taken(path));
    }
    let bind = |path: &Path| {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok((listener, fs::symlink_metadata(path)?.ino()))
    };
    match bind(&path) {
        Ok((listener, inode)) => Ok(Open { listener, path, inode }),
        Err(source) => Err(NotOpen::Bind { path, source }),
    }
}

impl Open {
    fn has_its_name(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.has_its_name() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Door {
    async fn answer_until_released(&self, socket: &UpgradeSocket, mut orders: mpsc::Receiver<Order>) {
        loop {
            let open = match open(socket).await {
                Ok(open) => open,
                Err(problem) => return warn!("this process cannot be upgraded, only restarted: {problem}"),
            };
            let Some((stream, order)) = self.wait_for_both(&open, &mut orders).await else { continue };
            let outcome = self.hand_over(open, &stream).await;
            let is_released = outcome.is_ok();
            let _ = order.send(outcome.map_err(NotHandedOver::GaveUp));
            if is_released {
                return;
            }
        }
    }

    /// Answers until there are a process that asks for the listeners and an order to hand them over; `None` when the socket has
    /// lost its name.
    async fn wait_for_both(&self, open: &Open, orders: &mut mpsc::Receiver<Order>) -> Option<(UnixStream, Order)> {
        let mut look = interval(LOOK_EVERY);
        let (successors, mut taking) = mpsc::channel(1);
        let mut successor: Option<UnixStream> = None;
        let mut order: Option<(Order, Instant)> = None;
        loop {
            // One that asked and ended before the order came does not count.
            successor = successor.filter(is_there);
            match (successor, order) {
                (Some(stream), Some((order, _))) => return Some((stream, order)),
                (stream, waiting) => (successor, order) = (stream, waiting),
            }
            let expiry = order.as_ref().map(|(_, until)| *until);
            tokio::select! {
                connected = open.listener.accept() => match connected {
                    Ok((stream, _)) => drop(tokio::spawn(listen_to(stream, self.listening(), successors.clone()))),
                    Err(error) => {
                        error!("no connection to the upgrade socket can be accepted: {error}");
                        sleep(PAUSE).await;
                    }
                },
                // With the end of a session or the cleaning of /tmp.
                _ = look.tick(), if order.is_none() => if !open.has_its_name() {
                    return None;
                },
                Some(stream) = taking.recv() => successor = Some(stream),
                Some(next) = orders.recv() => order = Some((next, Instant::now() + SUCCESSOR_WITHIN)),
                () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => {
                    if let Some((order, _)) = order.take() {
                        let _ = order.send(Err(NotHandedOver::NoSuccessor(open.path.clone())));
                    }
                }
            }
        }
    }

    fn listening(&self) -> Listening {
        let listeners = self.listeners.all().into_iter().map(|(address, _)| address).collect();
        Listening { version: env!("CARGO_PKG_VERSION").to_owned(), listeners }
    }

    /// Gives the listeners to the new process, and waits until it accepts connections.
    async fn hand_over(&self, open: Open, stream: &UnixStream) -> io::Result<()> {
        info!("handing over the listeners");
        let sockets = self.listeners.all();
        let sockets: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        messages::send(stream, &self.listening().to_line(), &sockets).await?;
        let (answer, _) = timeout(ACCEPTING_WITHIN, messages::receive(stream)).await??;
        if answer != ACCEPTING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it said something else"));
        }
        // The new process makes a socket of its own there.
        drop(open);
        messages::send(stream, RELEASED, &[]).await
    }
}

/// Whether the other side has not closed its connection. It says nothing before it has the listeners.
fn is_there(stream: &UnixStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Hears what a process wants that has connected: the list of listeners, or the listeners themselves.
async fn listen_to(stream: UnixStream, listening: Listening, successors: mpsc::Sender<UnixStream>) {
    match stream.peer_cred() {
        Ok(peer) if is_trusted(peer.uid()) => {}
        Ok(peer) => return warn!("a process of another user (uid {}) came to the upgrade socket and was sent away", peer.uid()),
        Err(error) => return warn!("it is not known who came to the upgrade socket: {error}"),
    }
    let Ok(Ok((wants, _))) = timeout(ASKS_WITHIN, messages::receive(&stream)).await else { return };
    match wants.as_str() {
        LIST => drop(messages::send(&stream, &listening.to_line(), &[]).await),
        TAKE => drop(successors.send(stream).await),
        _ => {}
    }
}

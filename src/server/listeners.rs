//! The listening sockets of the process: bound before anything else is done, listened on when the start gate opens.
//!
//! Pingora takes each socket from its table, and would panic where it has to bind one itself and cannot.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::server::ListenFds;
use socket2::Socket;
use tokio::sync::watch;

use crate::config::{Config, listening};
use crate::server::start_error::StartError;

/// How many connections may wait to be accepted; Pingora sets the same.
const BACKLOG: i32 = 65_535;

/// The listening sockets of the process.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Bound, and not listened on yet.
    bound: Mutex<Vec<(SocketAddr, Socket)>>,
    /// A second descriptor of each open socket, for the process that takes over.
    open: Mutex<Vec<(SocketAddr, Arc<OwnedFd>)>>,
    stage: watch::Sender<Stage>,
}

/// How far the listeners are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Connections are refused, or go to the process that is replaced.
    #[default]
    Closed,
    /// Connections are accepted.
    Accepting,
    /// And no other process accepts them for long.
    Alone,
}

impl Listeners {
    /// Binds every address, so that nothing else can be in the way later.
    ///
    /// # Errors
    /// Another program uses a port, or this user may not listen on it.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |address| match listening::bind(address) {
            Ok(socket) => Ok((address, socket)),
            Err(source) => Err(StartError::Listen { address, source }),
        };
        let bound = config.listen.iter().map(|listener| bind(listener.address)).collect::<Result<_, _>>()?;
        Ok(Self { bound: Mutex::new(bound), ..Self::default() })
    }

    /// Listens on the bound sockets, and gives them to Pingora.
    ///
    /// # Errors
    /// Another program has begun to listen on a port meanwhile.
    pub(super) fn open(&self, table: &ListenFds) -> Result<(), StartError> {
        for (address, socket) in self.bound.lock().drain(..) {
            socket.listen(BACKLOG).map_err(|source| StartError::Listen { address, source })?;
            self.add(table, address, socket)?;
        }
        Ok(())
    }

    /// Listens on another address.
    ///
    /// # Errors
    /// Another program uses the port, or this user may not listen on it.
    pub(super) fn listen(address: SocketAddr) -> Result<(SocketAddr, Socket), StartError> {
        let listen = || {
            let socket = listening::bind(address)?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        listen().map(|socket| (address, socket)).map_err(|source| StartError::Listen { address, source })
    }

    /// Gives Pingora a socket that is listened on already.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn add(&self, table: &ListenFds, address: SocketAddr, socket: Socket) -> Result<(), StartError> {
        let second = socket.set_nonblocking(true).and_then(|()| socket.try_clone());
        let second = second.map_err(|source| StartError::Listen { address, source })?;
        self.open.lock().push((address, Arc::new(second.into())));
        table.lock().add(address.to_string(), socket.into_raw_fd());
        Ok(())
    }

    /// The open sockets.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(SocketAddr, Arc<OwnedFd>)> {
        self.open.lock().clone()
    }

    /// Closes the second descriptors: a port refuses connections only when no descriptor of its socket is left.
    pub(super) fn forget(&self) {
        self.open.lock().clear();
    }

    /// Notes that the listeners are so far.
    pub(super) fn reached(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits until the listeners are that far.
    pub(super) async fn wait_for(&self, stage: Stage) {
        // The sender lives as long as `self`.
        let _ = self.stage.subscribe().wait_for(|reached| *reached >= stage).await;
    }
}

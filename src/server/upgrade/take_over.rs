//! The new side of an upgrade: it asks the running process for its listeners, and checks what it gets.
//!
//! Decision: `docs/decisions/31-upgrade.md`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use log::{info, warn};
use parking_lot::Mutex;
use socket2::{Protocol, Socket, Type};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::time::timeout;

use super::messages::{self, ACCEPTING, LIST, Listening, RELEASED, TAKE};
use super::socket::{NoSocket, UpgradeSocket, is_trusted};

/// How long the running process may take to answer what it can answer at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a new process waits for the listeners, and so for the SIGQUIT.
const HANDS_OVER_WITHIN: Duration = Duration::from_secs(6);

/// Why no listeners come from a running process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// There is no place where one could be asked.
    #[error(transparent)]
    NoSocket(#[from] NoSocket),
    /// None answers.
    #[error("no running gateway answers at {}", .0.display())]
    NotRunning(PathBuf),
    /// A process of another user answers.
    #[error("server.upgrade_sock: {} is held by a process of another user (uid {uid})", .path.display())]
    OtherUser {
        /// The socket.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// The connection failed.
    #[error("the gateway at {} does not answer: {source}", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was not told to.
    #[error("no running gateway handed over its listeners. The one at {} does so on SIGQUIT", .0.display())]
    NotHandedOver(PathBuf),
}

impl NotTaken {
    /// What an operator can do.
    #[must_use]
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoSocket(error) => error.remedy(),
            Self::NotRunning(_) => {
                "if none runs, leave --upgrade out; if one does, run this as its user and with its $RUNTIME_DIRECTORY and $XDG_RUNTIME_DIR, or name one server.upgrade_sock for both"
            }
            Self::OtherUser { .. } => "name a server.upgrade_sock of your own",
            Self::Broken { .. } => "look at its log",
            Self::NotHandedOver(_) => "send it SIGQUIT once this process waits:  kill -QUIT PID",
        }
    }
}

/// The addresses that the running gateway of a configuration listens on. Waits for its answer.
///
/// # Errors
/// None runs, or it cannot be asked.
pub(crate) fn running_listeners(socket: &UpgradeSocket) -> Result<Vec<SocketAddr>, NotTaken> {
    let path = socket.look()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| NotTaken::Broken { path: path.clone(), source })?;
    runtime.block_on(listening(path))
}

async fn listening(path: PathBuf) -> Result<Vec<SocketAddr>, NotTaken> {
    let broken = |source| NotTaken::Broken { path: path.clone(), source };
    let stream = connect(path.clone()).await?;
    let asked = async {
        messages::send(&stream, LIST, &[]).await?;
        let (line, _) = messages::receive(&stream).await?;
        Listening::parse(&line)
    };
    let answer = timeout(ANSWERS_WITHIN, asked).await.map_err(|late| broken(late.into()))?.map_err(broken)?;
    Ok(answer.listeners)
}

/// The running process, which has handed its listeners over and serves until it hears that this one accepts connections.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    stream: UnixStream,
    path: PathBuf,
}

/// The place where the predecessor is kept until this process accepts connections.
pub(in crate::server) type KeptPredecessor = Mutex<Option<Predecessor>>;

/// Asks the running process for its listeners, and waits for them. What is not configured is closed.
///
/// # Errors
/// It does not run, does not hand over in time, or is somebody else's.
pub(in crate::server) async fn take(
    socket: &UpgradeSocket,
    configured: &[SocketAddr],
) -> Result<(Predecessor, Vec<(SocketAddr, Socket)>), NotTaken> {
    let path = socket.look()?;
    let stream = connect(path.clone()).await?;
    info!("waiting for the running gateway to hand over its listeners: send it SIGQUIT");
    let asked = async {
        messages::send(&stream, TAKE, &[]).await?;
        messages::receive(&stream).await
    };
    let (line, sockets) = match timeout(HANDS_OVER_WITHIN, asked).await {
        Ok(Ok(handed_over)) => handed_over,
        Ok(Err(source)) => return Err(NotTaken::Broken { path, source }),
        Err(_) => return Err(NotTaken::NotHandedOver(path)),
    };
    let told = Listening::parse(&line).map_err(|source| NotTaken::Broken { path: path.clone(), source })?;
    info!("the gateway of version {} hands over its listeners", told.version);
    Ok((Predecessor { stream, path }, usable(told.listeners, sockets, configured)))
}

impl Predecessor {
    /// Tells the running process that this one accepts connections, and waits until it has heard that.
    ///
    /// # Errors
    /// It is gone, or has given up waiting and goes on.
    pub(in crate::server) async fn release(self) -> Result<(), NotTaken> {
        let Self { stream, path } = self;
        let told = async {
            messages::send(&stream, ACCEPTING, &[]).await?;
            messages::receive(&stream).await
        };
        match timeout(ANSWERS_WITHIN, told).await.unwrap_or_else(|late| Err(late.into())) {
            Ok((answer, _)) if answer == RELEASED => Ok(()),
            Ok(_) => Err(NotTaken::Broken { path, source: io::ErrorKind::InvalidData.into() }),
            Err(source) => Err(NotTaken::Broken { path, source }),
        }
    }
}

async fn connect(path: PathBuf) -> Result<UnixStream, NotTaken> {
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(NotTaken::NotRunning(path));
        }
        Err(source) => return Err(NotTaken::Broken { path, source }),
    };
    // Who called listen(2): the folder keeps others out, and this finds out when it did not.
    match stream.peer_cred() {
        Ok(peer) if is_trusted(peer.uid()) => Ok(stream),
        Ok(peer) => Err(NotTaken::OtherUser { path, uid: peer.uid() }),
        Err(source) => Err(NotTaken::Broken { path, source }),
    }
}

/// The sockets that are what the other process says and are configured here, each address once. All others are closed.
fn usable(told: Vec<SocketAddr>, sockets: Vec<OwnedFd>, configured: &[SocketAddr]) -> Vec<(SocketAddr, Socket)> {
    let mut usable: Vec<(SocketAddr, Socket)> = Vec::new();
    for (address, socket) in told.into_iter().zip(sockets) {
        let socket = Socket::from(socket);
        if !configured.contains(&address) {
            info!("{address} is not listened on any more: it is not configured");
        } else if !listens_on(&socket, address) {
            warn!("what was handed over for {address} does not listen there, and was closed");
        } else if !usable.iter().any(|(known, _)| *known == address) {
            usable.push((address, socket));
        }
    }
    usable
}

/// Whether a descriptor is a TCP socket that listens on exactly that address.
fn listens_on(socket: &Socket, address: SocketAddr) -> bool {
    let bound = || Some(socket.local_addr().ok()?.as_socket()? == address);
    socket.r#type().is_ok_and(|found| found == Type::STREAM)
        && socket.protocol().is_ok_and(|found| found == Some(Protocol::TCP))
        && socket.is_listener().unwrap_or(false)
        && bound().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn listener() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        (listener.local_addr().expect("its address"), listener)
    }

    #[test]
    fn only_a_listener_of_a_configured_address_is_used() {
        let (address, good) = listener();
        let (other_address, other) = listener();
        let (unknown, not_configured) = listener();
        let udp = UdpSocket::bind(other_address).expect("UDP ports are others");
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("s")).expect("a listener");
        let file = File::open("/dev/null").expect("a file");
        let connected = TcpStream::connect(address).expect("it listens");
        let unbound = crate::config::listening::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let bound_to = unbound.local_addr().ok().and_then(|found| found.as_socket()).expect("an address");
        let wrong: Vec<(SocketAddr, OwnedFd)> = vec![
            (other_address, udp.into()),
            (other_address, unix.into()),
            (other_address, file.into()),
            (other_address, connected.into()),
            (other_address, other.try_clone().map(|_| good.try_clone().expect("a copy")).expect("a copy").into()),
            (bound_to, unbound.into()),
            (unknown, not_configured.into()),
        ];
        let (told, sockets) = wrong.into_iter().unzip();
        assert_eq!(usable(told, sockets, &[address, other_address, bound_to]).len(), 0);
        assert!(TcpStream::connect(unknown).is_err(), "what is not configured is closed");
        let again = good.try_clone().expect("a copy");
        let found = usable(
            vec![address, address, other_address],
            vec![good.into(), again.into(), other.into()],
            &[address, other_address],
        );
        assert_eq!(found.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [address, other_address]);
        // Fewer sockets than addresses: the rest was not handed over.
        assert_eq!(usable(vec![address], Vec::new(), &[address]).len(), 0);
    }
}

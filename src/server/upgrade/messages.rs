//! What two processes say to each other during an upgrade: lines of text over a Unix socket, and listening sockets attached to
//! one of them (`SCM_RIGHTS`, unix(7)).
//!
//! | The new process says | The running one answers |
//! |---|---|
//! | `list` | its listeners |
//! | `take` | after SIGQUIT: its listeners, with their sockets attached |
//! | `accepting` | `released`: it accepts no more, or it will soon |
//!
//! Either side may go away at any point before `released`; the running process then continues.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The request for the addresses of the listeners.
pub(super) const LIST: &str = "list";
/// The request for the listeners themselves.
pub(super) const TAKE: &str = "take";
/// The new process accepts connections.
pub(super) const ACCEPTING: &str = "accepting";
/// The running process stops.
pub(super) const RELEASED: &str = "released";

/// The longest line: the listeners of a gateway, with room to spare.
const LONGEST_LINE: usize = 16 * 1024;
/// The most sockets in one message. A configuration has at most 32 listeners.
const MOST_SOCKETS: usize = 64;

/// The listeners of the running process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listening {
    /// The version of the running program.
    pub version: String,
    /// The addresses, in the order of the sockets.
    pub listeners: Vec<SocketAddr>,
}

impl Listening {
    /// The line in which it is sent.
    #[must_use]
    pub(super) fn to_line(&self) -> String {
        serde_json::to_string(self).expect("texts and addresses can be written as JSON")
    }

    /// Reads such a line.
    ///
    /// # Errors
    /// The line says something else.
    pub(super) fn parse(line: &str) -> io::Result<Self> {
        serde_json::from_str(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Sends one line with sockets attached.
///
/// # Errors
/// The other side is gone.
pub(super) async fn send(stream: &UnixStream, line: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let line = [line.as_bytes(), b"\n"].concat();
    let mut rest = line.as_slice();
    let mut attached = sockets;
    while !rest.is_empty() {
        let sent = stream.async_io(Interest::WRITABLE, || send_some(stream, rest, attached)).await?;
        rest = rest.get(sent..).unwrap_or_default();
        attached = &[];
    }
    Ok(())
}

/// Receives one line, and the sockets that are attached to it.
///
/// # Errors
/// The other side is gone, or sends no line.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut line, mut sockets) = (Vec::new(), Vec::new());
    loop {
        let received = stream.async_io(Interest::READABLE, || receive_some(stream, &mut sockets)).await?;
        if received.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&received);
        if line.len() > LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line that does not end"));
        }
        if let Some(text) = line.strip_suffix(b"\n") {
            let text = String::from_utf8(text.to_vec()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            return Ok((text, sockets));
        }
    }
}

fn send_some(stream: &UnixStream, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one message"));
    }
    Ok(sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

fn receive_some(stream: &UnixStream, sockets: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(attached) = message {
            sockets.extend(attached);
        }
    }
    bytes.truncate(received.bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_line_arrives_with_its_sockets() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let said = Listening { version: "1".to_owned(), listeners: vec![address] };
        send(&here, &said.to_line(), &[listener.as_fd()]).await.expect("it is sent");
        drop(listener);
        let (line, mut sockets) = receive(&there).await.expect("it arrives");
        assert_eq!(Listening::parse(&line).expect("it is read").listeners, [address]);
        let listener = TcpListener::from(sockets.pop().expect("a socket"));
        assert!(sockets.is_empty());
        TcpStream::connect(address).expect("it is open");
        listener.accept().expect("it is the same");
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_an_error() {
        let (here, there) = UnixStream::pair().expect("a pair");
        send(&here, &"x".repeat(LONGEST_LINE + 1), &[]).await.expect("it is sent");
        assert_eq!(receive(&there).await.map(|_| ()).expect_err("too long").kind(), io::ErrorKind::InvalidData);
        let (here, there) = UnixStream::pair().expect("a pair");
        drop(here);
        assert_eq!(receive(&there).await.map(|_| ()).expect_err("gone").kind(), io::ErrorKind::UnexpectedEof);
    }
}

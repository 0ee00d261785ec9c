//! HTTP/2: what is offered to the web server before OpenEMR, and the patience with a client's connection.
//!
//! Decision: `docs/decisions/20-http2.md`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::gateway::cancellations::Cancellations;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of its first word, `PRI`, which is no method of HTTP/1.
const PREFACE_WORD: usize = 3;
/// Requests at once on one connection to OpenEMR's web server; more open another one.
const STREAMS_UPSTREAM: usize = 16;
/// What of one of its answers may wait for a slow client, and of all on one connection.
const UNREAD_ANSWER: u32 = 256 * 1024;
const UNREAD_ANSWERS: u32 = 4 * 1024 * 1024;

tokio::task_local! {
    /// The patience with the connection that a request came on; none outside HTTP/2.
    pub(super) static PATIENCE: Arc<Patience>;
}

/// How much more abuse is borne of one HTTP/2 connection.
pub(super) struct Patience {
    cancellations: Mutex<Cancellations>,
    /// Notified when there is none left.
    pub(super) is_over: Notify,
}

impl Patience {
    /// The patience with a new connection.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { cancellations: Mutex::new(Cancellations::new(Instant::now())), is_over: Notify::new() }
    }
}

/// Lets a web server before OpenEMR choose HTTP/2 in the TLS handshake.
pub(super) fn offer(peer: &mut HttpPeer) {
    let options = &mut peer.options;
    options.alpn = ALPN::H2H1;
    options.max_h2_streams = STREAMS_UPSTREAM;
    options.h2_stream_window_size = Some(UNREAD_ANSWER);
    options.h2_connection_window_size = Some(UNREAD_ANSWERS);
}

/// Whether the client speaks HTTP/2: it has chosen that in the TLS handshake or, where `h2c` allows it without TLS, begins
/// with the preface (RFC 9113 section 3.4). `None`: that is not known `within` this time, or the client is gone. What came of its
/// beginning by then is lost, so that nothing more can be read of the connection.
pub(crate) async fn is_chosen(stream: &mut Stream, h2c: bool, within: Duration) -> Option<bool> {
    if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
        return Some(true);
    }
    if !h2c {
        return Some(false);
    }
    timeout(within, begins_with_preface(stream)).await.ok()?.ok()
}

/// Waits for no more than a request of HTTP/1 has: the shortest is shorter than the preface.
async fn begins_with_preface(stream: &mut Stream) -> io::Result<bool> {
    let (mut word, mut first) = ([0; PREFACE_WORD], [0; PREFACE.len()]);
    stream.try_peek(&mut word).await?;
    if !PREFACE.starts_with(&word) {
        return Ok(false);
    }
    stream.try_peek(&mut first).await?;
    Ok(first == *PREFACE)
}

/// The size of a request's head: in HTTP/2, where it came compressed, what it would be in HTTP/1.1.
#[must_use]
pub(super) fn head_size(session: &Session) -> usize {
    if let Some(http1) = session.as_http1() {
        return http1.get_headers_raw_bytes().len();
    }
    let head = session.req_header();
    let line = head.method.as_str().len() + head.raw_path().len() + " HTTP/1.1\r\n\r\n".len();
    let host = head.uri.authority().map_or(0, |authority| authority.as_str().len() + "host: \r\n".len());
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + host + fields.sum::<usize>()
}

/// After a request: counts it if its client has given it up.
pub(super) fn after_request(session: &Session, error: Option<&Error>) {
    if session.is_http2() && error.is_some_and(|error| *error.esource() == ErrorSource::Downstream) {
        let _ = PATIENCE.try_with(|patience| {
            if !patience.cancellations.lock().note(Instant::now()) {
                patience.is_over.notify_one();
            }
        });
    }
}

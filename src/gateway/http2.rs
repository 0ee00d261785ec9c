//! HTTP/2. Towards callers: what one connection may do, how it is told to end, and when it is broken off. Towards OpenEMR:
//! what is offered to the web server before it.
//!
//! Pingora's own part ends at the streams. It has no count of requests on a connection, no deadline for the first one,
//! and takes new streams for those that the caller has just reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource};
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::gateway::Gateway;
use crate::gateway::cancellations::Cancellations;

/// What a head may be larger than `limits.request_head` and still be answered by the gateway, which says why; a larger one
/// gets h2's own 431, which has no body. A list in many frames (CVE-2024-27316) is cut off by h2 at the same size.
const ROOM_TO_REFUSE: usize = 16 * 1024;
/// What the bodies of all requests on a connection may fill while nobody reads them.
const UNREAD_BODIES: u32 = 1024 * 1024;
/// What of one answer waits for its caller.
const UNSENT_ANSWER: usize = 128 * 1024;
/// Requests that are reset before they could be looked at, before the connection is.
const RESET_UNSEEN: usize = 20;
/// How many times the streams that a caller may have open the gateway works on: those that he has just reset are
/// not ended yet.
const ENDING: u32 = 2;

/// Requests at once on one connection to OpenEMR's web server; more open another one.
const STREAMS_UPSTREAM: usize = 16;
/// What of one of its answers may wait for a slow caller, and of all on one connection.
const UNREAD_ANSWER: u32 = 256 * 1024;
const UNREAD_ANSWERS: u32 = 4 * 1024 * 1024;

tokio::task_local! {
    static CONNECTION: Arc<Connection>;
}

/// One HTTP/2 connection of a caller.
pub(crate) struct Connection {
    proxy: Arc<HttpProxy<Gateway>>,
    options: HttpServerOptions,
    h2: H2Options,
    limits: Limits,
    begun: AtomicU32,
    under_way: AtomicU32,
    cancellations: Mutex<Cancellations>,
    is_used_up: Notify,
    is_abused: Notify,
}

impl Connection {
    /// With what these limits say. `h2c`: whether it may be one without TLS.
    pub(crate) fn new(proxy: Arc<HttpProxy<Gateway>>, limits: Limits, h2c: bool) -> Self {
        let mut options = proxy.server_options.clone().unwrap_or_default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(limits.keepalive_timeout);
        Self {
            proxy,
            options,
            h2: h2_options(&limits),
            limits,
            begun: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            cancellations: Mutex::new(Cancellations::new(Instant::now())),
            is_used_up: Notify::new(),
            is_abused: Notify::new(),
        }
    }

    /// Serves it to its end. Once `ending` is true, it takes no new requests (GOAWAY), and ends with those under way.
    pub(crate) async fn serve(self: Arc<Self>, stream: Stream, mut ending: ShutdownWatch) {
        let (end, told) = watch::channel(false);
        let first_within = self.limits.read_timeout;
        let served = self.process_new(stream, &told);
        let first = tokio::time::sleep(first_within);
        tokio::pin!(served, first);
        let mut waits_for_first = true;
        loop {
            let goes_on = !*end.borrow();
            tokio::select! {
                _ = &mut served => return,
                _ = ending.wait_for(|ending| *ending), if goes_on => drop(end.send(true)),
                () = self.is_used_up.notified(), if goes_on => drop(end.send(true)),
                () = self.is_abused.notified() => {
                    warn!("an HTTP/2 connection was broken off: its caller gave up too many requests, or had too many under way");
                    return;
                }
                () = &mut first, if waits_for_first => {
                    waits_for_first = false;
                    if self.begun.load(Ordering::Relaxed) == 0 {
                        return;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(self: &Arc<Self>, session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if !session.is_http2() {
            return self.proxy.process_new_http(session, shutdown).await;
        }
        if begun >= self.limits.keepalive_requests {
            self.is_used_up.notify_one();
        }
        let under_way = UnderWay::one_more(&self.under_way);
        if under_way.in_all > self.limits.http2_streams.saturating_mul(ENDING) {
            self.is_abused.notify_one();
            return None;
        }
        CONNECTION.scope(Arc::clone(self), self.proxy.process_new_http(session, shutdown)).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

struct UnderWay<'a> {
    count: &'a AtomicU32,
    in_all: u32,
}

impl<'a> UnderWay<'a> {
    fn one_more(count: &'a AtomicU32) -> Self {
        Self { count, in_all: count.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn h2_options(limits: &Limits) -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.request_head + ROOM_TO_REFUSE).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .initial_connection_window_size(UNREAD_BODIES)
        .max_send_buffer_size(UNSENT_ANSWER);
    options
}

/// Lets a web server before OpenEMR choose HTTP/2 in the TLS handshake.
pub(crate) fn offer(peer: &mut HttpPeer) {
    let options = &mut peer.options;
    options.alpn = ALPN::H2H1;
    options.max_h2_streams = STREAMS_UPSTREAM;
    options.h2_stream_window_size = Some(UNREAD_ANSWER);
    options.h2_connection_window_size = Some(UNREAD_ANSWERS);
}

/// Whether it may turn out to be an HTTP/2 connection.
pub(crate) fn may_be(stream: &Stream, h2c: bool) -> bool {
    h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2))
}

/// The size of a request's head: in HTTP/2, where it came in packed, what it would be in HTTP/1.1.
pub(crate) fn head_size(session: &Session) -> usize {
    if let Some(http1) = session.as_http1() {
        return http1.get_headers_raw_bytes().len();
    }
    let head = session.req_header();
    let line = head.method.as_str().len() + head.raw_path().len() + " HTTP/1.1\r\n\r\n".len();
    let host = head.uri.authority().map_or(0, |authority| authority.as_str().len() + "host: \r\n".len());
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + host + fields.sum::<usize>()
}

/// After a request: had its caller given it up?
pub(crate) fn after_request(session: &Session, error: Option<&Error>) {
    if session.is_http2() && error.is_some_and(|error| *error.esource() == ErrorSource::Downstream) {
        let _ = CONNECTION.try_with(|connection| {
            if !connection.cancellations.lock().note(Instant::now()) {
                connection.is_abused.notify_one();
            }
        });
    }
}

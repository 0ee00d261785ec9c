//! One HTTP/2 connection of a client: what it may do, how it is told to end, and when it is broken off.
//!
//! Pingora's own part ends at the streams. It has no count of requests on a connection, no deadline for the first one,
//! and takes new streams for those that the client has just reset.
//!
//! Decision: `docs/decisions/20-http2.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use log::warn;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::gateway::Gateway;
use crate::gateway::http2::{PATIENCE, Patience};

/// By how much, in bytes, a head may exceed `limits.request_head` and still get the gateway's own answer, which says why. A
/// larger one gets h2's 431, which has no body. A list in many frames (CVE-2024-27316) is cut off by h2 at the same size.
const ROOM_TO_REFUSE: usize = 16 * 1024;
/// The most unread bytes of request bodies on one connection.
const UNREAD_BODIES: u32 = 1024 * 1024;
/// The most bytes of one answer that wait for the client.
const UNSENT_ANSWER: usize = 128 * 1024;
/// How many requests may be reset before they were accepted, before the connection is closed.
const RESET_UNSEEN: usize = 20;
/// How many times `limits.http2_streams` requests the gateway works on: those that the client has just reset have not ended
/// yet.
const ENDING: u32 = 2;

/// One HTTP/2 connection of a client.
pub(crate) struct Connection {
    proxy: Arc<HttpProxy<Gateway>>,
    options: HttpServerOptions,
    h2: H2Options,
    limits: Limits,
    begun: AtomicU32,
    under_way: AtomicU32,
    is_used_up: Notify,
    patience: Arc<Patience>,
}

impl Connection {
    /// A connection with these limits. `h2c`: whether HTTP/2 may be spoken without TLS.
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
            is_used_up: Notify::new(),
            patience: Arc::new(Patience::new()),
        }
    }

    /// Serves the connection to its end. Once `ending` is true it takes no new requests (GOAWAY), and ends after those under
    /// way.
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
                () = self.patience.is_over.notified() => {
                    warn!("an HTTP/2 connection was broken off: its client cancelled too many requests, or had too many under way");
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
            self.patience.is_over.notify_one();
            return None;
        }
        PATIENCE.scope(Arc::clone(&self.patience), self.proxy.process_new_http(session, shutdown)).await
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

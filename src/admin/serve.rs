//! Accepts connections to the admin listener and answers one request on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use log::{info, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use pingora::server::ShutdownWatch;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::admin::events::{Events, MOST_STREAMS};
use crate::admin::state::State;
use crate::admin::watch::Watch;
use crate::admin::{events, page, permission, route};
use crate::http::answer::Answer;
use crate::http::answer_protection::protect;
use crate::http::parts::edit_response;
use crate::http::set_field::SetField;

/// The most connections at once; others wait to be accepted.
const MOST_CONNECTIONS: usize = 16;
/// How long a whole request and its answer may take.
const WITHIN: Duration = Duration::from_secs(30);
/// The longest body, in bytes: a word.
const LONGEST_BODY: usize = 1024;
/// How many connections the system keeps that wait to be accepted.
const BACKLOG: i32 = 64;
/// The pause after a connection that cannot be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// What the system keeps of an answer that its reader leaves unread, in bytes: little, so that a slow reader of events is noticed.
const SEND_BUFFER: usize = 16 * 1024;

/// The admin listener.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    state: Arc<State>,
    watch: Watch,
    /// The places of streams of events.
    streams: Arc<Semaphore>,
}

impl Server {
    /// Serves this state at this address.
    #[must_use]
    pub(crate) fn new(address: SocketAddr, state: State) -> Self {
        let state = Arc::new(state);
        let streams = Arc::new(Semaphore::new(MOST_STREAMS));
        Self { address, shared: Arc::new(Shared { watch: Watch::new(Arc::clone(&state)), state, streams }) }
    }

    /// Serves until the process is told to end. In an upgrade the new process listens beside the old one.
    pub(crate) async fn run(&self, shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.accept(shutdown) => {}
            () = self.shared.watch.run() => {}
        }
    }

    async fn accept(&self, mut shutdown: ShutdownWatch) {
        let listener = match listen(self.address) {
            Ok(listener) => listener,
            Err(problem) => {
                warn!("the admin listener {} cannot be opened: {problem}; the gateway goes on without it", self.address);
                return;
            }
        };
        info!("admin: listening on {}", self.address);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.changed() => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Without it, slow readers are noticed later.
            let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
            let (shared, mut ends) = (Arc::clone(&self.shared), shutdown.clone());
            tokio::spawn(async move {
                // Who is gone, or too slow, gets no answer.
                let outcome = timeout(WITHIN, serve(stream, &shared)).await;
                drop(place);
                if let Ok(Ok(Some(events))) = outcome {
                    tokio::select! {
                        () = events.send(&shared.watch) => {}
                        _ = ends.changed() => {}
                    }
                }
            });
        }
    }
}

/// Opens the listener. Its address can be listened on by the next process of the same user while this one ends.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Reads one request and answers it, unless it is for events: these are to be sent.
async fn serve(stream: TcpStream, shared: &Shared) -> pingora::Result<Option<Events>> {
    let mut session = ServerSession::new_http1(Box::new(Stream::from(stream)));
    if !session.read_request().await? {
        return Ok(None);
    }
    if page::is_asked_for(session.req_header()) {
        let (head, document) = page::page();
        return send(session, head, Some(document)).await.map(|()| None);
    }
    let answer = match permission(&session, &shared.state) {
        Ok(()) if is_for_events(session.req_header()) => match Arc::clone(&shared.streams).try_acquire_owned() {
            Ok(place) => return Ok(Some(Events { session, place })),
            Err(_) => events::too_many(),
        },
        Ok(()) => match body(&mut session).await? {
            Some(body) => route::answer(session.req_header(), &body, &shared.state, &shared.watch).await,
            None => Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is one word."),
        },
        Err(refused) => refused.into(),
    };
    let (mut head, body) = answer.into_parts();
    edit_response(&mut head, protect);
    send(session, head, body).await.map(|()| None)
}

/// Sends a whole answer; to HEAD its head alone.
async fn send(mut session: ServerSession, mut head: Box<ResponseHeader>, body: Option<Bytes>) -> pingora::Result<()> {
    session.set_keepalive(None);
    head.set(CONNECTION, HeaderValue::from_static("close"));
    let is_head = session.req_header().method == Method::HEAD;
    session.write_response_header(head).await?;
    if let Some(body) = body.filter(|_| !is_head) {
        session.write_response_body(body, true).await?;
    }
    session.finish().await.map(|_| ())
}

fn is_for_events(head: &RequestHeader) -> bool {
    head.uri.path() == "/events" && head.method == Method::GET
}

fn permission(session: &ServerSession, state: &State) -> Result<(), permission::Refused> {
    let head = session.req_header();
    let keys = &state.runtime.load().config.admin.api_keys;
    permission::check(&head.method, &head.headers, keys, Timestamp::now().as_second())
}

/// Reads the body; `None` when it is too long.
async fn body(session: &mut ServerSession) -> pingora::Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_request_body().await? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_BODY {
            return Ok(None);
        }
    }
    Ok(Some(body.freeze()))
}

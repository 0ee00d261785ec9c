//! Connections: accepted, kept alive, counted and closed as Apache with php-fpm does it, or as a fault says.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    answer::{Answer, Area, cookie_parts},
    counters::InProgress,
    dispatch::{self, Disposition, Outcome},
    error_answers,
    http1::Connection,
    instance::Instance,
    request_head::{HeadError, RequestHead},
    response::{Ending, Framing},
};

/// The most bytes of a body that are kept for its handler; a longer body is treated as malformed.
const KEPT: usize = 4 * 1024 * 1024;
/// How long a TLS handshake may take, and the first request of a connection may be awaited.
const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// Accepts connections, except while the listener is to be down. Does not return.
pub(super) async fn serve(instance: Arc<Instance>, listener: TcpListener, address: SocketAddr, tls: Option<TlsAcceptor>) {
    let mut wanted_up = instance.wanted_up.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let Some(open) = &listener else {
            if wanted_up.wait_for(|up| *up).await.is_err() {
                return;
            }
            match TcpListener::bind(address).await {
                Ok(bound) => {
                    listener = Some(bound);
                    instance.is_up.send_replace(true);
                }
                Err(error) => {
                    log::warn!("sandbox: {address} cannot be listened on again yet: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(Arc::clone(&instance), stream, tls.clone()))),
                    // A connection that failed in the queue, or no file descriptors: both are temporary.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            changed = wanted_up.changed() => {
                if changed.is_err() {
                    return;
                }
                if !*wanted_up.borrow_and_update() {
                    listener = None;
                    connections.shutdown().await;
                    instance.is_up.send_replace(false);
                }
            }
        }
    }
}

/// Counts a connection as open until it is dropped, which an aborted task does as well.
struct OpenConnection(Arc<Instance>);

impl OpenConnection {
    fn new(instance: &Arc<Instance>) -> OpenConnection {
        instance.counters.connections_accepted.fetch_add(1, Ordering::Relaxed);
        instance.counters.connections_open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(instance))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(instance: Arc<Instance>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let _open = OpenConnection::new(&instance);
    let _ = stream.set_nodelay(true);
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(acceptor) => match tokio::time::timeout(FIRST_REQUEST, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                *instance.counters.last_server_name.lock() = name;
                Stream::Tls(Box::new(stream))
            }
            _ => return,
        },
    };
    let mut connection = Connection::new(stream);
    let ending = match serve_requests(&instance, &mut connection).await {
        Ok(ending) => ending,
        // The client is gone.
        Err(_) => return,
    };
    close(connection.io(), ending).await;
}

/// Serves requests until one of them ends the connection.
async fn serve_requests(instance: &Instance, connection: &mut Connection<Stream>) -> io::Result<Ending> {
    let mut served = 0;
    loop {
        let idle = if served == 0 { FIRST_REQUEST } else { instance.keep_alive };
        let head = match connection.read_head(idle).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Ending::CloseNotify),
            Err(HeadError::Io(error)) => return Err(error),
            Err(error) => {
                let mut response =
                    unreadable(&error).into_response(instance.personality, instance.clock.seconds(), Area::Apis, None);
                response.closes = true;
                connection.write(&response).await?;
                return Ok(Ending::CloseNotify);
            }
        };
        let (disposition, in_progress) = dispatch::begin(instance, &head, served > 0);
        match disposition {
            Disposition::HangUp => {
                instance.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
                return Ok(Ending::CloseNotify);
            }
            Disposition::Silence => {
                instance.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
                let mut rest = [0; 4096];
                while connection.io().read(&mut rest).await? > 0 {}
                return Ok(Ending::NoCloseNotify);
            }
            Disposition::Token(_) | Disposition::Fhir(_) | Disposition::Repository(_) | Disposition::Other => {}
        }
        served += 1;
        let last = served >= instance.requests_per_connection || !head.keeps_alive();
        let Outcome { response, ending, closes_silently } = {
            // Held until the last byte is written: the worker is busy until then.
            let _worker = instance.workers.acquire().await;
            instance.counters.most_workers_busy.fetch_max(instance.workers.busy() as u64, Ordering::Relaxed);
            let body = connection.read_body(&head, KEPT).await?;
            let _session = match session_id(&head) {
                Some(id) => Some(instance.session(&id).await),
                None => None,
            };
            let mut outcome = dispatch::outcome(instance, &head, &body, disposition).await;
            // A client that has read the last byte may send its next request before this task runs again; the two must not
            // count as concurrent.
            let _exchange = in_progress.and_then(InProgress::answer_starts);
            if let Some(response) = &mut outcome.response {
                response.closes |= last;
                connection.write(response).await?;
            }
            outcome
        };
        match response {
            Some(response) if response.closes || closes_silently || response.framing == Framing::Http10 => {
                return Ok(ending);
            }
            Some(_) => {}
            None => return Ok(ending),
        }
    }
}

/// Returns Apache's error page for a request that it cannot read.
fn unreadable(error: &HeadError) -> Answer {
    match error {
        HeadError::LineTooLong => {
            Answer::apache(414, "Request-URI Too Long", "The requested URL's length exceeds the capacity\nlimit for this server.")
        }
        HeadError::FieldsTooLarge => Answer::apache(
            400,
            "Bad Request",
            "Your browser sent a request that this server could not understand.<br />\nSize of a request header field exceeds server limit.",
        ),
        HeadError::Malformed | HeadError::Io(_) => error_answers::bad_request(),
    }
}

/// Returns the session id in the cookie of the area that the request is for.
fn session_id(head: &RequestHead) -> Option<String> {
    let area = if head.path().starts_with("/oauth2/") { Area::OAuth2 } else { Area::Apis };
    let (name, _) = cookie_parts(area);
    let cookies = head.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case("cookie"));
    cookies
        .flat_map(|(_, value)| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(cookie, _)| *cookie == name)
        .map(|(_, id)| id.to_owned())
}

async fn close(stream: &mut Stream, ending: Ending) {
    match ending {
        Ending::CloseNotify => {
            let _ = stream.shutdown().await;
            // Unread input would make the system send a reset, which can overtake the response.
            let mut rest = [0; 4096];
            let drain = async { while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {} };
            let _ = tokio::time::timeout(Duration::from_millis(500), drain).await;
        }
        Ending::NoCloseNotify => {}
        Ending::Reset => {
            // A reset discards what was not sent yet, and at the other end what was not read yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = stream.tcp().set_zero_linger();
        }
    }
}

/// The stream of a connection, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

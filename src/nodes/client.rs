//! The HTTP client for the gateway's own requests: tokens, discovery, health checks, documents, exports.
//!
//! It goes through Pingora's connector, so that one TLS stack serves all. Each request has a connection of its own, which
//! ends with the answer: nothing is ever sent twice, and a pooled connection that OpenEMR has just closed would ask for that.
//! Redirects are not followed.
//!
//! Decision: `docs/decisions/27-own-requests.md`.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use crate::http::set_field::SetField as _;
use crate::nodes::cause::{Explained, Place, Unusable};
use crate::nodes::client_error::{ClientError, MAX_HEAD, Problem};
use crate::nodes::origin::Origin;

/// The client. Cloning it is cheap; all clones share the connector.
#[derive(Clone)]
pub(crate) struct Client {
    connector: Arc<Connector>,
}

/// What one request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Between two reads of the answer, and between two writes of the request. `None` where the whole may take as long: chance
    /// would decide which of the two limits the error names.
    pub step: Option<Duration>,
    /// From the first connection attempt to the end of the answer.
    pub total: Option<Duration>,
    /// The answer's body, in bytes.
    pub body: usize,
}

/// One request; Host is the origin's, and Content-Length is added.
pub(crate) struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// All other fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body, if any.
    pub body: Option<Bytes>,
}

/// A connection on which one request can be sent.
pub(crate) struct Connection {
    session: Box<HttpSession>,
    place: Place,
    host: HeaderValue,
    limits: Limits,
    deadline: Option<Instant>,
}

/// The head of an answer, with its body to come.
pub(crate) struct Incoming {
    /// The status; never an informational one.
    pub status: StatusCode,
    /// The fields.
    pub fields: HeaderMap,
    connection: Connection,
    received: usize,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
    place: Place,
}

impl Client {
    /// A client on this connector.
    #[must_use]
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self { connector }
    }

    /// Sends one request and reads the answer whole.
    ///
    /// # Errors
    /// [`ClientError`], when there is no whole answer within the limits.
    pub(crate) async fn send(&self, origin: &Origin, request: Request, limits: Limits) -> Result<Response, ClientError> {
        self.connect(origin, limits).await?.send(request).await?.whole().await
    }

    /// Connects to one of the origin's addresses, each of which is tried once. A name that was never resolved is looked up.
    ///
    /// # Errors
    /// [`Problem::Unresolved`], [`Problem::NotConnected`] or [`Problem::TimedOut`].
    pub(crate) async fn connect(&self, origin: &Origin, limits: Limits) -> Result<Connection, ClientError> {
        let failed = |problem| ClientError::new(origin.place().clone(), problem);
        let deadline = limits.total.map(|total| Instant::now() + total);
        let connecting = async {
            if origin.address_count() == 0 {
                origin.resolve().await.map_err(Problem::Unresolved)?;
            }
            let http1 = |peer: &mut HttpPeer| peer.options.alpn = ALPN::H1;
            origin.connect(&self.connector, http1).await.map_err(Problem::NotConnected)
        };
        // Boxed: each request of a client may have to send one of the gateway's own, and would else keep room for a handshake.
        let mut session = within(deadline, limits, Box::pin(connecting)).await.map(Box::new).map_err(failed)?;
        // Pingora's connector leaves the peer's timeouts to whoever reads and writes.
        session.set_read_timeout(limits.step);
        session.set_write_timeout(limits.step);
        Ok(Connection { session, place: origin.place().clone(), host: origin.host().clone(), limits, deadline })
    }
}

impl Request {
    /// A `GET` without a body.
    #[must_use]
    pub(crate) fn get(target: String, fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { method: Method::GET, target, fields, body: None }
    }

    fn head(&self, host: HeaderValue) -> pingora::Result<RequestHeader> {
        let mut head = RequestHeader::build(self.method.clone(), self.target.as_bytes(), Some(self.fields.len() + 3))?;
        head.set(HOST, host);
        head.set(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &self.fields {
            head.add(name, value.clone());
        }
        if let Some(body) = &self.body {
            head.set(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(head)
    }
}

impl Connection {
    /// Sends a request and reads the head of the answer; informational answers (RFC 9110 section 15.2) are passed over.
    ///
    /// # Errors
    /// [`Problem::Broken`], [`Problem::HeadTooLong`] or [`Problem::TimedOut`].
    pub(crate) async fn send(mut self, request: Request) -> Result<Incoming, ClientError> {
        let (deadline, limits) = (self.deadline, self.limits);
        let sending = exchange_heads(&mut self.session, request, self.host.clone());
        let head = match within(deadline, limits, Box::pin(async { sending.await.map_err(Problem::Broken) })).await {
            Ok(head) => head,
            Err(problem) => return Err(self.failed(problem)),
        };
        let length: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if length > MAX_HEAD {
            return Err(self.failed(Problem::HeadTooLong));
        }
        let head = head.as_owned_parts();
        Ok(Incoming { status: head.status, fields: head.headers, connection: self, received: 0 })
    }

    fn failed(&self, problem: Problem) -> ClientError {
        ClientError::new(self.place.clone(), problem)
    }
}

async fn exchange_heads(
    session: &mut HttpSession,
    request: Request,
    host: HeaderValue,
) -> pingora::Result<pingora::http::ResponseHeader> {
    session.write_request_header(Box::new(request.head(host)?)).await?;
    if let Some(body) = request.body {
        session.write_request_body(body, true).await?;
    }
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        match session.response_header() {
            Some(head) if head.status.is_informational() => {}
            Some(head) => return Ok(head.clone()),
            None => return pingora::Error::e_explain(pingora::ErrorType::ConnectionClosed, "no answer"),
        }
    }
}

impl Incoming {
    /// A field's value as text; `None` where it is missing or no ASCII.
    #[must_use]
    pub(crate) fn field(&self, name: &HeaderName) -> Option<&str> {
        text_of(&self.fields, name)
    }

    /// Explains why this answer, which is of no use, came; `body` is what was read of it.
    #[must_use]
    pub(crate) fn explain(&self, body: &[u8]) -> Explained<'_> {
        explain(&self.connection.place, self.status, &self.fields, body)
    }

    /// The next piece of the body; `None` at its end. A body that is cut short is an error, as far as its framing tells.
    ///
    /// # Errors
    /// [`Problem::Broken`], [`Problem::BodyTooLong`] or [`Problem::TimedOut`].
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Connection { session, limits, deadline, .. } = &mut self.connection;
        let reading = async { session.read_response_body().await.map_err(Problem::Broken) };
        let piece = within(*deadline, *limits, reading).await.map_err(|problem| self.connection.failed(problem))?;
        self.received += piece.as_ref().map_or(0, Bytes::len);
        if self.received > self.connection.limits.body {
            return Err(self.connection.failed(Problem::BodyTooLong(self.connection.limits.body)));
        }
        Ok(piece)
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    /// As [`Incoming::piece`].
    pub(crate) async fn whole(mut self) -> Result<Response, ClientError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Response { status: self.status, fields: self.fields, body: body.freeze(), place: self.connection.place })
    }
}

impl Response {
    /// Explains why this answer, which is of no use, came.
    #[must_use]
    pub(crate) fn explain(&self) -> Explained<'_> {
        explain(&self.place, self.status, &self.fields, &self.body)
    }
}

fn explain<'a>(place: &'a Place, status: StatusCode, fields: &HeaderMap, body: &[u8]) -> Explained<'a> {
    let (location, content_type) = (text_of(fields, &LOCATION), text_of(fields, &CONTENT_TYPE));
    place.explain_answer(Unusable { status, location, content_type, body })
}

fn text_of<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

async fn within<T>(
    deadline: Option<Instant>,
    limits: Limits,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
            .await
            .unwrap_or_else(|_| Err(Problem::TimedOut(limits.total.unwrap_or_default()))),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

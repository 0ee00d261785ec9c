//! The gateway's own requests to OpenEMR: each on a connection of its own, with a place in flight like any other.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderName, Method, StatusCode};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use crate::nodes::in_flight::{Entry, Permit};
use crate::nodes::node::Node;
use crate::nodes::origin::{describe, is_no_connection};
use crate::nodes::{Nodes, Tried};
use crate::site::prepared::Site;
use crate::smart::token::AccessToken;

/// How long a request of the gateway's own waits for a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// What asks.
#[derive(Clone)]
pub struct Client {
    /// Where.
    pub nodes: Arc<Nodes>,
    /// Through what.
    pub connector: Arc<Connector>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Its method.
    pub method: Method,
    /// Path below the FHIR base, with its `/`, and query.
    pub target: &'a str,
    /// Fields besides Host, Authorization and the body's.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// A body and its media type.
    pub body: Option<(Bytes, &'static str)>,
    /// The longest answer that is read, in bytes.
    pub most: usize,
    /// Between two reads of the answer.
    pub read_timeout: Duration,
}

impl<'a> Question<'a> {
    /// `GET`, of FHIR's JSON.
    #[must_use]
    pub fn get(target: &'a str, most: usize, read_timeout: Duration) -> Self {
        let fields = vec![(ACCEPT, HeaderValue::from_static("application/fhir+json"))];
        Self { method: Method::GET, target, fields, body: None, most, read_timeout }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Told {
    /// Its head.
    pub head: ResponseHeader,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// All nodes are out, or none could be reached.
    #[error("OpenEMR cannot be reached")]
    Unreachable,
    /// As many requests wait for OpenEMR as may, or it took too long until this one's turn.
    #[error("too many requests wait for OpenEMR")]
    Busy,
    /// There is no token.
    #[error("there is no access token for OpenEMR")]
    NoToken,
    /// The connection broke, or an answer took too long.
    #[error("the connection to OpenEMR broke: {0}")]
    BrokenOff(String),
    /// The answer is longer than what is read.
    #[error("OpenEMR's answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Site {
    /// Asks OpenEMR, with a token or without. Nothing is sent twice, whatever the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, question: &Question<'_>, token: Option<&AccessToken>) -> Result<Told, AskError> {
        self.client.ask(question, token).await
    }

    /// Asks OpenEMR with the site's token; once more with another one, where it is refused.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_with_token(&self, question: &Question<'_>) -> Result<Told, AskError> {
        let token = match self.token.usable(Instant::now()) {
            Some(token) => token,
            None => self.token.wait(TOKEN_PATIENCE).await.map_err(|_| AskError::NoToken)?,
        };
        let told = self.ask(question, Some(&token)).await?;
        if told.head.status != StatusCode::UNAUTHORIZED {
            return Ok(told);
        }
        match self.token.replacement(token.generation, TOKEN_PATIENCE).await {
            Ok(token) => self.ask(question, Some(&token)).await,
            Err(_) => Ok(told),
        }
    }
}

impl Client {
    /// Asks OpenEMR, with a token or without. Nothing is sent twice, whatever the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, question: &Question<'_>, token: Option<&AccessToken>) -> Result<Told, AskError> {
        let _permit = turn(&self.nodes).await?;
        let mut tried = Tried::default();
        let mut on = Some(self.nodes.choose(tried, Instant::now()).map_err(|_| AskError::Unreachable)?);
        while let Some(mut node) = on {
            match self.connect(node.node()).await {
                Ok(mut session) => {
                    // Pingora's connector leaves that to whoever reads.
                    session.set_read_timeout(Some(question.read_timeout));
                    let sent = Instant::now();
                    send(&mut session, node.node(), question, token).await.map_err(|error| broken_off(&error))?;
                    let told = receive(&mut session, question.most).await;
                    if let Ok(told) = &told {
                        node.answered(Some(sent.elapsed()), told.head.status.is_server_error());
                    }
                    return told;
                }
                Err(is_its_fault) => on = node.unreachable(is_its_fault, &mut tried, Instant::now()),
            }
        }
        Err(AskError::Unreachable)
    }

    /// A connection to one of the node's addresses; otherwise, whether that counts against the node.
    async fn connect(&self, node: &Node) -> Result<HttpSession, bool> {
        let plain = |peer: &mut HttpPeer| peer.options.alpn = ALPN::H1;
        let connected = node.fhir.connect(&self.connector, plain).await;
        connected.map_err(|failure| failure.is_none_or(|failure| is_no_connection(&failure.error)))
    }
}

async fn turn(nodes: &Nodes) -> Result<Permit, AskError> {
    match nodes.in_flight().enter(Instant::now()) {
        Entry::Go(permit) => Ok(permit),
        Entry::Wait(place) => place.turn().await.ok_or(AskError::Busy),
        Entry::Full => Err(AskError::Busy),
    }
}

async fn send(
    session: &mut HttpSession,
    node: &Node,
    question: &Question<'_>,
    token: Option<&AccessToken>,
) -> pingora::Result<()> {
    let target = format!("{}{}", node.fhir.url().path, question.target);
    let mut head = RequestHeader::build(question.method.clone(), target.as_bytes(), None)?;
    head.insert_header(HOST, node.host.clone())?;
    head.insert_header(CONNECTION, HeaderValue::from_static("close"))?;
    for (name, value) in &question.fields {
        head.append_header(name.clone(), value.clone())?;
    }
    if let Some(token) = token {
        head.insert_header(AUTHORIZATION, token.authorization().clone())?;
    }
    if let Some((body, media_type)) = &question.body {
        head.insert_header(CONTENT_TYPE, *media_type)?;
        head.insert_header(CONTENT_LENGTH, body.len())?;
    }
    session.write_request_header(Box::new(head)).await?;
    if let Some((body, _)) = &question.body {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await
}

async fn receive(session: &mut HttpSession, most: usize) -> Result<Told, AskError> {
    session.read_response_header().await.map_err(|error| broken_off(&error))?;
    while session.response_header().is_some_and(|head| head.status.is_informational()) {
        session.read_response_header().await.map_err(|error| broken_off(&error))?;
    }
    let head = session.response_header().cloned().ok_or_else(|| AskError::BrokenOff("there is no answer".to_owned()))?;
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_response_body().await.map_err(|error| broken_off(&error))? {
        if body.len() + piece.len() > most {
            return Err(AskError::TooLong(most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Told { head, body: body.freeze() })
}

fn broken_off(error: &pingora::Error) -> AskError {
    AskError::BrokenOff(describe(error))
}

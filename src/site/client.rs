//! The gateway's own requests to one site's FHIR API: each takes a permit to be in flight, as those of callers do, and goes
//! to a node that is chosen as theirs are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, StatusCode};

use crate::fhir::interaction::Interaction;
use crate::limits::class::Class;
use crate::nodes::client::{Client, Limits, Request, Response};
use crate::nodes::client_error::ClientError;
use crate::nodes::in_flight::{Entry, Flow, Permit, Waited};
use crate::nodes::{NodeLease, Nodes, Tried};
use crate::smart::token::AccessToken;
use crate::smart::token_cell::TokenHandle;

/// How long a request waits for a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// A client of one site's FHIR API.
#[derive(Debug, Clone)]
pub(crate) struct SiteClient {
    nodes: Arc<Nodes>,
    token: Arc<TokenHandle>,
    client: Client,
}

/// A request; its body, if it has one, comes beside it.
#[derive(Debug, Clone)]
pub(crate) struct FhirRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path below the FHIR base, with its `/`, and the query.
    pub target: &'a str,
    /// Fields besides Host and Authorization.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The longest answer that is read, in bytes.
    pub max_body: usize,
    /// Between two reads of the answer.
    pub read_timeout: Duration,
    /// Who shares OpenEMR with others by it, where it has no permit yet.
    pub flow: Flow,
    /// The permit of the client on whose behalf it is sent; `None` for one of the gateway's own.
    pub permit: Option<&'a Permit>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteClientError {
    /// All nodes are ejected.
    #[error("no node can be reached")]
    NoNode,
    /// The wait queue is full, or the request waited in it too long.
    #[error("too many requests wait for OpenEMR")]
    Busy,
    /// There is no token.
    #[error("there is no access token for OpenEMR")]
    NoToken,
    /// The request failed.
    #[error(transparent)]
    Failed(#[from] ClientError),
}

impl<'a> FhirRequest<'a> {
    /// A `GET` that accepts FHIR's JSON.
    #[must_use]
    pub(crate) fn get(target: &'a str, max_body: usize, read_timeout: Duration) -> Self {
        let fields = vec![(ACCEPT, HeaderValue::from_static("application/fhir+json"))];
        Self { method: Method::GET, target, fields, max_body, read_timeout, flow: Flow::Own, permit: None }
    }

    /// The same on behalf of somebody.
    #[must_use]
    pub(crate) fn of(self, flow: Flow) -> Self {
        Self { flow, ..self }
    }
}

impl SiteClientError {
    /// Whether OpenEMR has seen nothing of the request.
    #[must_use]
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            Self::NoNode | Self::Busy | Self::NoToken => true,
            Self::Failed(error) => error.is_unsent(),
        }
    }
}

impl SiteClient {
    /// A client that sends to these nodes, with this token where one is asked for.
    #[must_use]
    pub(crate) fn new(nodes: Arc<Nodes>, token: Arc<TokenHandle>, client: Client) -> Self {
        Self { nodes, token, client }
    }

    /// Sends a request, with a token or without. It is not repeated once it was sent, whatever the answer.
    ///
    /// # Errors
    /// [`SiteClientError`], but for [`SiteClientError::NoToken`].
    pub(crate) async fn send(&self, request: &FhirRequest<'_>, token: Option<&AccessToken>) -> Result<Response, SiteClientError> {
        self.send_body(request, None, token).await
    }

    async fn send_body(
        &self,
        request: &FhirRequest<'_>,
        body: Option<&Bytes>,
        token: Option<&AccessToken>,
    ) -> Result<Response, SiteClientError> {
        let own = match request.permit {
            Some(_) => None,
            None => Some(permit(&self.nodes, request).await?),
        };
        let permit = request.permit.or(own.as_ref());
        let limits = Limits { step: Some(request.read_timeout), total: None, body: request.max_body };
        let mut tried = Tried::default();
        let mut lease = NodeLease::take(&self.nodes, tried, Instant::now()).map_err(|_| SiteClientError::NoNode)?;
        loop {
            let connected = match self.client.connect(&lease.node().fhir, limits).await {
                Ok(connection) => connection,
                Err(error) => match lease.unreachable(error.is_servers_fault(), &mut tried, Instant::now()) {
                    Some(next) => {
                        lease = next;
                        continue;
                    }
                    None => return Err(error.into()),
                },
            };
            let sent = Instant::now();
            let response = async { connected.send(at(&lease, request, body, token)).await?.whole().await }.await;
            let took = sent.elapsed();
            match (permit, &response) {
                (Some(permit), Ok(response)) => permit.answered(took, response.status),
                (Some(permit), Err(error)) if error.is_timeout() => permit.timed_out(took),
                _ => {}
            }
            let response = response?;
            lease.answered(Some(took), response.status.is_server_error());
            return Ok(response);
        }
    }

    /// Sends a request with the site's token; once more with another one, where OpenEMR refuses it.
    ///
    /// # Errors
    /// [`SiteClientError`].
    pub(crate) async fn send_with_token(&self, request: &FhirRequest<'_>) -> Result<Response, SiteClientError> {
        self.send_body_with_token(request, None).await
    }

    /// Sends a search by POST, whose parameters are in the form, with the site's token: as [`Self::send_with_token`]. Other
    /// servers log a query, and no form.
    ///
    /// # Errors
    /// [`SiteClientError`].
    pub(crate) async fn search(&self, request: &FhirRequest<'_>, form: &Bytes) -> Result<Response, SiteClientError> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        let fields = request.fields.iter().cloned().chain([(CONTENT_TYPE, FORM)]).collect();
        let request = FhirRequest { method: Method::POST, fields, ..request.clone() };
        self.send_body_with_token(&request, Some(form)).await
    }

    async fn send_body_with_token(&self, request: &FhirRequest<'_>, body: Option<&Bytes>) -> Result<Response, SiteClientError> {
        let token = match self.token.usable(Instant::now()) {
            Some(token) => token,
            None => self.token.wait(TOKEN_PATIENCE).await.map_err(|_| SiteClientError::NoToken)?,
        };
        let response = self.send_body(request, body, Some(&token)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.token.replacement(token.generation, TOKEN_PATIENCE).await {
            Ok(token) => self.send_body(request, body, Some(&token)).await,
            Err(_) => Ok(response),
        }
    }
}

async fn permit(nodes: &Nodes, request: &FhirRequest<'_>) -> Result<Permit, SiteClientError> {
    let (path, query) = request.target.split_at(request.target.find('?').unwrap_or(request.target.len()));
    let class = Class::of(Interaction::of(&request.method, path.as_bytes()), query.as_bytes());
    match nodes.in_flight().enter(request.flow, class, Instant::now()) {
        Entry::Admitted(permit) => Ok(permit),
        Entry::Queued(ticket) => match ticket.wait().await {
            Waited::Admitted(permit) => Ok(permit),
            Waited::CutOff | Waited::TimedOut => Err(SiteClientError::Busy),
        },
        Entry::Full => Err(SiteClientError::Busy),
    }
}

/// The request at a node, below its FHIR base.
fn at(lease: &NodeLease, request: &FhirRequest<'_>, body: Option<&Bytes>, token: Option<&AccessToken>) -> Request {
    let authorization = token.map(|token| (AUTHORIZATION, token.authorization().clone()));
    Request {
        method: request.method.clone(),
        target: format!("{}{}", lease.node().fhir.url().path, request.target),
        fields: request.fields.iter().cloned().chain(authorization).collect(),
        body: body.cloned(),
    }
}

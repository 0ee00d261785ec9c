//! One attempt at the token endpoint, through Pingora's HTTP connector, so that one TLS stack serves all.
//!
//! Every attempt has a connection, a `jti` and a signature of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::ResponseHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::Site;
use crate::origin::{Origin, describe};
use crate::smart::assertion::{self, Claimant};
use crate::smart::key_ring::{Keys, SharedSigner};
use crate::smart::token_request;
use crate::smart::token_response::{self, Answer, Grant, LARGEST_ANSWER, TokenError};

/// A site's token endpoint and the client that asks it.
pub struct TokenEndpoint {
    site: Arc<Site>,
    signer: SharedSigner,
    origin: Origin,
    connector: Arc<Connector>,
}

/// An answer, read whole.
struct WholeAnswer {
    status: u16,
    content_type: Option<String>,
    skew: Option<i64>,
    body: Zeroizing<Vec<u8>>,
}

impl TokenEndpoint {
    /// The endpoint at `origin`, asked for the client of `site` with assertions that `signer` signs.
    #[must_use]
    pub fn new(site: Arc<Site>, signer: SharedSigner, origin: Origin, connector: Arc<Connector>) -> Self {
        Self { site, signer, origin, connector }
    }

    /// The site whose tokens come from here.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// One exchange, within the site's `timeouts.token`. While the key is rotated there may be a second one, with the other key.
    ///
    /// # Errors
    /// Whatever kept a usable token from coming back.
    pub async fn exchange(&self) -> Result<Grant, TokenError> {
        self.signer.load_full().attempt(|keys| self.exchange_signed_by(keys)).await
    }

    async fn exchange_signed_by(&self, keys: Arc<Keys>) -> Result<Grant, TokenError> {
        let limit = self.site.timeouts.token;
        let answer = tokio::time::timeout(limit, self.ask(&keys)).await.map_err(|_| TokenError::TimedOut(limit))??;
        token_response::parse(Answer {
            status: answer.status,
            content_type: answer.content_type.as_deref(),
            skew: answer.skew,
            body: &answer.body,
        })
    }

    async fn ask(&self, keys: &Keys) -> Result<WholeAnswer, TokenError> {
        self.origin.resolve().await.map_err(|error| TokenError::Unreachable(error.to_string()))?;
        let mut session = self.connect().await?;
        // Signed after the connection stands: the assertion's life should not be spent on a slow handshake.
        let assertion = assertion::sign(
            Claimant { client_id: &self.site.client_id, audience: &self.site.token_audience, kid: keys.kid(), key: keys.key() },
            SystemTime::now(),
            Uuid::new_v4(),
        )
        .map_err(|error| TokenError::Signing(error.to_string()))?;
        let form = token_request::form(&self.site.scopes, &assertion);
        let head = token_request::head(self.origin.url(), form.len()).map_err(|error| broken_off(&error))?;
        session.write_request_header(Box::new(head)).await.map_err(|error| broken_off(&error))?;
        let body = Bytes::copy_from_slice(form.as_bytes());
        session.write_request_body(body, true).await.map_err(|error| broken_off(&error))?;
        session.finish_request_body().await.map_err(|error| broken_off(&error))?;
        read_answer(&mut session).await
    }

    async fn connect(&self) -> Result<HttpSession, TokenError> {
        let mut failure = None;
        for _ in 0..self.origin.address_count() {
            let Some(mut peer) = self.origin.peer() else { break };
            bound(&mut peer, self.site.timeouts.token);
            match self.connector.get_http_session(&peer).await {
                Ok((session, _)) => return Ok(session),
                Err(error) => {
                    self.origin.avoid(&peer);
                    failure = Some(format!("{} at {}: {}", self.origin.url(), peer._address, describe(&error)));
                }
            }
        }
        Err(TokenError::Unreachable(failure.unwrap_or_else(|| "it has no address".to_owned())))
    }
}

fn bound(peer: &mut HttpPeer, limit: Duration) {
    peer.options.read_timeout = Some(limit);
    peer.options.write_timeout = Some(limit);
}

async fn read_answer(session: &mut HttpSession) -> Result<WholeAnswer, TokenError> {
    session.read_response_header().await.map_err(|error| broken_off(&error))?;
    while session.response_header().is_some_and(|head| head.status.is_informational()) {
        session.read_response_header().await.map_err(|error| broken_off(&error))?;
    }
    let Some(head) = session.response_header() else {
        return Err(TokenError::BrokenOff("there is no answer".to_owned()));
    };
    let mut answer = WholeAnswer {
        status: head.status.as_u16(),
        content_type: field(head, "content-type").map(str::to_owned),
        skew: field(head, "date").and_then(skew),
        body: Zeroizing::new(Vec::with_capacity(4096)),
    };
    while let Some(chunk) = session.read_response_body().await.map_err(|error| broken_off(&error))? {
        if answer.body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(TokenError::NotUnderstood {
                status: answer.status,
                problem: format!("the body is larger than {LARGEST_ANSWER} bytes"),
            });
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn field<'a>(head: &'a ResponseHeader, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

/// The server's clock minus ours, in seconds, from its Date field (RFC 9110 section 6.6.1).
fn skew(date: &str) -> Option<i64> {
    let theirs = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(theirs.as_secs()).ok()?.checked_sub_unsigned(ours.as_secs())
}

fn broken_off(error: &pingora::Error) -> TokenError {
    TokenError::BrokenOff(describe(error))
}

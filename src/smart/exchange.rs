//! One attempt at the token endpoint, through Pingora's HTTP connector, so that one TLS stack serves all.
//!
//! Every request has a connection, a `jti` and a signature of its own.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use log::{info, warn};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::Site;
use crate::nodes::node::Node;
use crate::nodes::origin::{Origin, describe};
use crate::nodes::token_origin::TokenOrigin;
use crate::nodes::{Nodes, Terms};
use crate::scopes::scope::Scopes;
use crate::smart::assertion::{self, Claimant};
use crate::smart::discovery::{self, Found};
use crate::smart::signer::{Exchange, SharedSigner};
use crate::smart::signing_keys::Keys;
use crate::smart::skew::{self, Change, Skew};
use crate::smart::token_request;
use crate::smart::token_response::{self, Answer, Grant, LARGEST_ANSWER, TokenError};

/// A site's token endpoint and the client that asks it.
pub struct TokenEndpoint {
    site: Arc<Site>,
    scopes: Scopes,
    /// Its tokens' name in the log.
    name: String,
    signer: SharedSigner,
    /// A reload that changes nothing about the token can change what else is known of the nodes.
    nodes: Arc<ArcSwap<Nodes>>,
    /// The node that is asked first, if it stands as well as the others.
    first: usize,
    connector: Arc<Connector>,
    skew: Skew,
}

/// A token that came, and when its life began at the earliest.
pub struct Exchanged {
    /// What was granted.
    pub grant: Grant,
    /// When the request that brought it was sent, on the monotonic clock: OpenEMR cannot have issued it before.
    pub requested_at: Instant,
}

/// An answer, read whole.
struct WholeAnswer {
    status: u16,
    content_type: Option<String>,
    skew: Option<i64>,
    body: Zeroizing<Vec<u8>>,
}

impl TokenEndpoint {
    /// The endpoint at any of these nodes, asked for the client of `site` with assertions that `signer` signs.
    #[must_use]
    pub fn new(site: Arc<Site>, signer: SharedSigner, nodes: Arc<Nodes>, connector: Arc<Connector>) -> Self {
        let (scopes, name) = (site.scopes.clone(), site.name.as_str().to_owned());
        Self { site, scopes, name, signer, nodes: Arc::new(ArcSwap::new(nodes)), first: 0, connector, skew: Skew::default() }
    }

    /// The same, for tokens of fewer scopes, which the log names by their purpose.
    #[must_use]
    pub fn narrowed(mut self, scopes: Scopes, purpose: &str) -> Self {
        self.scopes = scopes;
        self.name = format!("{}, {purpose}", self.name);
        self
    }

    /// The nodes that are asked, to be replaced by a reload.
    #[must_use]
    pub(super) fn nodes(&self) -> Arc<ArcSwap<Nodes>> {
        Arc::clone(&self.nodes)
    }

    /// The site whose tokens come from here.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What is asked for.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Whose tokens the log says they are: the site's name, and their purpose unless that is everything.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One exchange, within the site's `timeouts.token`; while the key is rotated there may be a second one, with the other key.
    ///
    /// # Errors
    /// Whatever kept a usable token from coming back.
    pub async fn exchange(&mut self) -> Result<Exchanged, TokenError> {
        let signer = self.signer.load_full();
        let exchanged = signer.attempt(self).await;
        if exchanged.is_err() {
            // Another node may do better: this one's trouble may be its token endpoint's alone.
            self.first = self.first.wrapping_add(1);
            // And an endpoint that was found may have moved.
            self.nodes.load().by_standing(0).for_each(|node| node.tokens.doubt());
        }
        exchanged
    }

    async fn attempt(&mut self, keys: &Keys) -> Result<Exchanged, TokenError> {
        let assumed = self.skew.correction();
        let result = self.ask(keys).await;
        match &result {
            Err(TokenError::Refused(refusal)) if refusal.is_about_the_assertion() && self.skew.correction() != assumed => {
                info!("site {}: the assertion is signed once more, by OpenEMR's clock", self.name);
                self.ask(keys).await
            }
            Ok(_) | Err(_) => result,
        }
    }

    /// One request and its answer.
    async fn ask(&mut self, keys: &Keys) -> Result<Exchanged, TokenError> {
        let nodes = self.nodes.load_full();
        let (mut session, endpoint) = self.connect(&nodes).await?;
        // Signed after the connection stands: the assertion's life should not be spent on a slow handshake.
        let form = token_request::form(&self.scopes, &self.sign(keys, &endpoint.audience)?);
        let head = token_request::head(endpoint.origin.url(), form.len()).map_err(|error| broken_off(&error))?;
        let (requested_at, by_the_clock) = (Instant::now(), SystemTime::now());
        session.write_request_header(Box::new(head)).await.map_err(|error| broken_off(&error))?;
        let body = Bytes::copy_from_slice(form.as_bytes());
        session.write_request_body(body, true).await.map_err(|error| broken_off(&error))?;
        session.finish_request_body().await.map_err(|error| broken_off(&error))?;
        let answer = read_answer(&mut session, |date| skew::measure(date, by_the_clock, requested_at.elapsed())).await?;
        if let Some(ahead) = answer.skew {
            self.note_skew(ahead);
        }
        let grant = token_response::parse(Answer {
            status: answer.status,
            content_type: answer.content_type.as_deref(),
            skew: answer.skew,
            body: &answer.body,
        })?;
        Ok(Exchanged { grant, requested_at })
    }

    /// A client assertion of this moment, by OpenEMR's clock.
    fn sign(&self, keys: &Keys, endpoint: &str) -> Result<Zeroizing<String>, TokenError> {
        let audience = self.site.token_audience.as_deref().unwrap_or(endpoint);
        let claimant = Claimant { client_id: &self.site.client_id, audience, kid: keys.kid(), key: keys.key() };
        assertion::sign(claimant, self.skew.apply(SystemTime::now()), Uuid::new_v4())
            .map_err(|error| TokenError::Signing(error.to_string()))
    }

    fn note_skew(&mut self, ahead: i64) {
        let name = &self.name;
        match self.skew.observe(ahead) {
            Change::None => {}
            Change::Apart(ahead) => {
                let direction = if ahead > 0 { "behind" } else { "ahead of" };
                warn!(
                    "site {name}: this machine's clock is {} s {direction} OpenEMR's: assertions are shifted by it; set the clocks",
                    ahead.abs()
                );
            }
            Change::Together => info!("site {name}: this machine's clock and OpenEMR's agree again"),
            Change::Absurd(_) => {
                warn!(
                    "site {name}: OpenEMR's Date is more than a day off this machine's clock and is not believed; set the clocks"
                );
            }
        }
    }

    /// A connection to the first node that takes one; those that are in come first.
    async fn connect(&self, nodes: &Nodes) -> Result<(HttpSession, Arc<TokenOrigin>), TokenError> {
        let mut failure = None;
        for node in nodes.by_standing(self.first) {
            let connected = match self.endpoint_of(node, nodes.terms()).await {
                Ok(endpoint) => self.connect_to(&endpoint.origin).await.map(|session| (session, endpoint)),
                Err(error) => Err(error),
            };
            match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = Some(error),
            }
        }
        Err(TokenError::Unreachable(failure.unwrap_or_else(|| "there is no node".to_owned())))
    }

    /// A node's token endpoint. One that was found holds until it is found anew, whatever comes of looking for it.
    async fn endpoint_of(&self, node: &Node, terms: &Terms) -> Result<Arc<TokenOrigin>, String> {
        let known = node.tokens.known();
        if !node.tokens.is_to_be_found() {
            return known.ok_or_else(|| "it is not known".to_owned());
        }
        match self.find(node).await {
            Ok(found) => {
                if known.is_none_or(|known| known.audience != found.text) {
                    info!("site {}: its token endpoint is {}", self.name, found.url);
                }
                Ok(node.tokens.found(&found.url, &found.text, terms))
            }
            Err(problem) => {
                let problem = format!("the SMART configuration below {}: {problem}", node.fhir.url());
                known.inspect(|_| warn!("site {}: {problem}", self.name)).ok_or(problem)
            }
        }
    }

    /// Asks a server where its token endpoint is.
    async fn find(&self, node: &Node) -> Result<Found, String> {
        let mut session = self.connect_to(&node.fhir).await?;
        let target = format!("{}{}", node.fhir.url().path, discovery::PATH);
        let ask = async {
            let mut head = RequestHeader::build("GET", target.as_bytes(), None)?;
            head.insert_header("Host", node.host.clone())?;
            head.insert_header("Accept", "application/json")?;
            head.insert_header("Connection", "close")?;
            session.write_request_header(Box::new(head)).await?;
            session.finish_request_body().await
        };
        ask.await.map_err(|error| describe(&error))?;
        let answer = read_answer(&mut session, |_| None).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        discovery::token_endpoint(&answer.body).map_err(|error| error.to_string())
    }

    async fn connect_to(&self, origin: &Origin) -> Result<HttpSession, String> {
        if origin.address_count() == 0 {
            origin.resolve().await.map_err(|error| error.to_string())?;
        }
        let limit = self.site.timeouts.token;
        origin.connect(&self.connector, |peer| bound(peer, limit)).await.map_err(|failure| match failure {
            Some(failure) => format!("{} at {}: {}", origin.url(), failure.address, describe(&failure.error)),
            None => "it has no address".to_owned(),
        })
    }
}

impl Exchange for TokenEndpoint {
    async fn exchange(&mut self, keys: &Keys) -> Result<Exchanged, TokenError> {
        let limit = self.site.timeouts.token;
        tokio::time::timeout(limit, self.attempt(keys)).await.map_err(|_| TokenError::TimedOut(limit))?
    }
}

fn bound(peer: &mut HttpPeer, limit: Duration) {
    peer.options.read_timeout = Some(limit);
    peer.options.write_timeout = Some(limit);
}

async fn read_answer(session: &mut HttpSession, skew: impl Fn(&str) -> Option<i64>) -> Result<WholeAnswer, TokenError> {
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

fn broken_off(error: &pingora::Error) -> TokenError {
    TokenError::BrokenOff(describe(error))
}

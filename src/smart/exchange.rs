//! A site's token endpoint: one exchange is a connection, an assertion signed for it, and the answer.
//!
//! Every request has a connection, a `jti` and a signature of its own.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use log::{info, warn};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{Site, Upstream};
use crate::http::retry_after;
use crate::nodes::Nodes;
use crate::nodes::client::{Client, Connection, Limits};
use crate::nodes::node::Node;
use crate::nodes::token_origin::TokenOrigin;
use crate::scopes::scope::Scopes;
use crate::smart::assertion::{self, AssertionError, Claimant};
use crate::smart::discovery::{self, DiscoveryFailure};
use crate::smart::exchanged::{Exchange, ExchangeError, Exchanged};
use crate::smart::key_rings::KeyRings;
use crate::smart::signer::SharedSigner;
use crate::smart::signing_keys::Keys;
use crate::smart::skew::{self, Change, Skew};
use crate::smart::token_request;
use crate::smart::token_response::{self, Answer, LARGEST_ANSWER, TokenError};

/// A site's token endpoint, and what the gateway asks it for.
pub(crate) struct TokenEndpoint {
    site: Arc<Site>,
    scopes: Scopes,
    /// Its tokens' name in the log.
    name: String,
    signer: SharedSigner,
    /// Replaced by a reload that keeps the token and changes anything else about the nodes.
    nodes: Arc<ArcSwap<Nodes>>,
    /// The node that is asked first, if its health is as good as the others'.
    first: usize,
    /// The URL that was asked last.
    asked: Option<String>,
    client: Client,
    skew: Skew,
}

impl TokenEndpoint {
    /// The token endpoint of `site` at any of these nodes, with assertions that `signer` signs.
    #[must_use]
    pub(crate) fn new(site: Arc<Site>, signer: SharedSigner, nodes: Arc<Nodes>, client: Client) -> Self {
        let (scopes, name) = (site.token.scopes.clone(), site.name.as_str().to_owned());
        Self {
            site,
            scopes,
            name,
            signer,
            nodes: Arc::new(ArcSwap::new(nodes)),
            first: 0,
            asked: None,
            client,
            skew: Skew::default(),
        }
    }

    /// The same beside no running gateway, for a command that makes an exchange of its own, as a gateway would at its start.
    #[must_use]
    pub(crate) fn alone(site: Arc<Site>, nodes: Arc<Nodes>, client: Client) -> Self {
        let signer = Arc::new(ArcSwap::new(KeyRings::default().signer(&site)));
        Self::new(site, signer, nodes, client)
    }

    /// The `kid` of the key that signs.
    #[must_use]
    pub(crate) fn kid(&self) -> String {
        self.signer.load().kid()
    }

    /// The same endpoint for tokens of fewer scopes, which the log names by their purpose.
    #[must_use]
    pub(crate) fn narrowed(mut self, scopes: Scopes, purpose: &str) -> Self {
        self.scopes = scopes;
        self.name = format!("{}, {purpose}", self.name);
        self
    }

    /// The nodes, to be replaced by a reload.
    #[must_use]
    pub(super) fn nodes(&self) -> Arc<ArcSwap<Nodes>> {
        Arc::clone(&self.nodes)
    }

    /// The site whose tokens come from here.
    #[must_use]
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// The URL that was asked last; `None` before an exchange.
    #[must_use]
    pub(crate) fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// The scopes that are asked for.
    #[must_use]
    pub(crate) fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The name of its tokens in the log: the site, and their purpose if they have few scopes.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One exchange, within the site's `timeouts.token`; while the key is rotated there may be a second one, with the other key.
    ///
    /// # Errors
    /// Whatever kept a usable token from coming back.
    pub(crate) async fn exchange(&mut self) -> Result<Exchanged, ExchangeError> {
        let signer = self.signer.load_full();
        let exchanged = signer.attempt(self).await;
        if exchanged.is_err() {
            // Only this node's token endpoint may be in trouble.
            self.first = self.first.wrapping_add(1);
            // An endpoint that was discovered may have moved.
            self.nodes.load().by_health(0).for_each(|node| node.tokens.doubt());
        }
        exchanged
    }

    async fn attempt(&mut self, keys: &Keys) -> Result<Exchanged, ExchangeError> {
        let assumed = self.skew.correction();
        let result = self.request(keys).await;
        match &result {
            Err(ExchangeError::Answer { error: TokenError::Refused(refusal), retry_after: None, .. })
                if refusal.is_about_the_assertion() && self.skew.correction() != assumed =>
            {
                info!("site {}: the assertion is signed once more, by OpenEMR's clock", self.name);
                self.request(keys).await
            }
            Ok(_) | Err(_) => result,
        }
    }

    /// One request and its answer.
    async fn request(&mut self, keys: &Keys) -> Result<Exchanged, ExchangeError> {
        let nodes = self.nodes.load_full();
        let (connection, endpoint) = self.connect(&nodes).await?;
        // Signed after the connection stands: the assertion's life should not be spent on a slow handshake.
        let form = token_request::form(&self.scopes, &self.sign(keys, &endpoint.audience)?);
        let request = token_request::request(&endpoint.origin.url().path, form);
        let (requested_at, by_the_clock) = (Instant::now(), SystemTime::now());
        let mut incoming = connection.send(request).await.map_err(ExchangeError::BrokenOff)?;
        let skew = incoming.field(&DATE).and_then(|date| skew::measure(date, by_the_clock, requested_at.elapsed()));
        // As large as it can become: a vector that grows leaves its contents behind.
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_ANSWER));
        while let Some(piece) = incoming.piece().await.map_err(ExchangeError::BrokenOff)? {
            body.extend_from_slice(&piece);
            if let Ok(mut piece) = piece.try_into_mut() {
                piece.as_mut().zeroize();
            }
        }
        if let Some(ahead) = skew {
            self.note_skew(ahead);
        }
        let content_type = incoming.field(&CONTENT_TYPE);
        let answer = Answer { status: incoming.status.as_u16(), content_type, skew, body: &body };
        let error = match token_response::parse(answer, &self.scopes) {
            Ok(grant) => return Ok(Exchanged { grant, requested_at }),
            Err(error) => error,
        };
        let explanation = match &error {
            TokenError::NotUnderstood { .. } => {
                let explained = incoming.explain(&body);
                explained.has_remedy().then(|| explained.into())
            }
            TokenError::Refused(_) | TokenError::NothingGranted => None,
        };
        let now = by_the_clock + requested_at.elapsed();
        let retry_after = incoming.field(&RETRY_AFTER).and_then(|field| retry_after::parse(field, server_time(now, skew)));
        Err(ExchangeError::Answer { error, explanation, retry_after })
    }

    /// A client assertion of this moment, by OpenEMR's clock.
    fn sign(&self, keys: &Keys, endpoint: &str) -> Result<Zeroizing<String>, AssertionError> {
        let audience = self.site.token.audience.as_deref().unwrap_or(endpoint);
        let claimant = Claimant { client_id: &self.site.token.client_id, audience, kid: keys.kid(), key: keys.key() };
        assertion::sign(claimant, self.skew.apply(SystemTime::now()), Uuid::new_v4())
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

    /// A connection to the first node that takes one, the healthy ones first.
    async fn connect(&mut self, nodes: &Nodes) -> Result<(Connection, Arc<TokenOrigin>), ExchangeError> {
        let mut failure = ExchangeError::Unknown(DiscoveryFailure::NoNode);
        for node in nodes.by_health(self.first) {
            let endpoint = match self.endpoint_of(node, nodes.upstream()).await {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    failure = error.into();
                    continue;
                }
            };
            self.asked = Some(endpoint.origin.url().to_string());
            // `timeouts.token` bounds the exchange as a whole.
            let limits = Limits { step: None, total: None, body: LARGEST_ANSWER };
            match self.client.connect(&endpoint.origin, limits).await {
                Ok(connection) => return Ok((connection, endpoint)),
                Err(error) => failure = ExchangeError::Unreachable(error),
            }
        }
        Err(failure)
    }

    /// A node's token endpoint. One that was discovered is used until another one is, whatever comes of looking for it.
    async fn endpoint_of(&self, node: &Node, upstream: &Upstream) -> Result<Arc<TokenOrigin>, DiscoveryFailure> {
        let known = node.tokens.known();
        if let Some(known) = known.as_ref().filter(|_| !node.tokens.needs_discovery()) {
            return Ok(Arc::clone(known));
        }
        match discovery::find(&self.client, &node.fhir, self.site.token.audience.as_deref()).await {
            Ok(found) => {
                if known.is_none_or(|known| known.audience != found.text) {
                    info!("site {}: its token endpoint is {}", self.name, found.url);
                }
                Ok(node.tokens.discovered(&found.url, &found.text, upstream))
            }
            Err(failure) => known.inspect(|_| warn!("site {}: {failure}", self.name)).ok_or(failure),
        }
    }
}

/// The server's time at `now`, by the skew of its Date field.
fn server_time(now: SystemTime, skew: Option<i64>) -> SystemTime {
    let apart = Duration::from_secs(skew.unwrap_or_default().unsigned_abs());
    let shifted = if skew.is_some_and(i64::is_negative) { now.checked_sub(apart) } else { now.checked_add(apart) };
    shifted.unwrap_or(UNIX_EPOCH)
}

impl Exchange for TokenEndpoint {
    async fn exchange(&mut self, keys: &Keys) -> Result<Exchanged, ExchangeError> {
        let limit = self.site.upstream.timeouts.token;
        match tokio::time::timeout(limit, self.attempt(keys)).await {
            Ok(result) => result,
            Err(_) => Err(ExchangeError::TimedOut { at: self.asked.take(), limit }),
        }
    }
}

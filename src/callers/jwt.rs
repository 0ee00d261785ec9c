//! JWTs of identity providers: whether one is good, and whose it is.
//!
//! Decision: `docs/decisions/38-credentials.md`.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::access::caller::{Caller, Credential};
use crate::access::clients::{Client, Clients};
use crate::access::issuer::{Issuer, JwtAlgorithm};
use crate::access::line::Line;
use crate::access::patients::{PatientList, Patients};
use crate::access::rule::Rule;
use crate::callers::jwk_sets::{JwkSets, NoKeys};
use crate::callers::jws::Jws;
use crate::callers::public_keys::{self, PublicKeys};
use crate::fhir::id::is_id;

/// How far the clocks of a provider and of the gateway may be apart, in seconds.
const LEEWAY: u64 = 60;
/// The types that a JWT may say to be (RFC 7519 section 5.1, RFC 9068 section 2.1): an ID token says the same as none.
const TYPES: [&str; 4] = ["JWT", "application/jwt", "at+jwt", "application/at+jwt"];
/// The most keys that are tried for a token that names none.
const MOST_TRIED: usize = 4;

/// An identity provider whose JWTs are taken.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: Issuer,
    validations: Vec<(JwtAlgorithm, Validation)>,
}

/// The claims of a JWT.
type Claims = Map<String, Value>;

/// Why a JWT is not taken. Nothing of it is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It is no JWT, or too long.
    #[error("the token is no signed JWT")]
    Malformed,
    /// Its header names something that is not understood.
    #[error("the token's header has crit, or a typ that no access token has")]
    Header,
    /// No provider with its `iss` is configured.
    #[error("the token's iss is that of no identity provider in access.issuers")]
    Issuer,
    /// It is not signed, or with an algorithm that is not taken.
    #[error("the token's algorithm is none of the identity provider's algorithms")]
    Algorithm,
    /// The provider's set has no key that fits.
    #[error("the identity provider has no key that fits the token's kid and algorithm")]
    Key,
    /// It was changed, or signed by somebody else.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is too old.
    #[error("the token has expired")]
    Expired,
    /// It is good later.
    #[error("the token is not good yet (nbf)")]
    Early,
    /// It is for another service.
    #[error("the token's aud is missing, or not the audience of its issuer")]
    Audience,
    /// A claim is missing, or has another form.
    #[error("the token lacks exp or the claim that names the client, or they have another form")]
    Claims,
    /// Nobody is registered under what it says.
    #[error("no client is registered for what the token's client_claim says")]
    Client,
    /// The provider's keys cannot be had.
    #[error("the keys of the identity provider cannot be had")]
    NoKeys,
}

impl From<NoKeys> for NotTaken {
    fn from(_: NoKeys) -> Self {
        Self::NoKeys
    }
}

impl Provider {
    /// Prepares the check of a provider's JWTs.
    #[must_use]
    pub(super) fn new(issuer: &Issuer) -> Self {
        let validation = |algorithm: &JwtAlgorithm| {
            let mut validation = Validation::new(library(*algorithm));
            validation.leeway = LEEWAY;
            validation.validate_nbf = true;
            validation.set_issuer(&[&issuer.issuer]);
            validation.set_audience(&[&issuer.audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            (*algorithm, validation)
        };
        Self { issuer: issuer.clone(), validations: issuer.algorithms.iter().map(validation).collect() }
    }

    fn validation(&self, name: &str) -> Option<&(JwtAlgorithm, Validation)> {
        self.validations.iter().find(|(algorithm, _)| public_keys::name(*algorithm) == name)
    }
}

/// Finds out whose JWT this is, and what that permits.
///
/// # Errors
/// It is not taken.
pub(super) async fn caller(
    token: &str,
    providers: &[Provider],
    sets: &JwkSets,
    clients: &Clients,
) -> Result<(Arc<Client>, Caller), NotTaken> {
    let jws = Jws::parse(token).ok_or(NotTaken::Malformed)?;
    let header = &jws.header;
    let is_token = |typ: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
    if header.crit.is_some() || !header.typ.as_deref().is_none_or(is_token) {
        return Err(NotTaken::Header);
    }
    let unverified: Claims = serde_json::from_slice(&jws.claims).map_err(|_| NotTaken::Malformed)?;
    let iss = unverified.get("iss").and_then(Value::as_str).ok_or(NotTaken::Issuer)?;
    let provider = providers.iter().find(|provider| provider.issuer.issuer == iss).ok_or(NotTaken::Issuer)?;
    let (algorithm, validation) = provider.validation(&header.alg).ok_or(NotTaken::Algorithm)?;
    let kid = header.kid.as_deref();
    let keys = sets.keys(&provider.issuer.keys, kid).await?;
    let claims = verified(token, &keys, kid, *algorithm, validation)?;
    let subject = claims.get(&provider.issuer.client_claim).and_then(Value::as_str).ok_or(NotTaken::Claims)?;
    let client = clients.with_subject(&provider.issuer.name, subject).ok_or(NotTaken::Client)?;
    Ok((Arc::clone(client), of_client(client, &claims, provider.issuer.scope_claim.as_deref())))
}

/// Verifies the signature and the registered claims.
fn verified(
    token: &str,
    keys: &PublicKeys,
    kid: Option<&str>,
    algorithm: JwtAlgorithm,
    validation: &Validation,
) -> Result<Claims, NotTaken> {
    let mut why = NotTaken::Key;
    for key in keys.fitting(kid, algorithm).take(MOST_TRIED) {
        match decoded(token, key, validation) {
            // Of keys with one id, or of a token that names none, another may have signed it.
            Err(NotTaken::Signature) => why = NotTaken::Signature,
            decided => return decided,
        }
    }
    Err(why)
}

fn decoded(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Claims, NotTaken> {
    let decoded = jsonwebtoken::decode::<Claims>(token, key, validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => NotTaken::Signature,
        ErrorKind::ExpiredSignature => NotTaken::Expired,
        ErrorKind::ImmatureSignature => NotTaken::Early,
        ErrorKind::InvalidAudience => NotTaken::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => NotTaken::Audience,
        ErrorKind::InvalidIssuer => NotTaken::Issuer,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => NotTaken::Claims,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::MissingAlgorithm => NotTaken::Algorithm,
        ErrorKind::InvalidKeyFormat | ErrorKind::InvalidEcdsaKey | ErrorKind::InvalidRsaKey(_) => NotTaken::Key,
        _ => NotTaken::Malformed,
    })
}

/// The client as the caller that these claims make of it: its policy, narrowed to the scopes of the token, with the patients of the
/// token where the policy wants these. A claim that is missing, or cannot be read, permits nothing.
fn of_client(client: &Client, claims: &Claims, scope_claim: Option<&str>) -> Caller {
    let policy = match scope_claim {
        None => Arc::clone(&client.policy),
        Some(name) => Arc::new(client.policy.narrowed_to(&scopes(claims.get(name)))),
    };
    let found = match &policy.patients {
        Patients::Claim(name) => patients(claims.get(name)).map(Arc::new),
        Patients::All | Patients::Listed(_) | Patients::Group(_) => None,
    };
    Caller { client: Some(Arc::clone(&client.name)), policy, found, credential: Credential::Jwt }
}

/// The words of a claim: of a text those between blanks (RFC 6749 section 3.3), of a list of texts each one. `None` for any other.
fn words(claim: Option<&Value>) -> Option<Vec<&str>> {
    match claim? {
        Value::String(text) => Some(text.split_ascii_whitespace().collect()),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The SMART scopes of a system in a claim. Others, such as `openid`, say nothing here.
fn scopes(claim: Option<&Value>) -> Vec<Rule> {
    let line = || Line { key: "the scopes of the token".to_owned(), number: None };
    words(claim).unwrap_or_default().into_iter().filter_map(|scope| Rule::parse(scope, line()).ok()).collect()
}

/// The patients in a claim, as ids or as references; `None` where one is neither.
fn patients(claim: Option<&Value>) -> Option<PatientList> {
    let id = |word: &str| Some(word.strip_prefix("Patient/").unwrap_or(word)).filter(|id| is_id(id)).map(Box::<str>::from);
    words(claim)?.into_iter().map(id).collect()
}

/// The same algorithm, as the library names it.
fn library(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
    }
}

#[cfg(test)]
mod tests;

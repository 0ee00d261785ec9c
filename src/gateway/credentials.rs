//! The credentials that a request shows, and who calls by them: API keys, JWTs of identity providers, access tokens of the gateway's
//! own, client certificates.
//!
//! Decision: `docs/decisions/38-credentials.md`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use pingora::proxy::Session;
use zeroize::Zeroizing;

use crate::access::api_key::ApiKey;
use crate::access::caller::{Caller, Credential};
use crate::access::certificates::CertificateFacts;
use crate::access::clients::{CertificateFact, Client, Clients};
use crate::callers::access_tokens::Holder;
use crate::callers::issued::NotIssued;
use crate::callers::jwt::NotTaken;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::Destination;
use crate::gateway::peer_certificate;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The longest password of Basic, in base64 with its user name: an API key has 65 letters.
const LONGEST_BASIC: usize = 1024;
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"openemr-gateway\"");
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static("Bearer realm=\"openemr-gateway\", error=\"invalid_token\"");

/// Why a caller may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKnown {
    /// There is no credential where one is due.
    #[error("there is no credential")]
    Missing,
    /// The client certificate is that of no client.
    #[error("no rule of access.clients.*.certificates names the client certificate, and there is no other credential")]
    Certificate,
    /// A field with a credential comes twice.
    #[error("the field {0} comes twice")]
    Twice(&'static str),
    /// Two credentials are those of different clients.
    #[error("the credentials are those of different clients")]
    Different,
    /// There is one in the query, which goes to OpenEMR and to logs.
    #[error("the query has a credential")]
    Query,
    /// It is none that the gateway takes.
    #[error("the credential has a form that is not taken")]
    Form,
    /// No client has this API key.
    #[error("the API key is no client's")]
    Key,
    /// It was good once.
    #[error("the API key has expired")]
    KeyExpired,
    /// The user name beside it is another client's.
    #[error("the user name is not that of the API key's client")]
    User,
    /// An identity provider's token is not good.
    #[error("{0}")]
    Jwt(#[from] NotTaken),
    /// A token of the gateway's own is not good.
    #[error("{0}")]
    Issued(#[from] NotIssued),
    /// The client may not call from there.
    #[error("the client may not call from this address (allow_from)")]
    Address,
}

impl From<NotKnown> for Rejection {
    fn from(why: NotKnown) -> Self {
        let wrong = |text: &'static str| {
            Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, Reason::BadCredential, text).challenging(INVALID_TOKEN.clone())
        };
        match why {
            NotKnown::Missing => {
                let text = "A credential is needed: send an API key as X-API-Key, or a token as Authorization: Bearer.";
                Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, Reason::NoCredential, text).challenging(CHALLENGE)
            }
            NotKnown::Certificate => {
                let text = "The client certificate is that of no client of the gateway.";
                Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, Reason::BadCredential, text).challenging(CHALLENGE)
            }
            NotKnown::Twice(name) => {
                Self::invalid(Reason::Malformed, format!("The request has the field {name} more than once."))
            }
            NotKnown::Different => {
                Self::invalid(Reason::BadCredential, "The request shows the credentials of two clients: send those of one.")
            }
            NotKnown::Query => Self::invalid(
                Reason::BadCredential,
                "The query has an access_token: send it as Authorization: Bearer. URLs are written to logs.",
            ),
            NotKnown::Form => {
                wrong("The credential is none that the gateway takes: an API key, or a token as Authorization: Bearer.")
            }
            NotKnown::Key => wrong("The API key is not good."),
            NotKnown::KeyExpired => wrong("The API key has expired: ask for another one."),
            NotKnown::User => {
                wrong("The user name is not that of the API key's client: leave it empty, or write the client's name.")
            }
            NotKnown::Jwt(NotTaken::NoKeys) => Self::unavailable(
                Reason::ClientKeys,
                std::time::Duration::from_secs(5),
                "The keys with which the token is checked cannot be had at the moment.",
            ),
            NotKnown::Jwt(NotTaken::Expired) => {
                wrong("The access token has expired: get another one from the identity provider.")
            }
            NotKnown::Jwt(NotTaken::Audience) => wrong("The access token is for another service."),
            NotKnown::Issued(NotIssued::Expired) => {
                wrong("The access token has expired: get another one from the token endpoint.")
            }
            NotKnown::Issued(NotIssued::OtherSite) => {
                wrong("The access token is for another site: get one from the token endpoint of this site.")
            }
            NotKnown::Jwt(_) | NotKnown::Issued(_) => wrong("The access token is not good: get another one."),
            NotKnown::Address => Self::new(
                StatusCode::FORBIDDEN,
                IssueCode::Forbidden,
                Reason::Address,
                "The client may not call from this address.",
            ),
        }
        .because(why)
    }
}

/// What the fields of a request show.
#[derive(Default)]
struct Shown<'f> {
    /// What follows `Bearer`.
    bearer: Option<&'f str>,
    /// User name and password.
    basic: Option<(Zeroizing<String>, Zeroizing<String>)>,
    /// X-API-Key.
    api_key: Option<&'f str>,
}

/// Who calls, by the credentials of a request; `None` where it shows none.
///
/// # Errors
/// One of them is not good, or they do not belong together.
pub(super) async fn caller(session: &Session, call: &Call, destination: &Destination) -> Result<Option<Caller>, NotKnown> {
    let clients = &call.config().access.clients;
    if destination.fhir().is_some_and(|fhir| has_token(fhir.query())) {
        return Err(NotKnown::Query);
    }
    let shown = Shown::of(&session.req_header().headers)?;
    let now = Timestamp::now().as_second();
    let mut found = None;
    // A token comes first: it narrows what the client may do, which another credential beside it must not undo.
    match shown.bearer {
        Some(key) if ApiKey::is_meant(key) => add(&mut found, with_key(key, clients, now)?)?,
        Some(token) => add(&mut found, of_token(token, call, destination, now).await?)?,
        None => {}
    }
    if let Some((user, password)) = &shown.basic {
        let (client, caller) = with_key(password, clients, now)?;
        if !user.is_empty() && **user != *client.name {
            return Err(NotKnown::User);
        }
        add(&mut found, (client, caller))?;
    }
    if let Some(key) = shown.api_key {
        add(&mut found, with_key(key, clients, now)?)?;
    }
    if let Some(facts) = peer_certificate::facts(session) {
        for client in of_certificate(&facts, clients) {
            add(&mut found, known(client, Credential::Certificate))?;
        }
    }
    match found {
        Some((client, _)) if !client.allow_from.as_deref().is_none_or(|from| call.trace.client().is_in(from)) => {
            Err(NotKnown::Address)
        }
        found => Ok(found.map(|(_, caller)| caller)),
    }
}

/// A rejection as this caller gets it: where a policy is why, and the caller has shown no credential, one is asked for.
#[must_use]
pub(super) fn asked_for(rejection: Rejection, call: &Call) -> Rejection {
    let is_without = call.caller.credential == Credential::None && !call.config().access.clients.is_empty();
    if rejection.by_policy && is_without { NotKnown::Missing.into() } else { rejection }
}

/// Whether a query has a parameter with a token (RFC 6750 section 2.3).
fn has_token(query: &[u8]) -> bool {
    let pairs = query.strip_prefix(b"?").unwrap_or_default();
    !pairs.is_empty() && form_urlencoded::parse(pairs).any(|(name, _)| name == "access_token")
}

/// Adds what a credential shows: another one may show the same client, and no other.
fn add(found: &mut Option<(Arc<Client>, Caller)>, shown: (Arc<Client>, Caller)) -> Result<(), NotKnown> {
    match found {
        Some((client, _)) if client.name != shown.0.name => Err(NotKnown::Different),
        Some(_) => Ok(()),
        None => {
            *found = Some(shown);
            Ok(())
        }
    }
}

fn known(client: &Arc<Client>, credential: Credential) -> (Arc<Client>, Caller) {
    let (name, policy) = (Some(Arc::clone(&client.name)), Arc::clone(&client.policy));
    (Arc::clone(client), Caller { client: name, policy, found: None, credential })
}

/// The client of an API key. One with an unknown id takes as long as one with a wrong secret.
fn with_key(text: &str, clients: &Clients, now: i64) -> Result<(Arc<Client>, Caller), NotKnown> {
    let key = ApiKey::parse(text).ok_or(NotKnown::Key)?;
    let with_id = clients.with_key_id(key.id());
    let fits = key.fits(with_id.map(|(_, digest)| digest));
    match with_id {
        Some((_, digest)) if fits && digest.has_expired(now) => Err(NotKnown::KeyExpired),
        Some((client, _)) if fits => Ok(known(client, Credential::ApiKey)),
        _ => Err(NotKnown::Key),
    }
}

/// The client of a token: one of the gateway's own, or an identity provider's.
async fn of_token(token: &str, call: &Call, destination: &Destination, now: i64) -> Result<(Arc<Client>, Caller), NotKnown> {
    let clients = &call.config().access.clients;
    let site = destination.fhir().map(|fhir| fhir.site.name());
    match call.runtime.access_tokens.holder(token, site, clients, now) {
        Ok(Holder { client, policy }) => {
            let caller =
                Caller { client: Some(Arc::clone(&client.name)), policy, found: None, credential: Credential::AccessToken };
            Ok((client, caller))
        }
        Err(NotIssued::Foreign) => Ok(call.runtime.callers.of_jwt(token, clients).await?),
        Err(why) => Err(why.into()),
    }
}

/// The clients with a rule that a certificate meets.
fn of_certificate<'c>(facts: &'c CertificateFacts, clients: &'c Clients) -> impl Iterator<Item = &'c Arc<Client>> {
    let names = facts.san_dns.iter().map(|name| CertificateFact::SanDns(name));
    let uris = facts.san_uri.iter().map(|uri| CertificateFact::SanUri(uri));
    let cn = facts.subject_cn.as_deref().map(CertificateFact::SubjectCn);
    let facts = names.chain(uris).chain(cn).chain([CertificateFact::Fingerprint(&facts.fingerprint)]);
    facts.filter_map(|fact| clients.with_certificate(fact))
}

impl<'f> Shown<'f> {
    /// Reads the fields.
    ///
    /// # Errors
    /// One comes twice, or has another form.
    fn of(fields: &'f HeaderMap) -> Result<Self, NotKnown> {
        let mut shown = Self { api_key: single(fields, &X_API_KEY, "X-API-Key")?, ..Self::default() };
        let Some(authorization) = single(fields, &AUTHORIZATION, "Authorization")? else { return Ok(shown) };
        let (scheme, credential) = authorization.split_once(' ').ok_or(NotKnown::Form)?;
        let credential = credential.trim_ascii();
        // RFC 9110 section 11.1: a scheme's name has no case.
        if scheme.eq_ignore_ascii_case("Bearer") {
            shown.bearer = Some(credential);
        } else if scheme.eq_ignore_ascii_case("Basic") {
            shown.basic = Some(basic(credential).ok_or(NotKnown::Form)?);
        } else {
            return Err(NotKnown::Form);
        }
        Ok(shown)
    }
}

/// The value of a field that comes at most once.
fn single<'f>(fields: &'f HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'f str>, NotKnown> {
    let mut lines = fields.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(NotKnown::Twice(shown));
    }
    line.to_str().map(|text| Some(text.trim_ascii())).map_err(|_| NotKnown::Form)
}

/// User name and password (RFC 7617 section 2).
fn basic(credential: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    if credential.len() > LONGEST_BASIC {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(credential).ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((Zeroizing::new(user.to_owned()), Zeroizing::new(password.to_owned())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Bearer, user name, password and X-API-Key of a request with these fields.
    fn shown(fields: &[(&'static str, &str)]) -> Result<[Option<String>; 4], NotKnown> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let Shown { bearer, basic, api_key } = Shown::of(&map)?;
        let (user, password) = basic.map(|(user, password)| (user.to_string(), password.to_string())).unzip();
        Ok([bearer.map(str::to_owned), user, password, api_key.map(str::to_owned)])
    }

    #[test]
    fn each_field_shows_its_credential() {
        let some = |text: &str| Some(text.to_owned());
        for (fields, expected) in [
            (&[][..], Ok([None, None, None, None])),
            (&[("x-api-key", " a ")], Ok([None, None, None, some("a")])),
            (&[("authorization", "bEARER  a.b.c ")], Ok([some("a.b.c"), None, None, None])),
            (&[("authorization", "basic YTpiOmM=")], Ok([None, some("a"), some("b:c"), None])),
            (&[("authorization", "Basic OmI=")], Ok([None, some(""), some("b"), None])),
            (&[("authorization", "Bearer a"), ("x-api-key", "b")], Ok([some("a"), None, None, some("b")])),
            (&[("authorization", "Basic YTpi!")], Err(NotKnown::Form)),
            (&[("authorization", "Basic YWI=")], Err(NotKnown::Form)),
            (&[("authorization", "Basic //86")], Err(NotKnown::Form)),
            (&[("authorization", "Basic")], Err(NotKnown::Form)),
            (&[("authorization", "Digest a")], Err(NotKnown::Form)),
            (&[("authorization", "")], Err(NotKnown::Form)),
            (&[("authorization", "Bearer \u{fc}")], Err(NotKnown::Form)),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], Err(NotKnown::Twice("Authorization"))),
            (&[("x-api-key", "a"), ("x-api-key", "a")], Err(NotKnown::Twice("X-API-Key"))),
        ] {
            assert_eq!(shown(fields), expected, "{fields:?}");
        }
        let long = format!("Basic {}", "A".repeat(LONGEST_BASIC + 4));
        assert_eq!(shown(&[("authorization", &long)]), Err(NotKnown::Form));
    }

    #[test]
    fn a_token_in_the_query_is_found() {
        for (query, found) in [
            ("", false),
            ("?", false),
            ("?name=access_token", false),
            ("?access_token=a", true),
            ("?_count=1&access%5Ftoken=a", true),
            ("?access_token", true),
        ] {
            assert_eq!(has_token(query.as_bytes()), found, "{query}");
        }
    }

    #[test]
    fn a_challenge_says_whether_a_credential_was_wrong() {
        let challenge = |why: NotKnown| {
            let Rejection { status, challenge, .. } = why.into();
            (status.as_u16(), challenge.map(|challenge| challenge.to_str().unwrap().contains("invalid_token")))
        };
        for (why, expected) in [
            (NotKnown::Missing, (401, Some(false))),
            (NotKnown::Key, (401, Some(true))),
            (NotKnown::Jwt(NotTaken::Signature), (401, Some(true))),
            (NotKnown::Issued(NotIssued::Signature), (401, Some(true))),
            (NotKnown::Jwt(NotTaken::NoKeys), (503, None)),
            (NotKnown::Different, (400, None)),
            (NotKnown::Twice("X-API-Key"), (400, None)),
            (NotKnown::Address, (403, None)),
        ] {
            assert_eq!(challenge(why), expected, "{why:?}");
        }
    }
}

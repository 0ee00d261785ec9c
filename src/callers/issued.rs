//! The gateway's own access tokens: JWTs (RFC 9068) that it signs for SMART clients, and verifies without asking anybody.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::callers::jws::{self, Jws};
use crate::callers::key_file::KeyFile;
use crate::callers::signing_key::{KID_BEGINS, TokenKey, TokenKeys};

/// How long an access token is good for.
pub(crate) const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// `iss`: the same for every gateway, since one that has the key takes the tokens of the others.
const ISSUER: &str = "openemr-gateway";
const TYPE: &str = "at+jwt";
const ALGORITHM: &str = "ES256";
/// The longest of the gateway's own tokens: what a client can ask for has a limit, too.
const LONGEST: usize = jws::LONGEST;

#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

/// Whom a token is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant<'a> {
    /// The client's name.
    pub(crate) client: &'a str,
    /// The name of the site at which the token is good.
    pub(crate) site: &'a str,
    /// The scopes, with blanks between them.
    pub(crate) scope: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    client_id: &'a str,
    aud: &'a str,
    scope: &'a str,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

/// What a token says, after its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Issued {
    iss: String,
    /// The name of the site that it is for.
    #[serde(rename = "aud")]
    pub(crate) site: String,
    /// The client's name.
    #[serde(rename = "sub")]
    pub(crate) client: String,
    /// The scopes that were granted.
    pub(crate) scope: String,
    /// The second at which it expires.
    pub(crate) exp: i64,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotIssued {
    /// It is no JWT of the gateway's.
    #[error("the access token is not one that this gateway issues")]
    Foreign,
    /// The key that signed it is not among the gateway's.
    #[error("the access token is signed with a key that this gateway does not have, or no longer")]
    UnknownKey,
    /// It was changed, or made by somebody else.
    #[error("the signature of the access token is wrong")]
    Signature,
    /// It is too old.
    #[error("the access token has expired")]
    Expired,
    /// It is for another site.
    #[error("the access token is for another site")]
    OtherSite,
    /// Its client is not configured any more, or gets no access tokens any more.
    #[error("the client of the access token is none any more")]
    NoClient,
}

/// Makes a token that is good from `now` (seconds since 1970) for [`LIFETIME`].
///
/// # Errors
/// The cryptographic library fails; it gives no reason.
pub(super) fn issue(key: &TokenKey, grant: Grant<'_>, now: i64, jti: Uuid) -> Result<String, Unspecified> {
    let exp = now.saturating_add(LIFETIME.as_secs().try_into().unwrap_or_default());
    let Grant { client, site, scope } = grant;
    let claims = Claims { iss: ISSUER, sub: client, client_id: client, aud: site, scope, iat: now, exp, jti };
    let part = |json: Result<Vec<u8>, serde_json::Error>| json.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| Unspecified);
    let header = part(serde_json::to_vec(&Header { typ: TYPE, alg: ALGORITHM, kid: &key.kid }))?;
    let mut token = header + "." + &part(serde_json::to_vec(&claims))?;
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    if token.len() > LONGEST { Err(Unspecified) } else { Ok(token) }
}

/// Whether a JWT says that it is one of the gateway's own, so that nobody else need be asked about it. Nothing is verified.
fn is_ours(jws: &Jws<'_>) -> bool {
    jws.header.kid.as_deref().is_some_and(|kid| kid.starts_with(KID_BEGINS))
}

/// Verifies a token for a site, or for any, at `now`, in seconds since 1970: without a lock, and without the disk unless it names an unknown
/// key. Gives the keys as well with which it was verified.
///
/// # Errors
/// It is not good.
pub(super) fn verify(file: &KeyFile, token: &str, site: Option<&str>, now: i64) -> Result<(Issued, Arc<TokenKeys>), NotIssued> {
    let jws = Jws::parse(token).filter(is_ours).ok_or(NotIssued::Foreign)?;
    let kid = jws.header.kid.as_deref().unwrap_or_default();
    // Another gateway with the same file may have put a new key in front.
    let known = file.keys().filter(|keys| keys.find(kid).is_some());
    let keys = known.or_else(|| file.current()).ok_or(NotIssued::UnknownKey)?;
    verify_with(&keys, &jws, site, now).map(|issued| (issued, keys))
}

fn verify_with(keys: &TokenKeys, jws: &Jws<'_>, site: Option<&str>, now: i64) -> Result<Issued, NotIssued> {
    let header = &jws.header;
    if header.alg != ALGORITHM || header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
        return Err(NotIssued::Foreign);
    }
    let kid = header.kid.as_deref().unwrap_or_default();
    let key = keys.find(kid).ok_or(NotIssued::UnknownKey)?;
    if !key.has_signed(jws.signed.as_bytes(), &jws.signature) {
        return Err(NotIssued::Signature);
    }
    let issued: Issued = serde_json::from_slice(&jws.claims).map_err(|_| NotIssued::Foreign)?;
    match issued {
        Issued { ref iss, .. } if iss != ISSUER => Err(NotIssued::Foreign),
        Issued { exp, .. } if exp <= now => Err(NotIssued::Expired),
        Issued { site: ref its, .. } if site.is_some_and(|site| its != site) => Err(NotIssued::OtherSite),
        issued => Ok(issued),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::callers::signing_key::with_new_key;
    use jiff::Timestamp;

    const GRANT: Grant<'_> = Grant { client: "lab", site: "default", scope: "system/Patient.rs" };

    fn keys() -> TokenKeys {
        TokenKeys::parse(with_new_key("", Timestamp::now()).unwrap().as_bytes()).unwrap()
    }

    fn check(keys: &TokenKeys, token: &str, site: &str, now: i64) -> Result<Issued, NotIssued> {
        verify_with(keys, &Jws::parse(token).ok_or(NotIssued::Foreign)?, Some(site), now)
    }

    #[test]
    fn a_token_is_good_for_five_minutes_at_its_site() {
        let keys = keys();
        let token = issue(keys.signing().unwrap(), GRANT, 1000, Uuid::nil()).unwrap();
        assert!(is_ours(&Jws::parse(&token).unwrap()));
        let issued = check(&keys, &token, "default", 1299).unwrap();
        assert_eq!((issued.client.as_str(), issued.scope.as_str(), issued.exp), ("lab", "system/Patient.rs", 1300));
        assert_eq!(check(&keys, &token, "default", 1300), Err(NotIssued::Expired));
        assert_eq!(check(&keys, &token, "other", 1000), Err(NotIssued::OtherSite));
        assert_eq!(check(&super::tests::keys(), &token, "default", 1000), Err(NotIssued::UnknownKey));
    }

    #[test]
    fn a_token_that_was_changed_is_refused() {
        let keys = keys();
        let token = issue(keys.signing().unwrap(), GRANT, 1000, Uuid::nil()).unwrap();
        let [header, claims, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
        let changed = |from: &str, to: &str| {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            assert!(text.contains(from));
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(text.replace(from, to)))
        };
        for token in [changed("lab", "all"), changed("Patient", "*"), changed("1300", "9300"), format!("{header}.{claims}.")] {
            assert_eq!(check(&keys, &token, "default", 1000), Err(NotIssued::Signature), "{token}");
        }
        let kid = &keys.signing().unwrap().kid;
        for header in [
            format!(r#"{{"typ":"at+jwt","alg":"none","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}","crit":["x"]}}"#),
        ] {
            let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(&header));
            let signature = URL_SAFE_NO_PAD.encode(keys.signing().unwrap().sign(signed.as_bytes()).unwrap());
            assert_eq!(check(&keys, &format!("{signed}.{signature}"), "default", 1000), Err(NotIssued::Foreign), "{header}");
        }
    }

    #[test]
    fn what_is_none_of_the_gateways_own_is_known_by_its_key_id() {
        for header in [r#"{"alg":"RS256","kid":"a"}"#, r#"{"alg":"ES256"}"#] {
            let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
            assert!(!is_ours(&Jws::parse(&token).unwrap()), "{header}");
        }
    }
}

//! Signed JWTs in the compact form (RFC 7515 section 7.1), taken apart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest JWT that is read, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// A JWT whose signature has not been checked.
#[derive(Debug)]
pub(super) struct Jws<'t> {
    /// What is signed: the first two parts.
    pub(super) signed: &'t str,
    /// The header.
    pub(super) header: Header,
    /// The claims, in JSON.
    pub(super) claims: Vec<u8>,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

/// The members of the header that play a part. One that comes twice makes it illegible.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) jku: Option<String>,
    /// Members that must be understood: there are none that are.
    pub(super) crit: Option<IgnoredAny>,
}

impl<'t> Jws<'t> {
    /// Takes a JWT apart; `None` for a text that is none, or is too long.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header = serde_json::from_slice(&decoded(header)?).ok()?;
        // A third dot would be in the claims, and is no base64url.
        Some(Self { signed, header, claims: decoded(claims)?, signature: decoded(signature)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn a_jwt_has_three_parts_and_a_header_in_json() {
        let header = encoded(r#"{"alg":"ES384","kid":"a","new":[1]}"#);
        let text = format!("{header}.{}.{}", encoded("{}"), encoded("sig"));
        let jws = Jws::parse(&text).unwrap();
        assert_eq!((jws.header.alg.as_str(), jws.header.kid.as_deref(), jws.claims.as_slice()), ("ES384", Some("a"), &b"{}"[..]));
        assert_eq!((jws.signed, jws.signature.as_slice()), (text.rsplit_once('.').unwrap().0, &b"sig"[..]));
        for bad in [
            String::new(),
            "..".to_owned(),
            header.clone(),
            format!("{header}.{}", encoded("{}")),
            format!("{header}.{}.{}.{}", encoded("{}"), encoded("a"), encoded("b")),
            format!("{header}.{}=.{}", encoded("{}"), encoded("a")),
            format!("{}.{}.{}", encoded("[]"), encoded("{}"), encoded("a")),
            format!("{}.{}.{}", encoded(r#"{"alg":"ES384","alg":"none"}"#), encoded("{}"), encoded("a")),
            format!("{}.{}.{}", encoded(r#"{"alg":1}"#), encoded("{}"), encoded("a")),
            format!("{header}.{}.{}", "A".repeat(LONGEST), encoded("a")),
        ] {
            assert!(Jws::parse(&bad).is_none(), "{bad:.80}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Za-z0-9_.=-]{0,60}") {
            let _ = Jws::parse(&text);
        }
    }
}

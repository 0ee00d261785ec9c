//! API keys: `oegw_{id}_{secret}`. The secret is 256 random bits; the configuration knows its SHA-256 alone, and the id is the
//! beginning of that, so that a key is found without a search.
//!
//! Decision: `docs/decisions/38-credentials.md`.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access::clients::KeyDigest;
use crate::keys::sha256;

/// With what every key begins, so that a key in a wrong place can be told by its looks.
const PREFIX: &str = "oegw_";
/// The length of an id, in hexadecimal digits.
const ID: usize = 16;
/// The length of the random bytes of a secret.
const SECRET: usize = 32;
/// The same in base64url, in letters.
const SECRET_TEXT: usize = 43;

/// An API key as a caller shows it. Whether it is one of a client's is for [`ApiKey::fits`] to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiKey<'t> {
    id: &'t str,
    secret: &'t str,
}

impl<'t> ApiKey<'t> {
    /// Makes a key: its text, to be shown once, and what the configuration needs to know of it.
    ///
    /// # Errors
    /// The system has no random numbers; it gives no reason.
    pub(crate) fn generate() -> Result<(String, KeyDigest), Unspecified> {
        let mut bytes = [0; SECRET];
        rand::fill(&mut bytes)?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let sha256 = sha256(secret.as_bytes());
        let id = hex::encode(sha256.get(..ID / 2).unwrap_or_default());
        Ok((format!("{PREFIX}{id}_{secret}"), KeyDigest { sha256, expires: None }))
    }

    /// Takes a key apart; `None` for a text that has another form.
    #[must_use]
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == ID && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_secret = secret.len() == SECRET_TEXT && secret.bytes().all(is_letter);
        (is_id && is_secret).then_some(Self { id, secret })
    }

    /// Whether a text was meant to be a key.
    #[must_use]
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The id: 16 hexadecimal digits in lower case.
    #[must_use]
    pub(crate) fn id(&self) -> &'t str {
        self.id
    }

    /// Whether the key is this one; `None`, for an id that nobody has, takes as long. Time does not tell how much of it is right.
    #[must_use]
    pub(crate) fn fits(&self, known: Option<&KeyDigest>) -> bool {
        let expected = known.map_or([0; 32], |known| known.sha256);
        verify_slices_are_equal(&sha256(self.secret.as_bytes()), &expected).is_ok() && known.is_some()
    }
}

/// The secret is shown nowhere.
impl fmt::Debug for ApiKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KeyDigest {
    /// Whether the key is no longer good at `now`, in seconds since 1970.
    #[must_use]
    pub(crate) fn has_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_key_fits_its_digest_and_no_other() {
        let ((one, known), (two, other)) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert_ne!(one, two);
        let key = ApiKey::parse(&one).unwrap();
        assert_eq!(key.id(), &known.hex()[..ID]);
        assert!(key.fits(Some(&known)));
        assert!(!key.fits(Some(&other)) && !key.fits(None));
        assert!(!format!("{key:?}").contains(key.secret));
    }

    #[test]
    fn no_key_with_a_bit_changed_fits() {
        let (text, known) = ApiKey::generate().unwrap();
        let secret_at = PREFIX.len() + ID + 1;
        for (at, bit) in (secret_at..text.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ApiKey::parse(&changed).is_none_or(|key| !key.fits(Some(&known))), "{changed}");
        }
    }

    #[test]
    fn what_has_another_form_is_no_key() {
        let secret = "x".repeat(SECRET_TEXT);
        for (text, good) in [
            (format!("oegw_0123456789abcdef_{secret}"), true),
            (format!("oegw_0123456789abcdef_{}", "_".repeat(SECRET_TEXT)), true),
            (format!("OEGW_0123456789abcdef_{secret}"), false),
            (format!("oegw_0123456789ABCDEF_{secret}"), false),
            (format!("oegw_0123456789abcde_{secret}"), false),
            (format!("oegw_0123456789abcdef_{secret}x"), false),
            (format!("oegw_0123456789abcdef_{}=", &secret[1..]), false),
            (format!("oegw_0123456789abcdef{secret}"), false),
            (format!(" oegw_0123456789abcdef_{secret}"), false),
            (String::new(), false),
        ] {
            assert_eq!(ApiKey::parse(&text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn a_key_is_refused_from_the_second_at_which_it_expires() {
        let known = |expires| KeyDigest { sha256: [1; 32], expires };
        assert!(!known(None).has_expired(i64::MAX));
        assert_eq!([9, 10, 11].map(|now| known(Some(10)).has_expired(now)), [false, true, true]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(oegw_)?[0-9a-f_]{0,40}.{0,60}") {
            let _ = ApiKey::parse(&text).map(|key| key.fits(None));
        }
    }
}

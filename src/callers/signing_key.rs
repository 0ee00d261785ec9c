//! The keys that sign the gateway's own access tokens: P-256 keys in a PEM file. The first of them signs, all verify.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::keys::{secret_pem, thumbprint};

/// The largest file that is read, in bytes.
pub(super) const MAX_FILE: usize = 64 * 1024;
/// The most keys of a file.
const MAX_KEYS: usize = 16;
/// What every key id begins with, so that the gateway's own tokens can be told from those of identity providers.
pub(super) const KID_BEGINS: &str = "oegw-";
/// What stands before the time in the line above a key that the gateway made.
const MADE: &str = "made: ";
const END: &str = "-----END ";

/// A key that signs and verifies access tokens.
pub(super) struct TokenKey {
    /// Its id, from its public half.
    pub(super) kid: String,
    /// When the gateway made it; `None` for a key that somebody else made.
    pub(super) made: Option<Timestamp>,
    pair: EcdsaKeyPair,
    public: ParsedPublicKey,
}

/// The keys of a file.
#[derive(Debug)]
pub(crate) struct TokenKeys(Vec<TokenKey>);

/// Why a file holds no keys for access tokens. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTokenKeys {
    #[error("is larger than 64 KiB")]
    TooLarge,
    #[error("is not PEM as openssl and this gateway write it")]
    Broken,
    #[error("holds no private key")]
    None,
    #[error("holds more than 16 keys")]
    TooMany,
    #[error("holds an encrypted key, and nobody is there to type the password")]
    Encrypted,
    #[error("holds a key that is none on P-256")]
    NotP256,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl TokenKey {
    fn read(der: &[u8], made: Option<Timestamp>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
        let point = pair.public_key().as_ref();
        // SEC 1 section 2.3.3: 04, x, y.
        let (x, y) = point.strip_prefix(&[4]).and_then(|point| point.split_at_checked(32))?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = format!("{KID_BEGINS}{}", thumbprint(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)));
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self { kid, made, pair, public })
    }

    /// Signs in the form of a JWS (RFC 7518 section 3.4).
    ///
    /// # Errors
    /// The cryptographic library fails; it gives no reason.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        Ok(self.pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
    }

    /// Whether this key signed the message.
    #[must_use]
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl TokenKeys {
    /// Reads a file: PEM blocks with P-256 keys in PKCS#8 or SEC1.
    ///
    /// # Errors
    /// [`BadTokenKeys`] unless there is a key, and each is one on P-256.
    pub(super) fn parse(file: &[u8]) -> Result<Self, BadTokenKeys> {
        if file.len() > MAX_FILE {
            return Err(BadTokenKeys::TooLarge);
        }
        let text = std::str::from_utf8(file).map_err(|_| BadTokenKeys::Broken)?;
        let mut keys = Vec::new();
        for part in parts(text) {
            let made = part.lines().find_map(|line| line.trim().strip_prefix(MADE)?.parse().ok());
            for block in secret_pem::blocks(part.as_bytes()).ok_or(BadTokenKeys::Broken)? {
                match block.label {
                    "PRIVATE KEY" | "EC PRIVATE KEY" if !block.is_encrypted => {
                        keys.push(TokenKey::read(&block.contents, made).ok_or(BadTokenKeys::NotP256)?);
                    }
                    "ENCRYPTED PRIVATE KEY" | "EC PRIVATE KEY" => return Err(BadTokenKeys::Encrypted),
                    "EC PARAMETERS" | "PUBLIC KEY" => {}
                    _ => return Err(BadTokenKeys::NotP256),
                }
            }
        }
        match keys.len() {
            0 => Err(BadTokenKeys::None),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(BadTokenKeys::TooMany),
        }
    }

    /// The key that signs.
    #[must_use]
    pub(super) fn signing(&self) -> Option<&TokenKey> {
        self.0.first()
    }

    /// The key of this id.
    #[must_use]
    pub(super) fn find(&self, kid: &str) -> Option<&TokenKey> {
        self.0.iter().find(|key| key.kid == kid)
    }
}

/// A file with a new key in front of the first one of `old`, which verifies what it has signed. Any further key goes: its tokens
/// have expired long ago.
///
/// # Errors
/// The cryptographic library fails; it gives no reason.
pub(super) fn with_new_key(old: &str, now: Timestamp) -> Result<Zeroizing<String>, Unspecified> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let line_feeds = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    let pkcs8 = pair.to_pkcs8v1()?;
    let new = Zeroizing::new(::pem::encode_config(&::pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()), line_feeds));
    let is_key = |part: &&str| part.contains("PRIVATE KEY-----");
    let kept = parts(old).into_iter().find(is_key).unwrap_or_default().trim_start();
    let comment = "Signs the access tokens of openemr-gateway. The first key signs, all verify.\n";
    let kept = kept.strip_prefix(comment).unwrap_or(kept);
    // As large as it becomes: a text that grows leaves its contents behind.
    let mut file = Zeroizing::new(String::with_capacity(new.len() + kept.len() + comment.len() + 64));
    let made = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for piece in [comment, MADE, &made, "\n", &new, kept, if kept.is_empty() { "" } else { "\n" }] {
        file.push_str(piece);
    }
    Ok(file)
}

/// The text in parts that end with a PEM block each.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(END) {
        let end = rest.get(at + END.len()..).and_then(|after| after.find("-----")).map(|dashes| at + END.len() + dashes + 5);
        let Some((part, after)) = end.and_then(|end| rest.split_at_checked(end)) else { break };
        parts.push(part);
        rest = after;
    }
    // A block that does not end is no block, and must not pass unseen.
    if rest.contains("-----BEGIN ") {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_key_signs_and_the_one_before_it_still_verifies() {
        let first = with_new_key("", at("2026-01-01T00:00:00Z")).unwrap();
        let keys = TokenKeys::parse(first.as_bytes()).unwrap();
        let signature = keys.signing().unwrap().sign(b"message").unwrap();
        let kid = keys.signing().unwrap().kid.clone();
        assert!(kid.starts_with(KID_BEGINS));
        assert_eq!(keys.signing().unwrap().made, Some(at("2026-01-01T00:00:00Z")));

        let second = with_new_key(&first, at("2026-02-01T00:00:00Z")).unwrap();
        let keys = TokenKeys::parse(second.as_bytes()).unwrap();
        assert_eq!(
            keys.0.iter().map(|key| key.made).collect::<Vec<_>>(),
            [Some(at("2026-02-01T00:00:00Z")), Some(at("2026-01-01T00:00:00Z"))]
        );
        assert_ne!(keys.signing().unwrap().kid, kid);
        let old = keys.find(&kid).unwrap();
        assert!(old.has_signed(b"message", &signature));
        assert!(!old.has_signed(b"massage", &signature));
        assert!(!keys.signing().unwrap().has_signed(b"message", &signature));

        let third = TokenKeys::parse(with_new_key(&second, at("2026-03-01T00:00:00Z")).unwrap().as_bytes()).unwrap();
        assert_eq!((third.0.len(), third.find(&kid).is_none()), (2, true));
    }

    #[test]
    fn keys_of_others_are_read_and_what_is_none_is_refused() {
        let p256 = with_new_key("", at("2026-01-01T00:00:00Z")).unwrap();
        let bare = p256.split_once(MADE).unwrap().1.split_once('\n').unwrap().1;
        let keys = TokenKeys::parse(bare.as_bytes()).unwrap();
        assert_eq!(keys.signing().unwrap().made, None);
        let crlf = TokenKeys::parse(bare.replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!(crlf.signing().unwrap().kid, keys.signing().unwrap().kid);
        let rsa = include_str!("../../tests/keys/rsa2048-pkcs8.pem");
        let p384 = include_str!("../../tests/keys/p384-pkcs8.pem");
        for (file, why) in [
            ("", BadTokenKeys::None),
            ("hello", BadTokenKeys::None),
            (include_str!("../../tests/keys/public.pem"), BadTokenKeys::None),
            (rsa, BadTokenKeys::NotP256),
            (p384, BadTokenKeys::NotP256),
            (&format!("{bare}{p384}"), BadTokenKeys::NotP256),
            (include_str!("../../tests/keys/encrypted-pkcs8.pem"), BadTokenKeys::Encrypted),
            (&bare.replacen('M', "*", 1), BadTokenKeys::Broken),
            (&format!("{bare}{}", bare.split_once("-----END").unwrap().0), BadTokenKeys::Broken),
            (&bare.repeat(MAX_KEYS + 1), BadTokenKeys::TooMany),
            (&" ".repeat(MAX_FILE + 1), BadTokenKeys::TooLarge),
        ] {
            assert_eq!(TokenKeys::parse(file.as_bytes()).err(), Some(why), "{file:.60}");
        }
        assert!(!format!("{keys:?}").contains("pair"));
    }
}

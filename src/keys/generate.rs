//! Generates signing keys.
//!
//! Decision: `docs/decisions/26-pem.md`.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::key_error::KeyError;
use super::signing_key::SigningKey;

/// The kinds of keys that can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewKey {
    /// An RSA key of 2048 bits, for RS384.
    Rsa2048,
    /// An RSA key of 3072 bits, for RS384: 128 bits of security (NIST SP 800-57), enough beyond 2030.
    Rsa3072,
    /// An RSA key of 4096 bits, for RS384.
    Rsa4096,
    /// A P-384 key, for ES384.
    P384,
}

impl NewKey {
    /// Returns the kind of an existing key. An RSA key over 4096 bits counts as one of 4096.
    #[must_use]
    pub(crate) fn like(key: &SigningKey) -> Self {
        match key.modulus_bytes() {
            None => Self::P384,
            Some(0..=256) => Self::Rsa2048,
            Some(257..=384) => Self::Rsa3072,
            Some(_) => Self::Rsa4096,
        }
    }
}

/// A new key, in each form that is written to a file.
#[derive(Debug)]
pub(crate) struct GeneratedKey {
    /// The key.
    pub(crate) key: SigningKey,
    /// The private key in PKCS#8, PEM. A secret.
    pub(crate) private_pem: PrivatePem,
    /// The public key as `SubjectPublicKeyInfo`, PEM.
    pub(crate) public_pem: String,
}

/// A private key in PEM. `Debug` does not show it; zeroed on drop.
pub(crate) struct PrivatePem(Zeroizing<String>);

impl PrivatePem {
    /// Returns the PEM text.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a key could not be generated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// The cryptographic library failed; it gives no reason.
    #[error("the cryptographic library made no key")]
    Crypto(#[from] Unspecified),
    /// The new key could not be read back.
    #[error("the new key {0}")]
    ReadBack(#[from] KeyError),
}

/// Generates a key from the operating system's random source. An RSA key takes up to a few seconds.
///
/// # Errors
/// [`GenerateError`] when the cryptographic library fails.
pub(crate) fn generate(kind: NewKey) -> Result<GeneratedKey, GenerateError> {
    let (private, public) = match kind {
        NewKey::Rsa2048 => rsa(KeySize::Rsa2048)?,
        NewKey::Rsa3072 => rsa(KeySize::Rsa3072)?,
        NewKey::Rsa4096 => rsa(KeySize::Rsa4096)?,
        NewKey::P384 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
            (pem("PRIVATE KEY", pair.to_pkcs8v1()?.as_ref()), pem("PUBLIC KEY", public.as_ref()))
        }
    };
    let key = SigningKey::from_pem(private.as_bytes())?;
    Ok(GeneratedKey { key, private_pem: PrivatePem(private), public_pem: public.to_string() })
}

fn rsa(size: KeySize) -> Result<(Zeroizing<String>, Zeroizing<String>), Unspecified> {
    let pair = rsa::KeyPair::generate(size)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((pem("PRIVATE KEY", pair.as_der()?.as_ref()), pem("PUBLIC KEY", public.as_ref())))
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let line_feeds = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    Zeroizing::new(::pem::encode_config(&::pem::Pem::new(label, der), line_feeds))
}

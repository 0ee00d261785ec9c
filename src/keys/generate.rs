//! New signing keys.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::{KeyError, SigningKey};

/// What kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// For RS384, of 2048 bits.
    Rsa2048,
    /// For RS384, of 3072 bits: 128 bits of security (NIST SP 800-57), enough beyond 2030.
    Rsa3072,
    /// For RS384, of 4096 bits.
    Rsa4096,
    /// For ES384.
    P384,
}

impl NewKey {
    /// The kind of an existing key, or the longest one that is made where that is longer.
    #[must_use]
    pub fn like(key: &SigningKey) -> Self {
        match key.modulus_bytes() {
            None => Self::P384,
            Some(0..=256) => Self::Rsa2048,
            Some(257..=384) => Self::Rsa3072,
            Some(_) => Self::Rsa4096,
        }
    }
}

/// A new key, in every form that is written to a file.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The key.
    pub key: SigningKey,
    /// PKCS#8, PEM. A secret.
    pub private_pem: PrivatePem,
    /// `SubjectPublicKeyInfo`, PEM.
    pub public_pem: String,
}

/// A private key as PEM. `Debug` prints none of it; zeroed on drop.
pub struct PrivatePem(Zeroizing<String>);

impl PrivatePem {
    /// The PEM text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why no key came out.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The cryptographic library refused; it says no more.
    #[error("the cryptographic library made no key")]
    Crypto(#[from] Unspecified),
    /// The new key could not be read back.
    #[error("the new key {0}")]
    ReadBack(#[from] KeyError),
}

/// Makes a new key from the operating system's randomness. An RSA key takes up to a few seconds.
///
/// # Errors
/// [`GenerateError`] when the cryptographic library fails.
pub fn generate(kind: NewKey) -> Result<GeneratedKey, GenerateError> {
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

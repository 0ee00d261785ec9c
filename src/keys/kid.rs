//! Key ids (`kid`).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::signing_key::PublicKey;

/// How a `kid` is computed from a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum KidMethod {
    /// The first 32 hex digits of SHA-256 over base64url(n) followed by base64url(e), as the Python proxy made them;
    /// for an EC key over base64url(x) followed by base64url(y).
    #[default]
    #[value(name = "sha256-ne")]
    Sha256Ne,
    /// The JWK thumbprint of RFC 7638, with SHA-256, as base64url.
    #[value(name = "rfc7638")]
    Rfc7638,
}

/// Computes the `kid` of a public key.
#[must_use]
pub(crate) fn kid(public_key: &PublicKey, method: KidMethod) -> String {
    match (method, public_key) {
        (KidMethod::Sha256Ne, PublicKey::Rsa { n: first, e: second } | PublicKey::P384 { x: first, y: second }) => {
            let mut hex = sha256_hex(&[first.as_bytes(), second.as_bytes()].concat());
            hex.truncate(32);
            hex
        }
        (KidMethod::Rfc7638, PublicKey::Rsa { n, e }) => thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)),
        (KidMethod::Rfc7638, PublicKey::P384 { x, y }) => {
            thumbprint(&format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#))
        }
    }
}

/// Hashes a JWK in canonical form (RFC 7638 section 3): the required members alone, sorted, without whitespace.
#[must_use]
pub(crate) fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
}

/// Returns the SHA-256 of bytes (FIPS 180-4).
#[must_use]
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// Returns the SHA-256 of bytes in hexadecimal digits.
#[must_use]
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7638 section 3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    fn rsa() -> PublicKey {
        PublicKey::Rsa { n: N.to_owned(), e: "AQAB".to_owned() }
    }

    #[test]
    fn thumbprint_of_the_rfc() {
        assert_eq!(kid(&rsa(), KidMethod::Rfc7638), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn default_is_the_python_proxys() {
        // python3: hashlib.sha256((n + e).encode()).hexdigest()[:32]
        assert_eq!(kid(&rsa(), KidMethod::Sha256Ne), "c01cbc42f1db3f35272f4c7ade1d7742");
    }

    #[test]
    fn ec_keys_use_x_then_y() {
        let key = PublicKey::P384 { x: "AA".to_owned(), y: "BB".to_owned() };
        let swapped = PublicKey::P384 { x: "BB".to_owned(), y: "AA".to_owned() };
        assert_eq!(kid(&key, KidMethod::Sha256Ne), "2f8ea0f6e95594bb189fa5d2a1e26a0c");
        assert_ne!(kid(&key, KidMethod::Rfc7638), kid(&swapped, KidMethod::Rfc7638));
    }
}

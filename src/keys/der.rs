//! Reads from DER (ITU-T X.690) what kind of private key it holds: algorithm, curve, length. aws-lc-rs reads the key itself.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.1.10
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// 1.2.840.113549.1.7.1
const PKCS7_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.3.101.113
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.132.0.10
const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];

/// The algorithm of a PKCS#8 `PrivateKeyInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// rsaEncryption.
    Rsa,
    /// id-ecPublicKey on P-384.
    P384,
    /// An algorithm that signs neither RS384 nor ES384, by its usual name with an article.
    Other(&'static str),
}

/// A parsed PKCS#8 `PrivateKeyInfo` (RFC 5208 section 5).
pub(super) struct PrivateKeyInfo<'a> {
    /// The algorithm.
    pub(super) kind: KeyKind,
    /// The key in the structure of its algorithm: `RSAPrivateKey` or `ECPrivateKey`.
    pub(super) key: &'a [u8],
}

/// Parses a PKCS#8 `PrivateKeyInfo`; `None` when `der` is something else.
pub(super) fn private_key_info(der: &[u8]) -> Option<PrivateKeyInfo<'_>> {
    let (fields, _) = element(der, SEQUENCE)?;
    let (_version, fields) = element(fields, INTEGER)?;
    let (algorithm, fields) = element(fields, SEQUENCE)?;
    let (key, _attributes) = element(fields, OCTET_STRING)?;
    let (oid, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let kind = match oid {
        RSA_ENCRYPTION => KeyKind::Rsa,
        RSASSA_PSS => KeyKind::Other("an RSA-PSS"),
        EC_PUBLIC_KEY => match element(parameters, OBJECT_IDENTIFIER).map(|(curve, _)| curve) {
            Some(P384) => KeyKind::P384,
            Some(P256) => KeyKind::Other("an EC P-256"),
            Some(P521) => KeyKind::Other("an EC P-521"),
            Some(SECP256K1) => KeyKind::Other("an EC secp256k1"),
            _ => KeyKind::Other("an EC (some other curve)"),
        },
        ED25519 => KeyKind::Other("an Ed25519"),
        ED448 => KeyKind::Other("an Ed448"),
        _ => KeyKind::Other("a private key of some other algorithm, not a signing"),
    };
    Some(PrivateKeyInfo { kind, key })
}

/// What a DER file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DerKind {
    /// A private key: PKCS#8, PKCS#1 or SEC1.
    PrivateKey,
    /// A PKCS#8 `EncryptedPrivateKeyInfo`.
    Encrypted,
    /// A `SubjectPublicKeyInfo` or an `RSAPublicKey`.
    PublicKey,
    /// An X.509 certificate.
    Certificate,
    /// A PKCS#12 store.
    Pkcs12,
}

/// Tells by its structure what a DER file is about; `None` when it is none of [`DerKind`].
pub(super) fn kind(der: &[u8]) -> Option<DerKind> {
    let (fields, _) = element(der, SEQUENCE)?;
    if let Some((number, after)) = element(fields, INTEGER) {
        if private_key_info(der).is_some() || element(after, OCTET_STRING).is_some() {
            return Some(DerKind::PrivateKey);
        }
        if let Some((contents, _)) = element(after, SEQUENCE) {
            let is_store = element(contents, OBJECT_IDENTIFIER).is_some_and(|(oid, _)| oid == PKCS7_DATA);
            return is_store.then_some(DerKind::Pkcs12);
        }
        // RSAPrivateKey begins with a version, RSAPublicKey with the modulus.
        let (_, after) = element(after, INTEGER)?;
        return Some(if number.len() == 1 && !after.is_empty() { DerKind::PrivateKey } else { DerKind::PublicKey });
    }
    let (inner, after) = element(fields, SEQUENCE)?;
    if element(inner, OBJECT_IDENTIFIER).is_some() {
        let is_public = element(after, BIT_STRING).is_some();
        let is_encrypted = element(after, OCTET_STRING).is_some();
        return is_public.then_some(DerKind::PublicKey).or(is_encrypted.then_some(DerKind::Encrypted));
    }
    let (_algorithm, signature) = element(after, SEQUENCE)?;
    element(signature, BIT_STRING).map(|_| DerKind::Certificate)
}

/// Returns the length of the modulus of an `RSAPrivateKey` (RFC 8017 A.1.2), in bits.
pub(super) fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (fields, _) = element(der, SEQUENCE)?;
    let (_version, fields) = element(fields, INTEGER)?;
    let (modulus, _) = element(fields, INTEGER)?;
    let leading_zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let top = modulus.get(leading_zeros)?;
    let whole_bytes = modulus.len() - leading_zeros - 1;
    Some(whole_bytes * 8 + (8 - top.leading_zeros() as usize))
}

/// Returns the contents of the element with this tag at the start of `input`, and the rest.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first != tag {
        return None;
    }
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        // Four bytes of length are more than any key file needs.
        let count = usize::from(short & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_bits_not_bytes() {
        let key = |modulus: &[u8]| {
            let mut fields = vec![INTEGER, 1, 0, INTEGER, u8::try_from(modulus.len()).unwrap()];
            fields.extend_from_slice(modulus);
            let mut der = vec![SEQUENCE, u8::try_from(fields.len()).unwrap()];
            der.extend(fields);
            der
        };
        assert_eq!(rsa_bits(&key(&[0, 0x80, 0])), Some(16));
        assert_eq!(rsa_bits(&key(&[0x40, 0])), Some(15));
        assert_eq!(rsa_bits(&key(&[0])), None);
    }

    #[test]
    fn refuses_lengths_that_lie() {
        assert_eq!(element(&[SEQUENCE, 5, 1], SEQUENCE), None);
        assert_eq!(element(&[SEQUENCE, 0x80], SEQUENCE), None);
        assert_eq!(element(&[SEQUENCE, 0x85, 0, 0, 0, 0, 1, 1], SEQUENCE), None);
        assert_eq!(element(&[SEQUENCE, 0x81, 1, 7, 9], SEQUENCE), Some((&[7][..], &[9][..])));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = private_key_info(&bytes);
            let _ = rsa_bits(&bytes);
        }
    }
}

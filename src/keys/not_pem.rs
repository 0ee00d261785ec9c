//! Names what stands where a private key in PEM was due.

use memchr::memmem;
use zeroize::Zeroizing;

use crate::keys::der::{self, DerKind};
use crate::keys::key_error::KeyError;
use crate::keys::secret_pem;

/// Names a text without a PEM block, or whose blocks hold no private key.
#[must_use]
pub(crate) fn named(text: &[u8]) -> KeyError {
    let unwrapped = secret_pem::unwrapped(text);
    let text = unwrapped.as_deref().map_or(text, Vec::as_slice);
    if memmem::find(text, b"-----BEGIN ").is_none() {
        return without_pem(text);
    }
    match secret_pem::blocks(text).as_deref() {
        None | Some([]) => KeyError::Broken,
        Some([first, ..]) if first.label == "OPENSSH PRIVATE KEY" => KeyError::OpenSsh,
        Some([first, ..]) => KeyError::NotPrivate(first.label.to_owned()),
    }
}

/// Whether a text is a key or a certificate itself, in one of the forms in which they are handed around.
#[must_use]
pub(crate) fn is_key_material(text: &str) -> bool {
    let is_jwk = text.trim_start().starts_with('{') && text.contains("\"kty\"");
    is_jwk
        || text.contains("-----BEGIN")
        || secret_pem::unwrapped(text.as_bytes()).is_some()
        || !matches!(without_pem(text.as_bytes()), KeyError::NotPem | KeyError::Empty | KeyError::Json)
}

/// Names a text without a PEM block.
pub(super) fn without_pem(text: &[u8]) -> KeyError {
    let begins = |word: &str| text.trim_ascii_start().starts_with(word.as_bytes());
    if text.trim_ascii().is_empty() {
        KeyError::Empty
    } else if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        KeyError::Utf16
    } else if text.first() == Some(&0x30) && !text.is_ascii() {
        of_der(text)
    } else if begins("PuTTY-User-Key-File") {
        KeyError::Putty
    } else if ["ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-", "---- BEGIN SSH2 PUBLIC KEY"].into_iter().any(begins) {
        KeyError::NotPrivate("public key in OpenSSH's format".to_owned())
    } else if begins("{") {
        KeyError::Json
    } else {
        match decoded(text).map(|der| of_der(&der)) {
            Some(KeyError::Der) => KeyError::Bare,
            Some(other) => other,
            None => KeyError::NotPem,
        }
    }
}

/// The DER of which a text is the base64.
fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    secret_pem::base64(text).filter(|der| der::kind(der).is_some())
}

fn of_der(der: &[u8]) -> KeyError {
    match der::kind(der) {
        Some(DerKind::PrivateKey) | None => KeyError::Der,
        Some(DerKind::Encrypted) => KeyError::Encrypted,
        Some(DerKind::PublicKey) => KeyError::NotPrivate("public key in DER".to_owned()),
        Some(DerKind::Certificate) => KeyError::NotPrivate("certificate in DER".to_owned()),
        Some(DerKind::Pkcs12) => KeyError::Pkcs12,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    const RSA: &str = include_str!("../../tests/keys/rsa2048-pkcs8.pem");

    fn der(pem: &str) -> Vec<u8> {
        secret_pem::blocks(pem.as_bytes()).unwrap().last().unwrap().contents.to_vec()
    }

    #[test]
    fn what_is_no_private_key_in_pem_is_named() {
        let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.der().to_vec();
        let public = der(include_str!("../../tests/keys/public.pem"));
        let private = |text: &str| KeyError::NotPrivate(text.to_owned());
        for (text, error) in [
            (der(RSA), KeyError::Der),
            (der(include_str!("../../tests/keys/rsa2048-pkcs1.pem")), KeyError::Der),
            (der(include_str!("../../tests/keys/p384-sec1.pem")), KeyError::Der),
            (der(include_str!("../../tests/keys/encrypted-pkcs8.pem")), KeyError::Encrypted),
            (public.clone(), private("public key in DER")),
            (certificate.clone(), private("certificate in DER")),
            // The beginning of a PKCS#12 file: version 3, and contents of the type pkcs7-data.
            (b"\x30\x10\x02\x01\x03\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01".to_vec(), KeyError::Pkcs12),
            (STANDARD.encode(der(RSA)).into_bytes(), KeyError::Bare),
            (STANDARD.encode(&public).into_bytes(), private("public key in DER")),
            (RSA.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n").into_bytes(), KeyError::Bare),
            (b"PuTTY-User-Key-File-3: ssh-rsa\r\nEncryption: none".to_vec(), KeyError::Putty),
            (b"ssh-rsa AAAAB3NzaC1yc2E me@host".to_vec(), private("public key in OpenSSH's format")),
            (br#"{"kty":"RSA","d":"AQAB"}"#.to_vec(), KeyError::Json),
            (b"\xff\xfe-\0-\0-\0".to_vec(), KeyError::Utf16),
            (b" \r\n".to_vec(), KeyError::Empty),
            (b"hello".to_vec(), KeyError::NotPem),
            (include_bytes!("../../tests/keys/public.pem").to_vec(), private("PUBLIC KEY")),
            (RSA.replace("-----END", "--END").into_bytes(), KeyError::Broken),
        ] {
            assert_eq!(named(&text), error, "{}", text.escape_ascii());
            let is_secret_or_alike = !matches!(error, KeyError::NotPem | KeyError::Empty | KeyError::Utf16);
            if let Ok(text) = std::str::from_utf8(&text) {
                assert_eq!(is_key_material(text), is_secret_or_alike, "{text}");
            }
        }
        for path in ["keys/private_key.pem", "/etc/0", "ssh-keys/a", "{site}/key", "MIIkeys/a", "LS0tLS1CRUdJTi"] {
            assert!(!is_key_material(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "(MII)?[A-Za-z0-9+/=_-]{0,60}") {
            let _ = (named(&bytes), named(text.as_bytes()), is_key_material(&text));
            let _ = der::kind(&[&[0x30, 0x20][..], &bytes].concat());
        }
    }
}

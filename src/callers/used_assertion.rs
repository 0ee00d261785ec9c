//! The name under which a used client assertion is remembered outside the process.

use crate::keys::sha256_hex;

/// A digest of the client and the `jti`, in hexadecimal digits: it tells nobody which they were.
#[must_use]
pub(super) fn name(client: &str, jti: &str) -> String {
    // The length keeps the two apart.
    sha256_hex(&[&client.len().to_be_bytes()[..], client.as_bytes(), jti.as_bytes()].concat())
}

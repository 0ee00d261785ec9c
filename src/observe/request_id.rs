//! The id of a request: in the log, and in `X-Request-Id` of the answer and of the request to OpenEMR.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use super::digits;

/// The longest id that is taken from a client, in bytes.
const MAX_LENGTH: usize = 64;

/// The id of a request. One that the gateway made has 16 hex digits and is unique among the requests of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The upper half of the ids of this process: 32 random bits, so that the ids of two processes differ.
static PROCESS: once_cell::sync::Lazy<u64> = once_cell::sync::Lazy::new(|| {
    let mut bytes = [0_u8; 4];
    // Without random bytes, ids are still unique among the requests of this process.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from(u32::from_be_bytes(bytes)) << 32
});

impl RequestId {
    /// Returns a new id.
    #[must_use]
    pub(crate) fn next() -> Self {
        Self::numbered(*PROCESS | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff))
    }

    fn numbered(number: u64) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        for (place, digit) in bytes.iter_mut().zip(digits::hex(number)) {
            *place = digit;
        }
        Self { bytes, length: 16 }
    }

    /// Returns an id that a client sent; `None` unless it is 1 to 64 letters, digits and `-._~:@/+=`, which are safe in any log.
    #[must_use]
    pub(crate) fn given(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_LENGTH];
        let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:@/+=".contains(byte);
        bytes.get_mut(..text.len()).filter(|_| !text.is_empty() && text.iter().all(is_good))?.copy_from_slice(text);
        Some(Self { bytes, length: text.len() })
    }

    /// Returns the id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Returns the id as a field value.
    #[must_use]
    pub(crate) fn header_value(self) -> HeaderValue {
        HeaderValue::from_str(self.as_str()).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_field_value_is_the_displayed_id() {
        for number in [0, 0xdead_beef_0000_0001, u64::MAX] {
            let id = RequestId::numbered(number);
            assert_eq!(id.to_string(), format!("{number:016x}"));
            assert_eq!(id.header_value().as_bytes(), id.to_string().as_bytes());
        }
        assert_ne!(RequestId::next(), RequestId::next());
    }

    #[test]
    fn a_given_name_can_stand_in_any_log() {
        let longest = "x".repeat(MAX_LENGTH);
        for good in ["1", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abcdef012345678912345678", "a/b:c@d~e+f", &longest]
        {
            assert_eq!(RequestId::given(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\tb", "a\"b", "a\nb", "a,b", "é", "a;b", "a%b", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(RequestId::given(bad.as_bytes()), None, "{bad}");
        }
    }
}

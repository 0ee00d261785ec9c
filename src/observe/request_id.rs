//! The name of a request: in the log, in the answer's `X-Request-Id`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Tells two requests apart, in the log and in the answer: 16 hex digits, unique among the requests of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Makes the ids of two processes differ; 32 random bits, chosen at start.
static PROCESS: once_cell::sync::Lazy<u64> = once_cell::sync::Lazy::new(|| {
    let mut bytes = [0_u8; 4];
    // Without randomness ids are still unique among the requests of this process.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from(u32::from_be_bytes(bytes)) << 32
});

impl RequestId {
    /// The next one.
    #[must_use]
    pub fn next() -> Self {
        Self(*PROCESS | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff))
    }

    /// As a field value.
    #[must_use]
    pub fn header_value(self) -> HeaderValue {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digits: [u8; 16] = std::array::from_fn(|at| {
            let nibble = (self.0 >> (60 - 4 * at)) & 0xf;
            usize::try_from(nibble).ok().and_then(|nibble| HEX.get(nibble)).copied().unwrap_or(b'0')
        });
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_value_is_the_displayed_id() {
        for id in [RequestId(0), RequestId(0xdead_beef_0000_0001), RequestId(u64::MAX), RequestId::next()] {
            assert_eq!(id.header_value().as_bytes(), id.to_string().as_bytes());
        }
        assert_ne!(RequestId::next(), RequestId::next());
    }
}

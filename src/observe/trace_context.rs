//! W3C Trace Context, level 1: `traceparent` and `tracestate`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// The most members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// The only flag that level 1 defines.
const SAMPLED: u8 = 1;

/// The position of a request in a trace: the trace, and the gateway's own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Random numbers chosen at start. Ids are made from a counter added to them, which takes no system call.
static SEED: once_cell::sync::Lazy<[u64; 2]> = once_cell::sync::Lazy::new(|| {
    let mut bytes = [0_u8; 16];
    // Without random bytes, ids are still unique among those of this process.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let number = u128::from_be_bytes(bytes);
    [(number >> 64) as u64, number as u64]
});

impl TraceContext {
    /// Returns the gateway's span in the trace of a client's `traceparent`, or in a new trace if there is none or it is malformed.
    #[must_use]
    pub(crate) fn of(traceparent: Option<&[u8]>) -> (Self, Origin) {
        let [own, other] = *SEED;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Zero is not a valid id (sections 3.2.2.3 and 3.2.2.4).
        let span = mixed(own.wrapping_add(number)).max(1);
        match traceparent.and_then(parse) {
            Some((trace, flags)) => (Self { trace, span, flags }, Origin::Client),
            None => {
                let trace = (u128::from(mixed(other.wrapping_add(number))) << 64) | u128::from(mixed(!span));
                (Self { trace: trace.max(1), span, flags: 0 }, Origin::Gateway)
            }
        }
    }

    /// Returns the id of the trace.
    #[must_use]
    pub(crate) fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// Returns the `traceparent` for the request to OpenEMR, with the gateway's span as its parent.
    #[must_use]
    pub(crate) fn header_value(&self) -> HeaderValue {
        let Self { trace, span, flags } = self;
        HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{flags:02x}")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The id of a trace, which displays as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where a trace began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// At the client or before it, whose `tracestate` is passed on.
    Client,
    /// In the gateway.
    Gateway,
}

/// Parses `version-trace-parent-flags` (section 3.2.2); of a later version, the part that it has in common.
fn parse(text: &[u8]) -> Option<(u128, u8)> {
    let (version, rest) = hex(text, 2)?;
    let (trace, rest) = hex(rest.strip_prefix(b"-")?, 32)?;
    let (parent, rest) = hex(rest.strip_prefix(b"-")?, 16)?;
    let (flags, rest) = hex(rest.strip_prefix(b"-")?, 2)?;
    let ends_well = rest.is_empty() || (version != 0 && rest.starts_with(b"-"));
    let is_valid = version != 0xff && trace != 0 && parent != 0 && ends_well;
    is_valid.then_some((trace, if flags & 1 == 1 { SAMPLED } else { 0 }))
}

/// Parses a number of lower-case hex digits; returns their value and the rest.
fn hex(text: &[u8], digits: usize) -> Option<(u128, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let mut number = 0;
    for digit in digits {
        let digit = char::from(*digit);
        let value = digit.to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
        number = number << 4 | u128::from(value);
    }
    Some((number, rest))
}

/// Returns whether a `tracestate`, over all its field lines, is valid (section 3.3.1).
#[must_use]
pub(crate) fn is_valid_state<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let members = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut count = 0;
    for member in members.filter(|member| !member.is_empty()) {
        count += 1;
        if count > MAX_MEMBERS || !is_member(member) {
            return false;
        }
    }
    count > 0
}

fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (member.get(..at).unwrap_or_default(), member.get(at + 1..).unwrap_or_default());
    let is_value = (1..=256).contains(&value.len()) && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && *byte != b'=');
    let is_name = |name: &[u8], most: usize, may_begin_with_a_digit: bool| {
        let begins =
            name.first().is_some_and(|byte| byte.is_ascii_lowercase() || (may_begin_with_a_digit && byte.is_ascii_digit()));
        begins
            && name.len() <= most
            && name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte))
    };
    let is_key = match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, 256, true),
        Some(at) => {
            let (tenant, system) = (key.get(..at).unwrap_or_default(), key.get(at + 1..).unwrap_or_default());
            is_name(tenant, 241, true) && is_name(system, 14, false)
        }
    };
    is_key && is_value
}

/// Mixes a number as the last step of SplitMix64 does: consecutive numbers become unrelated, and different ones stay
/// different.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_with_a_span_of_the_gateways_own() {
        for (given, sent_flags) in [
            (GOOD, "01"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", "01"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe", "00"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "01"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes", "01"),
        ] {
            let (context, origin) = TraceContext::of(Some(given.as_bytes()));
            assert_eq!(origin, Origin::Client, "{given}");
            let sent = context.header_value();
            let parts: Vec<&str> = sent.to_str().unwrap().split('-').collect();
            assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", sent_flags), "{given}");
            assert_ne!(parts[2], "b7ad6b7169203331");
            assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        }
    }

    #[test]
    fn what_is_no_trace_is_begun_anew() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let (context, origin) = TraceContext::of(Some(bad.as_bytes()));
            assert_eq!(origin, Origin::Gateway, "{bad}");
            assert!(parse(context.header_value().as_bytes()).is_some(), "{:?}", context.header_value());
        }
        let (one, other) = (TraceContext::of(None).0, TraceContext::of(None).0);
        assert!(one.trace != other.trace && one.span != other.span);
    }

    #[test]
    fn a_state_passes_by_the_rules() {
        let members = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        for (state, good) in [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true),
            ("a=1 , ,tenant@system=x y!~,0k/_-*=z", true),
            (&members(32), true),
            (&members(33), false),
            ("", false),
            (" , ", false),
            ("a", false),
            ("=b", false),
            ("a=", false),
            ("A=b", false),
            ("a=b=c", false),
            ("a b=c", false),
            ("@x=c", false),
            ("x@=c", false),
            ("x@0y=c", false),
            ("a@b@c=d", false),
            ("a=\u{e9}", false),
        ] {
            assert_eq!(is_valid_state([state.as_bytes()].into_iter()), good, "{state}");
        }
        assert!(is_valid_state([&b"a=1"[..], b"b=2"].into_iter()));
    }

    proptest! {
        #[test]
        fn whatever_comes_what_goes_is_good(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let (context, _) = TraceContext::of(Some(&text));
            prop_assert!(parse(context.header_value().as_bytes()).is_some());
            let _ = is_valid_state([&text[..]].into_iter());
        }
    }
}

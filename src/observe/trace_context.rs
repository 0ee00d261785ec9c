//! W3C Trace Context, level 1: `traceparent` and `tracestate`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderValue;

use super::digits;

/// The most members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// The length of a `traceparent` (section 3.2.2).
const LENGTH: usize = 55;
/// The only flag that level 1 defines.
const SAMPLED: u8 = 1;

/// The position of a request in a trace: the trace, and the gateway's own spans in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    /// The client's span; zero where the trace begins here.
    parent: u64,
    /// The span of what goes to OpenEMR in place of the client's request. The ids of the others are made from it.
    upstream: u64,
    flags: u8,
    is_recorded: bool,
}

/// The shares of requests whose spans are recorded, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Of those whose trace begins here.
    pub(crate) begun: f64,
    /// Of those whose trace is recorded before the gateway, as their `traceparent` says.
    pub(crate) continued: f64,
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
    /// Returns the gateway's spans in the trace of a client's `traceparent`, or in a new trace if there is none or it is malformed.
    /// Without `sampling` nothing is recorded, and the client's flag passes as it is.
    #[must_use]
    pub(crate) fn of(traceparent: Option<&[u8]>, sampling: Option<Sampling>) -> (Self, Origin) {
        let [own, other] = *SEED;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Zero is not a valid id (sections 3.2.2.3 and 3.2.2.4).
        let upstream = mixed(own.wrapping_add(number)).max(1);
        let (Parent { trace, span: parent, flags }, origin) = match traceparent.and_then(parse) {
            Some(parent) => (parent, Origin::Client),
            None => {
                let trace = (u128::from(mixed(other.wrapping_add(number))) << 64) | u128::from(mixed(!upstream));
                (Parent { trace: trace.max(1), span: 0, flags: 0 }, Origin::Gateway)
            }
        };
        let is_recorded = sampling.is_some_and(|sampling| sampling.takes(origin, flags, upstream));
        let flags = match sampling {
            None => flags,
            Some(_) => u8::from(is_recorded) * SAMPLED,
        };
        (Self { trace, parent, upstream, flags, is_recorded }, origin)
    }

    /// Returns the id of the trace as 32 hex digits, in two halves.
    #[must_use]
    pub(crate) fn trace_digits(&self) -> [[u8; 16]; 2] {
        digits::long_hex(self.trace)
    }

    /// Returns whether the spans of the request are recorded.
    #[must_use]
    pub(crate) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// Returns the `traceparent` for what goes to OpenEMR in place of the client's request.
    #[must_use]
    pub(crate) fn upstream_value(&self) -> HeaderValue {
        self.header_value(self.upstream)
    }

    /// Returns the `traceparent` for the gateway's own requests on behalf of the client's: children of the request's span.
    #[must_use]
    pub(crate) fn own_value(&self) -> HeaderValue {
        self.header_value(self.derived(REQUEST))
    }

    /// Returns the ids of the request's spans.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub(crate) fn spans(&self) -> SpanIds {
        SpanIds {
            trace: self.trace,
            parent: (self.parent != 0).then_some(self.parent),
            request: self.derived(REQUEST),
            token_wait: self.derived(TOKEN_WAIT),
            queue: self.derived(QUEUE),
            upstream: self.upstream,
        }
    }

    fn header_value(&self, span: u64) -> HeaderValue {
        let mut text = Vec::with_capacity(LENGTH);
        text.extend_from_slice(b"00-");
        text.extend_from_slice(self.trace_digits().as_flattened());
        text.push(b'-');
        text.extend_from_slice(&digits::hex(span));
        text.extend_from_slice(if self.flags & SAMPLED == SAMPLED { b"-01" } else { b"-00" });
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
    }

    /// A further id of this request: another one for each number.
    fn derived(&self, number: u64) -> u64 {
        mixed(self.upstream.wrapping_add(number)).max(1)
    }
}

/// The numbers of the derived ids.
const REQUEST: u64 = 1;
#[cfg(feature = "otlp")]
const TOKEN_WAIT: u64 = 2;
#[cfg(feature = "otlp")]
const QUEUE: u64 = 3;

/// The ids of a request's spans.
#[cfg(feature = "otlp")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanIds {
    pub(crate) trace: u128,
    /// The client's span, where it has one.
    pub(crate) parent: Option<u64>,
    pub(crate) request: u64,
    pub(crate) token_wait: u64,
    pub(crate) queue: u64,
    pub(crate) upstream: u64,
}

impl Sampling {
    /// Decides by the gateway's own random id: a client chooses the id of its trace.
    fn takes(self, origin: Origin, flags: u8, random: u64) -> bool {
        let share = match origin {
            Origin::Gateway => self.begun,
            Origin::Client if flags & SAMPLED == SAMPLED => self.continued,
            // Spans without those above them help nobody.
            Origin::Client => 0.0,
        };
        // As many bits as a number of this type holds exactly: from 0 to just below 1.
        const STEPS: f64 = (1_u64 << 53) as f64;
        ((random >> 11) as f64) / STEPS < share
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

/// What a `traceparent` says.
struct Parent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// Parses `version-trace-parent-flags` (section 3.2.2); of a later version, the part that it has in common.
fn parse(text: &[u8]) -> Option<Parent> {
    let (version, rest) = hex(text, 2)?;
    let (trace, rest) = hex(rest.strip_prefix(b"-")?, 32)?;
    let (parent, rest) = hex(rest.strip_prefix(b"-")?, 16)?;
    let (flags, rest) = hex(rest.strip_prefix(b"-")?, 2)?;
    let ends_well = rest.is_empty() || (version != 0 && rest.starts_with(b"-"));
    let is_valid = version != 0xff && trace != 0 && parent != 0 && ends_well;
    let flags = if flags & 1 == 1 { SAMPLED } else { 0 };
    is_valid.then_some(Parent { trace, span: u64::try_from(parent).ok()?, flags })
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
            let (context, origin) = TraceContext::of(Some(given.as_bytes()), None);
            assert_eq!(origin, Origin::Client, "{given}");
            let sent = context.upstream_value();
            let parts: Vec<&str> = sent.to_str().unwrap().split('-').collect();
            assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", sent_flags), "{given}");
            assert_ne!(parts[2], "b7ad6b7169203331");
            assert_ne!(context.own_value(), sent);
            assert!(!context.is_recorded());
            assert_eq!(context.trace_digits().as_flattened(), b"0af7651916cd43dd8448eb211c80319c");
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
            let (context, origin) = TraceContext::of(Some(bad.as_bytes()), None);
            assert_eq!(origin, Origin::Gateway, "{bad}");
            assert!(parse(context.upstream_value().as_bytes()).is_some(), "{:?}", context.upstream_value());
        }
        let (one, other) = (TraceContext::of(None, None).0, TraceContext::of(None, None).0);
        assert!(one.trace != other.trace && one.upstream != other.upstream);
    }

    #[test]
    fn what_is_recorded_is_flagged_and_the_rest_is_not() {
        let unflagged = GOOD.replace("-01", "-00");
        for (parent, begun, continued, is_recorded) in [
            (None, 1.0, 0.0, true),
            (None, 0.0, 1.0, false),
            (Some(GOOD), 0.0, 1.0, true),
            // A client has no more recorded than the operator wants.
            (Some(GOOD), 1.0, 0.0, false),
            (Some(&*unflagged), 1.0, 1.0, false),
            (Some("no trace"), 1.0, 0.0, true),
        ] {
            let (context, _) = TraceContext::of(parent.map(str::as_bytes), Some(Sampling { begun, continued }));
            assert_eq!(context.is_recorded(), is_recorded, "{parent:?} {begun} {continued}");
            let flag = if is_recorded { "-01" } else { "-00" };
            for value in [context.upstream_value(), context.own_value()] {
                assert!(value.to_str().unwrap().ends_with(flag), "{value:?}");
            }
        }
    }

    #[test]
    fn a_share_is_taken_whatever_ids_the_client_chooses() {
        let sampling = Some(Sampling { begun: 1.0, continued: 0.25 });
        let taken = (0..4000).filter(|_| TraceContext::of(Some(GOOD.as_bytes()), sampling).0.is_recorded()).count();
        // Of independent draws, fewer than one run in a million is outside.
        assert!((860..=1140).contains(&taken), "{taken} of 4000");
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn each_span_has_an_id_of_its_own() {
        let (context, _) = TraceContext::of(Some(GOOD.as_bytes()), None);
        let SpanIds { trace, parent, request, token_wait, queue, upstream } = context.spans();
        assert_eq!((trace, parent), (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, Some(0xb7ad_6b71_6920_3331)));
        let ids: std::collections::HashSet<u64> = [request, token_wait, queue, upstream].into();
        assert_eq!(ids.len(), 4);
        assert!(context.upstream_value().to_str().unwrap().contains(&format!("-{upstream:016x}-")));
        assert!(context.own_value().to_str().unwrap().contains(&format!("-{request:016x}-")));
        assert_eq!(TraceContext::of(None, None).0.spans().parent, None);
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
            let (context, _) = TraceContext::of(Some(&text), None);
            prop_assert!(parse(context.upstream_value().as_bytes()).is_some());
            let _ = is_valid_state([&text[..]].into_iter());
        }
    }
}

//! Rates: how many requests in which time, and how many of them at once after a pause.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The most requests that a rate names.
const MOST_REQUESTS: u32 = 1_000_000;
/// The largest burst.
pub(crate) const MOST_BURST: u32 = 100_000;
/// How many requests may come at once by default where a second has fewer: an app sends about so many when a page opens.
const USUAL_BURST: u32 = 10;

/// Requests in a period, such as `20/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    requests: u32,
    period: Period,
}

/// The period of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
}

/// A rate with its burst. A bucket of `burst` requests is full after a pause, and gets one more request each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    interval: Duration,
    burst: NonZeroU32,
}

impl Period {
    const fn nanos(self) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        match self {
            Self::Second => SECOND,
            Self::Minute => 60 * SECOND,
            Self::Hour => 3600 * SECOND,
        }
    }
}

impl Rate {
    /// So many requests a period: 1 at least, a million at most.
    #[must_use]
    pub(crate) fn new(requests: u32, period: Period) -> Self {
        Self { requests: requests.clamp(1, MOST_REQUESTS), period }
    }

    /// Reads a rate: `20/s`, `600/min` or `5000/h`.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the value.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "is no rate; write 20/s, 600/min or 5000/h";
        let (requests, period) = text.split_once('/').ok_or(FORM)?;
        let period = match period.trim() {
            "s" => Period::Second,
            "m" | "min" => Period::Minute,
            "h" => Period::Hour,
            _ => return Err(FORM),
        };
        let requests = requests.trim();
        if requests.is_empty() || !requests.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM);
        }
        match requests.parse() {
            Ok(0) => Err("lets nothing pass; at least 1 is needed"),
            Ok(requests @ 1..=MOST_REQUESTS) => Ok(Self { requests, period }),
            Ok(_) | Err(_) => Err("is too much; at most 1000000 are taken"),
        }
    }

    /// The rate with a burst. `None`: the requests of one second, but [`USUAL_BURST`] at least, unless the rate itself names fewer.
    #[must_use]
    pub(crate) fn quota(self, burst: Option<u32>) -> Quota {
        let burst = burst.unwrap_or_else(|| self.usual_burst()).clamp(1, MOST_BURST);
        let interval = self.period.nanos().div_ceil(u64::from(self.requests));
        Quota { interval: Duration::from_nanos(interval), burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN) }
    }

    fn usual_burst(self) -> u32 {
        let seconds = self.period.nanos() / Period::Second.nanos();
        let of_a_second = u64::from(self.requests).div_ceil(seconds);
        u32::try_from(of_a_second).unwrap_or(MOST_BURST).max(USUAL_BURST.min(self.requests))
    }
}

/// As [`Rate::parse`] reads it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
        };
        write!(f, "{}/{period}", self.requests)
    }
}

impl Quota {
    /// The time that adds one request.
    #[must_use]
    pub(crate) fn interval(self) -> Duration {
        self.interval
    }

    /// How many requests may come at once after a pause.
    #[must_use]
    pub(crate) fn burst(self) -> u32 {
        self.burst.get()
    }

    /// The time in which an empty bucket fills.
    #[must_use]
    pub(crate) fn window(self) -> Duration {
        self.interval.saturating_mul(self.burst.get())
    }

    /// The rate at which each request takes `times` as long to be free again, with another burst.
    #[must_use]
    pub(super) fn scaled(self, times: u32, burst: u32) -> Self {
        Self { interval: self.interval.saturating_mul(times), burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN) }
    }

    /// The same for the arithmetic of rates.
    #[must_use]
    pub(super) fn cells(self) -> governor::Quota {
        let one_a_second = governor::Quota::per_second(NonZeroU32::MIN);
        governor::Quota::with_period(self.interval).unwrap_or(one_a_second).allow_burst(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, interval, burst) in [
            ("20/s", 50_000_000, 20),
            ("1/s", 1_000_000_000, 1),
            ("3/s", 333_333_334, 3),
            (" 600 / min ", 100_000_000, 10),
            ("60/m", 1_000_000_000, 10),
            ("5/min", 12_000_000_000, 5),
            ("5000/h", 720_000_000, 10),
            ("72000/h", 50_000_000, 20),
            ("1/h", 3_600_000_000_000, 1),
            ("1000000/s", 1_000, MOST_BURST),
        ] {
            let quota = Rate::parse(text).unwrap_or_else(|error| panic!("{text} {error}")).quota(None);
            assert_eq!((quota.interval().as_nanos(), quota.burst()), (interval, burst), "{text}");
        }
        for text in ["", "/", "20", "20/", "/s", "20/d", "20/sec", "-1/s", "+1/s", "1.5/s", "0/s", "1000001/s", "20/s/s", "٣/s"]
        {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_burst_that_is_written_counts() {
        let quota = Rate::new(20, Period::Second).quota(Some(40));
        assert_eq!((quota.burst(), quota.window()), (40, Duration::from_secs(2)));
        assert_eq!(Rate::new(20, Period::Second).quota(Some(u32::MAX)).burst(), MOST_BURST);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(requests in 1..=MOST_REQUESTS, period in 0..3_usize, burst in 1..=MOST_BURST) {
            let rate = Rate::new(requests, [Period::Second, Period::Minute, Period::Hour][period]);
            prop_assert_eq!(Rate::parse(&rate.to_string()), Ok(rate));
            let quota = rate.quota(Some(burst));
            prop_assert_eq!(quota.cells().replenish_interval(), quota.interval());
            prop_assert_eq!(quota.cells().burst_size().get(), burst);
            // Never more than the rate says, and by less than a nanosecond less.
            let (nanos, each) = (u128::from(rate.period.nanos()), quota.interval().as_nanos());
            prop_assert!(each * u128::from(requests) >= nanos && (each - 1) * u128::from(requests) < nanos);
        }

        #[test]
        fn never_panics(text in ".{0,20}") {
            let _ = Rate::parse(&text);
        }
    }
}

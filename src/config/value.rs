//! How durations, sizes, shares and log levels are written.

use std::time::Duration;

/// The longest duration that is accepted anywhere.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration: `500ms`, `5s`, `2m`, `1h`, or a number of seconds; at least 1ms, at most 24h.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the value.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "is no duration; write 500ms, 5s, 2m or 1h";
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(FORM);
    }
    let number: f64 = digits.parse().map_err(|_| FORM)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(FORM),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| FORM)?;
    // What a binary fraction of a second adds or lacks is noise below the millisecond.
    let duration = Duration::from_millis(u64::try_from((duration + Duration::from_micros(500)).as_millis()).map_err(|_| FORM)?);
    if duration.is_zero() {
        return Err("is too short; at least 1ms is needed");
    }
    if duration > MAX_DURATION {
        return Err("is too long; at most 24h are accepted");
    }
    Ok(duration)
}

/// Writes a duration so that [`duration`] reads it.
#[must_use]
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(3_600_000) && millis > 0 {
        format!("{}h", millis / 3_600_000)
    } else if millis.is_multiple_of(60_000) && millis > 0 {
        format!("{}m", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// Reads a size: `64KiB`, `1MiB`, or a number of bytes.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the value.
pub(crate) fn size(text: &str) -> Result<usize, &'static str> {
    const FORM: &str = "is no size; write 64KiB, 1MiB or a number of bytes";
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let factor = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(FORM),
    };
    let number: usize = digits.parse().map_err(|_| FORM)?;
    number.checked_mul(factor).ok_or(FORM)
}

/// Writes a size so that [`size`] reads it.
#[must_use]
pub(crate) fn size_text(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(MIB) => format!("{}MiB", bytes / MIB),
        _ if bytes.is_multiple_of(KIB) => format!("{}KiB", bytes / KIB),
        _ => bytes.to_string(),
    }
}

/// A share of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Share(f64);

impl Share {
    /// The whole.
    pub(crate) const ALL: Self = Self(1.0);

    /// The number, from 0 to 1.
    #[must_use]
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

/// Reads a share: a number from 0 to 1.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the value.
pub(crate) fn share(text: &str) -> Result<Share, &'static str> {
    let number = text.trim().parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.map(Share).ok_or("is no share; write a number from 0 to 1")
}

/// Reads a log level in upper or lower case. Python's names are accepted, since `LOG_LEVEL` may still hold one.
#[must_use]
pub(crate) fn level(text: &str) -> Option<log::LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Some(log::LevelFilter::Off),
        "error" | "critical" | "fatal" => Some(log::LevelFilter::Error),
        "warn" | "warning" => Some(log::LevelFilter::Warn),
        "info" => Some(log::LevelFilter::Info),
        "debug" => Some(log::LevelFilter::Debug),
        "trace" => Some(log::LevelFilter::Trace),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("4", 4000),
            ("0.5", 500),
            ("1.5 s", 1500),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5 days", "-1s", "1e9", "0", "0ms", "25h", "5S", "1.2.3s", "inf", "nan", "٣s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64KiB", 65_536), ("1MiB", 1_048_576), ("100", 100), ("7 B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "64KB", "-1", "1.5KiB", "99999999999999999999", "18446744073709551615MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, number) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), (" 1e-3 ", 0.001)] {
            assert_eq!(share(text), Ok(Share(number)), "{text}");
        }
        for text in ["", "-0.1", "1.01", "25%", "nan", "inf", "1/4"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(millis in 1_u64..86_400_000, bytes in 0_usize..1 << 40) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = (duration(&text), size(&text), share(&text), level(&text));
        }
    }
}

//! The time of log lines. Its text changes once a second but for the milliseconds, and is kept for so long.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The length of `2026-11-24T04:00:00`.
const LENGTH: usize = 19;

thread_local! {
    static SECOND: Cell<Second> = const { Cell::new(Second { since_epoch: 0, text: *b"1970-01-01T00:00:00" }) };
}

#[derive(Clone, Copy)]
struct Second {
    since_epoch: u64,
    text: [u8; LENGTH],
}

/// Writes the time in UTC with milliseconds (RFC 3339): `2026-11-24T04:00:00.123Z`.
pub(super) fn write_now(out: &mut Vec<u8>) {
    // A clock before 1970 is not set.
    write(out, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
}

fn write(out: &mut Vec<u8>, since_epoch: Duration) {
    let mut second = SECOND.get();
    if second.since_epoch != since_epoch.as_secs() {
        second = Second::of(since_epoch.as_secs()).unwrap_or(second);
        SECOND.set(second);
    }
    out.extend_from_slice(&second.text);
    let milliseconds = since_epoch.subsec_millis();
    let digit = |number: u32| u8::try_from(number % 10).map_or(b'0', |digit| b'0' + digit);
    out.extend_from_slice(&[b'.', digit(milliseconds / 100), digit(milliseconds / 10), digit(milliseconds), b'Z']);
}

impl Second {
    /// `None` where the calendar ends, in the year 9999.
    fn of(since_epoch: u64) -> Option<Self> {
        let time = Timestamp::from_second(i64::try_from(since_epoch).ok()?).ok()?;
        let text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        Some(Self { since_epoch, text: text.as_bytes().try_into().ok()? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_written_as_the_calendar_says(milliseconds in 0_u64..253_402_000_000_000, after in 0_u64..2_000) {
            for milliseconds in [milliseconds, milliseconds + after] {
                let mut out = Vec::new();
                write(&mut out, Duration::from_millis(milliseconds));
                let time = Timestamp::from_millisecond(i64::try_from(milliseconds).unwrap()).unwrap();
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{time:.3}"));
            }
        }
    }
}

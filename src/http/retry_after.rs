//! `Retry-After` (RFC 9110 section 10.2.3): how long a server wants to be left alone.

use std::time::{Duration, SystemTime};

/// No longer wait is believed: a server that works again must be found again.
pub(crate) const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The wait that a field value asks for, in seconds or as a date of the server's clock; at most [`LONGEST`]. `None` when the
/// value is neither.
#[must_use]
pub(crate) fn parse(field: &str, server_now: SystemTime) -> Option<Duration> {
    let field = field.trim();
    let wait = if !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long wait, too.
        field.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        httpdate::parse_http_date(field).ok()?.duration_since(server_now).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        // 1994-11-06 08:49:37 UTC, the example of RFC 9110.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (field, wait) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("86400", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:50:07 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 07:00:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(300)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("120, 60", None),
        ] {
            assert_eq!(parse(field, now), wait.map(Duration::from_secs), "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_above_the_bound(field in "([0-9]{0,30}|[A-Za-z0-9 :,-]{0,40})", now in 0_u64..4_000_000_000) {
            let wait = parse(&field, UNIX_EPOCH + Duration::from_secs(now));
            prop_assert!(wait.is_none_or(|wait| wait <= LONGEST));
        }
    }
}

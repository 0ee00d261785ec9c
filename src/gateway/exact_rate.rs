//! A rate that several gateways count together, in the store.
//!
//! The state is how long the caller's bucket lacked to be full when the last request was admitted, and when that was by the clock of
//! the store: the arithmetic is that of `RateTable` (the generic cell rate algorithm), in one step of the store.
//!
//! Decision: `docs/decisions/45-rate-limits.md`.

use std::time::Duration;

use crate::keys::sha256_hex;
use crate::limits::admission::Admission;
use crate::limits::rate::Quota;
use crate::limits::subject::Subject;
use crate::store::reply::Reply;
use crate::store::script::{Script, Use};
use crate::store::shared_store::SharedStore;
use crate::store::store_error::StoreError;

/// Counts a request, if it is within the rate. Takes the time that adds one request and the time in which an empty bucket fills, in
/// nanoseconds; answers whether the request is admitted, and what the bucket lacks then. Nothing is kept of a bucket that is full.
static COUNT: Script = Script::new(
    Use::Rates,
    r"local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local missing = 0
local state = redis.call('GET', KEYS[1])
if state then
  local at, lacked = string.match(state, '^(%d+) (%d+)$')
  if at then
    missing = math.min(window, math.max(0, tonumber(lacked) - 1000 * math.max(0, now - tonumber(at))))
  end
end
if missing + interval > window then
  return {0, missing}
end
missing = missing + interval
redis.call('SET', KEYS[1], string.format('%.0f %.0f', now, missing), 'PX', math.ceil(missing / 1000000))
return {1, missing}",
);
/// How many hexadecimal digits of a subject's digest make its key.
const DIGITS: usize = 32;

/// Decides on a request, and counts it if it is within the rate, for all gateways that share the store.
///
/// # Errors
/// The store did not answer: whether the request was counted is not known.
pub(super) async fn admit(store: &SharedStore, subject: Subject<'_>, quota: Quota) -> Result<Admission, StoreError> {
    let nanos = [quota.interval(), quota.window()].map(|time| time.as_nanos().to_string().into_bytes());
    match store.run(&COUNT, &[key(subject)], &nanos).await? {
        Reply::List(said) => match said.as_slice() {
            [Reply::Int(admitted @ (0 | 1)), Reply::Int(missing @ 0..)] => {
                let missing = Duration::from_nanos(missing.unsigned_abs()).min(quota.window());
                Ok(Admission::of(quota, *admitted == 1, missing))
            }
            _ => Err(StoreError::Unexpected),
        },
        _ => Err(StoreError::Unexpected),
    }
}

/// The key of a subject: a digest, since the store needs to know neither clients nor addresses.
fn key(subject: Subject<'_>) -> String {
    let mut digest = sha256_hex(subject.name().as_bytes());
    digest.truncate(DIGITS);
    format!("rate:{digest}")
}

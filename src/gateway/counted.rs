//! What has been counted of a request in the limits of its caller, and what is told of it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::{Rejection, whole_seconds};
use crate::limits::admission::Admission;
use crate::limits::at_once::Place;
use crate::limits::subject::Subject;
use crate::limits::usage::Usage;

/// When a request may be sent again that came while too many were at work: nobody knows when one of them ends.
const SOON: Duration = Duration::from_secs(1);

/// A limit, under the name by which the fields of answers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Of an address, for the gateway's own routes.
    Local,
    /// Of an address, for everything else.
    Address,
    /// Of a client.
    Client,
    /// Of a site.
    Site,
}

/// The request is beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Throttled {
    /// One more is within the rate after this long.
    #[error("more requests than {} allows", .0.rate_key())]
    Rate(Limit, Duration),
    /// As many are at work as may be.
    #[error("more requests at once than {} allows", .0.at_once_key())]
    AtOnce(Limit),
}

/// What has been counted of a request.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// What the rates said: of the address, of the client.
    rates: [Option<(Limit, Admission)>; 2],
    /// That of the site: known last, when nobody may change anything of the call any more.
    site: OnceLock<Admission>,
    /// Its places among the requests at work, which it has until its end: of the address, of the client.
    places: [Option<Place>; 2],
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Address => "address",
            Self::Client => "client",
            Self::Site => "site",
        }
    }

    fn rate_key(self) -> &'static str {
        match self {
            Self::Local => "limits.local_rate_per_address",
            Self::Address => "limits.rate_per_address",
            Self::Client => "the client's rate",
            Self::Site => "the site's rate",
        }
    }

    fn at_once_key(self) -> &'static str {
        match self {
            Self::Local | Self::Address => "limits.requests_per_address",
            Self::Client | Self::Site => "the client's at_once",
        }
    }
}

impl From<Throttled> for Rejection {
    fn from(throttled: Throttled) -> Self {
        let (text, wait) = match throttled {
            Throttled::Rate(Limit::Local | Limit::Address, wait) => {
                ("Requests come from this address more often than the gateway takes them.", wait)
            }
            Throttled::Rate(Limit::Client, wait) => ("This client sends requests more often than it may.", wait),
            Throttled::Rate(Limit::Site, wait) => {
                ("Requests for this site come, from all its clients together, more often than it takes them.", wait)
            }
            Throttled::AtOnce(Limit::Local | Limit::Address) => {
                ("As many requests of this address are at work as may be at once. Send the next one when one is answered.", SOON)
            }
            Throttled::AtOnce(Limit::Client | Limit::Site) => {
                ("As many requests of this client are at work as may be at once. Send the next one when one is answered.", SOON)
            }
        };
        let reason = match throttled {
            Throttled::Rate(Limit::Local, _) => Reason::RateLocal,
            Throttled::Rate(Limit::Address, _) => Reason::RateAddress,
            Throttled::Rate(Limit::Client, _) => Reason::RateClient,
            Throttled::Rate(Limit::Site, _) => Reason::RateSite,
            Throttled::AtOnce(Limit::Local | Limit::Address) => Reason::AtOnceAddress,
            Throttled::AtOnce(Limit::Client | Limit::Site) => Reason::AtOnceClient,
        };
        let rejection = Self::new(StatusCode::TOO_MANY_REQUESTS, IssueCode::Throttled, reason, text);
        Self { retry_after: Some(whole_seconds(wait)), ..rejection }.because(throttled)
    }
}

impl Counted {
    /// Takes note of what a rate said.
    ///
    /// # Errors
    /// The request is beyond the rate.
    pub(super) fn count(&mut self, limit: Limit, admission: Admission) -> Result<(), Throttled> {
        if let Some(free) = self.rates.iter_mut().find(|rate| rate.is_none()) {
            *free = Some((limit, admission));
        }
        if admission.is_admitted { Ok(()) } else { Err(Throttled::Rate(limit, admission.next)) }
    }

    /// Whether the request was counted in the rate of its site.
    pub(super) fn has_site(&self) -> bool {
        self.site.get().is_some()
    }

    /// Takes note of what the rate of the site said, once.
    ///
    /// # Errors
    /// The request is beyond the rate.
    pub(super) fn count_site(&self, admission: Admission) -> Result<(), Throttled> {
        let admission = self.site.get_or_init(|| admission);
        if admission.is_admitted { Ok(()) } else { Err(Throttled::Rate(Limit::Site, admission.next)) }
    }

    /// Takes a place among the requests at work, if there is a limit.
    pub(super) fn enter(
        &mut self,
        usage: &Usage,
        limit: Limit,
        subject: Subject<'_>,
        most: Option<u32>,
    ) -> Result<(), Throttled> {
        let Some(most) = most else { return Ok(()) };
        let place = usage.enter(subject, most).ok_or(Throttled::AtOnce(limit))?;
        if let Some(free) = self.places.iter_mut().find(|place| place.is_none()) {
            *free = Some(place);
        }
        Ok(())
    }

    /// The values of `RateLimit-Policy` and `RateLimit`; `None` where no rate applies.
    pub(super) fn fields(&self) -> Option<[HeaderValue; 2]> {
        let (mut policy, mut state) = (Vec::new(), Vec::new());
        let of_site = self.site.get().map(|admission| (Limit::Site, *admission));
        for (limit, Admission { quota, remaining, next, .. }) in self.rates.iter().flatten().copied().chain(of_site) {
            write(&mut policy, limit, [("\";q=", quota.burst().into()), (";w=", whole_seconds(quota.window()))]);
            write(&mut state, limit, [("\";r=", remaining.into()), (";t=", whole_seconds(next))]);
        }
        if policy.is_empty() {
            return None;
        }
        let value = |text| HeaderValue::from_maybe_shared(Bytes::from(text)).ok();
        Some([value(policy)?, value(state)?])
    }
}

/// Writes a member of one of these fields: every answer has them, hence by hand.
fn write(field: &mut Vec<u8>, limit: Limit, parameters: [(&str, u64); 2]) {
    let begin = if field.is_empty() { "\"" } else { ", \"" };
    for part in [begin, limit.name()] {
        field.extend_from_slice(part.as_bytes());
    }
    for (name, number) in parameters {
        field.extend_from_slice(name.as_bytes());
        field.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::limits::rate::{Period, Quota, Rate};
    use proptest::prelude::*;
    use sfv::{BareItem, List, ListEntry, Parser};

    fn parsed(value: &HeaderValue) -> Vec<(String, Vec<(String, i64)>)> {
        let list: List = Parser::parse_list(value.as_bytes()).unwrap();
        let items = list.into_iter().map(|entry| {
            let ListEntry::Item(item) = entry else { panic!("{entry:?}") };
            let BareItem::String(name) = item.bare_item else { panic!("{item:?}") };
            let parameters = item.params.into_iter().map(|(key, value)| (key, value.as_int().unwrap()));
            (name, parameters.collect())
        });
        items.collect()
    }

    fn counted(rates: &[(Limit, Quota)], times: u32) -> (Counted, Result<(), Throttled>) {
        let now = Instant::now();
        let usage = Usage::new(now);
        let mut last = (Counted::default(), Ok(()));
        for _ in 0..times {
            let mut counted = Counted::default();
            let count =
                |(limit, quota): &(Limit, Quota)| counted.count(*limit, usage.admit(Subject::Client(limit.name()), *quota, now));
            let result = rates.iter().try_for_each(count);
            last = (counted, result);
        }
        last
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let quota = Rate::new(20, Period::Second).quota(Some(40));
        let slow = Rate::new(6, Period::Minute).quota(Some(3));
        let (counted, result) = self::counted(&[(Limit::Address, quota), (Limit::Client, slow)], 2);
        assert_eq!(result, Ok(()));
        let [policy, state] = counted.fields().unwrap();
        assert_eq!(policy, "\"address\";q=40;w=2, \"client\";q=3;w=30");
        assert_eq!(state, "\"address\";r=38;t=1, \"client\";r=1;t=10");
        assert!(Counted::default().fields().is_none());
    }

    #[test]
    fn a_refusal_tells_of_the_limits_up_to_its_own() {
        let slow = Rate::new(6, Period::Minute).quota(Some(1));
        let fast = Rate::new(20, Period::Second).quota(None);
        let (counted, result) = self::counted(&[(Limit::Client, slow), (Limit::Site, fast)], 2);
        let wait = Duration::from_secs(10);
        assert_eq!(result, Err(Throttled::Rate(Limit::Client, wait)));
        assert_eq!(counted.fields().unwrap()[1], "\"client\";r=0;t=10");
        let rejection = Rejection::from(Throttled::Rate(Limit::Client, wait));
        assert_eq!((rejection.status.as_u16(), rejection.code, rejection.retry_after), (429, IssueCode::Throttled, Some(10)));
    }

    proptest! {
        #[test]
        fn every_field_is_a_structured_field(requests in 1_u32..=1_000_000, burst in 1_u32..=100_000, period in 0..3_usize) {
            let period = [Period::Second, Period::Minute, Period::Hour][period];
            let quota = Rate::new(requests, period).quota(Some(burst));
            let (counted, _) = counted(&[(Limit::Local, quota), (Limit::Client, quota)], 3);
            let [policy, state] = counted.fields().unwrap();
            for ((name, policy), (same, state)) in parsed(&policy).into_iter().zip(parsed(&state)) {
                prop_assert_eq!(name, same);
                let [(q, quota), (w, window)] = &policy[..] else { panic!("{policy:?}") };
                let [(r, remaining), (t, next)] = &state[..] else { panic!("{state:?}") };
                prop_assert_eq!([q.as_str(), w, r, t], ["q", "w", "r", "t"]);
                prop_assert!(*quota == i64::from(burst) && *window > 0 && *next > 0);
                prop_assert!((0..*quota).contains(remaining) && *next <= *window, "{policy:?} {state:?}");
            }
        }
    }
}

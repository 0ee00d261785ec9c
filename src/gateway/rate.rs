//! How often callers may ask, and how many of their requests may be at work at once: by address, by client, by site.
//!
//! Where no limit is configured, nothing is looked up and no field is written. With `limits.shared` the store is asked, once for each
//! rate that applies; while it is away, and without, this gateway counts by itself, with the part of the limit that it has.
//!
//! Decision: `docs/decisions/45-rate-limits.md`.

use std::time::Instant;

use http::{HeaderMap, HeaderName};
use log::warn;

use crate::gateway::call::Call;
use crate::gateway::counted::{Limit, Throttled};
use crate::gateway::destination::{Destination, FhirCall};
use crate::gateway::{caller, exact_rate};
use crate::limits::admission::Admission;
use crate::limits::rate::Quota;
use crate::limits::subject::{Network, Subject};
use crate::limits::usage::Usage;
use crate::site::runtime::Runtime;

/// draft-ietf-httpapi-ratelimit-headers-10
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts a request of an address, whatever it is for and whoever sends it. What the gateway answers from its own memory has a limit
/// of its own, which every gateway has whole.
///
/// # Errors
/// The address has sent more than it may.
pub(super) async fn check_address(call: &mut Call, destination: &Destination) -> Result<(), Throttled> {
    let client = caller::client(call, destination);
    let Call { runtime, started, counted, .. } = call;
    let (limits, network) = (&runtime.config.limits, Network::of(client.address()));
    if is_own(destination) {
        let admission = admit_here(&runtime.usage, Subject::LocalRoutes(network), limits.local_quota(), *started);
        return counted.count(Limit::Local, admission);
    }
    let subject = Subject::Address(network);
    if let Some(quota) = limits.quota_per_address() {
        counted.count(Limit::Address, admit(runtime, subject, quota, *started).await)?;
    }
    let most = limits.requests_per_address.map(|most| runtime.config.replicas().part(most));
    counted.enter(&runtime.usage, Limit::Address, subject, most)
}

/// Counts a request of a client, which is known by now. Callers without credentials have the limits of their policy by address.
///
/// # Errors
/// The client has sent more than it may.
pub(super) async fn check_client(call: &mut Call, destination: &Destination) -> Result<(), Throttled> {
    if is_own(destination) {
        return Ok(());
    }
    let Call { runtime, counted, caller, trace, .. } = call;
    let subject = match &caller.client {
        Some(name) => Subject::Client(name),
        None => Subject::Anonymous(Network::of(trace.client().address())),
    };
    let limits = caller.policy.limits;
    if let Some(quota) = limits.quota() {
        counted.count(Limit::Client, admit(runtime, subject, quota, Instant::now()).await)?;
    }
    let most = limits.at_once.map(|most| runtime.config.replicas().part(most));
    counted.enter(&runtime.usage, Limit::Client, subject, most)
}

/// Counts a request that goes to OpenEMR, once. What the gateway answers or refuses by itself uses up nothing of a site's rate.
///
/// # Errors
/// The site gets more than it takes.
pub(super) async fn check_site(call: &Call, fhir: &FhirCall) -> Result<(), Throttled> {
    let config = &fhir.site.config;
    let Some(quota) = config.quota().filter(|_| !call.counted.has_site()) else { return Ok(()) };
    call.counted.count_site(admit(&call.runtime, Subject::Site(config.name.as_str()), quota, Instant::now()).await)
}

/// Sets the fields that tell a client of the rates that apply to it, on every answer to which one did.
pub(super) fn mark(fields: &mut HeaderMap, call: &Call) {
    if let Some([policy, state]) = call.counted.fields() {
        fields.insert(&RATE_LIMIT_POLICY, policy);
        fields.insert(&RATE_LIMIT, state);
    }
}

/// Decides on a request, and counts it if it is within the rate: at all gateways together where they share it.
///
/// What this gateway alone has admitted is counted here in any case: of a caller beyond the whole rate the store is not asked, and
/// when the store goes away the part of this gateway does not begin anew.
async fn admit(runtime: &Runtime, subject: Subject<'_>, quota: Quota, now: Instant) -> Admission {
    let (usage, config) = (&runtime.usage, &runtime.config);
    let part = config.replicas().part_of_rate(quota);
    let Some(store) = runtime.store.as_ref().filter(|_| config.limits.shared) else {
        return admit_here(usage, subject, part, now);
    };
    let here = usage.look(subject, quota, now);
    if !here.is_admitted {
        return here;
    }
    match exact_rate::admit(store, subject, quota).await {
        Ok(admission) => {
            if admission.is_admitted {
                admit_here(usage, subject, quota, now);
            }
            admission
        }
        Err(_) => admit_here(usage, subject, part, now),
    }
}

/// Decides on a request by what this gateway has counted, and tells the log of states that had to go.
fn admit_here(usage: &Usage, subject: Subject<'_>, quota: Quota, now: Instant) -> Admission {
    let admission = usage.admit(subject, quota, now);
    if let Some(count) = usage.evicted_untold(now) {
        warn!("limits: {count} states of callers were evicted while some of their rate was used up: too many callers at once");
    }
    admission
}

/// Whether the gateway answers from its own memory.
fn is_own(destination: &Destination) -> bool {
    match destination {
        Destination::Local(_) | Destination::NotFound => true,
        Destination::Fhir(_) | Destination::Unsafe { .. } => false,
    }
}

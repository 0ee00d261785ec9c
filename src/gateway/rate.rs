//! How often callers may ask, and how many of their requests may be at work at once: by address, by client, by site.
//!
//! Where no limit is configured, nothing is looked up and no field is written.
//!
//! Decision: `docs/decisions/45-rate-limits.md`.

use std::time::Instant;

use http::HeaderName;
use pingora::http::ResponseHeader;

use crate::gateway::call::Call;
use crate::gateway::caller;
use crate::gateway::counted::{Limit, Throttled};
use crate::gateway::destination::{Destination, FhirCall};
use crate::http::set_field::SetField;
use crate::limits::subject::{Network, Subject};

/// draft-ietf-httpapi-ratelimit-headers-10
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts a request of an address, whatever it is for and whoever sends it. What the gateway answers from its own memory has a limit
/// of its own.
///
/// # Errors
/// The address has sent more than it may.
pub(super) fn check_address(call: &mut Call, destination: &Destination) -> Result<(), Throttled> {
    let client = caller::client(call, destination);
    let Call { runtime, started, counted, .. } = call;
    let (limits, usage, network) = (&runtime.config.limits, &runtime.usage, Network::of(client.address()));
    if is_own(destination) {
        return counted.count(usage, Limit::Local, Subject::LocalRoutes(network), Some(limits.local_quota()), || *started);
    }
    let subject = Subject::Address(network);
    counted.count(usage, Limit::Address, subject, limits.quota_per_address(), || *started)?;
    counted.enter(usage, Limit::Address, subject, limits.requests_per_address)
}

/// Counts a request of a client, which is known by now. Callers without credentials have the limits of their policy by address.
///
/// # Errors
/// The client has sent more than it may.
pub(super) fn check_client(call: &mut Call, destination: &Destination) -> Result<(), Throttled> {
    if is_own(destination) {
        return Ok(());
    }
    let Call { runtime, counted, caller, trace, .. } = call;
    let subject = match &caller.client {
        Some(name) => Subject::Client(name),
        None => Subject::Anonymous(Network::of(trace.client().address())),
    };
    let limits = caller.policy.limits;
    counted.count(&runtime.usage, Limit::Client, subject, limits.quota(), Instant::now)?;
    counted.enter(&runtime.usage, Limit::Client, subject, limits.at_once)
}

/// Counts a request that goes to OpenEMR, once. What the gateway answers or refuses by itself uses up nothing of a site's rate.
///
/// # Errors
/// The site gets more than it takes.
pub(super) fn check_site(call: &Call, fhir: &FhirCall) -> Result<(), Throttled> {
    let config = &fhir.site.config;
    let Some(quota) = config.quota() else { return Ok(()) };
    call.counted.count_site(&call.runtime.usage, Subject::Site(config.name.as_str()), quota)
}

/// Sets the fields that tell a client of the rates that apply to it, on every answer to which one did.
pub(super) fn mark(head: &mut ResponseHeader, call: &Call) {
    if let Some([policy, state]) = call.counted.fields() {
        head.set(&RATE_LIMIT_POLICY, policy);
        head.set(&RATE_LIMIT, state);
    }
}

/// Whether the gateway answers from its own memory.
fn is_own(destination: &Destination) -> bool {
    match destination {
        Destination::Local(_) | Destination::NotFound => true,
        Destination::Fhir(_) | Destination::Unsafe { .. } => false,
    }
}

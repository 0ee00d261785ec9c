//! May a request pass? What can be told from its head and its caller's address, and the token that it goes with.

use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use http::header::{HOST, UPGRADE};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::config::{Access, Limits};
use crate::fhir::interaction::Interaction;
use crate::gateway::context::RequestContext;
use crate::gateway::cors;
use crate::gateway::exports;
use crate::gateway::failure::Failure;
use crate::gateway::http2;
use crate::gateway::metadata;
use crate::gateway::queue;
use crate::gateway::route::Route;
use crate::http::fields::content_length;
use crate::http::request_target::{self, Target};

/// How long a request waits for a token that is on its way.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long a caller's connection may take.
pub(super) fn set_deadlines(session: &mut Session, limits: &Limits) {
    session.set_read_timeout(Some(limits.read_timeout));
    session.set_write_timeout(Some(limits.write_timeout));
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(limits.keepalive_timeout.as_secs().max(1)));
    }
    session.set_pipelining_enabled(true);
}

/// Everything that can be refused from the head alone.
///
/// # Errors
/// The first reason to refuse it.
pub(super) fn admit(session: &Session, context: &mut RequestContext) -> Result<(), Failure> {
    if !is_allowed(context) {
        return Err(Failure::NotAllowed);
    }
    if cors::is_foreign(session, context) {
        return Err(Failure::ForeignPage);
    }
    check_sizes(session, &context.runtime.config.limits)?;
    if session.req_header().version == Version::HTTP_11 && session.get_header(HOST).is_none() {
        return Err(Failure::NoHost);
    }
    let Route::Fhir { prefix, .. } = context.route else { return Ok(()) };
    if asks_for_another_protocol(session.req_header()) {
        return Err(Failure::Upgrade);
    }
    let Target { path, .. } = Target::parse(session.req_header().raw_path());
    let rest = path.get(prefix..).unwrap_or_default();
    request_target::check(rest).map_err(Failure::UnsafePath)?;
    context.interaction = Some(Interaction::of(&session.req_header().method, rest));
    if exports::answers(session, context) || metadata::answers(context) {
        return Ok(());
    }
    queue::refuse_when_all_are_out(context)
}

/// Whether the caller's address may use the gateway.
pub(super) fn is_allowed(context: &RequestContext) -> bool {
    allows(&context.runtime.config.access, context.trace.client())
}

/// What a request's head says of its size. HTTP/2 has its own bound on heads, and no raw bytes.
fn check_sizes(session: &Session, limits: &Limits) -> Result<(), Failure> {
    let head = session.req_header();
    if head.raw_path().len() > limits.request_target {
        return Err(Failure::TargetTooLong);
    }
    if http2::head_size(session) > limits.request_head {
        return Err(Failure::HeadTooLarge);
    }
    if u32::try_from(head.headers.len()).is_ok_and(|count| count <= limits.header_fields) {
        let is_too_large = content_length(&head.headers).is_some_and(|length| length > limits.request_body as u64);
        return if is_too_large { Err(Failure::BodyTooLarge) } else { Ok(()) };
    }
    Err(Failure::TooManyFields)
}

fn allows(access: &Access, caller: Option<IpAddr>) -> bool {
    match access {
        Access::Open => true,
        Access::AllowFrom(networks) => caller.is_some_and(|address| networks.iter().any(|network| network.contains(&address))),
    }
}

/// Gives a FHIR request its site's token; it waits only where there is none.
///
/// # Errors
/// No token within [`TOKEN_PATIENCE`].
pub(super) async fn take_token(context: &mut RequestContext) -> Result<(), Failure> {
    let Some(site) = context.site() else { return Ok(()) };
    let token = match site.token.usable(context.started) {
        Some(token) => token,
        None => site.token.wait(TOKEN_PATIENCE).await.map_err(|unavailable| Failure::NoToken(unavailable.retry_after))?,
    };
    context.token = Some(token);
    Ok(())
}

/// A request to switch protocols. `h2c` is only an offer (Java's client makes it on every request) and is
/// simply not taken.
fn asks_for_another_protocol(head: &RequestHeader) -> bool {
    head.headers.get_all(UPGRADE).iter().any(|protocols| {
        protocols.as_bytes().split(|byte| *byte == b',').any(|protocol| {
            let protocol = protocol.trim_ascii();
            !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c")
        })
    })
}

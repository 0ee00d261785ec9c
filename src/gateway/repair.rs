//! What of a request is smoothed, or refused in FHIR's words, before it waits for its turn.

use std::time::Duration;

use http::Method;
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::fhir::format_parameters;
use crate::fhir::interaction::Kind;
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::negotiation;
use crate::gateway::route::Route;
use crate::http::request_target::Target;
use crate::openemr::offered;

/// How long a request waits for the CapabilityStatement that says whether it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plans what goes to OpenEMR in place of what it does not understand.
///
/// # Errors
/// What OpenEMR does not do, and a format that it does not speak.
pub(super) async fn plan(session: &Session, context: &mut RequestContext) -> Result<(), Failure> {
    let Route::Fhir { prefix, .. } = context.route else { return Ok(()) };
    let (repairs, head) = (context.repairs(), session.req_header());
    let Target { path, query } = Target::parse(head.raw_path());
    let path = path.get(prefix..).unwrap_or_default();
    if repairs.head && head.method == Method::HEAD {
        context.plan.method = Some(Method::GET);
    }
    if repairs.trailing_slash
        && let Some(without) = path.strip_suffix(b"/").filter(|without| !without.is_empty())
    {
        context.plan.path = Some(without.to_vec());
    }
    if repairs.content {
        // A document may be of a type that a resource may not.
        if !context.negotiated.acceptable && !negotiation::negotiated(head, context.interaction).acceptable {
            return Err(Failure::NotAcceptable);
        }
        // In a search, `_pretty` is for what makes the Bundle.
        let is_search = context.interaction.is_some_and(|interaction| interaction.kind == Kind::Search);
        context.plan.query = format_parameters::without(query, !(is_search && repairs.search));
    }
    if repairs.interactions {
        refuse_what_is_not_offered(session, path, context).await?;
    }
    Ok(())
}

/// Refuses what OpenEMR's CapabilityStatement does not announce. Where there is none, everything passes.
async fn refuse_what_is_not_offered(session: &Session, path: &[u8], context: &RequestContext) -> Result<(), Failure> {
    let (Some(site), Some(interaction)) = (context.site(), context.interaction) else { return Ok(()) };
    if !offered::needs_capabilities(interaction) {
        return Ok(());
    }
    // An OpenEMR that says nothing of itself is asked all the same.
    match timeout(PATIENCE, site.capabilities()).await.ok().flatten() {
        Some(capabilities) => {
            offered::check(&session.req_header().method, path, interaction, &capabilities).map_err(Failure::NotOffered)
        }
        None => Ok(()),
    }
}

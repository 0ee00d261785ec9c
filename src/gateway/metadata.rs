//! Requests for the CapabilityStatement and the SMART configuration: answered from memory, in the gateway's own name.

use pingora::proxy::Session;

use crate::fhir::interaction::{Interaction, Kind};
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::links;
use crate::http::answer::Answer;
use crate::site::metadata::Document;

/// Whether a request is answered here, with or without an OpenEMR.
pub(super) fn answers(context: &RequestContext) -> bool {
    let is_for_one = |interaction: Interaction| matches!(interaction.kind, Kind::Capabilities | Kind::SmartConfiguration);
    context.repairs().documents && context.interaction.is_some_and(is_for_one)
}

/// The answer to a request for one of the documents; `None` where the request is for something else, or OpenEMR's own
/// document is wanted.
///
/// # Errors
/// OpenEMR has never said what it does, and does not say it now.
pub(super) async fn answer(session: &Session, context: &RequestContext) -> Result<Option<Answer>, Failure> {
    let (Some(site), Some(interaction)) = (context.site(), context.interaction) else { return Ok(None) };
    if !answers(context) {
        return Ok(None);
    }
    let compression = context.runtime.settings.compression;
    let fields = &session.req_header().headers;
    let max_age = site.documents.max_age().as_secs();
    let of = |document: &Document, content_type: &'static str| {
        let is_worth_it = compression.enabled && document.len() >= compression.least;
        document.answer(fields, content_type, max_age, is_worth_it.then_some(compression.level))
    };
    if interaction.kind == Kind::SmartConfiguration {
        return Ok(Some(of(site.metadata.smart(), "application/json")));
    }
    let statement = site.documents.statement(site).await.ok_or(Failure::NoStatement)?;
    let base = links::public_base(session, context, site);
    let names = site.config.repairs.links.then(|| site.links.names(site.documents.known()));
    let document = site.metadata.in_the_name_of(base.as_str(), &statement.json, names.as_deref()).ok_or(Failure::NoStatement)?;
    let content_type = if site.config.repairs.content { "application/fhir+json; charset=utf-8" } else { "application/json" };
    Ok(Some(of(&document, content_type)))
}

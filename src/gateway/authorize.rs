//! Whether the caller may do what it asks for, by the policy of its client.
//!
//! Decision: `docs/decisions/37-policies.md`.

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::proxy::Session;

use crate::access::decision::decide as decision;
use crate::access::permitted::{permitted, permitted_types};
use crate::access::question::{Asked, Question};
use crate::access::refusal::Refusal;
use crate::access::rule::Letter;
use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::limit::{Limit, NotPermitted, can_test};
use crate::gateway::stop::{Step, Stop};
use crate::gateway::{outgoing, public_base};

/// Decides on a FHIR request. One that is refused asks nothing of OpenEMR.
///
/// # Errors
/// The policy does not permit it, or nobody can tell; the client is gone.
pub(super) async fn decide(session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Step {
    if call.caller.policy.is_everything || fhir.is_public() {
        if call.runtime.trail.is_on() {
            fhir.account.permitted_by(&call.caller);
        }
        return Ok(());
    }
    let form = form(session, call, fhir).await?;
    let bases = bases(session, call, fhir);
    let head = session.req_header();
    let asked = Asked {
        site: fhir.site.name(),
        method: &head.method,
        path: fhir.path(),
        query: fhir.query(),
        form: &form,
        fields: &head.headers,
        bases: &bases,
        plans_searches: fhir.repairs().search,
    };
    let decision = decision(&call.caller, &Question::read(&asked)?);
    if call.runtime.trail.is_on() {
        fhir.account.decided(&decision);
    }
    let shown = fhir.interaction.kind.is_write().then(|| permitted(&call.caller, Letter::Read, &bases));
    let mut limit = Limit::of(decision, shown)?;
    if let (None, Kind::Search, Some(searched)) = (&limit.test, fhir.interaction.kind, fhir.interaction.resource_type) {
        limit.types = Some(permitted_types(&call.caller, searched));
    }
    if limit.test.is_some() && !can_test(fhir.interaction) {
        return Err(NotPermitted::Untested.into());
    }
    fhir.plan.limit = (!limit.is_none()).then(|| Box::new(limit));
    Ok(())
}

/// The addresses of this server, with which references to its resources may begin.
fn bases(session: &Session, call: &Call, fhir: &FhirCall) -> Vec<String> {
    let openemrs = fhir.site.openemr_bases();
    let own = public_base::of(session, call, &fhir.site);
    openemrs.texts.iter().cloned().chain([own.as_str().trim_end_matches('/').to_owned()]).collect()
}

/// The parameters of a search by POST, checked for what PHP would read otherwise; empty for every other request.
async fn form(session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Result<Bytes, Stop> {
    let is_search = matches!(fhir.interaction.kind, Kind::Search | Kind::SearchSystem | Kind::SearchCompartment);
    if !is_search || session.req_header().method != Method::POST || session.is_body_empty() {
        return Ok(Bytes::new());
    }
    let form = outgoing::search_form(session, call).await?;
    fhir.plan.body_is_begun = true;
    outgoing::check_form(&form, fhir)?;
    Ok(form)
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Scope(_) | Refusal::Forbidden(_) => Self::by_policy(text),
            Refusal::Unclear(_) => Self::invalid(Reason::Parameter, text),
            Refusal::NotFound => Self::new(StatusCode::NOT_FOUND, IssueCode::NotSupported, Reason::Policy, text),
        }
    }
}

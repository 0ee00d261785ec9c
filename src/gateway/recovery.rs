//! What it means that OpenEMR refused a token, and what is done about it.
//!
//! OpenEMR says 401 for a token that it does not know any more as well as for a scope that is missing. The first refusal
//! of a request brings a new token, whatever it says; a second one is read. OpenEMR looks at the token before it does
//! anything, so that a request that was refused has had no effect.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::fhir::interaction::is_repeatable;
use crate::gateway::answer;
use crate::gateway::context::RequestContext;
use crate::gateway::fail;
use crate::gateway::failure::Failure;
use crate::gateway::held_answer::{self, HeldAnswer, Purpose, Readable};
use crate::gateway::route::Route;
use crate::gateway::{response_head, write_answer};
use crate::http::request_target::Target;
use crate::scopes::required::RequiredScope;
use crate::smart::scope_record::ScopeRecord;

/// How long a request waits for a token in place of one that was refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most new tokens for one request, each of which OpenEMR took before it revoked it.
const MOST_RENEWALS: u32 = 3;

/// The error that ends the proxying of an answer that came before its request was whole.
const EARLY: &str = "AnsweredEarly";

/// A request's dealings with refused tokens.
#[derive(Debug, Default)]
pub struct Recovery {
    /// How often the request was repeated with a new token.
    pub renewals: u32,
    /// Whether the request asks for an answer that is not compressed, so that it can be read.
    pub plainly: bool,
    refused: Option<u64>,
    again: bool,
}

impl Recovery {
    /// Whether the request is to be tried again; says so once.
    pub fn take_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

/// What is known about the scope that a refused request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// It cannot be named.
    Unnamed,
    /// The token was not granted it.
    NotGranted,
    /// Granted, and refused to brand-new tokens.
    Refused,
    /// Granted.
    Granted,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The caller gets OpenEMR's answer.
    Pass,
    /// The caller is told which scope was not granted.
    NotGranted,
    /// The caller is told which scope is granted and of no use.
    ScopeRefused,
    /// A new token, and the request once more.
    Renew,
    /// A new token for those who come after; this request cannot be repeated.
    RenewForOthers,
    /// OpenEMR takes none of its own tokens.
    GiveUp,
}

/// A request whose token was refused.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// How many new tokens it was already given.
    renewals: u32,
    /// Whether OpenEMR had accepted the refused token before.
    was_accepted: bool,
    can_repeat: bool,
}

impl Refused {
    fn of(session: &Session, context: &RequestContext) -> Self {
        let was_accepted = context.token.as_ref().is_some_and(|token| token.was_accepted());
        Self { renewals: context.recovery.renewals, was_accepted, can_repeat: can_repeat(session) }
    }

    /// Whether a new token can help. Two tokens in a row that OpenEMR never accepted tell that it accepts none: one
    /// exchange a request is enough. A token that it accepted was revoked since, and is replaced.
    fn can_be_helped(self) -> bool {
        self.renewals == 0 || (self.was_accepted && self.renewals < MOST_RENEWALS)
    }
}

/// Judges a refusal. `about_the_token`: the body says so.
fn judge(scope: Scope, about_the_token: bool, refused: Refused) -> Decision {
    let Refused { renewals, can_repeat, .. } = refused;
    let renew = if can_repeat { Decision::Renew } else { Decision::RenewForOthers };
    match (scope, about_the_token) {
        (Scope::NotGranted, _) => Decision::NotGranted,
        (Scope::Refused, false) => Decision::ScopeRefused,
        (Scope::Unnamed | Scope::Granted, false) if renewals == 0 => renew,
        (Scope::Unnamed, false) => Decision::Pass,
        // A brand-new token refused again: it is not the token.
        (Scope::Granted, false) => Decision::ScopeRefused,
        (Scope::Unnamed | Scope::Refused | Scope::Granted, true) if refused.can_be_helped() => renew,
        (Scope::Unnamed | Scope::Refused | Scope::Granted, true) => Decision::GiveUp,
    }
}

fn scope(need: Option<RequiredScope>, granted: &str, record: &ScopeRecord) -> Scope {
    match need {
        None => Scope::Unnamed,
        Some(need) if !need.is_covered_by(granted) => Scope::NotGranted,
        Some(need) if record.is_refused(need) => Scope::Refused,
        Some(_) => Scope::Granted,
    }
}

/// After the head of OpenEMR's answer: is it a refusal, or could it be one?
///
/// # Errors
/// A failure that the caller is told, or an error that makes Pingora try again.
pub fn after_head(session: &mut Session, head: &mut ResponseHeader, context: &mut RequestContext) -> pingora::Result<()> {
    if head.status.is_success() {
        note_success(session, context);
        let is_held = write_answer::is_of_a_create(head, context) && response_head::is_json(head);
        return if is_held { hold(session, head, Purpose::Created, context) } else { Ok(()) };
    }
    let readable = held_answer::readable(head, context.method_sent(session));
    let could_be_the_token = match (head.status, readable) {
        (StatusCode::UNAUTHORIZED, Readable::Plain) if may_be_told_more(session, context) => true,
        (StatusCode::UNAUTHORIZED, _) => {
            after_unauthorized(session, false, context)?;
            false
        }
        (StatusCode::BAD_REQUEST, Readable::Compressed) => {
            ask_plainly(&session.req_header().method, context)?;
            false
        }
        (StatusCode::BAD_REQUEST, Readable::Plain) => true,
        _ => false,
    };
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    match (is_error && context.repairs().errors, could_be_the_token) {
        (true, _) => hold(session, head, Purpose::Error, context),
        (false, true) => hold(session, head, Purpose::AsItIs, context),
        (false, false) => Ok(()),
    }
}

/// Holds an answer back until its end.
fn hold(session: &mut Session, head: &mut ResponseHeader, purpose: Purpose, context: &mut RequestContext) -> pingora::Result<()> {
    let has_no_body = response_head::has_no_body(context.method_sent(session), head);
    context.held = Some(HeldAnswer::hold(session, head, purpose)?);
    if has_no_body { end_early(session) } else { Ok(()) }
}

/// A caller who waits for this answer before he sends his body would wait for ever.
fn end_early(session: &mut Session) -> pingora::Result<()> {
    if session.is_body_done() { Ok(()) } else { Err(Error::new_in(ErrorType::new(EARLY))) }
}

/// Whether a 401 is worth reading: its head alone would count against the scope.
fn may_be_told_more(session: &Session, context: &RequestContext) -> bool {
    let decision = context.site().zip(context.token.as_ref()).map(|(site, token)| {
        let scope = scope(need(session, context), &token.scope, &site.token.scopes);
        judge(scope, false, Refused::of(session, context))
    });
    matches!(decision, Some(Decision::ScopeRefused | Decision::Pass))
}

/// After a piece of the body of an answer that is held back.
///
/// # Errors
/// A failure that the caller is told, or an error that makes Pingora try again.
pub fn after_body(
    session: &mut Session,
    piece: &mut Option<Bytes>,
    end_of_stream: bool,
    context: &mut RequestContext,
) -> pingora::Result<()> {
    let Some(held) = &mut context.held else { return Ok(()) };
    if !held.keep(piece) {
        return Err(fail(context, Failure::TooLong));
    }
    if !end_of_stream {
        return Ok(());
    }
    held.note_judged();
    let about_the_token = held.rejects_token();
    match held.status() {
        StatusCode::UNAUTHORIZED => after_unauthorized(session, about_the_token, context)?,
        // A revoked trust is about no scope.
        StatusCode::BAD_REQUEST if about_the_token => {
            follow(judge(Scope::Unnamed, true, Refused::of(session, context)), None, context)?;
        }
        _ => {}
    }
    context.leave_openemr();
    end_early(session)
}

/// When the proxying ended because an answer came before its request was whole: sends it. False when it ended otherwise;
/// an answer that was held back is then dropped.
pub async fn send_early(session: &mut Session, error: &Error, context: &mut RequestContext) -> bool {
    let Some(held) = context.held.take().filter(|_| error.etype().as_str() == EARLY) else { return false };
    // The caller may be gone by now; there is nobody to tell.
    let _ = held.send(session, context).await;
    true
}

/// Sends an answer that was held back to its end.
pub async fn send_held(session: &mut Session, context: &mut RequestContext) {
    let Some(held) = context.held.take() else { return };
    // What was refused is no longer repeated here; that was judged from the head.
    let is_refusal = !held.is_judged() && held.status() == StatusCode::UNAUTHORIZED;
    let failure = if is_refusal && after_unauthorized(session, false, context).is_err() { context.failure } else { None };
    // The caller may be gone by now; there is nobody to tell.
    let _ = match failure {
        Some(failure) => answer::send(answer::of_verdict(&failure.verdict(), context), session, context).await,
        None => held.send(session, context).await,
    };
}

fn after_unauthorized(session: &Session, about_the_token: bool, context: &mut RequestContext) -> pingora::Result<()> {
    let (Some(site), Some(token)) = (context.site(), &context.token) else { return Ok(()) };
    let record = &site.token.scopes;
    let need = need(session, context);
    let scope = scope(need, &token.scope, record);
    let decision = judge(scope, about_the_token, Refused::of(session, context));
    if let (Scope::Granted, Decision::ScopeRefused, Some(need)) = (scope, decision, need) {
        record.note_refused(need);
    }
    follow(decision, need, context)
}

fn follow(decision: Decision, need: Option<RequiredScope>, context: &mut RequestContext) -> pingora::Result<()> {
    let refused = context.token.as_ref().map_or(0, |token| token.generation);
    match (decision, need) {
        (Decision::Pass, _) | (Decision::NotGranted | Decision::ScopeRefused, None) => Ok(()),
        (Decision::NotGranted, Some(need)) => Err(fail(context, Failure::NotGranted(need))),
        (Decision::ScopeRefused, Some(need)) => Err(fail(context, Failure::ScopeRefused(need))),
        (Decision::Renew, _) => {
            context.recovery.refused = Some(refused);
            Err(again(context))
        }
        (Decision::RenewForOthers, _) => {
            if let Some(site) = context.site() {
                site.token.report_refused(refused);
            }
            Err(fail(context, Failure::NotCarriedOut))
        }
        (Decision::GiveUp, _) => Err(fail(context, Failure::NewTokensRefused)),
    }
}

/// After a 400 that cannot be read because it is compressed, and could say that the client's trust was revoked: a safe
/// request is tried again without leave to compress.
fn ask_plainly(method: &Method, context: &mut RequestContext) -> pingora::Result<()> {
    if context.recovery.plainly || !is_repeatable(method, context.interaction) {
        return Ok(());
    }
    context.recovery.plainly = true;
    Err(again(context))
}

/// Makes Pingora try again. The next try is a first one: nothing of this answer has gone out.
fn again(context: &mut RequestContext) -> Box<Error> {
    context.recovery.again = true;
    context.upstream_time = None;
    context.json_end = None;
    context.held = None;
    Error::new_in(ErrorType::new("Again"))
}

/// Before a try: the token that OpenEMR refused is replaced. All requests that it refused share one exchange.
///
/// # Errors
/// No new token within [`PATIENCE`].
pub async fn renew(context: &mut RequestContext) -> Result<(), Failure> {
    let Some(refused) = context.recovery.refused.take() else { return Ok(()) };
    // Whoever waits for a token keeps nobody else from OpenEMR.
    context.leave_openemr();
    let Some(site) = context.site() else { return Ok(()) };
    let token = site.token.replacement(refused, PATIENCE).await;
    context.token = Some(token.map_err(|unavailable| Failure::TokenRefused(unavailable.retry_after))?);
    context.recovery.renewals += 1;
    Ok(())
}

/// OpenEMR took the token, and grants what the request needed.
fn note_success(session: &Session, context: &RequestContext) {
    if let Some(token) = &context.token {
        token.note_accepted();
    }
    let Some(site) = context.site().filter(|site| !site.token.scopes.is_empty()) else { return };
    if let Some(need) = need(session, context) {
        site.token.scopes.note_served(need);
    }
}

fn need(session: &Session, context: &RequestContext) -> Option<RequiredScope> {
    let (Route::Fhir { prefix, .. }, Some(interaction)) = (context.route, context.interaction) else { return None };
    let Target { path, .. } = Target::parse(session.req_header().raw_path());
    RequiredScope::of(interaction, path.get(prefix..)?)
}

/// Whether Pingora can send the request again: its body, if it has one, is whole in the retry buffer (64 KiB).
/// A refused request has had no effect, so that no method is excluded.
fn can_repeat(session: &Session) -> bool {
    !session.retry_buffer_truncated()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::interaction::Interaction;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_is_judged_by_what_is_known() {
        use Decision::*;
        for (scope, about_the_token, renewals, was_accepted, can_repeat, decision) in [
            (Scope::NotGranted, false, 0, true, true, NotGranted),
            (Scope::NotGranted, false, 0, true, false, NotGranted),
            (Scope::NotGranted, true, 1, true, true, NotGranted),
            (Scope::Refused, false, 0, true, true, ScopeRefused),
            (Scope::Refused, true, 0, true, true, Renew),
            (Scope::Refused, true, 3, true, true, GiveUp),
            (Scope::Granted, false, 0, true, true, Renew),
            (Scope::Granted, false, 0, true, false, RenewForOthers),
            (Scope::Granted, false, 1, true, true, ScopeRefused),
            (Scope::Granted, true, 0, false, true, Renew),
            (Scope::Granted, true, 1, true, true, Renew),
            (Scope::Granted, true, 1, true, false, RenewForOthers),
            (Scope::Granted, true, 1, false, true, GiveUp),
            (Scope::Granted, true, 1, false, false, GiveUp),
            (Scope::Granted, true, 2, true, true, Renew),
            (Scope::Granted, true, 3, true, true, GiveUp),
            (Scope::Unnamed, false, 0, true, true, Renew),
            (Scope::Unnamed, false, 0, true, false, RenewForOthers),
            (Scope::Unnamed, false, 1, true, true, Pass),
            (Scope::Unnamed, true, 1, true, true, Renew),
            (Scope::Unnamed, true, 1, false, true, GiveUp),
            (Scope::Unnamed, true, 3, true, true, GiveUp),
        ] {
            let judged = judge(scope, about_the_token, Refused { renewals, was_accepted, can_repeat });
            assert_eq!(judged, decision, "{scope:?} {about_the_token} {renewals} {was_accepted} {can_repeat}");
        }
    }

    #[test]
    fn what_is_known_about_a_scope() {
        let record = ScopeRecord::default();
        let need = |path: &str| RequiredScope::of(Interaction::of(&Method::GET, path.as_bytes()), path.as_bytes());
        let granted = "system/Patient.read system/Goal.rs";
        assert_eq!(scope(None, granted, &record), Scope::Unnamed);
        assert_eq!(scope(need("/Observation"), granted, &record), Scope::NotGranted);
        assert_eq!(scope(need("/Patient"), granted, &record), Scope::Granted);
        record.note_refused(need("/Goal").unwrap());
        assert_eq!(scope(need("/Goal"), granted, &record), Scope::Refused);
        assert_eq!(scope(need("/Goal/1"), granted, &record), Scope::Granted);
    }

    fn refusal() -> impl Strategy<Value = (Scope, bool, bool)> {
        let scope = prop_oneof![Just(Scope::Unnamed), Just(Scope::NotGranted), Just(Scope::Refused), Just(Scope::Granted)];
        (scope, any::<bool>(), any::<bool>())
    }

    proptest! {
        /// Whatever OpenEMR answers, a request ends, and costs few exchanges.
        #[test]
        fn every_request_ends(refusals in proptest::collection::vec(refusal(), 1..10), can_repeat in any::<bool>()) {
            let mut renewals = 0;
            let mut ended = false;
            for (scope, about_the_token, was_accepted) in refusals.into_iter().cycle().take(20) {
                if judge(scope, about_the_token, Refused { renewals, was_accepted, can_repeat }) != Decision::Renew {
                    ended = true;
                    break;
                }
                renewals += 1;
                let most = if was_accepted { MOST_RENEWALS } else { 1 };
                prop_assert!(renewals <= most);
            }
            prop_assert!(ended);
        }
    }
}

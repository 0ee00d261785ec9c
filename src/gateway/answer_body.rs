//! What the answer and its body go through on their way to the client: decided from the head, piece by piece from then on.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_LENGTH;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::body_step::Verdict;
use crate::gateway::backlog::{AnswerMemory, Backlog};
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::due::{self, Came};
use crate::gateway::exchange::Exchange;
use crate::gateway::export_file;
use crate::gateway::held_answer::{HeldAnswer, write_head};
use crate::gateway::kept_body::KeptBody;
use crate::gateway::recording::{self, Ending};
use crate::gateway::stop::{Step, Stop};
use crate::gateway::{
    compression, cors, kept_page, mended_answer, rate, response_head, response_links, search_answer, shared_answer, validators,
    wire, write_answer,
};
use crate::http::answer_protection::protect;
use crate::http::fields::{content_length, forget_length, set_length};
use crate::http::parts::edit_response;

/// The longest body that is sent together with its head, in bytes: both fit into the buffer of a connection, which has 16 KiB.
const SHORT: usize = 12 * 1024;

/// What the client gets of an answer that came to the gateway and not through it.
#[derive(Debug)]
pub(super) struct Whole {
    /// The head.
    pub(super) head: ResponseHeader,
    /// The body.
    pub(super) body: Bytes,
    /// Whether it has a link to a next page.
    pub(super) has_next_page: bool,
}

/// Takes the head that goes to the client now, unless another is kept in its place.
pub(super) fn begin(session: &Session, head: &mut ResponseHeader, exchange: &mut Exchange<'_>, memory: &Arc<AnswerMemory>) {
    let Exchange { call, fhir, answer, .. } = exchange;
    if answer.buffered.is_none() && answer.held.as_ref().is_none_or(|held| !held.has_head()) {
        answer.filters = prepare(session, head, call, fhir, due::is_stored_document(head, fhir.interaction));
        answer.waiting = session.is_http2().then(|| Backlog::new(Arc::clone(memory)));
        recording::ends_with_head(session, call, fhir, head);
    }
}

/// Makes the head of an answer what the client sees; gives the filters that the body behind it passes. `is_document`: the body is
/// a document as OpenEMR stores it, in which nothing is changed.
#[must_use]
pub(super) fn prepare(
    session: &Session,
    head: &mut ResponseHeader,
    call: &Call,
    fhir: &mut FhirCall,
    is_document: bool,
) -> BodyFilters {
    let request = session.req_header();
    // What the body becomes on its way changes its length, not whether it is long.
    let length = content_length(&head.headers);
    let mut filters = choose(session, &request.method, head, call, fhir, is_document);
    if !response_head::has_no_body(&request.method, head) {
        recording::observe(call, fhir, head, is_document, &mut filters);
    }
    if let Some(compressor) = compression::choose(request, head, length, call.config().compression) {
        filters.compress(compressor);
    }
    edit_response(head, |head| {
        response_head::rewrite(&mut head.headers, request.version, call.id);
        if call.caller.client.is_some() {
            response_head::keep_private(&mut head.headers);
        }
        rate::mark(&mut head.headers, call);
        protect(head);
        cors::mark(request, head, fhir.site.cors.as_ref());
    });
    filters
}

/// Makes what the client gets of a whole answer that came to the gateway and not through it: as [`prepare`] and [`pass`] do of
/// one that goes by. The body for a HEAD request is that of a GET, whose length the head tells.
///
/// # Errors
/// A filter refuses the body.
pub(super) async fn whole(
    session: &mut Session,
    mut head: ResponseHeader,
    body: Bytes,
    call: &Call,
    fhir: &mut FhirCall,
) -> Result<Whole, Stop> {
    let mut filters = choose(session, &Method::GET, &mut head, call, fhir, false);
    recording::observe(call, fhir, &head, false, &mut filters);
    let length = u64::try_from(body.len()).ok();
    if let Some(compressor) = compression::choose(session.req_header(), &mut head, length, call.config().compression) {
        filters.compress(compressor);
    }
    validators::begin(session.req_header(), &head, fhir, &mut filters);
    let body = filters.pass_whole(body).await;
    recording::progress(session, call, fhir, &mut filters, true);
    match filters.verdict() {
        Verdict::Bad(broken) => Err(broken.into()),
        Verdict::Undecided | Verdict::Good => {
            validators::tell(&mut head, filters.tagged(), body.len());
            Ok(Whole { head, body, has_next_page: filters.has_next_page() })
        }
    }
}

/// Passes a piece of the body to the client, which has more time for a longer one. A head that was held goes before the first of
/// it. On HTTP/2, where a stream can wait although its connection does not, the body is kept while OpenEMR sends it, as far as
/// there is memory.
///
/// # Errors
/// A filter refuses the body, or the client is gone.
pub(super) fn pass(
    session: &mut Session,
    body: &mut Option<Bytes>,
    end_of_stream: bool,
    exchange: &mut Exchange<'_>,
    memory: &Arc<AnswerMemory>,
) -> Step {
    release_held(session, exchange, memory);
    let Exchange { call, fhir, attempt, answer } = exchange;
    if answer.held.is_some() {
        return Ok(());
    }
    // A HEAD request may have gone to OpenEMR as a GET.
    body.take_if(|_| session.req_header().method == Method::HEAD);
    answer.filters.pass(body, end_of_stream);
    match answer.filters.verdict() {
        Verdict::Bad(broken) => return Err(broken.into()),
        Verdict::Undecided if !end_of_stream => return Ok(()),
        Verdict::Undecided | Verdict::Good => {}
    }
    recording::progress(session, call, fhir, &mut answer.filters, end_of_stream);
    if end_of_stream {
        kept_page::keep(&mut answer.kept, &answer.filters);
    }
    if answer.unsent.as_ref().is_some_and(|head| keep_short(&mut answer.short, head, body, end_of_stream)) {
        return Ok(());
    }
    if let Some(mut head) = answer.unsent.take() {
        let length = body.as_ref().map_or(0, Bytes::len);
        if end_of_stream && session.req_header().method != Method::HEAD {
            set_length(&mut head, length);
        }
        validators::tell(&mut head, answer.filters.tagged(), length);
        answer.begun = Some(head.status);
        recording::ends_with_head(session, call, fhir, &head);
        write_head(session, head)?;
    }
    if let Some(waiting) = &mut answer.waiting {
        let passed = waiting.pass(&body.take().unwrap_or_default(), end_of_stream);
        *body = (!passed.is_empty()).then_some(passed);
    }
    answer.passed = answer.passed.saturating_add(body.as_ref().map_or(0, Bytes::len));
    if end_of_stream && answer.buffered.is_none() {
        let status = answer.status(session);
        recording::answered(session, call, fhir, Ending { status, bytes: answer.passed, is_whole: true });
    }
    let unsent = answer.passed.saturating_sub(session.body_bytes_sent());
    wire::set_write_deadline(session, unsent, attempt.permit.is_some(), &call.config().limits);
    Ok(())
}

/// Keeps what has come of a body behind a head that has not been sent, as long as all of it is short: then head and body leave in one
/// send, with the length. False when they are due, the body with all that was kept of it.
fn keep_short(short: &mut KeptBody, head: &ResponseHeader, body: &mut Option<Bytes>, end_of_stream: bool) -> bool {
    if let Some(piece) = body.take() {
        short.push(piece);
    }
    let is_long = short.len() > SHORT || content_length(&head.headers).is_some_and(|length| length > SHORT as u64);
    let is_kept = !end_of_stream && !is_long;
    if !is_kept {
        let all = short.take();
        *body = (!all.is_empty()).then_some(all);
    }
    is_kept
}

/// Makes the head of a held answer what the client sees, once it is known that the body goes on.
fn release_held(session: &Session, exchange: &mut Exchange<'_>, memory: &Arc<AnswerMemory>) {
    let Exchange { call, fhir, answer, .. } = exchange;
    let Some(came) = answer.held.as_ref().and_then(HeldAnswer::came) else { return };
    let head = answer.held.take().and_then(|held| held.into_head(&session.req_header().method));
    if let Some(mut head) = head {
        if came == Came::Fhir && due::media_type_is_open(&head) {
            response_head::name_json(&mut head);
        }
        answer.filters = prepare(session, &mut head, call, fhir, came == Came::Document);
        if came == Came::Fhir {
            validators::begin(session.req_header(), &head, fhir, &mut answer.filters);
        }
        answer.waiting = session.is_http2().then(|| Backlog::new(Arc::clone(memory)));
        answer.unsent = Some(head);
    }
}

/// Ends the body of an HTTP/2 answer whose trailers are dropped; gives the last of it.
///
/// # Errors
/// The body is not what is due, or the client is gone.
pub(super) fn end_at_trailers(
    session: &mut Session,
    exchange: &mut Exchange<'_>,
    memory: &Arc<AnswerMemory>,
) -> Result<Bytes, Stop> {
    exchange.attempt.end();
    let mut last = None;
    if let Some(held) = &mut exchange.answer.held {
        held.take(&mut last, true)?;
    }
    shared_answer::take(&mut exchange.answer.shared, last.as_ref(), true);
    kept_page::take(&mut exchange.answer.kept, last.as_ref());
    pass(session, &mut last, true, exchange, memory)?;
    Ok(last.unwrap_or_default())
}

/// Decides which filters the body behind this head passes, and makes the head say so.
fn choose(
    session: &Session,
    method: &Method,
    head: &mut ResponseHeader,
    call: &Call,
    fhir: &mut FhirCall,
    is_document: bool,
) -> BodyFilters {
    let mut filters = BodyFilters::default();
    if head.status.is_informational() {
        return filters;
    }
    if is_document {
        response_links::rewrite_head(session, head, call, &fhir.site);
        return filters;
    }
    let request = session.req_header();
    if fhir.repairs().content && head.status.is_success() {
        response_head::name_fhir_json(head, fhir.interaction);
    }
    // Buffered answers to creates have theirs already.
    let instead = write_answer::of_update(request, head, call, fhir);
    let links = response_links::rewrite(session, head, call, &fhir.site);
    if response_head::has_no_body(method, head) {
        if (fhir.plan.method.is_some() && response_head::is_json(head)) || fhir.test().is_some() {
            // They are of the body as OpenEMR sent it, not as it would have gone on.
            head.remove_header(&CONTENT_LENGTH);
            response_head::forget_validator(head, fhir);
        }
        return filters;
    }
    recording::note_count(fhir);
    match instead {
        Some(instead) => filters.push(instead),
        None => {
            mended_answer::add_filter(head, fhir, &mut filters);
            search_answer::add_filters(head, fhir, &mut filters);
            filters.push_some(write_answer::shown(head, call, fhir));
        }
    }
    if export_file::is_one(head, fhir) {
        filters.push(export_file::filter(fhir));
    }
    // The last: every filter before it reads OpenEMR's own addresses.
    if let Some(links) = links {
        filters.push(links);
    }
    if !filters.is_empty() {
        // Its length, and a validator of its bytes, are of the body as OpenEMR sent it.
        response_head::forget_validator(head, fhir);
        forget_length(head);
    }
    filters
}

//! What the body of an answer goes through on its way to the caller: decided from its head, piece by piece from then on.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::body_step::BodyStep;
use crate::gateway::context::RequestContext;
use crate::gateway::{compression, cors, links, response_head, search_answer, write_answer};
use crate::http::fields::{content_length, forget_length};

/// The steps of one body, in order. Without any, pieces pass untouched.
#[derive(Debug, Default)]
pub struct BodyPath(Vec<Box<dyn BodyStep>>);

impl BodyPath {
    /// One more step, behind the others.
    pub fn push(&mut self, step: impl BodyStep + 'static) {
        self.0.push(Box::new(step));
    }

    /// Whether the body passes as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a piece through all steps; at the end, what each has left to say goes through those behind it.
    pub fn pass(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        if self.0.is_empty() {
            return;
        }
        let mut piece = body.take().unwrap_or_default();
        for step in &mut self.0 {
            let told = if piece.is_empty() { piece } else { step.feed(piece) };
            piece = if end_of_stream { joined(told, step.finish()) } else { told };
        }
        *body = (!piece.is_empty()).then_some(piece);
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, false) => second,
        (false, false) => [first, second].concat().into(),
    }
}

/// Makes the head of an answer what the caller sees, and decides what the body behind it goes through.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub fn prepare(session: &Session, head: &mut ResponseHeader, context: &mut RequestContext) -> pingora::Result<()> {
    // What it is on its way changes its length, not whether it is long.
    let length = content_length(&head.headers);
    choose(session, head, context)?;
    compression::choose(session, head, length, context);
    response_head::rewrite(head, session.req_header().version, context.id)?;
    cors::mark(session, head, context);
    Ok(())
}

/// Decides what the body behind this head goes through, and makes the head say so.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub fn choose(session: &Session, head: &mut ResponseHeader, context: &mut RequestContext) -> pingora::Result<()> {
    context.body = BodyPath::default();
    if head.status.is_informational() {
        return Ok(());
    }
    if context.repairs().content && head.status.is_success() {
        response_head::name_fhir_json(head, context.interaction)?;
    }
    // Held answers to creates have theirs already.
    let instead = write_answer::of_update(session.req_header(), head, context)?;
    let links = links::after_head(session, head, context);
    if response_head::has_no_body(&session.req_header().method, head) {
        if context.plan.method.is_some() && response_head::is_json(head) {
            // Of the body as OpenEMR sent it, not as it would have gone on.
            head.remove_header(&CONTENT_LENGTH);
            head.remove_header(&ETAG);
        }
        return Ok(());
    }
    match instead {
        Some(instead) => context.body.push(instead),
        None => search_answer::add_steps(session, head, context),
    }
    // The last step: everything before it speaks of OpenEMR as OpenEMR does.
    if let Some(links) = links {
        context.body.push(links);
    }
    if context.body.is_empty() {
        return Ok(());
    }
    // Its length, and a validator of its bytes, are of the body as OpenEMR sent it.
    head.remove_header(&ETAG);
    forget_length(head);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Doubles(Vec<u8>);

    impl BodyStep for Doubles {
        fn feed(&mut self, piece: Bytes) -> Bytes {
            self.0.extend_from_slice(&piece);
            [&piece[..], &piece[..]].concat().into()
        }

        fn finish(&mut self) -> Bytes {
            Bytes::from(std::mem::take(&mut self.0))
        }
    }

    #[test]
    fn pieces_go_through_every_step_and_so_do_last_words() {
        let mut path = BodyPath::default();
        path.push(Doubles(Vec::new()));
        path.push(Doubles(Vec::new()));
        let mut sent = Vec::new();
        for (piece, end) in [(Some("a"), false), (None, false), (Some("b"), true)] {
            let mut body = piece.map(Bytes::from);
            path.pass(&mut body, end);
            sent.push(body.map(|body| String::from_utf8(body.to_vec()).unwrap()));
        }
        // The first step says aa, bb, ab; the second doubles each and says all of it at its end.
        assert_eq!(sent, [Some("aaaa".to_owned()), None, Some("bbabbbabaabbab".to_owned())]);
    }

    #[test]
    fn without_steps_nothing_is_touched() {
        let mut path = BodyPath::default();
        for body in [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))] {
            let mut passed = body.clone();
            path.pass(&mut passed, false);
            assert_eq!(passed, body);
        }
    }
}

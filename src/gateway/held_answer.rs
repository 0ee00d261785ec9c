//! An answer that is held back until its body is known.
//!
//! OpenEMR says 400 when the client's trust was revoked, with a head like any other 400's, and 401 for a token that it
//! does not know as well as for a missing scope: only the body tells. An error becomes an OperationOutcome even where it has no
//! body, and the answer to a create tells in its body what belongs into its head. Pingora sends a head on before it shows the
//! body, so such a head is replaced by an informational one that is not sent, and the body is kept. When it ends, the
//! request is either repeated with a new token, and nothing of this answer has gone out, or the answer is sent: when Pingora is
//! done with the request, since no phase before that can send a head.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::gateway::answer::linger;
use crate::gateway::context::RequestContext;
use crate::gateway::{body, error_answer, response_head, write_answer};
use crate::http::fields::content_length;
use crate::openemr::token_rejection;

/// No more of a body is held back.
pub const MOST: usize = 1024 * 1024;

/// What becomes of an answer that was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It goes out as OpenEMR gave it, or not at all.
    AsItIs,
    /// It is said as an OperationOutcome.
    Error,
    /// It says where the new resource is.
    Created,
}

/// An answer of which nothing has been sent.
#[derive(Debug)]
pub struct HeldAnswer {
    head: Box<ResponseHeader>,
    body: BytesMut,
    purpose: Purpose,
    is_cut: bool,
    is_judged: bool,
}

/// Whether the body of an answer can be one of OpenEMR's error objects, as far as its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// It is none.
    Not,
    /// It could be, and will tell.
    Plain,
    /// It could be, and is compressed.
    Compressed,
}

/// Whether the body that follows this head could be one of OpenEMR's error objects.
#[must_use]
pub fn readable(head: &ResponseHeader, method: &Method) -> Readable {
    if *method == Method::HEAD || !response_head::is_json(head) {
        return Readable::Not;
    }
    match content_length(&head.headers).is_none_or(|length| (1..=token_rejection::MAX_BODY as u64).contains(&length)) {
        false => Readable::Not,
        true if head.headers.contains_key(CONTENT_ENCODING) => Readable::Compressed,
        true => Readable::Plain,
    }
}

impl HeldAnswer {
    /// Keeps the head, and puts one in its place that the session does not send.
    ///
    /// # Errors
    /// None in practice: 103 is a status.
    pub fn hold(session: &mut Session, head: &mut ResponseHeader, purpose: Purpose) -> pingora::Result<Self> {
        session.set_ignore_info_resp(true);
        let unsent = ResponseHeader::build(StatusCode::EARLY_HINTS, None)?;
        Ok(Self {
            head: Box::new(std::mem::replace(head, unsent)),
            body: BytesMut::new(),
            purpose,
            is_cut: false,
            is_judged: false,
        })
    }

    /// Takes a piece of the body, so that it is not sent. False when there is too much of it to go out as it is; otherwise the
    /// rest is not looked at.
    pub fn keep(&mut self, piece: &mut Option<Bytes>) -> bool {
        let piece = piece.take().unwrap_or_default();
        self.is_cut |= self.body.len() + piece.len() > MOST;
        if !self.is_cut {
            self.body.extend_from_slice(&piece);
        }
        !self.is_cut || self.purpose != Purpose::AsItIs
    }

    /// Its end has come, and was looked at.
    pub fn note_judged(&mut self) {
        self.is_judged = true;
    }

    /// Whether its end was looked at. In HTTP/2 an answer can end with its head, and Pingora shows no body then.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.is_judged
    }

    /// OpenEMR's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Whether the body says that OpenEMR does not take the token, rather than what is done with it.
    #[must_use]
    pub fn rejects_token(&self) -> bool {
        token_rejection::rejects_token(&self.body)
    }

    /// Sends the answer, now that it is whole: through the same steps as one that was not held back.
    ///
    /// # Errors
    /// A caller who is gone.
    pub async fn send(self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<()> {
        let Self { mut head, body, purpose, .. } = self;
        session.set_ignore_info_resp(false);
        // Pingora cannot write the head of an HTTP/2 answer to a caller of HTTP/1.1.
        head.set_version(Version::HTTP_11);
        let request = session.req_header();
        let body = match purpose {
            Purpose::AsItIs => body.freeze(),
            Purpose::Error => error_answer::translate(&mut head, &body, context)?,
            Purpose::Created => write_answer::of_create(request, &mut head, body.freeze(), context).await?,
        };
        head.remove_header(&TRANSFER_ENCODING);
        head.insert_header(CONTENT_LENGTH, body.len())?;
        body::prepare(session, &mut head, context)?;
        let mut body = Some(body);
        context.body.pass(&mut body, true);
        let body = body.unwrap_or_default();
        head.remove_header(&TRANSFER_ENCODING);
        head.insert_header(CONTENT_LENGTH, body.len())?;
        let body_is_left = !session.is_body_done();
        if body_is_left {
            session.set_keepalive(None);
        }
        let head_only = session.req_header().method == Method::HEAD;
        session.write_response_header(head, head_only).await?;
        if !head_only {
            session.write_response_body(Some(body), true).await?;
        }
        if body_is_left {
            linger(session).await;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn holds_back_only_what_could_be_it() {
        let head = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut head = ResponseHeader::build(status, None).unwrap();
            for (name, value) in fields {
                head.insert_header(*name, *value).unwrap();
            }
            head
        };
        let json = ("Content-Type", "application/json");
        for (head, method, held) in [
            (head(400, &[json, ("Transfer-Encoding", "chunked")]), Method::GET, Readable::Plain),
            (head(400, &[("Content-Type", "application/json; charset=utf-8")]), Method::POST, Readable::Plain),
            (head(400, &[json, ("Content-Length", "87")]), Method::PUT, Readable::Plain),
            (head(400, &[json, ("Content-Length", "0")]), Method::GET, Readable::Not),
            (head(400, &[json, ("Content-Length", "100000")]), Method::GET, Readable::Not),
            (head(400, &[json, ("Content-Encoding", "gzip")]), Method::GET, Readable::Compressed),
            (head(400, &[json]), Method::HEAD, Readable::Not),
            (head(400, &[("Content-Type", "text/html")]), Method::GET, Readable::Not),
            (head(401, &[json]), Method::GET, Readable::Plain),
        ] {
            assert_eq!(readable(&head, &method), held, "{head:?}");
        }
    }
}

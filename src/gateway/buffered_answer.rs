//! An answer of OpenEMR's that is kept back until its body is known.
//!
//! OpenEMR answers 400 when the client's trust was revoked, with a head like any other 400's, and 401 for a token that it
//! does not know as well as for a missing scope: only the body tells. An error becomes an OperationOutcome even where it has
//! no body, and the body of the answer to a create tells what belongs into its head. Pingora sends a head on before it shows
//! the body, so such a head is replaced by an informational one that is not sent, and the body is kept. When it ends, either
//! the request is repeated with a new token, and nothing of this answer has gone out, or the answer is sent: when Pingora is
//! done with the request, since no phase before that can send a head.
//!
//! Decision: `docs/decisions/05-rejected-tokens.md`.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_ENCODING;
use http::{Method, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::root::Root;
use crate::gateway::response_head;
use crate::http::fields::content_length;
use crate::http::token_text::cut_tokens;
use crate::openemr::token_rejection;

/// The most of a body that is kept, in bytes.
const MOST: usize = 1024 * 1024;

/// What becomes of a buffered answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It goes out as OpenEMR gave it, or not at all.
    Unchanged,
    /// It becomes an OperationOutcome.
    Error,
    /// Its head gets the address of the new resource.
    Created,
}

/// An answer of which nothing has been sent.
#[derive(Debug)]
pub(super) struct BufferedAnswer {
    head: Box<ResponseHeader>,
    body: BytesMut,
    purpose: Purpose,
    is_cut: bool,
    is_judged: bool,
}

/// The parts of a buffered answer whose body has ended.
#[derive(Debug)]
pub(super) struct WholeAnswer {
    /// OpenEMR's head, in a version that can be sent to any client.
    pub(super) head: Box<ResponseHeader>,
    /// As much of the body as was kept.
    pub(super) body: Bytes,
    /// What becomes of it.
    pub(super) purpose: Purpose,
}

/// Whether the body of an answer can be one of OpenEMR's error objects, as far as its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    /// It cannot.
    Not,
    /// It can, and can be read.
    Plain,
    /// It can, and is compressed.
    Compressed,
}

/// Whether the body that follows this head can be one of OpenEMR's error objects. `method`: of the request.
#[must_use]
pub(super) fn readable(head: &ResponseHeader, method: &Method) -> Readable {
    if *method == Method::HEAD || !response_head::is_json(head) {
        return Readable::Not;
    }
    match content_length(&head.headers).is_none_or(|length| (1..=token_rejection::MAX_BODY as u64).contains(&length)) {
        false => Readable::Not,
        true if head.headers.contains_key(CONTENT_ENCODING) => Readable::Compressed,
        true => Readable::Plain,
    }
}

impl BufferedAnswer {
    /// Keeps the head, and puts one in its place that the session does not send.
    #[must_use]
    pub(super) fn begin(session: &mut Session, head: &mut ResponseHeader, purpose: Purpose) -> Self {
        session.set_ignore_info_resp(true);
        let unsent = ResponseHeader::build_no_case(StatusCode::EARLY_HINTS, Some(0)).expect("103 is a status");
        Self { head: Box::new(std::mem::replace(head, unsent)), body: BytesMut::new(), purpose, is_cut: false, is_judged: false }
    }

    /// Takes a piece of the body, so that it is not sent. False when the body is too long to go out unchanged; of a body that
    /// is not sent, the rest is dropped.
    pub(super) fn keep(&mut self, piece: &mut Option<Bytes>) -> bool {
        let piece = piece.take().unwrap_or_default();
        self.is_cut |= self.body.len() + piece.len() > MOST;
        if !self.is_cut {
            self.body.extend_from_slice(&piece);
        }
        !self.is_cut || self.purpose != Purpose::Unchanged
    }

    /// Notes that its end has come, and that it was judged whether the answer goes out.
    pub(super) fn note_judged(&mut self) {
        self.is_judged = true;
    }

    /// Whether it was judged at its end. An HTTP/2 answer can end with its head, and Pingora shows no body then.
    #[must_use]
    pub(super) fn is_judged(&self) -> bool {
        self.is_judged
    }

    /// OpenEMR's status.
    #[must_use]
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Whether the body refuses the token rather than the request.
    #[must_use]
    pub(super) fn rejects_token(&self) -> bool {
        token_rejection::rejects_token(&self.body)
    }

    /// What the body is.
    #[must_use]
    pub(super) fn root(&self) -> Root {
        Root::of(&self.body)
    }

    /// Takes it apart to be sent. An access token in the body is cut out: OpenEMR's errors can quote the request. `token`: that the
    /// request carried.
    #[must_use]
    pub(super) fn into_whole(self, token: &[u8]) -> WholeAnswer {
        let Self { mut head, mut body, purpose, .. } = self;
        cut_tokens(&mut body, token);
        // Pingora cannot write the head of an HTTP/2 answer to a client of HTTP/1.1.
        head.set_version(Version::HTTP_11);
        WholeAnswer { head, body: body.freeze(), purpose }
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

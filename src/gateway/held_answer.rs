//! A good answer of OpenEMR's whose head is held until the beginning of its body is known: what is not FHIR becomes an error,
//! and must not begin as an answer. The rest of the body streams.
//!
//! Pingora sends a head on before it shows the body. So the head is replaced by an informational one that is not sent, and is
//! written when the filters of the body give the first of it: until then each of them can still refuse. The phase that has the
//! body cannot wait. Nor need it: a head is gathered with what follows, since nothing waits before an answer; HTTP/2 keeps it.
//!
//! Decision: `docs/decisions/15-errors.md`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::root::RootReader;
use crate::gateway::due::{Came, Due, NotDue};
use crate::http::fields;
use crate::http::set_field::SetField;

/// The most of a body that is kept, in bytes. What names no type within that is taken for a resource: no error is so long.
const MOST: usize = 1024 * 1024;
/// The longest head that is held, in bytes. A connection gathers less than 16 KiB at once, and fields are added to the head.
const LONGEST_HEAD: usize = 8 * 1024;

/// An answer of which it is not known whether it goes on.
#[derive(Debug)]
pub(super) struct HeldAnswer {
    /// `None`: the head was too long, and is on its way.
    head: Option<Box<ResponseHeader>>,
    due: Due,
    reader: Box<RootReader>,
    kept: BytesMut,
    came: Option<Came>,
}

impl HeldAnswer {
    /// Keeps the head, and puts one in its place that the session does not send.
    #[must_use]
    pub(super) fn begin(session: &mut Session, head: &mut ResponseHeader, due: Due) -> Self {
        let held = (fields::size(&head.headers) <= LONGEST_HEAD).then(|| {
            session.set_ignore_info_resp(true);
            let unsent = ResponseHeader::build_no_case(StatusCode::EARLY_HINTS, Some(0)).expect("103 is a status");
            Box::new(std::mem::replace(head, unsent))
        });
        Self { head: held, due, reader: Box::new(RootReader::new()), kept: BytesMut::new(), came: None }
    }

    /// Takes a piece of the body, and gives it back with all before it once they are known to go on.
    ///
    /// # Errors
    /// The body is not what is due.
    pub(super) fn take(&mut self, piece: &mut Option<Bytes>, is_end: bool) -> Result<(), NotDue> {
        if self.came.is_some() {
            return Ok(());
        }
        let bytes = piece.take().unwrap_or_default();
        let root = self.reader.feed(&bytes).or_else(|| is_end.then(|| self.reader.end()));
        if let Some(root) = root {
            self.came = Some(self.due.judge(root)?);
        } else if self.kept.len() + bytes.len() > MOST {
            self.came = Some(if self.due == Due::Document { Came::Document } else { Came::Fhir });
        }
        if self.came.is_none() {
            self.kept.extend_from_slice(&bytes);
            return Ok(());
        }
        let known = if self.kept.is_empty() {
            bytes
        } else {
            self.kept.extend_from_slice(&bytes);
            std::mem::take(&mut self.kept).freeze()
        };
        *piece = (!known.is_empty()).then_some(known);
        Ok(())
    }

    /// What came, once that is known.
    #[must_use]
    pub(super) fn came(&self) -> Option<Came> {
        self.came
    }

    /// The head, framed as Pingora frames one that it sends at once. `method`: of the client's request.
    #[must_use]
    pub(super) fn into_head(self, method: &Method) -> Option<Box<ResponseHeader>> {
        let mut head = self.head?;
        head.set_version(Version::HTTP_11);
        let has_body = *method != Method::HEAD && head.status != StatusCode::NO_CONTENT;
        if has_body && !head.headers.contains_key(CONTENT_LENGTH) && !head.headers.contains_key(TRANSFER_ENCODING) {
            head.set(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Some(head)
    }

    /// Whether the head is held as well.
    #[must_use]
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }
}

/// Writes a head from a phase that cannot wait.
///
/// # Errors
/// The client is gone.
pub(super) fn write_head(session: &mut Session, head: Box<ResponseHeader>) -> pingora::Result<()> {
    let writing = pin!(session.write_response_header(head, false));
    match writing.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(written) => written,
        // It is in the buffer, and waits for a client that reads slowly. What follows sends it.
        Poll::Pending => Ok(()),
    }
}

//! What goes to OpenEMR in place of what the caller sent.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, TRANSFER_ENCODING};
use pingora::http::RequestHeader;

use crate::openemr::search::terms::SearchTerms;

/// The changes that a request goes through. Where nothing is set, the caller's own goes on byte for byte.
#[derive(Debug, Default)]
pub struct Plan {
    /// Another method.
    pub method: Option<Method>,
    /// Another path below the FHIR base, with its leading `/`.
    pub path: Option<Vec<u8>>,
    /// Another query, with its `?` unless it is empty.
    pub query: Option<Vec<u8>>,
    /// Another form in place of the body, which has been read whole.
    pub form: Option<Bytes>,
    /// Another body of the same media type, in place of one that has been read whole.
    pub body: Option<Bytes>,
    /// What was searched for, and what becomes of the Bundle that comes back.
    pub search: Option<Box<SearchTerms>>,
    body_is_sent: bool,
}

impl Plan {
    /// The path below the FHIR base.
    #[must_use]
    pub fn path<'a>(&'a self, callers: &'a [u8]) -> &'a [u8] {
        self.path.as_deref().unwrap_or(callers)
    }

    /// The query, with its `?`.
    #[must_use]
    pub fn query<'a>(&'a self, callers: &'a [u8]) -> &'a [u8] {
        self.query.as_deref().unwrap_or(callers)
    }

    /// Changes the head that goes to OpenEMR. A body is sent from its beginning after that.
    ///
    /// # Errors
    /// None in practice: the fields that are set are valid.
    pub fn apply(&mut self, head: &mut RequestHeader) -> pingora::Result<()> {
        if let Some(method) = &self.method {
            head.set_method(method.clone());
        }
        if let Some(body) = self.form.as_ref().or(self.body.as_ref()) {
            head.remove_header(&TRANSFER_ENCODING);
            // He has sent it already.
            head.remove_header(&EXPECT);
            head.insert_header(CONTENT_LENGTH, body.len())?;
        }
        if self.form.is_some() {
            head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))?;
        }
        self.body_is_sent = false;
        Ok(())
    }

    /// Whether something goes to OpenEMR in place of the caller's body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.form.is_some() || self.body.is_some()
    }

    /// Puts it in the place of the caller's body.
    pub fn replace_body(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        let Some(other) = self.form.as_ref().or(self.body.as_ref()) else { return };
        // To Pingora, nothing is the end.
        *body = match (end_of_stream, self.body_is_sent) {
            (false, _) => Some(Bytes::new()),
            (true, false) => Some(other.clone()).filter(|other| !other.is_empty()),
            (true, true) => None,
        };
        self.body_is_sent |= end_of_stream;
    }
}

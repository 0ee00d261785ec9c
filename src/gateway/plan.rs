//! What goes to OpenEMR in place of what the caller sent.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, TRANSFER_ENCODING};
use pingora::http::RequestHeader;

use crate::fhir::search_terms::SearchTerms;

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
    /// What was searched for, and what becomes of the Bundle that comes back.
    pub search: Option<Box<SearchTerms>>,
    form_is_sent: bool,
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
        if let Some(form) = &self.form {
            head.remove_header(&TRANSFER_ENCODING);
            head.remove_header(&EXPECT);
            head.insert_header(CONTENT_LENGTH, form.len())?;
            head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))?;
        }
        self.form_is_sent = false;
        Ok(())
    }

    /// Puts the form in the place of the caller's body.
    pub fn replace_body(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        let Some(form) = &self.form else { return };
        *body = (end_of_stream && !self.form_is_sent && !form.is_empty()).then(|| form.clone());
        self.form_is_sent |= end_of_stream;
    }
}

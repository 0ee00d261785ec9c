//! What goes to OpenEMR in place of what the client sent.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;

use crate::exports::files::{ExportFile, OwnFile};
use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::resource_identity::IdentityCheck;
use crate::gateway::adapted::Adapted;
use crate::gateway::limit::Limit;
use crate::openemr::search::terms::SearchTerms;

/// The changes to a request. Where nothing is set, what the client sent goes on byte for byte.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Another method.
    pub(super) method: Option<Method>,
    /// Another path below the FHIR base, with its leading `/`.
    pub(super) path: Option<Vec<u8>>,
    /// Another query, with its `?` unless it is empty.
    pub(super) query: Option<Vec<u8>>,
    /// A form in place of the body.
    pub(super) form: Option<Bytes>,
    /// Whether the client has sent no body in whose place the form could go: Pingora can add one in HTTP/1 alone.
    pub(super) adds_form: bool,
    /// Another body of the same media type.
    pub(super) body: Option<Bytes>,
    /// Checks a resource that passes in pieces; each try has its own copy.
    pub(super) identity: Option<Box<IdentityCheck>>,
    /// The client's body, where it was read whole.
    pub(super) read: Option<Bytes>,
    /// Whether the gateway has begun to read the body, and so has the client's "100 Continue" behind it.
    pub(super) body_is_begun: bool,
    /// What was searched for, and what becomes of the Bundle that comes back.
    pub(super) search: Option<Box<SearchTerms>>,
    /// How the resource in the body was changed to what OpenEMR takes, if it was.
    pub(super) adapted: Option<Box<Adapted>>,
    /// Whether a resource that was not read whole must have no extension.
    pub(super) refuses_extensions: bool,
    /// Whether the gateway has met the condition of a create, which then goes out without it.
    pub(super) condition_is_met: bool,
    /// What the client gets of a Binary, should it be the file of an export.
    pub(super) export_file: ExportFile,
    /// The file of the caller's own export, where that is asked for by the gateway's own address.
    pub(super) own_file: Option<Box<OwnFile>>,
    /// What the client may have of the answer and may send, where that is not everything.
    pub(super) limit: Option<Box<Limit>>,
    body_is_sent: bool,
}

impl Plan {
    /// Changes the head that goes to OpenEMR. A body is sent from its beginning after that.
    pub(super) fn apply(&mut self, head: &mut Parts) {
        if let Some(method) = &self.method {
            head.method.clone_from(method);
        }
        let fields = &mut head.headers;
        if self.body_is_begun {
            // The client has been told to go on already; OpenEMR would say it again.
            fields.remove(EXPECT);
        }
        if let Some(body) = self.form.as_ref().or(self.body.as_ref()) {
            fields.remove(TRANSFER_ENCODING);
            fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            if body.is_empty() {
                fields.remove(CONTENT_TYPE);
            }
        }
        if self.condition_is_met {
            fields.remove(&IF_NONE_EXIST);
        }
        if self.form.is_some() {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        self.body_is_sent = false;
    }

    /// Whether something goes to OpenEMR in place of the client's body.
    #[must_use]
    pub(super) fn has_body(&self) -> bool {
        self.form.is_some() || self.body.is_some()
    }

    /// Puts it in the place of the client's body.
    pub(super) fn replace_body(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        let Some(other) = self.form.as_ref().or(self.body.as_ref()) else { return };
        // To Pingora, `None` is the end of the body.
        *body = match (end_of_stream, self.body_is_sent) {
            (false, _) => Some(Bytes::new()),
            (true, false) => Some(other.clone()).filter(|other| !other.is_empty()),
            (true, true) => None,
        };
        self.body_is_sent |= end_of_stream;
    }
}

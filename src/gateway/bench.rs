//! Heads, for the benchmarks of what is left of them and of what is made of them (`bench/parts.rs`).

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::gateway::trace::Trace;
use crate::gateway::{response_head, upstream_request};
use crate::http::forwarded::hops::Hops;
use crate::http::parts::{edit_request, forget_spelling};
use crate::http::request_target;
use crate::observe::request_id::RequestId;
use crate::smart::bench::SiteToken;

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct AnswerHead(ResponseHeader);

impl AnswerHead {
    /// One with these fields. `None` for what is no field.
    #[must_use]
    pub fn new(fields: &[(&str, &str)]) -> Option<Self> {
        let mut head = ResponseHeader::build(200, Some(fields.len())).ok()?;
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).ok()?;
            head.append_header(name, HeaderValue::from_str(value).ok()?).ok()?;
        }
        Some(Self(head))
    }

    /// Removes what does not go on to a client, as it is done before anything else; gives how many field lines are left. `token`: that
    /// the request carried.
    #[must_use]
    pub fn keep_known(mut self, token: &str) -> usize {
        response_head::keep_known(&mut self.0, token.as_bytes());
        self.0.headers.len()
    }
}

/// The head of a client's request, and what the gateway knows when it makes OpenEMR's of it.
#[derive(Debug, Clone)]
pub struct RequestHead {
    head: RequestHeader,
    trace: Trace,
    id: RequestId,
}

impl RequestHead {
    /// A read with these fields, as the gateway has it once it has looked at it. `None` for what is no field.
    #[must_use]
    pub fn new(fields: &[(&str, &str)]) -> Option<Self> {
        let mut head =
            RequestHeader::build("GET", b"/fhir/Patient/a34c6e42-1d69-4ad3-b4ef-b31757983454", Some(fields.len())).ok()?;
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).ok()?;
            head.append_header(name, HeaderValue::from_str(value).ok()?).ok()?;
        }
        forget_spelling(&mut head);
        let trace = Trace::of(&head.headers, Hops::direct(IpAddr::V4(Ipv4Addr::LOCALHOST)), None);
        Some(Self { head, trace, id: RequestId::next() })
    }

    /// Makes the head that goes to OpenEMR. `None` without a token, or for a target that cannot stand in a request line.
    #[must_use]
    pub fn for_openemr(mut self, base: &str, host: &HeaderValue, token: &SiteToken) -> Option<Self> {
        let token = token.usable()?;
        let Self { head, trace, id } = &mut self;
        let path = head.uri.path().strip_prefix("/fhir").unwrap_or_default();
        let target = request_target::onto(base, path.as_bytes(), b"");
        edit_request(head, |head| upstream_request::made(head, Version::HTTP_11, host, &token, trace, *id));
        head.set_raw_path(&target).ok()?;
        Some(self)
    }

    /// The target and the names of the fields, sorted.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut names: Vec<&str> = self.head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        format!("{} {}", String::from_utf8_lossy(self.head.raw_path()), names.join(" "))
    }
}

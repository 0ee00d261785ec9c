//! The head of a request: its lines, and the framing of the body that it declares (RFC 9112 sections 2 to 6).

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::target;
use super::violation::Violation;

/// The longest name of a field, in bytes.
const FIELD_NAME: usize = 256;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// All of it, in bytes.
    pub(crate) size: usize,
    /// Its field lines.
    pub(crate) fields: u32,
}

/// How the body behind a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes; 0 without a body.
    Length(u64),
    Chunked,
}

/// How far a head has been read.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Where the next line begins.
    line: usize,
    /// Up to where its end has been looked for.
    searched: usize,
    has_request_line: bool,
    is_http10: bool,
    fields: u32,
    content_length: Option<u64>,
    is_chunked: bool,
    /// The value of Host, in the bytes of the head.
    host: Option<Range<usize>>,
    /// The authority in the request target.
    authority: Option<Range<usize>>,
}

impl HeadReader {
    #[must_use]
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Reads the lines that are whole. Gives the length of the head once it is, with the framing of the body.
    ///
    /// # Errors
    /// The first violation in the order of the bytes.
    pub(super) fn read(&mut self, head: &[u8], limits: HeadLimits) -> Result<Option<(usize, Body)>, Violation> {
        if head.first().is_some_and(|&byte| !is_tchar(byte) && byte != b'\r') {
            return Err(Violation::NotHttp);
        }
        loop {
            let end = memchr(b'\n', head.get(self.searched..).unwrap_or_default()).map(|at| self.searched + at);
            if end.unwrap_or(head.len()) >= limits.size {
                return Err(if self.has_request_line { Violation::HeadTooLarge } else { Violation::TargetTooLong });
            }
            let Some(end) = end else {
                self.searched = head.len();
                return Ok(None);
            };
            let line = head.get(self.line..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Violation::LineEnd)?;
            let begins = std::mem::replace(&mut self.line, end + 1);
            self.searched = self.line;
            match (self.has_request_line, line.is_empty()) {
                // One empty line may come first (RFC 9112 section 2.2).
                (false, true) if begins == 0 => {}
                (false, _) => self.request_line(line, begins)?,
                (true, true) => return Ok(Some((self.line, self.body(head)?))),
                (true, false) => self.field(line, begins, limits)?,
            }
        }
    }

    fn request_line(&mut self, line: &[u8], begins: usize) -> Result<(), Violation> {
        let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else { return Err(Violation::RequestLine) };
        let (method, target, version) = (line.get(..first), line.get(first + 1..last), line.get(last + 1..));
        let (method, version) = (method.unwrap_or_default(), version.unwrap_or_default());
        let target = target.filter(|target| !target.is_empty()).ok_or(Violation::RequestLine)?;
        if method.is_empty() || !method.iter().copied().all(is_tchar) {
            return Err(Violation::RequestLine);
        }
        self.is_http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Violation::Version),
            _ => return Err(Violation::RequestLine),
        };
        if method == b"CONNECT" {
            return Err(Violation::Connect);
        }
        let authority = target::authority(method, target)?;
        self.authority = authority.map(|within| begins + first + 1 + within.start..begins + first + 1 + within.end);
        self.has_request_line = true;
        Ok(())
    }

    fn field(&mut self, line: &[u8], begins: usize, limits: HeadLimits) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Violation::TooManyFields);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Violation::Continuation);
        }
        let colon = memchr(b':', line).ok_or(Violation::FieldName)?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || name.len() > FIELD_NAME || !name.iter().copied().all(is_tchar) {
            return Err(Violation::FieldName);
        }
        if value.contains(&b'\r') {
            return Err(Violation::LineEnd);
        }
        if !value.iter().copied().all(is_text) {
            return Err(Violation::FieldValue);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value, begins + colon),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(without_colon(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(without_colon(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8], begins: usize) -> Result<(), Violation> {
        let host = without_colon(value);
        if self.host.is_some() || host.contains(&b'@') {
            return Err(Violation::Host);
        }
        let from_host_on = value.get(1..).unwrap_or_default().trim_ascii_start().len();
        let begins = begins + value.len() - from_host_on;
        self.host = Some(begins..begins + host.len());
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok()).filter(|length| *length <= i64::MAX as u64);
        match (self.content_length, length) {
            (None, Some(length)) => self.content_length = Some(length),
            _ => return Err(Violation::ContentLength),
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.is_chunked || self.is_http10 {
            return Err(Violation::TransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation::TransferCoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// What the whole head says of the body.
    fn body(&self, head: &[u8]) -> Result<Body, Violation> {
        if let (Some(authority), Some(host)) = (self.authority.clone(), self.host.clone())
            && head.get(authority) != head.get(host)
        {
            return Err(Violation::Host);
        }
        match (self.content_length, self.is_chunked) {
            (Some(_), true) => Err(Violation::TwoFramings),
            (None, true) => Ok(Body::Chunked),
            (length, false) => Ok(Body::Length(length.unwrap_or_default())),
        }
    }
}

/// The value of a field, from its colon on.
fn without_colon(value: &[u8]) -> &[u8] {
    value.get(1..).unwrap_or_default().trim_ascii()
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
#[must_use]
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether a byte may stand in the value of a field (RFC 9110 section 5.5): no control character but a tab.
#[must_use]
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

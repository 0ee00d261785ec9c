//! The head of a request, within Apache's limits (RFC 9112 section 3).

use std::io;

/// Apache's `LimitRequestLine`, in bytes.
pub(super) const REQUEST_LINE_LIMIT: usize = 8190;
/// `LimitRequestFieldSize` of OpenEMR's image, in bytes.
const FIELD_LIMIT: usize = 32_768;
/// Apache's `LimitRequestFields`.
const FIELD_COUNT_LIMIT: usize = 100;
/// The longest head that is read, in bytes; a longer one exceeds a limit above or consists of far too many fields.
const HEAD_LIMIT: usize = 256 * 1024;

/// The request line and the field lines.
#[derive(Clone, Debug)]
pub(super) struct RequestHead {
    /// The method; case-sensitive.
    pub(super) method: String,
    /// The request target as received, query included.
    pub(super) target: String,
    /// The minor version: 1 for HTTP/1.1.
    pub(super) minor_version: u8,
    /// The fields: names as received; values with what is not UTF-8 replaced.
    pub(super) fields: Vec<(String, String)>,
}

impl RequestHead {
    /// Returns the value of the first field with this name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the target up to the query.
    pub(super) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// Returns the query without its question mark; empty if there is none.
    pub(super) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns whether the client wants the connection kept alive.
    pub(super) fn keeps_alive(&self) -> bool {
        let says = |token: &str| {
            self.fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
                .any(|(_, value)| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(token)))
        };
        if self.minor_version == 0 { says("keep-alive") } else { !says("close") }
    }
}

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    /// The request line is too long; Apache answers 414.
    #[error("the request line is longer than {REQUEST_LINE_LIMIT} bytes")]
    LineTooLong,
    /// A field is too long, or there are too many; Apache answers 400.
    #[error("a field is longer than {FIELD_LIMIT} bytes, or there are more than {FIELD_COUNT_LIMIT}")]
    FieldsTooLarge,
    /// It is not HTTP; Apache answers 400.
    #[error("not HTTP/1.x")]
    Malformed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Parses the head at the start of `read` and returns it with its length; `None` if it is incomplete.
pub(super) fn parse(read: &[u8]) -> Result<Option<(usize, RequestHead)>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELD_COUNT_LIMIT];
    let mut request = httparse::Request::new(&mut fields);
    let line_too_long = || !read.iter().take(REQUEST_LINE_LIMIT + 2).any(|&byte| byte == b'\n');
    match request.parse(read) {
        Ok(httparse::Status::Complete(length)) => {
            if line_too_long() {
                return Err(HeadError::LineTooLong);
            }
            let field = |field: &httparse::Header<'_>| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned());
            let fields: Vec<_> = request.headers.iter().map(field).collect();
            if fields.iter().any(|(name, value)| name.len() + value.len() + 2 > FIELD_LIMIT) {
                return Err(HeadError::FieldsTooLarge);
            }
            let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
                return Err(HeadError::Malformed);
            };
            let head = RequestHead { method: method.to_owned(), target: target.to_owned(), minor_version, fields };
            Ok(Some((length, head)))
        }
        Ok(httparse::Status::Partial) if read.len() > REQUEST_LINE_LIMIT && line_too_long() => Err(HeadError::LineTooLong),
        Ok(httparse::Status::Partial) if read.len() > HEAD_LIMIT => Err(HeadError::FieldsTooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::FieldsTooLarge),
        Err(_) => Err(HeadError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn apaches_limits_hold() {
        let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(REQUEST_LINE_LIMIT));
        assert!(matches!(parse(long_line.as_bytes()), Err(HeadError::LineTooLong)));
        let field = |length: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(length));
        assert!(matches!(parse(field(FIELD_LIMIT).as_bytes()), Err(HeadError::FieldsTooLarge)));
        assert!(parse(field(FIELD_LIMIT - 3).as_bytes()).unwrap().is_some());
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELD_COUNT_LIMIT + 1));
        assert!(matches!(parse(many.as_bytes()), Err(HeadError::FieldsTooLarge)));
        assert!(matches!(parse(b"\x16\x03\x01"), Err(HeadError::Malformed)));
    }
}

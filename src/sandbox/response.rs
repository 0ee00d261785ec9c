//! A response as it goes onto the wire: its head, and how its body is framed, cut and ended.

use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The body of a response.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// No body, sent with `Content-Length: 0`.
    Empty,
    /// The answer to a HEAD request: no framing at all, as recorded.
    Omitted,
    /// These bytes.
    Whole(Bytes),
    /// A body of this many bytes, of which the byte at offset n is n modulo 251; never in memory as a whole.
    Pattern(u64),
}

impl Body {
    /// Returns the length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Body::Empty | Body::Omitted => 0,
            Body::Whole(bytes) => bytes.len() as u64,
            Body::Pattern(length) => *length,
        }
    }

    /// Returns the body that has no more than this many bytes of this one.
    pub(super) fn shortened(self, most: u64) -> Self {
        match self {
            Body::Empty | Body::Omitted => self,
            Body::Whole(bytes) => {
                let length = usize::try_from(most).map_or(bytes.len(), |most| bytes.len().min(most));
                Body::Whole(bytes.slice(..length))
            }
            Body::Pattern(length) => Body::Pattern(length.min(most)),
        }
    }

    /// Returns the body with a text behind it. A pattern stays as it is.
    pub(super) fn with_behind(self, text: &str) -> Self {
        match self {
            Body::Whole(bytes) => Body::Whole(Bytes::from([&bytes, text.as_bytes()].concat())),
            Body::Empty | Body::Omitted | Body::Pattern(_) => self,
        }
    }

    /// Returns at most `length` bytes from `offset` on. In a pattern, `offset` is a multiple of the block's length.
    pub(super) fn piece(&self, offset: u64, length: u64) -> &[u8] {
        match self {
            Body::Empty | Body::Omitted => &[],
            Body::Whole(bytes) => usize::try_from(offset)
                .ok()
                .zip(usize::try_from(offset + length).ok())
                .and_then(|(from, to)| bytes.get(from..to))
                .unwrap_or_default(),
            Body::Pattern(_) => {
                debug_assert_eq!(offset % PATTERN.len() as u64, 0);
                let length = usize::try_from(length).unwrap_or(PATTERN.len());
                PATTERN.get(..length).unwrap_or(&PATTERN)
            }
        }
    }
}

/// One block of a [`Body::Pattern`]: 64 256 bytes, a whole number of periods, so that all blocks are alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(251 * 256).collect());

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Framing {
    /// `Transfer-Encoding: chunked`, as php-fpm behind Apache sends it.
    #[default]
    Chunked,
    /// `Content-Length`.
    ContentLength,
    /// HTTP/1.0, up to the end of the connection, as mod_php sends it.
    Http10,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// Orderly: with TLS a close_notify first.
    #[default]
    CloseNotify,
    /// A TCP FIN alone.
    NoCloseNotify,
    /// A TCP RST.
    Reset,
}

/// A response that is ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Response {
    /// Status code.
    pub(super) status: u16,
    /// The field lines in order; framing fields are added before the last one, which is Content-Type.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The body.
    pub(super) body: Body,
    /// Whether the head has `Connection: close`.
    pub(super) closes: bool,
    /// How the body is framed.
    pub(super) framing: Framing,
    /// The number of body bytes after which writing stops, as if the server had died.
    pub(super) cut_after: Option<u64>,
    /// The number of body bytes written at a time, each time as a chunk of its own where there are chunks.
    pub(super) piece: Option<u64>,
}

impl Response {
    /// Returns whether the body is sent in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked && !matches!(self.body, Body::Empty | Body::Omitted)
    }

    /// Returns how many bytes of the body are written at a time. A pattern goes out in whole blocks.
    pub(super) fn piece_length(&self) -> u64 {
        let most = PATTERN.len() as u64;
        match (&self.body, self.piece) {
            (Body::Whole(_), Some(piece)) => piece.clamp(1, most),
            _ => most,
        }
    }

    /// Returns the status line and the field lines, with the empty line that ends them.
    pub(super) fn head(&self) -> String {
        let http10 = self.framing == Framing::Http10;
        let reason =
            http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
        let mut head = format!("HTTP/1.{} {} {reason}\r\n", u8::from(!http10), self.status);
        let (content_type, others) = match self.fields.split_last() {
            Some((last, others)) if last.0 == "Content-Type" => (Some(last), others),
            _ => (None, self.fields.as_slice()),
        };
        for (name, value) in others {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // The recordings have Content-Length before Connection, and Connection before Transfer-Encoding.
        match self.body {
            Body::Empty if !http10 => head.push_str("Content-Length: 0\r\n"),
            Body::Whole(_) | Body::Pattern(_) if self.framing == Framing::ContentLength => {
                head.push_str(&format!("Content-Length: {}\r\n", self.body.length()));
            }
            _ => {}
        }
        if self.closes || http10 {
            head.push_str("Connection: close\r\n");
        }
        if self.is_chunked() {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        if let Some((name, value)) = content_type {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shortened_and_lengthened_as_if_that_were_all_of_it() {
        let body = || Body::Whole(Bytes::from_static(b"{\"a\":1}"));
        for (made, expected) in [
            (body().shortened(3), "{\"a"),
            (body().shortened(0), ""),
            (body().shortened(99), "{\"a\":1}"),
            (body().with_behind("<br />"), "{\"a\":1}<br />"),
            (body().shortened(1).with_behind("x"), "{x"),
            (Body::Omitted.shortened(1).with_behind("x"), ""),
        ] {
            assert_eq!((made.length(), made.piece(0, made.length())), (expected.len() as u64, expected.as_bytes()));
        }
        assert_eq!(Body::Pattern(9).shortened(4).with_behind("x").length(), 4);
    }

    #[test]
    fn heads_are_framed_as_recorded() {
        let response = |body, closes, framing| Response {
            status: 400,
            fields: vec![("Server", "Apache".to_owned()), ("Content-Type", "application/json".to_owned())],
            body,
            closes,
            framing,
            cut_after: None,
            piece: None,
        };
        let body = || Body::Whole(Bytes::from_static(b"[]"));
        assert_eq!(
            response(body(), true, Framing::Chunked).head(),
            "HTTP/1.1 400 Bad Request\r\nServer: Apache\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        );
        assert_eq!(
            response(body(), false, Framing::Http10).head(),
            "HTTP/1.0 400 Bad Request\r\nServer: Apache\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
        );
        assert_eq!(
            response(Body::Empty, false, Framing::Chunked).head(),
            "HTTP/1.1 400 Bad Request\r\nServer: Apache\r\nContent-Length: 0\r\nContent-Type: application/json\r\n\r\n"
        );
    }
}

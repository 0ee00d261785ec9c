//! HTTP/1.1 on one connection, written by hand.
//!
//! The sandbox breaks the framing on purpose (cut bodies, closing without a TLS close_notify, HTTP/1.0 responses that
//! end with the connection), which HTTP libraries rightly refuse to do. Requests are read as Apache reads them
//! (RFC 9112), with its limits.

use std::{io, time::Duration};

use aws_lc_rs::digest;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    request_head::{self, HeadError, REQUEST_LINE_LIMIT, RequestHead},
    response::Response,
};

/// How long a body may stall, and a head that has begun.
const STALL: Duration = Duration::from_secs(60);

/// A request body that was read to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceivedBody {
    /// Its length in bytes.
    pub(super) length: u64,
    /// Its SHA-256 in lower-case hex.
    pub(super) sha256: String,
    /// Its first bytes, up to the limit given to [`Connection::read_body`].
    pub(super) kept: Vec<u8>,
}

impl ReceivedBody {
    /// Returns whether `kept` is the whole body.
    pub(super) fn is_whole(&self) -> bool {
        self.kept.len() as u64 == self.length
    }
}

/// A connection, with the bytes that were read ahead on it.
pub(super) struct Connection<S> {
    io: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Creates a connection on which nothing was read yet.
    pub(super) fn new(io: S) -> Connection<S> {
        Connection { io, read: BytesMut::with_capacity(8 * 1024) }
    }

    /// Returns the underlying stream.
    pub(super) fn io(&mut self) -> &mut S {
        &mut self.io
    }

    /// Reads the head of the next request; `None` when the client closed the connection or sent nothing for `idle`.
    pub(super) async fn read_head(&mut self, idle: Duration) -> Result<Option<RequestHead>, HeadError> {
        if self.read.is_empty() {
            match tokio::time::timeout(idle, self.io.read_buf(&mut self.read)).await {
                Err(_) | Ok(Ok(0)) => return Ok(None),
                Ok(result) => result?,
            };
        }
        loop {
            if let Some((length, head)) = request_head::parse(&self.read)? {
                self.read.advance(length);
                return Ok(Some(head));
            }
            match tokio::time::timeout(STALL, self.io.read_buf(&mut self.read)).await {
                Err(_) | Ok(Ok(0)) => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(result) => result?,
            };
        }
    }

    /// Reads the body that `head` announces to its end, in constant memory, and keeps at most `keep` bytes of it.
    pub(super) async fn read_body(&mut self, head: &RequestHead, keep: usize) -> io::Result<ReceivedBody> {
        let chunked = head.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = match head.field("content-length") {
            Some(value) => value.trim().parse::<u64>().map_err(|_| io::ErrorKind::InvalidData)?,
            None => 0,
        };
        if (chunked || length > 0) && head.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.io.flush().await?;
        }
        let mut body = Digesting::new(keep);
        if chunked {
            loop {
                let size = self.read_chunk_size().await?;
                if size == 0 {
                    while !self.read_line().await?.is_empty() {}
                    break;
                }
                self.read_exactly(size, &mut body).await?;
                if !self.read_line().await?.is_empty() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        } else {
            self.read_exactly(length, &mut body).await?;
        }
        Ok(body.finish())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match tokio::time::timeout(STALL, self.io.read_buf(&mut self.read)).await {
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(result) => result.map(drop),
        }
    }

    async fn read_exactly(&mut self, mut left: u64, body: &mut Digesting) -> io::Result<()> {
        while left > 0 {
            if self.read.is_empty() {
                self.read.reserve(64 * 1024);
                self.fill().await?;
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.read.len());
            body.push(&self.read.split_to(take));
            left -= take as u64;
        }
        Ok(())
    }

    async fn read_line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let mut line = self.read.split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                return Ok(line);
            }
            if self.read.len() > REQUEST_LINE_LIMIT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill().await?;
        }
    }

    async fn read_chunk_size(&mut self) -> io::Result<u64> {
        let line = self.read_line().await?;
        let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
        let digits = text.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Writes head and body, or as much of the body as is to be sent.
    pub(super) async fn write(&mut self, response: &Response) -> io::Result<()> {
        let length = response.body.length();
        let limit = response.cut_after.map_or(length, |cut| cut.min(length));
        let mut out = BytesMut::from(response.head().as_bytes());
        let chunked = response.is_chunked();
        let mut sent = 0;
        while sent < limit {
            let piece = response.body.piece(sent, (limit - sent).min(response.piece_length()));
            if chunked {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.extend_from_slice(piece);
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            sent += piece.len() as u64;
            // The last piece goes out with the end marker, as Apache sends it: a small response is one write.
            if sent < limit {
                self.io.write_all(&out).await?;
                out.clear();
            }
        }
        if chunked && response.cut_after.is_none() {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.io.write_all(&out).await?;
        self.io.flush().await
    }
}

struct Digesting {
    context: digest::Context,
    length: u64,
    kept: Vec<u8>,
    keep: usize,
}

impl Digesting {
    fn new(keep: usize) -> Digesting {
        Digesting { context: digest::Context::new(&digest::SHA256), length: 0, kept: Vec::new(), keep }
    }

    fn push(&mut self, piece: &[u8]) {
        self.context.update(piece);
        self.length += piece.len() as u64;
        let room = self.keep.saturating_sub(self.kept.len()).min(piece.len());
        self.kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }

    fn finish(self) -> ReceivedBody {
        let sha256 = self.context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        ReceivedBody { length: self.length, sha256, kept: self.kept }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::{
        super::response::{Body, Framing},
        *,
    };

    async fn received(bytes: &[u8]) -> (RequestHead, ReceivedBody) {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { ours.write_all(&bytes).await });
        let mut connection = Connection::new(theirs);
        let head = connection.read_head(Duration::from_secs(5)).await.unwrap().unwrap();
        let body = connection.read_body(&head, 8).await.unwrap();
        (head, body)
    }

    #[tokio::test]
    async fn bodies_of_either_framing_are_counted_hashed_and_kept_in_part() {
        let by_length = b"POST /a?b=c HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world".as_slice();
        let chunked =
            b"POST /a?b=c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: v\r\n\r\n";
        for bytes in [by_length, chunked] {
            let (head, body) = received(bytes).await;
            assert_eq!((head.path(), head.query()), ("/a", "b=c"));
            assert_eq!((body.length, body.kept.as_slice()), (11, b"hello wo".as_slice()));
            assert_eq!(body.sha256, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
            assert!(!body.is_whole());
        }
    }

    #[tokio::test]
    async fn a_pattern_is_written_byte_by_byte_as_promised() {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let length = 200_000;
        let response = Response {
            status: 200,
            fields: Vec::new(),
            body: Body::Pattern(length),
            closes: false,
            framing: Framing::Http10,
            cut_after: None,
            piece: None,
        };
        tokio::spawn(async move { Connection::new(theirs).write(&response).await });
        let mut bytes = Vec::new();
        ours.read_to_end(&mut bytes).await.unwrap();
        let start = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(bytes.len() - start, 200_000);
        assert!(bytes[start..].iter().enumerate().all(|(index, &byte)| byte == (index % 251) as u8));
    }
}

//! HTTP/1.1 on one connection, by hand.
//!
//! The stand-in has to break the framing on purpose (cut bodies, close without a TLS close_notify, answer in HTTP/1.0
//! up to the end of the connection), which HTTP libraries rightly refuse to do. Requests are read as Apache does it
//! (RFC 9112), with its limits.

use std::{io, sync::LazyLock, time::Duration};

use aws_lc_rs::digest;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::request_head::{self, HeadError, REQUEST_LINE_LIMIT, RequestHead};

/// How long a body may stall, and a head once it has begun.
const STALL: Duration = Duration::from_secs(60);

/// A request's body after it was read to its end.
#[derive(Clone, Debug, Default)]
pub struct ReceivedBody {
    /// In bytes.
    pub length: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// The first bytes, as many as were to be kept.
    pub kept: Vec<u8>,
}

impl ReceivedBody {
    /// Whether `kept` is all of it.
    pub fn is_whole(&self) -> bool {
        self.kept.len() as u64 == self.length
    }
}

/// What is sent after the head.
#[derive(Clone, Debug)]
pub enum Body {
    /// Announced as `Content-Length: 0`.
    Empty,
    /// The answer to a HEAD request: no framing at all, as recorded.
    Omitted,
    /// These bytes.
    Whole(Bytes),
    /// So many bytes, of which the one at offset n is n modulo 251; never in memory as a whole.
    Pattern(u64),
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// `Transfer-Encoding: chunked`: php-fpm behind Apache.
    #[default]
    Chunked,
    /// `Content-Length`.
    ContentLength,
    /// HTTP/1.0, up to the end of the connection: mod_php.
    Http10,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// In order: with TLS a close_notify first.
    #[default]
    CloseNotify,
    /// A TCP FIN alone.
    NoCloseNotify,
    /// A TCP RST.
    Reset,
}

/// An answer ready to be written.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// In order; framing fields are added before the last one, which is Content-Type.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// Says `Connection: close`.
    pub closes: bool,
    /// How the body is framed.
    pub framing: Framing,
    /// Stop after so many bytes of the body, as if the server had died.
    pub cut_after: Option<u64>,
    /// The body goes out so many bytes at a time, each a chunk of its own where there are chunks.
    pub piece: Option<u64>,
}

/// A connection with what was read ahead on it.
pub struct Connection<S> {
    io: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection on which nothing was read yet.
    pub fn new(io: S) -> Connection<S> {
        Connection { io, read: BytesMut::with_capacity(8 * 1024) }
    }

    /// The stream below.
    pub fn io(&mut self) -> &mut S {
        &mut self.io
    }

    /// The next request's head; None when the caller closed, or sent nothing for `idle`.
    pub async fn read_head(&mut self, idle: Duration) -> Result<Option<RequestHead>, HeadError> {
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

    /// Reads the body that `head` announces to its end, in constant memory, keeping at most `keep` bytes.
    pub async fn read_body(&mut self, head: &RequestHead, keep: usize) -> io::Result<ReceivedBody> {
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

    /// Writes head and body, or as much of the body as is to be written.
    pub async fn write(&mut self, response: &Response) -> io::Result<()> {
        let (length, whole) = match &response.body {
            Body::Empty | Body::Omitted => (0, Bytes::new()),
            Body::Whole(bytes) => (bytes.len() as u64, bytes.clone()),
            Body::Pattern(length) => (*length, Bytes::new()),
        };
        let limit = response.cut_after.map_or(length, |cut| cut.min(length));
        let mut out = BytesMut::from(head_text(response, length).as_bytes());
        let chunked = is_chunked(response);
        let most = PATTERN.len() as u64;
        // A pattern begins anew with each piece.
        let most = response.piece.filter(|_| !whole.is_empty()).map_or(most, |piece| piece.clamp(1, most));
        let mut sent = 0;
        while sent < limit {
            let step = (limit - sent).min(most);
            let piece = match &response.body {
                Body::Pattern(_) => pattern_at(sent, step),
                _ => usize::try_from(sent)
                    .ok()
                    .zip(usize::try_from(sent + step).ok())
                    .and_then(|(from, to)| whole.get(from..to))
                    .unwrap_or_default(),
            };
            if chunked {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.extend_from_slice(piece);
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            sent += piece.len() as u64;
            // The last piece goes out with what marks the end, as Apache sends it: a small answer is one write.
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

fn is_chunked(response: &Response) -> bool {
    response.framing == Framing::Chunked && !matches!(response.body, Body::Empty | Body::Omitted)
}

fn head_text(response: &Response, length: u64) -> String {
    let http10 = response.framing == Framing::Http10;
    let reason =
        http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    let mut head = format!("HTTP/1.{} {} {reason}\r\n", u8::from(!http10), response.status);
    let (content_type, others) = match response.fields.split_last() {
        Some((last, others)) if last.0 == "Content-Type" => (Some(last), others),
        _ => (None, response.fields.as_slice()),
    };
    for (name, value) in others {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // The recordings have Content-Length before Connection, and Connection before Transfer-Encoding.
    match response.body {
        Body::Empty if !http10 => head.push_str("Content-Length: 0\r\n"),
        Body::Whole(_) | Body::Pattern(_) if response.framing == Framing::ContentLength => {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        _ => {}
    }
    if response.closes || http10 {
        head.push_str("Connection: close\r\n");
    }
    if is_chunked(response) {
        head.push_str("Transfer-Encoding: chunked\r\n");
    }
    if let Some((name, value)) = content_type {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// 64 256 bytes: a whole number of periods, so that every block of a [`Body::Pattern`] is this one.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(251 * 256).collect());

fn pattern_at(offset: u64, length: u64) -> &'static [u8] {
    // Blocks are written whole, so only the last can be short, and each begins at a multiple of the period.
    debug_assert_eq!(offset % PATTERN.len() as u64, 0);
    let length = usize::try_from(length).unwrap_or(PATTERN.len());
    PATTERN.get(..length).unwrap_or(&PATTERN)
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

    use super::*;

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
            head_text(&response(body(), true, Framing::Chunked), 2),
            "HTTP/1.1 400 Bad Request\r\nServer: Apache\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        );
        assert_eq!(
            head_text(&response(body(), false, Framing::Http10), 2),
            "HTTP/1.0 400 Bad Request\r\nServer: Apache\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
        );
        assert_eq!(
            head_text(&response(Body::Empty, false, Framing::Chunked), 0),
            "HTTP/1.1 400 Bad Request\r\nServer: Apache\r\nContent-Length: 0\r\nContent-Type: application/json\r\n\r\n"
        );
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

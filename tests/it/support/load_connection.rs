//! One connection of the load: cheap, because there are thousands of requests a second in a build that is not
//! optimised, and strict, because a body that is not whole must not pass for an answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Why there is no answer, in words that are counted.
#[derive(Debug)]
pub struct Failure(pub String);

/// A connection and the last answer on it.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    body: Vec<u8>,
    served: u64,
    over: bool,
}

/// How the body's end is told.
enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

struct Head {
    length: usize,
    status: u16,
    framing: Framing,
    closes: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        Self::of(TcpStream::connect(address).await)
    }

    /// From another address of this machine.
    pub async fn open_from(source: Ipv4Addr, address: SocketAddr) -> Result<Self, Failure> {
        Self::of(connect_from(source, address).await)
    }

    fn of(stream: io::Result<TcpStream>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure(format!("connect: {}", error.kind()));
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { stream, read: Vec::with_capacity(16 * 1024), body: Vec::new(), served: 0, over: false })
    }

    /// Itself, if it can take another request; none if it was closed in order.
    pub fn unless_closed(self) -> Result<Option<Self>, Failure> {
        if self.over {
            return Ok(None);
        }
        match self.stream.try_read(&mut [0; 1]) {
            Ok(0) => Ok(None),
            Ok(_) => Err(Failure("bytes that nobody asked for".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(self)),
            Err(error) => Err(Failure(format!("idle connection: {}", error.kind()))),
        }
    }

    /// Whether it was or will be closed after the last answer.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sends a request and reads the answer to its end: its status.
    pub async fn exchange(&mut self, method: &str, request: &[u8]) -> Result<u16, Failure> {
        let reused = if self.served > 0 { "a kept" } else { "a new" };
        self.served += 1;
        let failed = |what: &str, error: &io::Error| Failure(format!("{what} on {reused} connection: {}", error.kind()));
        self.stream.write_all(request).await.map_err(|error| failed("sending", &error))?;
        let head = loop {
            match parse(method, &self.read)? {
                Some(head) if head.status >= 200 => break head,
                Some(interim) => drop(self.read.drain(..interim.length)),
                None => match self.stream.read_buf(&mut self.read).await {
                    Ok(0) if self.read.is_empty() => {
                        return Err(Failure(format!("closed without an answer on {reused} connection")));
                    }
                    Ok(0) => return Err(Failure("closed within the head of an answer".to_owned())),
                    Ok(_) => {}
                    Err(error) => return Err(failed("waiting for the answer", &error)),
                },
            }
        };
        self.read.drain(..head.length);
        self.over = head.closes;
        self.body.clear();
        match head.framing {
            Framing::None => {}
            Framing::Length(length) => {
                while self.read.len() < length {
                    self.more().await?;
                }
                self.body.extend(self.read.drain(..length));
            }
            Framing::Chunked => self.chunks().await?,
            Framing::Close => {
                self.over = true;
                let rest = self.stream.read_to_end(&mut self.read).await;
                rest.map_err(|error| failed("reading the body", &error))?;
                self.body.append(&mut self.read);
            }
        }
        if !self.read.is_empty() {
            return Err(Failure("bytes behind the end of an answer".to_owned()));
        }
        Ok(head.status)
    }

    async fn chunks(&mut self) -> Result<(), Failure> {
        let malformed = || Failure("no chunk".to_owned());
        // How much of what was read is taken up already.
        let mut at = 0;
        loop {
            let line = self.line_end(at).await?;
            let text = std::str::from_utf8(&self.read[at..line]).map_err(|_| malformed())?;
            let size = usize::from_str_radix(text.split(';').next().unwrap().trim(), 16).map_err(|_| malformed())?;
            let from = line + 2;
            if size == 0 {
                // Trailers, then the empty line.
                let mut line = from;
                loop {
                    let end = self.line_end(line).await?;
                    let is_empty = end == line;
                    line = end + 2;
                    if is_empty {
                        self.read.drain(..line);
                        return Ok(());
                    }
                }
            }
            while self.read.len() < from + size + 2 {
                self.more().await?;
            }
            if &self.read[from + size..from + size + 2] != b"\r\n" {
                return Err(malformed());
            }
            self.body.extend_from_slice(&self.read[from..from + size]);
            at = from + size + 2;
        }
    }

    /// Where the line that begins at `from` ends.
    async fn line_end(&mut self, from: usize) -> Result<usize, Failure> {
        loop {
            if let Some(length) = memchr::memmem::find(&self.read[from..], b"\r\n") {
                return Ok(from + length);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err(Failure("closed within the body of an answer".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure(format!("within the body of an answer: {}", error.kind()))),
        }
    }
}

/// Connects from another address of this machine.
pub async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // For sources that are used for thousands of connections the port must be chosen when the other end is known.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(source.into(), 0))?;
    socket.connect(address).await
}

fn parse(method: &str, read: &[u8]) -> Result<Option<Head>, Failure> {
    let bad = |what: &str| Failure(format!("a bad answer: {what}"));
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(bad(&error.to_string())),
    };
    let status = response.code.unwrap();
    let (mut content_length, mut chunked, mut closes) = (None, false, response.version == Some(0));
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).map_err(|_| bad("a field"))?;
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| bad("Content-Length"))?;
            if content_length.replace(length).is_some() {
                return Err(bad("two Content-Length"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(bad("Transfer-Encoding"));
            }
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        }
    }
    let framing = match (content_length, chunked) {
        _ if method == "HEAD" || matches!(status, 100..200 | 204 | 304) => Framing::None,
        (Some(_), true) => return Err(bad("two framings")),
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::Close,
    };
    Ok(Some(Head { length, status, framing, closes }))
}

//! An HTTP/1.1 client that sends exact bytes and reads answers strictly: it says how a body ended, so that one that was cut
//! short is never taken for complete.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::DEADLINE;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Content-Length was met, the last chunk was seen, or there can be none.
    Whole,
    /// Nothing but the end of the connection told it, and that came in order.
    Closed,
    /// The connection ended first.
    Cut,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

impl Answer {
    /// The value of a field that stands there once at most.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values =
            self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} stands twice in {:?}", self.fields);
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is an OperationOutcome with that status, and gives its sentence.
    pub fn outcome(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.end, End::Whole);
        assert!(self.field("content-type").is_some_and(|kind| kind.starts_with("application/fhir+json")), "{:?}", self.fields);
        assert!(self.field("x-request-id").is_some(), "{:?}", self.fields);
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
        let issue = &outcome["issue"][0];
        assert_eq!(issue["severity"], "error", "{outcome}");
        assert!(issue["code"].is_string(), "{outcome}");
        let text = issue["diagnostics"].as_str().or(issue["details"]["text"].as_str());
        text.unwrap_or_else(|| panic!("no words: {outcome}")).to_owned()
    }
}

/// Where requests go, each on a connection of its own.
#[derive(Clone)]
pub struct Caller {
    address: SocketAddr,
}

impl Caller {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    pub fn post(&self, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", target, fields, body)
    }

    /// A request with a Host field, and a Content-Length where there is a body.
    pub fn send(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.write(&request(method, target, fields, body));
        connection.read(method)
    }

    pub fn connect(&self) -> Connection {
        Connection::plain(TcpStream::connect(self.address).unwrap())
    }

    /// From another address of this machine.
    pub fn connect_from(&self, source: IpAddr) -> Connection {
        Connection::plain(self.stream_from(source))
    }

    fn stream_from(&self, source: IpAddr) -> TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(source, 0)).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream
    }

    /// Over TLS, trusting `certificate` alone.
    pub fn connect_tls(&self, certificate: &Path) -> Connection {
        self.connect_as(trusting(certificate))
    }

    /// The same, from another address of this machine.
    pub fn connect_tls_from(&self, source: IpAddr, certificate: &Path) -> Connection {
        Connection::tls(self.stream_from(source), trusting(certificate))
    }

    /// Over TLS, as this client. The handshake begins with the first bytes.
    pub fn connect_as(&self, config: Arc<ClientConfig>) -> Connection {
        Connection::tls(TcpStream::connect(self.address).unwrap(), config)
    }
}

/// A TLS client that trusts this certificate alone.
pub fn trusting(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The bytes of a request.
pub fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: gateway.example\r\n");
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One connection.
pub struct Connection {
    stream: Stream,
    ahead: Vec<u8>,
}

impl Connection {
    fn new(stream: Stream) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    fn plain(stream: TcpStream) -> Self {
        Self::new(Stream::Plain(bounded(stream)))
    }

    /// TLS over that stream.
    pub fn tls(stream: TcpStream, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        Self::new(Stream::Tls(Box::new(StreamOwned::new(session, bounded(stream)))))
    }

    /// Whether bytes of an answer come before the connection ends, in order or not.
    pub fn is_alive(&mut self) -> io::Result<bool> {
        Ok(!self.ahead.is_empty() || self.more()? > 0)
    }

    /// Sends these bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// Sends these bytes on a connection that the other side may have closed.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Whether bytes of an answer, or the end of the connection, have come by now.
    pub fn is_answered(&mut self) -> bool {
        let (Stream::Plain(stream), true) = (&self.stream, self.ahead.is_empty()) else { return true };
        stream.set_nonblocking(true).unwrap();
        let nothing = stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        !nothing
    }

    /// Whether the other side closes, in order or not, without another byte.
    pub fn closes(&mut self) -> bool {
        self.ahead.is_empty() && matches!(self.more(), Ok(0))
    }

    /// One answer with its body.
    pub fn read(&mut self, method: &str) -> Answer {
        let mut answer = self.read_head();
        let mut body = Vec::new();
        answer.end = self.read_body(method, &answer, |bytes| body.extend_from_slice(bytes));
        answer.body = body;
        answer
    }

    /// The head of an answer; its end is not known yet.
    pub fn read_head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            let count = self.more().unwrap_or_else(|error| panic!("no answer: {error}"));
            assert!(count > 0, "closed without an answer: {:?}", String::from_utf8_lossy(&self.ahead));
        };
        let head = String::from_utf8(self.ahead.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next().unwrap().splitn(3, ' ');
        let status = first.nth(1).unwrap().parse().unwrap();
        let fields = lines.map(|line| line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}")));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Answer { status, fields, body: Vec::new(), end: End::Cut }
    }

    /// The body that belongs to `head`, piece by piece, and how it ended.
    pub fn read_body(&mut self, method: &str, head: &Answer, mut take: impl FnMut(&[u8])) -> End {
        if method == "HEAD" || matches!(head.status, 100..200 | 204 | 304) {
            return End::Whole;
        }
        let length = head.field("content-length").map(|length| length.parse::<u64>().unwrap());
        match (head.field("transfer-encoding"), length) {
            (Some(coding), None) => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked");
                self.read_chunks(take)
            }
            (None, Some(length)) => self.read_exactly(length, &mut take),
            (None, None) => loop {
                take(&self.ahead);
                self.ahead.clear();
                match self.more() {
                    Ok(0) => return End::Closed,
                    Ok(_) => {}
                    Err(error) => return cut(&error),
                }
            },
            (Some(_), Some(_)) => panic!("two framings: {:?}", head.fields),
        }
    }

    fn read_chunks(&mut self, mut take: impl FnMut(&[u8])) -> End {
        loop {
            let Some(line) = self.read_line() else { return End::Cut };
            let size = u64::from_str_radix(line.split(';').next().unwrap().trim(), 16);
            let size = size.unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
            if size == 0 {
                // Trailers, then the empty line.
                return loop {
                    match self.read_line() {
                        Some(line) if line.is_empty() => break End::Whole,
                        Some(_) => {}
                        None => break End::Cut,
                    }
                };
            }
            if self.read_exactly(size, &mut take) == End::Cut {
                return End::Cut;
            }
            match self.read_line() {
                Some(line) => assert!(line.is_empty(), "a chunk is longer than it says: {line:?}"),
                None => return End::Cut,
            }
        }
    }

    fn read_exactly(&mut self, mut left: u64, take: &mut impl FnMut(&[u8])) -> End {
        while left > 0 {
            if self.ahead.is_empty() {
                match self.more() {
                    Ok(0) => return End::Cut,
                    Ok(_) => {}
                    Err(error) => return cut(&error),
                }
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
            take(&self.ahead[..now]);
            self.ahead.drain(..now);
            left -= now as u64;
        }
        End::Whole
    }

    fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Some(String::from_utf8(line[..at].to_vec()).unwrap());
            }
            match self.more() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    cut(&error);
                    return None;
                }
            }
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut piece),
            Stream::Tls(stream) => stream.read(&mut piece),
        }?;
        self.ahead.extend_from_slice(&piece[..count]);
        Ok(count)
    }
}

/// A reset and a missing close_notify cut a body; a silence is a test that failed.
fn cut(error: &io::Error) -> End {
    let is_silence = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    assert!(!is_silence, "nothing came for {DEADLINE:?}");
    End::Cut
}

//! An HTTP/2 client: one connection, on which requests can be begun, read and cancelled.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::http::{Answer, End};
use super::{DEADLINE, eventually};

/// Among the fields of a request: whom it is for, in place of `gateway.example`.
pub const AUTHORITY: &str = ":authority";

/// One connection.
pub struct Http2 {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// A request under way.
pub struct Begun {
    pub answer: ResponseFuture,
    pub body: SendStream<Bytes>,
}

impl Http2 {
    /// Over TLS, where the other side must choose HTTP/2.
    pub fn tls(address: SocketAddr, certificate: &Path) -> Self {
        Self::tls_as(address, client_config(certificate, &[]))
    }

    /// The same, as this client.
    pub fn tls_as(address: SocketAddr, mut config: ClientConfig) -> Self {
        config.alpn_protocols = ["h2", "http/1.1"].iter().map(|name| name.as_bytes().to_vec()).collect();
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
        });
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(runtime, stream)
    }

    /// Without TLS, beginning with HTTP/2 (RFC 9113 section 3.3).
    pub fn plain(address: SocketAddr) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(TcpStream::connect(address)).unwrap();
        Self::over(runtime, stream)
    }

    fn over(runtime: Runtime, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (send, ended) = runtime.block_on(async {
            let (send, connection) = Builder::new()
                .max_concurrent_reset_streams(1000)
                .initial_connection_window_size(16 << 20)
                .handshake(stream)
                .await
                .unwrap();
            (send, tokio::spawn(connection))
        });
        Self { runtime, send, ended }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    /// A request and its answer.
    pub fn send(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut begun = self.begin(method, target, fields, body.is_empty());
        if !body.is_empty() {
            self.upload(&mut begun, body, true);
        }
        self.read(begun)
    }

    /// Sends a request's head.
    pub fn begin(&self, method: &str, target: &str, fields: &[(&str, &str)], is_all: bool) -> Begun {
        self.try_begin(method, target, fields, is_all).unwrap()
    }

    /// The same, on a connection that may be gone.
    pub fn try_begin(&self, method: &str, target: &str, fields: &[(&str, &str)], is_all: bool) -> Result<Begun, h2::Error> {
        let authority = fields.iter().find(|(name, _)| *name == AUTHORITY).map_or("gateway.example", |(_, value)| *value);
        let origin = if target.starts_with('/') { format!("https://{authority}") } else { String::new() };
        let mut request = http::Request::builder().method(method).uri(format!("{origin}{target}"));
        for (name, value) in fields.iter().filter(|(name, _)| *name != AUTHORITY) {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let send = self.send.clone();
        let (answer, body) = self.within(async { send.ready().await?.send_request(request, is_all) })?;
        Ok(Begun { answer, body })
    }

    /// Sends a part of a request's body.
    pub fn upload(&self, begun: &mut Begun, body: &[u8], is_all: bool) {
        begun.body.send_data(Bytes::copy_from_slice(body), is_all).unwrap();
    }

    /// Reads an answer to its end. A status of 0: there was none.
    pub fn read(&self, begun: Begun) -> Answer {
        self.within(async {
            let mut read = Answer { status: 0, fields: Vec::new(), body: Vec::new(), end: End::Cut };
            let Ok(answer) = begun.answer.await else { return read };
            let (head, mut body) = answer.into_parts();
            read.status = head.status.as_u16();
            let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
            read.fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            loop {
                match body.data().await {
                    None => read.end = End::Whole,
                    Some(Ok(piece)) => {
                        body.flow_control().release_capacity(piece.len()).unwrap();
                        read.body.extend_from_slice(&piece);
                        continue;
                    }
                    Some(Err(_)) => {}
                }
                return read;
            }
        })
    }

    /// Gives a request up.
    pub fn cancel(&self, mut begun: Begun) {
        begun.body.send_reset(Reason::CANCEL);
    }

    /// Waits until the other side has ended the connection, in whatever way.
    pub fn ended(&self) {
        eventually("the connection ends", || self.has_ended().then_some(()));
    }

    /// Waits until the other side has ended the connection; panics unless it did that in order: with GOAWAY, or by closing
    /// after the last answer, where a last frame of this side's own may have come too late.
    pub fn ended_in_order(&mut self) {
        self.ended();
        let Err(error) = self.runtime.block_on(&mut self.ended).unwrap() else { return };
        let late = error.get_io().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        assert!(late || error.is_go_away(), "{error:?}");
    }

    /// Whether the other side has ended the connection.
    pub fn has_ended(&self) -> bool {
        self.ended.is_finished()
    }

    fn within<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await }).expect("in time")
    }
}

/// What the other side chooses of these protocols in a TLS handshake.
pub fn chosen(address: SocketAddr, certificate: &Path, offered: &[&str]) -> Option<String> {
    let config = client_config(certificate, offered);
    runtime().block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.get_ref().1.alpn_protocol().map(|chosen| String::from_utf8(chosen.to_vec()).unwrap())
    })
}

fn client_config(certificate: &Path, offered: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

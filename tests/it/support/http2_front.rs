//! A web server in front of the sandbox that offers HTTP/2, as one does that ends TLS in front of Apache: each stream becomes
//! a request of its own, and what is cut short there is reset here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use http::{Request, Response};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::gateway::Certificate;
use super::http::{Answer, Caller, End, request};

/// A running one.
pub struct Front {
    pub address: SocketAddr,
    pub certificate: Certificate,
    pub seen: Arc<Seen>,
    _runtime: tokio::runtime::Runtime,
}

/// What it has seen, and what it is to do next.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicU64,
    pub streams: AtomicU64,
    /// So many streams are refused (REFUSED_STREAM): nothing was done.
    pub refuse: AtomicU64,
    /// So many connections are told to end (GOAWAY) at their next stream, and broken at the one after.
    pub hang_up: AtomicU64,
}

impl Seen {
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::SeqCst)
    }
}

impl Front {
    pub fn of(behind: SocketAddr) -> Self {
        let certificate = Certificate::make();
        let acceptor = acceptor(&certificate.certificate, &certificate.private_key);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        serve(stream, behind, &seen).await;
                    } else {
                        let mut behind = TcpStream::connect(behind).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                    }
                });
            }
        });
        Self { address, certificate, seen, _runtime: runtime }
    }

    pub fn base(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

async fn serve(stream: TlsStream<TcpStream>, behind: SocketAddr, seen: &Arc<Seen>) {
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = h2::server::handshake(stream).await else { return };
    seen.connections.fetch_add(1, Ordering::SeqCst);
    while let Some(Ok((asked, mut respond))) = connection.accept().await {
        seen.streams.fetch_add(1, Ordering::SeqCst);
        if take(&seen.refuse) {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        if take(&seen.hang_up) {
            return;
        }
        tokio::spawn(async move {
            let _ = answer(asked, respond, behind).await;
        });
    }
}

fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn answer(asked: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, behind: SocketAddr) -> Result<(), h2::Error> {
    let (head, mut body) = asked.into_parts();
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        received.extend_from_slice(&piece);
    }
    let told = tokio::task::spawn_blocking(move || forward(&head, &received, behind)).await.unwrap();
    let mut response = Response::builder().status(told.status);
    let of_http1 = ["transfer-encoding", "connection", "keep-alive", "content-length"];
    for (name, value) in told.fields.iter().filter(|(name, _)| !of_http1.contains(&name.to_ascii_lowercase().as_str())) {
        response = response.header(name, value);
    }
    let is_whole = told.end == End::Whole;
    let mut stream = respond.send_response(response.body(()).unwrap(), is_whole && told.body.is_empty())?;
    if !told.body.is_empty() {
        stream.send_data(Bytes::from(told.body), is_whole)?;
    }
    if !is_whole {
        // What was sent so far goes out first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
    Ok(())
}

fn forward(head: &http::request::Parts, body: &[u8], behind: SocketAddr) -> Answer {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let mut fields: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .filter(|(name, _)| name != "content-length")
        .collect();
    fields.push(("host".to_owned(), head.uri.authority().unwrap().to_string()));
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let target = head.uri.path_and_query().unwrap().as_str();
    let mut connection = Caller::new(behind).connect();
    connection.write(&request(head.method.as_str(), target, &fields, body));
    connection.read(head.method.as_str())
}

fn acceptor(certificate: &Path, private_key: &Path) -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let private_key = PrivateKeyDer::from_pem_file(private_key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, private_key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

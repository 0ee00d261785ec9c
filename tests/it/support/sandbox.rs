//! A sandbox that runs in this process, and a small client for it that uses no HTTP library.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openemr_gateway::sandbox::{Client, Keys, Sandbox, Settings};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

/// The client that is registered from the start.
pub const CLIENT: &str = "tester";
/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A search that everybody understands.
pub const PATIENTS: &str = "/apis/default/fhir/Patient?_count=5";
/// The scope that it needs.
pub const PATIENT_READ: &str = "system/Patient.read";

/// An 8.0 with a few patients.
pub async fn started() -> RunningSandbox {
    RunningSandbox::start(Settings { patients: 20, ..Settings::default() }, None).await
}

/// Checks that OAuth said no, and how.
pub fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{}", answer.text());
}

pub struct RunningSandbox {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub certificate_pem: Option<String>,
    pub token_url: String,
    pub key: RsaKeyPair,
    serving: JoinHandle<()>,
    jtis: AtomicU32,
}

impl Drop for RunningSandbox {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl RunningSandbox {
    /// Starts one with [`CLIENT`] registered for `scopes`, or for every system scope.
    pub async fn start(mut settings: Settings, scopes: Option<Vec<String>>) -> RunningSandbox {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let scopes = scopes.unwrap_or_else(|| settings.personality.system_scopes());
        let keys = Keys::Inline(jwk_set(&[&key]));
        settings.clients.push(Client { id: CLIENT.to_owned(), keys, scopes, enabled: true });
        let sandbox = Sandbox::bind(settings).await.unwrap();
        RunningSandbox {
            address: sandbox.address(),
            admin: sandbox.admin_address(),
            certificate_pem: sandbox.certificate_pem().map(str::to_owned),
            token_url: format!("{}/oauth2/default/token", sandbox.base_url()),
            key,
            serving: tokio::spawn(sandbox.run(std::future::pending())),
            jtis: AtomicU32::new(0),
        }
    }

    /// Good claims of a client assertion.
    pub fn claims(&self) -> Map<String, Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let jti = format!("jti-{}-{}", self.address, self.jtis.fetch_add(1, Ordering::Relaxed));
        let claims = json!({
            "iss": CLIENT, "sub": CLIENT, "aud": self.token_url, "iat": now, "exp": now + 240, "jti": jti,
        });
        claims.as_object().unwrap().clone()
    }

    /// Signs with the client's key in RS384.
    pub fn sign(&self, claims: Map<String, Value>) -> String {
        sign(&self.key, "RS384", claims)
    }

    /// A token request with a fresh assertion.
    pub async fn ask_token(&self, scope: &str) -> Answer {
        self.ask_token_with(scope, &self.sign(self.claims())).await
    }

    /// A token request with that assertion.
    pub async fn ask_token_with(&self, scope: &str, assertion: &str) -> Answer {
        self.try_token(scope, assertion).await.unwrap()
    }

    /// A token request that may fail on the wire.
    pub async fn try_token(&self, scope: &str, assertion: &str) -> std::io::Result<Answer> {
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        let stream = TcpStream::connect(self.address).await?;
        exchange(stream, "POST", "/oauth2/default/token", &fields, form(scope, assertion).as_bytes()).await
    }

    /// An access token.
    pub async fn token(&self, scope: &str) -> String {
        let answer = self.ask_token(scope).await;
        let body = answer.json();
        assert_eq!(body["scope"], scope, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// `GET` with a token, on a connection of its own.
    pub async fn get(&self, target: &str, token: &str) -> std::io::Result<Answer> {
        let authorization = format!("Bearer {token}");
        let fields = [("Authorization", authorization.as_str()), ("Accept", "application/fhir+json")];
        exchange(TcpStream::connect(self.address).await?, "GET", target, &fields, b"").await
    }

    /// `POST /__sandbox/faults`.
    pub async fn order(&self, orders: &Value) -> Value {
        let answer = send(self.admin, "POST", "/__sandbox/faults", &[], &orders.to_string()).await;
        assert_eq!(answer.status, 200, "{orders}: {}", answer.text());
        answer.json()
    }

    /// `GET /__sandbox/state`.
    pub async fn state(&self) -> Value {
        send(self.admin, "GET", "/__sandbox/state", &[], "").await.json()
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The token request's form.
pub fn form(scope: &str, assertion: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", scope)
        .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        .append_pair("client_assertion", assertion)
        .finish()
}

/// A JWT; only RS256 and RS384 are signed as they say.
pub fn sign(key: &RsaKeyPair, alg: &str, claims: Map<String, Value>) -> String {
    sign_as(key, alg, Some("ignored"), claims)
}

/// The same with that `kid`, or none.
pub fn sign_as(key: &RsaKeyPair, alg: &str, kid: Option<&str>, claims: Map<String, Value>) -> String {
    let padding = if alg == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA384 };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut header = json!({"alg": alg, "typ": "JWT"});
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    let message = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The public halves.
pub fn jwk_set(keys: &[&RsaKeyPair]) -> Value {
    let jwk = |key: &&RsaKeyPair| {
        let public = key.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        json!({"kty": "RSA", "alg": "RS384", "use": "sig", "kid": "k", "n": n, "e": e})
    };
    json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>()})
}

/// One request on a connection of its own.
pub async fn send(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, method, target, fields, body.as_bytes()).await.unwrap()
}

/// One request on that stream, which is dropped afterwards.
pub async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    write_request(&mut stream, method, target, fields, body).await?;
    read_answer(&mut stream).await
}

/// Writes a request.
pub async fn write_request(
    stream: &mut (impl AsyncWrite + Unpin),
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads one answer as it comes off the wire; an error if it is cut short.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Answer> {
    tokio::time::timeout(DEADLINE, read_answer_at_leisure(stream)).await.expect("an answer in time")
}

async fn read_answer_at_leisure(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let version = first.next().unwrap().to_owned();
    let status = first.next().unwrap().parse().unwrap();
    let fields: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut answer = Answer { version, status, fields, body: Vec::new() };
    let mut rest = bytes.split_off(head_end + 4);
    if answer.field("Transfer-Encoding") == Some("chunked") {
        loop {
            let end = loop {
                match rest.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break end,
                    None => more(stream, &mut rest).await?,
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            while rest.len() < end + size + 4 {
                more(stream, &mut rest).await?;
            }
            answer.body.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest.drain(..end + size + 4);
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    if answer.version == "HTTP/1.0" {
        stream.read_to_end(&mut rest).await?;
    } else {
        let length = answer.field("Content-Length").map_or(0, |length| length.parse().unwrap());
        while rest.len() < length {
            more(stream, &mut rest).await?;
        }
    }
    answer.body = rest;
    Ok(answer)
}

async fn more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// A TLS client that trusts the sandbox's certificate alone.
pub async fn tls_stream(sandbox: &RunningSandbox) -> tokio_rustls::client::TlsStream<TcpStream> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    let pem = sandbox.certificate_pem.as_ref().unwrap();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(sandbox.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

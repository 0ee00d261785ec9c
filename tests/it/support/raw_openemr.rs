//! A FHIR server of which every byte is known: it keeps what each connection brought, reads it as requests strictly, and
//! answers as it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::eventually;

/// A running one.
pub struct RawOpenEmr {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A request as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The number of the connection, from 0.
    pub connection: usize,
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl RawOpenEmr {
    /// One that answers each request with what `answer` makes of it. An empty answer: the connection is closed.
    pub fn start(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::in_pieces(move |request| vec![answer(request)])
    }

    /// The same, with an answer in pieces that arrive one after the other.
    pub fn in_pieces(answer: impl Fn(&Received) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::serving(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same as `start`, on that socket.
    #[cfg(feature = "otlp")]
    pub fn on(listener: TcpListener, answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(listener, move |request| vec![answer(request)])
    }

    fn serving(listener: TcpListener, answer: impl Fn(&Received) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (kept, answer) = (Arc::clone(&connections), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept, answer) = (stream.unwrap(), Arc::clone(&kept), Arc::clone(&answer));
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                thread::spawn(move || serve(stream, number, &kept, &*answer));
            }
        });
        Self { address, connections }
    }

    /// One that answers 200 with a small Patient, and ends the connection after a request with the word `last`.
    pub fn content() -> Self {
        Self::start(patient)
    }

    /// Its FHIR base.
    pub fn fhir_base(&self) -> String {
        format!("http://{}/fhir", self.address)
    }

    /// The requests so far whose head has this word. Panics at a byte that is part of no request.
    pub fn received(&self, word: &str) -> Vec<Received> {
        let mut all = Vec::new();
        for (number, bytes) in self.lock().iter().enumerate() {
            let mut rest = bytes.as_slice();
            while let Some((request, left)) = request(number, rest) {
                all.push(request);
                rest = left;
            }
        }
        all.retain(|request| request.head.contains(word));
        all
    }

    /// Waits until so many requests with this word have come whole.
    pub fn until(&self, word: &str, count: usize) -> Vec<Received> {
        eventually("the requests arrive", || Some(self.received(word)).filter(|received| received.len() >= count))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.connections.lock().unwrap()
    }
}

/// The answer of [`RawOpenEmr::content`].
pub fn patient(request: &Received) -> Vec<u8> {
    let fields = if request.head.contains("=last ") { "Connection: close\r\n" } else { "" };
    let mut answer = json_answer(fields, r#"{"resourceType":"Patient","id":"1"}"#);
    if request.head.starts_with("HEAD ") {
        answer.truncate(answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4);
    }
    answer
}

/// The bytes of an answer 200 with these further field lines and this body.
fn json_answer(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {length}\r\n{fields}\r\n{body}").into()
}

fn serve(mut stream: TcpStream, number: usize, kept: &Mutex<Vec<Vec<u8>>>, answer: &dyn Fn(&Received) -> Vec<Vec<u8>>) {
    stream.set_nodelay(true).unwrap();
    let mut answered = 0;
    let mut piece = [0; 16 * 1024];
    loop {
        let next = {
            let kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut rest = kept[number].as_slice();
            let mut all = Vec::new();
            while let Some((request, left)) = request(number, rest) {
                all.push(request);
                rest = left;
            }
            all.get(answered).cloned()
        };
        if let Some(request) = next {
            answered += 1;
            let mut is_last = false;
            for (number, bytes) in answer(&request).into_iter().enumerate() {
                if number > 0 {
                    // Long enough that the reader has seen what came before.
                    thread::sleep(Duration::from_millis(20));
                }
                // In HTTP/1.0 the end of the connection is that of the answer.
                is_last |= bytes.starts_with(b"HTTP/1.0 ");
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            if is_last {
                return;
            }
            continue;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(count) => kept.lock().unwrap()[number].extend_from_slice(&piece[..count]),
        }
    }
}

/// The first request of these bytes and what follows it; `None` until it is whole.
fn request(connection: usize, bytes: &[u8]) -> Option<(Received, &[u8])> {
    let known = ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE "];
    let begins = known.iter().any(|known| bytes.starts_with(&known.as_bytes()[..known.len().min(bytes.len())]));
    assert!(begins, "this is the beginning of no request: {}", bytes[..bytes.len().min(80)].escape_ascii());
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut received = Received { connection, head, body: Vec::new() };
    let mut rest = &bytes[end..];
    match (received.field("transfer-encoding"), received.field("content-length")) {
        (None, None) => {}
        (None, Some(length)) => {
            let length: usize = length.parse().unwrap();
            received.body = rest.get(..length)?.to_vec();
            rest = &rest[length..];
        }
        (Some("chunked"), None) => loop {
            let line = rest.windows(2).position(|window| window == b"\r\n")?;
            let size = std::str::from_utf8(&rest[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            let chunk = rest.get(line + 2..line + 2 + size + 2)?;
            assert_eq!(&chunk[size..], b"\r\n", "{chunk:?}");
            received.body.extend_from_slice(&chunk[..size]);
            rest = &rest[line + 2 + size + 2..];
            if size == 0 {
                break;
            }
        },
        framing => panic!("{framing:?}: {}", received.head),
    }
    Some((received, rest))
}

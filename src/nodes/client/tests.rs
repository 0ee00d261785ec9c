use super::*;
use crate::config::{self, BaseUrl, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LIMITS: Limits = Limits { step: Some(Duration::from_secs(20)), total: None, body: 1000 };

fn origin(port: u16) -> Origin {
    let url = BaseUrl::parse(&format!("http://127.0.0.1:{port}/openemr")).unwrap();
    let node = config::Node { fhir_base: url.clone(), token_url: None };
    Origin::new(Place { url, key: "openemr" }, &Upstream::for_tests(vec![node]))
}

fn client() -> Client {
    Client::new(Arc::new(Connector::new(None)))
}

/// A server that reads one request, answers it with these pieces, each a moment after the other, and closes; its origin, and
/// the request that came.
async fn server(pieces: &'static [&'static str]) -> (Origin, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap().port());
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        String::from_utf8(request).unwrap()
    });
    (origin, request)
}

fn get() -> Request {
    Request::get("/openemr/a?b=c".to_owned(), vec![(CONTENT_TYPE, HeaderValue::from_static("x/y"))])
}

async fn answer(pieces: &'static [&'static str]) -> Result<Response, ClientError> {
    let (origin, _) = server(pieces).await;
    client().send(&origin, get(), LIMITS).await
}

#[tokio::test]
async fn a_request_names_the_origin_and_ends_its_connection() {
    let (origin, request) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]).await;
    let response = client().send(&origin, get(), LIMITS).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (StatusCode::OK, b"{}".as_ref()));
    let request = request.await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /openemr/a?b=c http/1.1\r\n"), "{request}");
    let host = format!("\r\nhost: {}\r\n", origin.url().authority());
    for line in [host.as_str(), "\r\nconnection: close\r\n", "\r\ncontent-type: x/y\r\n"] {
        assert!(request.contains(line), "{line:?} is not in {request}");
    }
    assert!(!request.contains("authorization") && !request.contains("content-length"), "{request}");
}

#[tokio::test]
async fn a_body_is_sent_with_its_length() {
    let (origin, request) = server(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    let request_with_body = Request { method: Method::POST, body: Some(Bytes::from_static(b"a=b")), ..get() };
    assert_eq!(client().send(&origin, request_with_body, LIMITS).await.unwrap().status, StatusCode::NO_CONTENT);
    assert!(request.await.unwrap().to_ascii_lowercase().contains("\r\ncontent-length: 3\r\n"));
}

#[tokio::test]
async fn informational_answers_are_passed_over() {
    let response = answer(&[
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "ok",
    ]);
    assert_eq!(response.await.unwrap().body.as_ref(), b"ok");
}

#[tokio::test]
async fn a_body_ends_by_its_length_its_chunks_or_the_connection() {
    for pieces in [
        &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo", "dy and more"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n", "2\r\ndy\r\n0\r\n\r\n"],
        &["HTTP/1.0 200 OK\r\n\r\nbo", "dy"],
    ] as [&'static [&'static str]; 3]
    {
        assert_eq!(answer(pieces).await.unwrap().body.as_ref(), b"body", "{pieces:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_an_error() {
    for pieces in [
        &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo"] as &'static [&'static str],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbo"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n"],
        &["HTTP/1.1 200"],
        &[],
    ] {
        let error = answer(pieces).await.unwrap_err();
        assert!(
            matches!(error.problem(), Problem::Broken(_)) && !error.is_timeout() && !error.is_unsent(),
            "{pieces:?}: {error}"
        );
        assert!(error.to_string().starts_with("http://127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limits() {
    let body = Limits { body: 3, ..LIMITS };
    let (origin, _) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"]).await;
    let error = client().send(&origin, get(), body).await.unwrap_err();
    assert!(matches!(error.problem(), Problem::BodyTooLong(3)), "{error}");

    let long: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD)).into_boxed_str());
    let error = answer(Box::leak(Box::new([long]))).await.unwrap_err();
    assert!(matches!(error.problem(), Problem::HeadTooLong), "{error}");
}

#[tokio::test]
async fn a_body_is_read_piece_by_piece() {
    let (origin, _) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo", "dy"]).await;
    let mut incoming = client().connect(&origin, LIMITS).await.unwrap().send(get()).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = incoming.piece().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, b"body");
}

#[tokio::test]
async fn a_silent_server_passes_the_limit_of_a_step_or_of_the_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap().port());
    let short = Duration::from_millis(50);
    let step = client().send(&origin, get(), Limits { step: Some(short), ..LIMITS }).await.unwrap_err();
    assert!(matches!(step.problem(), Problem::Broken(_)) && step.is_timeout(), "{step}");
    let whole = client().send(&origin, get(), Limits { total: Some(short), ..LIMITS }).await.unwrap_err();
    assert!(matches!(whole.problem(), Problem::TimedOut(limit) if *limit == short) && whole.is_timeout(), "{whole}");
}

#[tokio::test]
async fn a_closed_port_is_the_servers_fault_and_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap().port());
    drop(listener);
    let error = client().send(&origin, get(), LIMITS).await.unwrap_err();
    assert!(error.is_unsent() && error.is_servers_fault() && std::error::Error::source(&error).is_some(), "{error}");
}

//! The small parts of a request: its classification, the read of the token, the head that goes to OpenEMR, the check of what came back and
//! what is left of its head, and the answer to an error.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Method};
use openemr_gateway::bench::{AnswerHead, RequestHead, SiteToken, interaction, operation_outcome, resource_in};

/// Half a page: what Pingora reads at once of a short answer.
const PIECE: usize = 2048;

fn classification(criterion: &mut Criterion) {
    let requests: [(&str, Method, &[u8], &str); 4] = [
        ("a read", Method::GET, b"/Patient/a34c6e42-1d69-4ad3-b4ef-b31757983454", "read"),
        ("a search", Method::GET, b"/Observation", "search-type"),
        ("a search by POST", Method::POST, b"/Observation/_search", "search-type"),
        ("an operation", Method::POST, b"/DocumentReference/$docref", "operation"),
    ];
    for (name, method, path, code) in requests {
        assert_eq!(interaction(&method, path), code);
        criterion.bench_function(&format!("interaction/{name}"), |bench| {
            bench.iter(|| interaction(black_box(&method), black_box(path)));
        });
    }
}

fn token(criterion: &mut Criterion) {
    // With thirty scopes.
    let token = SiteToken::new(1800).expect("a token of letters is a field value");
    let now = Instant::now();
    assert!(token.field(now).is_some());
    criterion.bench_function("token/one thread", |bench| bench.iter(|| black_box(&token).field(now)));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                black_box(token.field(now));
            }
        });
        criterion.bench_function("token/two threads", |bench| bench.iter(|| black_box(&token).field(now)));
        ends.store(true, Ordering::Relaxed);
    });
}

/// The fields of a program, and of a page in a browser.
const OF_CLIENTS: [(&str, &[(&str, &str)]); 2] = [
    (
        "a program's",
        &[
            ("Host", "gateway.example.org"),
            ("User-Agent", "python-requests/2.32.3"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept", "application/fhir+json"),
            ("Connection", "keep-alive"),
            ("X-API-Key", "oegw_0123456789abcdef0123456789abcdef_0123456789abcdef0123456789ab"),
        ],
    ),
    (
        "a browser's",
        &[
            ("Host", "gateway.example.org"),
            ("Connection", "keep-alive"),
            ("Sec-CH-UA", "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\""),
            ("Sec-CH-UA-Mobile", "?0"),
            ("Sec-CH-UA-Platform", "\"Linux\""),
            (
                "User-Agent",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            ),
            ("Accept", "application/fhir+json"),
            ("Origin", "https://dashboard.example.org"),
            ("Sec-Fetch-Site", "same-site"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Referer", "https://dashboard.example.org/"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Accept-Language", "en-US,en;q=0.9"),
            ("Authorization", "Bearer of-the-caller"),
            ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
    ),
];

fn request_head(criterion: &mut Criterion) {
    let token = SiteToken::new(1800).expect("a token of letters is a field value");
    let host = HeaderValue::from_static("openemr.example.org");
    let base = "/apis/default/fhir";
    let ours = "accept accept-encoding authorization host traceparent user-agent via x-forwarded-for x-request-id";
    for ((name, fields), more) in OF_CLIENTS.into_iter().zip(["", "accept-language "]) {
        let head = RequestHead::new(fields).expect("these are fields");
        let make = |head: RequestHead| {
            head.for_openemr(black_box(base), &host, &token).expect("there is a token, and the target is one")
        };
        let expected = ours.replace("authorization", &format!("{more}authorization"));
        assert_eq!(make(head.clone()).shown(), format!("{base}/Patient/a34c6e42-1d69-4ad3-b4ef-b31757983454 {expected}"));
        criterion.bench_function(&format!("OpenEMR's head/of {name}"), |bench| {
            bench.iter_batched(|| head.clone(), make, BatchSize::SmallInput);
        });
    }
}

fn answer_check(criterion: &mut Criterion) {
    let padding = format!(r#""text":{{"status":"generated","div":"\u003Cdiv\u003E{}\u003C\/div\u003E"}}"#, "x".repeat(1500));
    let meta =
        r#""id":"a34c6e42-1d69-4ad3-b4ef-b31757983454","meta":{"versionId":"1","lastUpdated":"2026-11-24T02:17:06+00:00"}"#;
    for (name, body, found) in [
        ("the type first", format!(r#"{{"resourceType":"Patient",{meta},{padding}}}"#), Some("Patient")),
        ("as OpenEMR 8 writes it", format!(r#"{{{meta},"resourceType":"Patient",{padding}}}"#), Some("Patient")),
        ("the type last", format!(r#"{{{meta},{padding},"resourceType":"Patient"}}"#), Some("Patient")),
        ("an error object", r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#.to_owned(), None),
        ("a page", "<!DOCTYPE html><html><body>Query Error</body></html>".to_owned(), None),
    ] {
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(PIECE).collect();
        assert_eq!(resource_in(pieces.iter().copied()), found, "{name}");
        criterion.bench_function(&format!("answer check/{name}"), |bench| {
            bench.iter(|| resource_in(black_box(&pieces).iter().copied()));
        });
    }
}

/// The fields of a good answer of OpenEMR 8's, in its order.
const OF_OPENEMR: [(&str, &str); 10] = [
    ("Date", "Tue, 24 Nov 2026 02:28:26 GMT"),
    ("Server", "Apache"),
    ("Cache-Control", "max-age=0, private, must-revalidate"),
    ("Cache-Control", "no-cache, private"),
    ("Set-Cookie", "apiOpenEMR=8f14e45fceea167a5a36dedd4bea2543; path=/apis/; secure; HttpOnly; SameSite=Strict"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
    ("X-XSS-Protection", "1; mode=block"),
    ("Keep-Alive", "timeout=5, max=100"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Type", "application/json"),
];

fn head(criterion: &mut Criterion) {
    let head = AnswerHead::new(&OF_OPENEMR).expect("these are fields");
    let token = "x".repeat(1800);
    assert_eq!(head.clone().keep_known(&token), 5);
    criterion.bench_function("head/OpenEMR's answer", |bench| {
        bench.iter_batched(|| head.clone(), |head| head.keep_known(black_box(&token)), BatchSize::SmallInput);
    });
}

fn outcome(criterion: &mut Criterion) {
    let text = "OpenEMR has no Patient with this id, or none that this client may have.";
    for (name, in_xml) in [("JSON", false), ("XML", true)] {
        let write = || operation_outcome(black_box(text), "Patient.id", "01J9ZD5T8RXK2M7Q4W6Y", in_xml);
        assert!(write().contains(text));
        criterion.bench_function(&format!("OperationOutcome/{name}"), |bench| bench.iter(write));
    }
}

criterion_group!(benches, classification, token, request_head, answer_check, head, outcome);
criterion_main!(benches);

//! Bodies of any size pass in constant memory, complete or visibly cut short.

use std::thread;
use std::time::Duration;

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::{Answer, Connection, End, request};
use crate::support::openemr::OpenEmr;
use aws_lc_rs::digest::{Context, SHA256, digest};
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1";
const BINARY: &str = "/fhir/Binary/5000";
/// More than any buffer on the way holds.
const LARGE: u64 = 5_000_011;
/// How a resource begins and ends whose text is as long as one likes.
const RESOURCE: [&[u8]; 2] = [br#"{"resourceType":"Patient","text":""#, br#""}"#];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the sandbox promises of a published Binary: the byte at offset n is n modulo 251.
fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(|offset| (offset % 251) as u8).collect()
}

/// Publishes a Binary of that many bytes as [`BINARY`].
fn publish(openemr: &OpenEmr, length: u64) {
    openemr.order(&json!({"binary": {"id": "5000", "bytes": length}}));
}

fn post_head(fields: &str) -> Vec<u8> {
    format!("POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/fhir+json\r\n{fields}\r\n").into_bytes()
}

/// A resource of that many bytes.
fn resource(length: u64) -> Vec<u8> {
    let mut body = RESOURCE[0].to_vec();
    body.extend(std::iter::repeat_n(b"0123456789", usize::try_from(length).unwrap() / 10 + 1).flatten());
    body.truncate(usize::try_from(length).unwrap() - RESOURCE[1].len());
    body.extend(RESOURCE[1]);
    body
}

/// Checks that OpenEMR received a body with that hash.
fn assert_received(openemr: &OpenEmr, length: u64, sha256: &str) {
    let last = openemr.state()["last_fhir_request"].clone();
    assert_eq!((last["body_length"].as_u64(), last["body_sha256"].as_str()), (Some(length), Some(sha256)));
}

#[test]
fn a_large_download_arrives_whole_in_every_framing() {
    for options in [&[][..], &["--tls"]] {
        let openemr = OpenEmr::with(options);
        publish(&openemr, LARGE);
        let gateway = Gateway::start(&openemr);
        for framing in ["chunked", "content_length", "http10"] {
            openemr.order(&json!({"fhir": {"framing": framing}}));
            let answer = gateway.caller().get(BINARY);
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{options:?} {framing}");
            assert!(answer.body == pattern(LARGE), "{options:?} {framing}: {} bytes", answer.body.len());
        }
    }
}

#[test]
fn a_large_upload_arrives_whole_in_either_framing() {
    let openemr = OpenEmr::start();
    // Without the scope it would be refused, and its connection closed.
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let body = resource(LARGE);
    let sha256 = hex(digest(&SHA256, &body).as_ref());

    let mut connection = gateway.caller().connect();
    connection.write(&post_head(&format!("Content-Length: {LARGE}\r\n")));
    connection.write(&body);
    let by_length = connection.read("POST");
    assert_received(&openemr, LARGE, &sha256);
    openemr.reset();

    let mut connection = gateway.caller().connect();
    connection.write(&post_head("Transfer-Encoding: chunked\r\n"));
    for piece in body.chunks(70_001) {
        connection.write(format!("{:x};a=b\r\n", piece.len()).as_bytes());
        connection.write(piece);
        connection.write(b"\r\n");
    }
    connection.write(b"0\r\n\r\n");
    let chunked = connection.read("POST");
    assert_received(&openemr, LARGE, &sha256);
    assert_eq!(by_length.outcome(400), chunked.outcome(400));
    // The connection goes on behind a chunked body.
    connection.write(&request("GET", PATIENTS, &[], b""));
    assert_eq!(connection.read("GET").status, 200);
}

#[test]
fn a_caller_who_expects_100_continue_gets_it_before_his_body() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    connection.write(&post_head("Content-Length: 100000\r\nExpect: 100-continue\r\n"));
    let first = connection.read("POST");
    assert_eq!(first.status, 100);
    let body = resource(100_000);
    connection.write(&body);
    let mut last = connection.read("POST");
    while last.status == 100 {
        last = connection.read("POST");
    }
    assert!(last.status >= 200 && last.end == End::Whole, "{last:?}");
    assert_received(&openemr, 100_000, &hex(digest(&SHA256, &body).as_ref()));
}

#[test]
fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.count("fhir_requests");
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut connection = gateway.caller().connect();
        let head = format!("POST /fhir/../x HTTP/1.1\r\nHost: gateway\r\nContent-Length: 400000\r\n{expect}\r\n");
        connection.write(head.as_bytes());
        if expect.is_empty() {
            connection.write(&pattern(400_000));
        }
        connection.read("POST").outcome(400);
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn requests_sent_together_are_answered_in_order() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    let mut bytes = request("GET", PATIENTS, &[], b"");
    bytes.extend(request("POST", "/fhir/Nonsense", &[], b"some body"));
    bytes.extend(request("GET", "/health", &[], b""));
    connection.write(&bytes);
    let first = connection.read("GET");
    assert_eq!((first.status, first.json()["resourceType"].clone()), (200, json!("Bundle")));
    assert_eq!(connection.read("POST").status, 404);
    assert_eq!(connection.read("GET").json()["status"], "ok");
}

/// The high-water mark of a process's resident memory, in bytes, without the pages of its program: how many of these are resident is
/// the kernel's choice, and a program that was built for tests has many.
#[cfg(target_os = "linux")]
fn most_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    of("VmHWM:") - of("RssFile:")
}

#[test]
#[cfg(target_os = "linux")]
fn a_download_and_an_upload_of_256_mb_stay_below_64_mib() {
    const HUGE: u64 = 256_000_000;
    let openemr = OpenEmr::start();
    publish(&openemr, HUGE);
    let mut config = config(&openemr);
    config["limits"] = json!({"request_body": "300MiB"});
    let gateway = Gateway::with(config);

    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", BINARY, &[], b""));
    let head = connection.read_head();
    let mut length = 0;
    let end = connection.read_body("GET", &head, |piece| length += piece.len() as u64);
    assert_eq!((head.status, end, length), (200, End::Whole, HUGE));
    let after_download = most_memory(gateway.process.id());

    connection.write(&post_head(&format!("Content-Length: {HUGE}\r\n")));
    let mut hash = Context::new(&SHA256);
    let mut send = |piece: &[u8]| {
        connection.write(piece);
        hash.update(piece);
    };
    send(RESOURCE[0]);
    let block = vec![b'x'; 1 << 20];
    let mut left = HUGE as usize - RESOURCE.concat().len();
    while left > 0 {
        let piece = &block[..left.min(block.len())];
        send(piece);
        left -= piece.len();
    }
    send(RESOURCE[1]);
    assert!(connection.read("POST").status >= 200);
    assert_received(&openemr, HUGE, &hex(hash.finish().as_ref()));
    let after_upload = most_memory(gateway.process.id());
    println!("at most {} MiB after the download, {} MiB after the upload", after_download >> 20, after_upload >> 20);
    assert!(after_upload < 64 << 20, "{after_download}, then {after_upload} bytes");
}

/// Whether a caller must notice that this is not the whole of it.
fn is_visibly_broken(answer: &Answer) -> bool {
    answer.end == End::Cut || answer.status == 502
}

#[test]
fn a_body_cut_short_never_ends_cleanly() {
    for options in [&[][..], &["--tls"]] {
        let openemr = OpenEmr::with(options);
        publish(&openemr, 300_000);
        let gateway = Gateway::start(&openemr);
        let is_tls = !options.is_empty();
        for (target, length) in
            [("/fhir/Patient", 3000), (BINARY, 150_000), ("/fhir/Patient", 1), (BINARY, 1), ("/fhir/Patient", 0)]
        {
            for framing in ["chunked", "content_length", "http10"] {
                for ending in ["close_notify", "no_close_notify", "reset"] {
                    // There, nothing in the world tells a cut from an end.
                    let is_undetectable = framing == "http10"
                        && target == BINARY
                        && (ending == "close_notify" || (ending == "no_close_notify" && !is_tls));
                    if is_undetectable {
                        continue;
                    }
                    openemr.order(&json!({"fhir": {"framing": framing, "truncate_after": length, "ending": ending}}));
                    let answer = gateway.caller().get(target);
                    assert!(
                        is_visibly_broken(&answer),
                        "{options:?} {target} cut after {length}, {framing}, {ending}: {} {:?} {} bytes",
                        answer.status,
                        answer.end,
                        answer.body.len()
                    );
                }
            }
        }
        openemr.order(&json!({"fhir": null}));
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    }
}

#[test]
fn an_old_caller_gets_whole_bodies_and_notices_a_cut_where_http_1_0_can_say_it() {
    let openemr = OpenEmr::start();
    let ask = |gateway: &Gateway| {
        let mut connection = gateway.caller().connect();
        connection.write(b"GET /fhir/Patient HTTP/1.0\r\n\r\n");
        connection.read("GET")
    };
    let whole = ask(&Gateway::start(&openemr));
    assert_eq!((whole.status, whole.end), (200, End::Closed), "{:?}", whole.fields);
    assert_eq!(whole.json()["resourceType"], "Bundle");
    // Without a length, the client's body ends with the connection, however that ends; and a body that is changed has none.
    let gateway = Gateway::with(pass_through(&openemr));
    openemr.order(&json!({"fhir": {"framing": "content_length", "truncate_after": 3000}}));
    let answer = ask(&gateway);
    assert!(is_visibly_broken(&answer), "{} {:?}", answer.status, answer.end);
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    for options in [&[][..], &["--tls"]] {
        let openemr = OpenEmr::with(options);
        openemr.order(&json!({"fhir": {"framing": "http10"}}));
        let gateway = Gateway::start(&openemr);
        let mut connection = gateway.caller().connect();
        for _ in 0..3 {
            connection.write(&request("GET", "/fhir/Patient?_count=7", &[], b""));
            let answer = connection.read("GET");
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{options:?}");
            assert_eq!(answer.json()["entry"].as_array().unwrap().len(), 7);
        }
        // Refusals come that way as well.
        connection.write(&request("GET", "/fhir/Nonsense", &[], b""));
        assert_eq!(connection.read("GET").status, 404);
    }
}

/// A caller's connection, and behind it one of the gateway's in its pool.
fn with_a_pooled_connection(gateway: &Gateway) -> Connection {
    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", PATIENTS, &[], b""));
    assert_eq!(connection.read("GET").status, 200);
    connection
}

#[test]
fn a_get_that_meets_a_dead_connection_is_repeated_unseen() {
    for options in [&[][..], &["--tls"]] {
        let openemr = OpenEmr::with(options);
        let gateway = Gateway::start(&openemr);
        for method in ["GET", "HEAD"] {
            let mut connection = gateway.caller().connect();
            let (answer, asked) = gateway.meet_a_dead_connection(&openemr, || {
                connection.write(&request(method, PATIENTS, &[], b""));
                connection.read(method)
            });
            assert_eq!((answer.status, asked), (200, 1), "{method}: {}", answer.text());
            let line = gateway.access_line(answer.field("x-request-id").unwrap());
            assert!(line.contains(" retries=1"), "{line}");
        }
    }
}

#[test]
fn a_write_that_meets_a_dead_connection_is_not_repeated() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(pass_through(&openemr));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (answer, asked) =
            gateway.meet_a_dead_connection(&openemr, || gateway.caller().send(method, "/fhir/Patient", &[], b"{}"));
        answer.outcome(502);
        assert_eq!(asked, 0, "{method}");
        let line = gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains(" retries=0"), "{line}");
    }
}

#[test]
fn a_fresh_connection_that_breaks_is_openemrs_own_trouble() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"hang_up": true}}));
    let gateway = Gateway::start(&openemr);
    gateway.caller().get(PATIENTS).outcome(502);
    assert_eq!(openemr.came("GET /apis/default/fhir/Patient"), 1);
}

#[test]
fn an_openemr_that_closes_idle_connections_goes_unnoticed() {
    let openemr = OpenEmr::with(&["--keep-alive", "20"]);
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    for number in 0..40 {
        connection.write(&request("GET", PATIENTS, &[], b""));
        assert_eq!(connection.read("GET").status, 200, "request {number}");
        // Around the moment at which it closes.
        thread::sleep(Duration::from_millis(19 + number % 3));
    }
    openemr.order(&json!({"fhir": {"close_idle": true}}));
    for number in 0..40 {
        connection.write(&request("GET", PATIENTS, &[], b""));
        assert_eq!(connection.read("GET").status, 200, "request {number}");
    }
}

#[test]
fn idle_connections_are_given_up_before_apache_does_it() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["connections"] = json!({"idle_timeout": "300ms"});
    let gateway = Gateway::with(config);
    with_a_pooled_connection(&gateway);
    crate::support::eventually("the idle connection is closed", || (openemr.count("connections_open") == 0).then_some(()));
}

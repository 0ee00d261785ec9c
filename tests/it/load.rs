//! The load that the fault tests send: it must be fast enough, and it must not take a failure for an answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::load::{self, Load};

/// A server that answers the nth request of a connection with `answer(n)`, and closes when there is none.
fn server(answer: impl Fn(usize) -> Option<&'static [u8]> + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap(), answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: impl Fn(usize) -> Option<&'static [u8]>) {
    stream.set_nodelay(true).unwrap();
    let mut request = [0; 4096];
    for number in 0.. {
        let Some(bytes) = answer(number) else { return };
        // Requests here are small enough to come in one piece.
        if !matches!(stream.read(&mut request), Ok(length) if length > 0) || stream.write_all(bytes).is_err() {
            return;
        }
    }
}

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
const WHOLE_IN_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1;x\r\n]\r\n0\r\nA: b\r\n\r\n";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]";
const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]";
const CUT_IN_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n";
const TOO_MUCH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]]";

#[test]
fn five_thousand_requests_a_second_take_less_than_a_core() {
    let address = server(|_| Some(WHOLE_IN_CHUNKS));
    let report = Load::new(address, 5000, Duration::from_secs(2)).get("/").run();
    println!("{report}");
    assert_eq!((report.sent(), report.failed(|status| status == 200)), (10_000, 0), "{report}");
    assert!(report.core_share < 0.9, "{report}");
    assert!(!load::is_measured() || report.took < Duration::from_millis(2500), "{report}");
}

#[test]
fn connections_that_end_in_order_are_replaced() {
    let address = server(|number| [WHOLE, WHOLE_IN_CHUNKS, LAST].get(number).copied());
    let report = Load::new(address, 200, Duration::from_secs(1)).get("/").connections(4).run();
    assert_eq!((report.sent(), report.failed(|status| status == 200)), (200, 0), "{report}");
    // Closed while idle, before anything is sent on it.
    let address = server(|number| [WHOLE].get(number).copied());
    let report = Load::new(address, 4, Duration::from_secs(5)).get("/").connections(1).run();
    assert_eq!((report.sent(), report.failed(|status| status == 200)), (20, 0), "{report}");
}

#[test]
fn what_is_not_whole_is_a_failure() {
    for (answer, words) in [
        (CUT, "closed within the body of an answer"),
        (CUT_IN_CHUNKS, "closed within the body of an answer"),
        (TOO_MUCH, "bytes behind the end of an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed within the head of an answer"),
        (b"", "closed without an answer on a new connection"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), |number| [answer].get(number).copied());
            }
        });
        let report = Load::new(address, 100, Duration::from_millis(100)).get("/").connections(1).run();
        assert_eq!(report.failures(), BTreeMap::from([(words, 10)]));
        assert_eq!(report.failed(|_| true), 10);
    }
}

#[test]
fn a_stall_is_seen_by_every_request_that_was_due_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // All wait for half a second, once the first has come.
    thread::spawn(move || {
        listener.incoming().take(1).for_each(|stream| {
            thread::sleep(Duration::from_millis(500));
            thread::spawn(move || serve(stream.unwrap(), |_| Some(WHOLE)));
        });
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap(), |_| Some(WHOLE)));
        }
    });
    let report = Load::new(address, 200, Duration::from_secs(1)).get("/").connections(4).run();
    assert_eq!(report.failed(|status| status == 200), 0, "{report}");
    assert!(report.longest_stall() >= Duration::from_millis(450), "{report}");
    // A hundred were due in the stall, though four at most could be under way.
    let stalled = report.summary(|sample| sample.took() > Duration::from_millis(100)).unwrap();
    assert!(stalled.count >= 60, "{stalled}");
}

#[test]
fn silence_and_refusal_have_their_words() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let load = Load::new(silent.local_addr().unwrap(), 5, Duration::from_secs(1)).get("/");
    let report = load.patience(Duration::from_millis(100)).run();
    assert_eq!(report.failures(), BTreeMap::from([("no answer within 100ms", 5)]));
    let gone = crate::support::gateway::free_address();
    let report = Load::new(gone, 5, Duration::from_secs(1)).get("/").run();
    assert_eq!(report.failures(), BTreeMap::from([("connect: connection refused", 5)]));
}

#[test]
fn each_request_can_have_a_connection_of_its_own() {
    let address = server(|number| [LAST].get(number).copied());
    let report = Load::new(address, 200, Duration::from_secs(1)).get("/").fresh_connections().run();
    assert_eq!((report.sent(), report.failed(|status| status == 200)), (200, 0), "{report}");
    let address = server(|_| Some(WHOLE));
    let report = Load::new(address, 100, Duration::from_millis(100)).get("/").fresh_connections().run();
    assert_eq!(report.failures(), BTreeMap::from([("Connection: close was not heeded", 10)]));
}

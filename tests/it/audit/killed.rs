//! A gateway that is killed at full speed: every request that was answered is recorded, and nothing else is.
//!
//! `OEGW_AUDIT_REQUESTS=200000 OEGW_AUDIT_KILLS=10` makes the proof a long one.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::trail::Trail;
use crate::support::gateway::{Gateway, config, free_address};
use crate::support::openemr::OpenEmr;
use crate::support::{DEADLINE, Stop, eventually};

/// Connections that send requests at once.
const CLIENTS: u64 = 8;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What a client knows: the requests that it has sent, and those of which the whole answer has come.
#[derive(Default)]
struct Known {
    sent: HashSet<String>,
    answered: HashSet<String>,
}

/// One client that asks until it is told to stop.
fn ask(client: u64, address: SocketAddr, answers: &AtomicU64, stop: &AtomicBool) -> Known {
    let mut known = Known::default();
    let mut connection: Option<TcpStream> = None;
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let Some(stream) = connection.as_mut() else {
            connection = TcpStream::connect(address).ok();
            match &connection {
                Some(stream) => stream.set_read_timeout(Some(DEADLINE)).unwrap(),
                None => thread::sleep(Duration::from_millis(5)),
            }
            continue;
        };
        let id = format!("c{client}-{}", known.sent.len());
        let target = ["/fhir/Patient?_count=3", "/fhir/Patient/none", "/fhir/Patient?_sort=a"][known.sent.len() % 3];
        let request = format!("GET {target} HTTP/1.1\r\nHost: gateway.example\r\nX-Request-Id: {id}\r\n\r\n");
        known.sent.insert(id.clone());
        match stream.write_all(request.as_bytes()).is_ok() && whole_answer(stream, &mut buffer) {
            true => {
                known.answered.insert(id);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            false => connection = None,
        }
    }
    known
}

/// Reads one answer to its end. False where the connection ends first.
fn whole_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut answer = Vec::new();
    loop {
        match stream.read(buffer) {
            Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        match length {
            Some(length) if answer.len() >= end + 4 + length => return true,
            None if answer.ends_with(b"\r\n0\r\n\r\n") => return true,
            _ => {}
        }
    }
}

#[test]
fn what_was_answered_is_recorded_although_the_gateway_is_killed_and_nothing_else_is() {
    let (requests, kills) = (number("OEGW_AUDIT_REQUESTS", 3000), number("OEGW_AUDIT_KILLS", 3));
    let openemr = OpenEmr::start();
    let trail = Trail::new();
    let mut configured = config(&openemr);
    trail.keep_with(&mut configured, &json!({"rotate_at": "1MiB", "checkpoint_interval": "1s"}));
    let address = free_address();
    configured["listen"] = json!([{"address": address.to_string()}]);
    // So that the ids of requests are the clients' own.
    configured["trusted_proxies"] = json!([{"from": "127.0.0.1", "fields": "x_forwarded"}]);
    configured["public_url"] = json!("http://gateway.example");
    configured["log"]["level"] = json!("error");
    let (answers, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let known: Vec<Known> = thread::scope(|scope| {
        let _stop = Stop(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let (answers, stop) = (&answers, &stop);
                    move || ask(client, address, answers, stop)
                })
            })
            .collect();
        for kill in 1..=kills {
            let gateway = Gateway::with(configured.clone());
            // Each process has its share of the requests, and is killed in the middle of others.
            let due = requests * kill / (kills + 1) + kill * 7 % 13;
            eventually("requests are answered", || (answers.load(Ordering::Relaxed) >= due).then_some(()));
            drop(gateway);
        }
        let gateway = Gateway::with(configured.clone());
        eventually("requests are answered", || (answers.load(Ordering::Relaxed) >= requests).then_some(()));
        stop.store(true, Ordering::Relaxed);
        let known = clients.into_iter().map(|client| client.join().unwrap()).collect();
        gateway.process.signal("TERM");
        let mut process = gateway.process;
        eventually("the gateway ends", || process.ended());
        known
    });
    let records: Vec<Value> = trail.of_kind("request");
    let ids: Vec<&str> = records.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    let recorded: HashSet<&str> = ids.iter().copied().collect();
    assert_eq!(recorded.len(), ids.len(), "no request has two records");
    let sent: HashSet<&str> = known.iter().flat_map(|known| known.sent.iter().map(String::as_str)).collect();
    let answered: HashSet<&str> = known.iter().flat_map(|known| known.answered.iter().map(String::as_str)).collect();
    println!("{} sent, {} answered, {} recorded in {} files", sent.len(), answered.len(), ids.len(), trail.files().len());
    assert!(answered.len() as u64 >= requests);
    let missing: Vec<_> = answered.difference(&recorded).collect();
    assert!(missing.is_empty(), "{} answered and not recorded: {:?}", missing.len(), &missing[..missing.len().min(5)]);
    let invented: Vec<_> = recorded.difference(&sent).collect();
    assert!(invented.is_empty(), "{invented:?}");
}

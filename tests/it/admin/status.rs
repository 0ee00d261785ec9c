//! What the status page shows, as JSON and as a stream of events.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::Admin;
use super::alerts::FULL_DISK;
use crate::audit::trail::Trail;
use crate::support::eventually;
use crate::support::gateway::{config, free_address};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;

/// As many streams as there may be.
const MOST_STREAMS: usize = 8;

/// A stream of events.
struct Stream {
    reader: BufReader<TcpStream>,
    pub status: u16,
    pub head: String,
}

impl Stream {
    fn open(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap(), address)
    }

    fn on(mut connection: TcpStream, address: SocketAddr) -> Self {
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(connection, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut stream = Self { reader: BufReader::new(connection), status: 0, head: String::new() };
        while !stream.head.ends_with("\r\n\r\n") {
            assert!(stream.reader.read_line(&mut stream.head).unwrap() > 0, "no head: {}", stream.head);
        }
        stream.head.make_ascii_lowercase();
        stream.status = stream.head.split(' ').nth(1).unwrap().parse().unwrap();
        stream
    }

    /// The next event; `None` when the stream has ended.
    fn next(&mut self) -> Option<Value> {
        let mut event = String::new();
        while !event.ends_with("\n\n") {
            if self.reader.read_line(&mut event).unwrap_or(0) == 0 {
                return None;
            }
        }
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"));
        Some(serde_json::from_str(data).unwrap())
    }
}

#[test]
fn the_status_shows_what_is_known_and_no_secret() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    let caller = admin.gateway.caller();
    let token: Value = caller.post("/oauth/token", &[], b"").json();
    let token = token["access_token"].as_str().unwrap();
    let patients = caller.get("/fhir/Patient?_count=1&family=Zebedee");
    assert_eq!(patients.status, 200);
    assert_eq!(caller.get("/fhir/Zebedee/1").status, 404);
    let status = eventually("the requests are counted", || {
        let status = admin.get("/status").json();
        let of_minutes = status["minutes"].as_array()?.iter().map(|minute| minute["requests"].as_u64().unwrap());
        (status["clients"][0]["requests"] == 2 && of_minutes.sum::<u64>() == 2).then_some(status)
    });
    let site = &status["sites"][0];
    assert_eq!((&status["state"], &status["problems"], &site["name"]), (&json!("ok"), &json!([]), &json!("default")), "{status}");
    assert!(site["token"]["is_valid"] == true && site["token"]["left"].as_f64().unwrap() > 1.0, "{status}");
    assert_eq!((&site["exchanges"][0]["failure"], &site["nodes"][0]["state"]), (&Value::Null, &json!("healthy")), "{status}");
    assert_eq!(status["clients"][0]["name"], "none");
    let minutes = status["minutes"].as_array().unwrap();
    let sum = |what: &str| minutes.iter().map(|minute| minute[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("requests"), sum("refused")), (2, 1), "{status}");
    assert!(minutes.iter().any(|minute| minute["p95"].as_f64().is_some_and(|ms| ms > 0.0)), "{status}");
    assert_eq!(status["reasons"].as_array().unwrap().len(), 1, "{status}");
    let key = fs::read_to_string(admin.gateway.config["sites"]["default"]["private_key"].as_str().unwrap()).unwrap();
    let text = admin.get("/status").body;
    for secret in [token, key.lines().nth(1).unwrap(), "Zebedee", "family"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_failing_token_is_a_problem_until_it_heals() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    eventually("a token", || (admin.get("/status").json()["state"] == "ok").then_some(()));
    openemr.order(&json!({"token": {"refuse": "unknown_client"}}));
    assert_eq!(admin.order("POST", "/refresh", "").status, 502);
    let status = admin.get("/status").json();
    let token = &status["sites"][0]["token"];
    assert_eq!((&status["state"], &token["is_valid"]), (&json!("degraded"), &json!(true)), "{status}");
    assert!(token["failures"].as_u64().unwrap() >= 1 && token["failing_since"].is_i64(), "{status}");
    assert_eq!(status["problems"][0]["site"], "default");
    let failure = status["sites"][0]["exchanges"][0]["failure"].as_str().unwrap_or_else(|| panic!("{status}"));
    assert!(failure.contains("invalid_client"), "{failure}");

    openemr.order(&json!({"token": null}));
    eventually("it heals", || (admin.order("POST", "/refresh", "").status == 200).then_some(()));
    let status = admin.get("/status").json();
    assert_eq!((&status["state"], &status["problems"]), (&json!("ok"), &json!([])), "{status}");
    let exchanges = status["sites"][0]["exchanges"].as_array().unwrap();
    assert!(exchanges[0]["failure"].is_null() && exchanges.iter().any(|exchange| exchange["failure"].is_string()), "{status}");
    assert!(exchanges.len() <= 10);
}

#[test]
fn events_come_until_the_gateway_ends() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["drain_delay"] = json!("2s");
    let admin = Admin::start(config);
    let mut stream = Stream::open(admin.address);
    assert_eq!(stream.status, 200, "{}", stream.head);
    assert!(
        stream.head.contains("content-type: text/event-stream") && stream.head.contains("cache-control: no-store"),
        "{}",
        stream.head
    );
    let first = stream.next().unwrap();
    let second = stream.next().unwrap();
    assert_eq!(first["sites"][0]["name"], "default");
    assert!(second["at"].as_i64().unwrap() >= first["at"].as_i64().unwrap());
    assert_eq!(admin.order("POST", "/drain", "").status, 202);
    let mut states = Vec::new();
    while let Some(event) = stream.next() {
        states.push(event["state"].clone());
    }
    assert!(states.contains(&json!("draining")), "{states:?}");
}

#[test]
fn streams_are_few_and_a_slow_reader_loses_its_own() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    // Readers that leave little room and read nothing.
    let slow: Vec<Stream> = (0..MOST_STREAMS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(2_048).unwrap();
            socket.connect(&admin.address.into()).unwrap();
            Stream::on(socket.into(), admin.address)
        })
        .collect();
    assert!(slow.iter().all(|stream| stream.status == 200));
    let refused = admin.get("/events");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("retry-after: 5") && refused.body.contains("too_many_streams"), "{}", refused.head);
    // Everything else is answered meanwhile.
    assert_eq!(admin.get("/status").status, 200);
    eventually("a slow reader is cut off", || {
        let mut stream = Stream::open(admin.address);
        (stream.status == 200 && stream.next().is_some()).then_some(())
    });
    drop(slow);
    assert_eq!(admin.order("POST", "/events", "").status, 405);
}

#[test]
fn an_export_is_shown_with_its_progress_and_not_with_its_search() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&openemr);
    let default = &mut config["sites"]["default"];
    let types = ["system/Patient.read", "system/Observation.read", "system/Binary.read"];
    let operations = ["system/*.$export", "system/*.$bulkdata-status"];
    default["scopes"] = types.into_iter().chain(operations).collect::<Vec<_>>().into();
    default["bulk_data"] = json!({"folder": folder.path().join("bulk")});
    let admin = Admin::start(config);
    let fields = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
    let target = "/fhir/$export?_type=Patient,Observation&_since=2020-01-01T00:00:00Z";
    let answer = admin.gateway.caller().send("GET", target, &fields, b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let job = answer.field("content-location").unwrap().split("job=").nth(1).unwrap().to_owned();
    let shown = admin.get("/status").json()["sites"][0]["exports"][0].clone();
    assert_eq!((&shown["level"], &shown["client"]), (&json!("system"), &json!("127.0.0.1")), "{shown}");
    assert!(job.starts_with(shown["id"].as_str().unwrap()) && shown["id"] != job, "{shown}");
    assert!(shown["parts"].as_u64().unwrap() >= 2, "{shown}");
    let ended = eventually("the export ends", || {
        let status = admin.get("/status");
        let export = status.json()["sites"][0]["exports"][0].clone();
        assert!(!status.body.contains("2020-01-01"), "{}", status.body);
        export["finished_at"].is_i64().then_some(export)
    });
    assert_eq!((&ended["ended"], &ended["failed"]), (&ended["parts"], &json!(0)), "{ended}");
}

#[test]
fn a_required_trail_that_cannot_be_written_is_a_gateway_that_is_down() {
    let (openemr, trail) = (OpenEmr::start(), Trail::new());
    let mut config = config(&openemr);
    trail.keep_with(&mut config, &json!({"required": true}));
    let admin = Admin::within(&FULL_DISK, config, free_address());
    eventually("the gateway is well", || (admin.get("/status").json()["state"] == "ok").then_some(()));
    let status = eventually("requests are refused", || {
        let mut connection = admin.gateway.caller().connect();
        connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
        // The one that is under way when the disk is full gets no answer.
        if connection.is_alive().unwrap_or(false) {
            connection.read("GET");
        }
        Some(admin.get("/status").json()).filter(|status| status["state"] == "down")
    });
    assert_eq!(admin.gateway.caller().get("/health").json()["status"], "down");
    assert!(status["problems"].to_string().contains("audit trail cannot be written"), "{status}");
}

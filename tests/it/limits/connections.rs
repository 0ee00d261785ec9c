//! Thousands of connections that do nothing, or send a byte a second, and ordinary clients beside them: `bench/connections.sh` prints
//! how long these wait, and what a connection takes of the gateway's memory. Here all of them are answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::support::eventually;
use crate::support::gateway::{Certificate, Gateway, config, free_address};
use crate::support::http::trusting;
use crate::support::load::Load;
use crate::support::load_connection::connect_from;
use crate::support::load_report::{Report, Summary};
use crate::support::openemr::OpenEmr;
use crate::support::permits::LOADS;
use crate::support::sandbox::{read_answer, write_request};

/// How many connections there are, and how long ordinary clients ask: `bench/connections.sh` sets all of it.
#[derive(Clone, Copy)]
struct Sizes {
    idle: usize,
    slow: usize,
    /// Requests of ordinary clients a second.
    rate: u32,
    seconds: Duration,
}

impl Sizes {
    fn from_environment() -> Option<Self> {
        let number = |name: &str, default: u32| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number")),
            Err(_) => default,
        };
        let idle = std::env::var("CONNECTIONS_IDLE").ok()?;
        Some(Self {
            idle: idle.parse().unwrap_or_else(|_| panic!("CONNECTIONS_IDLE={idle} is no whole number")),
            slow: number("CONNECTIONS_SLOW", 1_000) as usize,
            rate: number("CONNECTIONS_RATE", 200),
            seconds: Duration::from_secs(number("CONNECTIONS_SECONDS", 20).into()),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are opened.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Door {
    async fn open(&self, source: Ipv4Addr) -> std::io::Result<Box<dyn Stream>> {
        let stream = connect_from(source, self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(connector) => Box::new(connector.connect("localhost".try_into().unwrap(), stream).await?),
        })
    }
}

/// Sends one request, so that its connection is one that waits for the next.
async fn ask(stream: &mut Box<dyn Stream>) -> std::io::Result<u16> {
    write_request(stream, "GET", "/health", &[], b"").await?;
    Ok(read_answer(stream).await?.status)
}

/// Opens connections that have had an answer, from addresses of 1,000 each.
async fn open_idle(door: &Door, count: usize) -> Vec<Box<dyn Stream>> {
    let at_once = Arc::new(Semaphore::new(64));
    let mut opening = JoinSet::new();
    for index in 0..count {
        let (door, at_once) = (door.clone(), Arc::clone(&at_once));
        opening.spawn(async move {
            let _permit = at_once.acquire().await.unwrap();
            let mut stream = door.open(Ipv4Addr::new(127, 0, 1, 1 + (index / 1000) as u8)).await.unwrap();
            assert_eq!(ask(&mut stream).await.unwrap(), 200);
            stream
        });
    }
    opening.join_all().await
}

/// How many of these connections are open still, and answer.
async fn count_alive(idle: Vec<Box<dyn Stream>>) -> usize {
    let mut alive = 0;
    for mut stream in idle {
        alive += usize::from(matches!(ask(&mut stream).await, Ok(200)));
    }
    alive
}

/// What became of connections that send a byte a second.
#[derive(Default)]
struct Slow {
    opened: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
}

/// Sends a byte a second: of a head, or of a body behind a head that is complete. Opens a new connection whenever one ends.
async fn trickle(door: Door, index: usize, slow: Arc<Slow>) {
    // Half of what an address may have: a new connection can come before the place of the last one is free.
    let source = Ipv4Addr::new(127, 0, 2, 1 + (index / 500) as u8);
    let begin: &[u8] = match index % 2 {
        0 => b"GET /fhir/Patient?_count=1 HTTP/1.1\r\nHost: gateway\r\nX-Slow: ",
        _ => {
            b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/fhir+json\r\nContent-Length: 900\r\n\r\n"
        }
    };
    tokio::time::sleep(Duration::from_millis(index as u64 % 1000)).await;
    loop {
        let Ok(mut stream) = door.open(source).await else {
            slow.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        slow.opened.fetch_add(1, Ordering::Relaxed);
        let mut next = stream.write_all(begin).await;
        let mut answer = [0; 1];
        while next.is_ok() {
            tokio::select! {
                _ = stream.read(&mut answer) => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => next = stream.write_all(b" ").await,
            }
            // TLS keeps bytes back until it is told.
            next = next.and(stream.flush().await);
        }
        slow.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Resident memory of a process and its proportional share, in KiB.
fn memory(process: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    };
    (of("Rss:"), of("Pss:"))
}

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// What ordinary clients see, and the part of a processor that the gateway uses meanwhile, in percent.
fn ordinary(gateway: &Gateway, sizes: Sizes, target: &str) -> (Report, f64) {
    let before = processor_time(gateway.process.id());
    let report = Load::new(gateway.address, sizes.rate, sizes.seconds).connections(16).get(target).run();
    assert_eq!(report.failed(|status| status == 200), 0, "{report}");
    let used = processor_time(gateway.process.id()) - before;
    let share = used as f64 / report.took.as_secs_f64();
    (report, share)
}

#[test]
fn idle_and_slow_connections_keep_nobody_from_being_served() {
    let _permit = LOADS.take();
    let measured = Sizes::from_environment();
    let sizes = measured.unwrap_or(Sizes { idle: 100, slow: 40, rate: 50, seconds: Duration::from_secs(2) });
    for tls in [false, true] {
        let openemr = OpenEmr::start();
        let certificate = Certificate::make();
        let mut config = config(&openemr);
        let others = free_address();
        let second = if tls { json!({"address": others, "tls": certificate.tls()}) } else { json!({"address": others}) };
        config["listen"] = json!([{"address": free_address()}, second]);
        config["log"]["level"] = json!("warn");
        let places = (sizes.idle + sizes.slow + 100) * 5 / 2;
        config["limits"] = json!({"connections": places, "connections_per_address": 1000, "keepalive_timeout": "30m"});
        let gateway = Gateway::with(config);
        let patient = eventually("there is a patient", || {
            let answer = gateway.caller().get("/fhir/Patient?_count=1");
            (answer.status == 200).then(|| answer.json()["entry"][0]["resource"]["id"].as_str().unwrap().to_owned())
        });
        let target = format!("/fhir/Patient/{patient}");
        let door = Door { address: others, tls: tls.then(|| TlsConnector::from(trusting(&certificate.certificate))) };
        let runtime = Runtime::new().unwrap();
        // What is allocated once for all is allocated by now.
        drop(ordinary(&gateway, sizes, &target));
        let alone = ordinary(&gateway, sizes, &target);
        let before = memory(gateway.process.id());
        let idle = runtime.block_on(open_idle(&door, sizes.idle));
        let after = memory(gateway.process.id());
        let with_idle = ordinary(&gateway, sizes, &target);
        let slow = Arc::new(Slow::default());
        let trickling: Vec<_> =
            (0..sizes.slow).map(|index| runtime.spawn(trickle(door.clone(), index, Arc::clone(&slow)))).collect();
        eventually("all slow ones are there", || (slow.opened.load(Ordering::Relaxed) >= sizes.slow as u64).then_some(()));
        let with_all = ordinary(&gateway, sizes, &target);
        trickling.iter().for_each(tokio::task::JoinHandle::abort);
        // A connection that was closed meanwhile does not answer.
        assert_eq!(runtime.block_on(count_alive(idle)), sizes.idle, "idle connections that still answer");
        assert_eq!(slow.refused.load(Ordering::Relaxed), 0, "slow connections that were refused");
        let kind = if tls { "HTTPS" } else { "HTTP" };
        let summary = |report: &Report| report.summary(|_| true).unwrap();
        for (phase, (report, share)) in
            [("alone", &alone), ("with idle ones", &with_idle), ("with idle and slow ones", &with_all)]
        {
            println!("CONNECTIONS|{kind}|{phase}|{}", columns(&summary(report), &summary(&alone.0), *share));
        }
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / sizes.idle as f64;
        println!(
            "CONNECTIONS|{kind}|memory of an idle connection: {:.1} KiB resident, {:.1} KiB proportional ({} to {} KiB for {})",
            each(after.0, before.0),
            each(after.1, before.1),
            before.0,
            after.0,
            sizes.idle
        );
        println!(
            "CONNECTIONS|{kind}|slow connections: {} opened, {} ended by the gateway, {} refused; limits.connections {places}, of an address 1000",
            slow.opened.load(Ordering::Relaxed),
            slow.ended.load(Ordering::Relaxed),
            slow.refused.load(Ordering::Relaxed)
        );
    }
}

fn columns(summary: &Summary, alone: &Summary, share: f64) -> String {
    let milliseconds = |took: Duration| took.as_secs_f64() * 1000.0;
    let ratio = milliseconds(summary.p99) / milliseconds(alone.p99);
    let Summary { count, p50, p99, longest, .. } = *summary;
    format!("{count}|{:.2}|{:.2}|{:.2}|{ratio:.2}|{share:.0}", milliseconds(p50), milliseconds(p99), milliseconds(longest))
}

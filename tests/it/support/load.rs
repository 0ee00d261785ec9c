//! Load at a steady rate: requests are due by the clock, whether or not earlier ones were answered, so that a stall is
//! seen by every request that was due in it. Answers are read strictly, and nothing is ever sent twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::DEADLINE;
use super::http::request;
use super::load_connection::{Connection, Failure};
use super::load_report::{Outcome, Report, Sample};

/// Requests a second: `FAULT_RATE`, or what the test has as its own.
pub fn rate(default: u32) -> u32 {
    from_environment("FAULT_RATE").unwrap_or(default)
}

/// How long: `FAULT_SECONDS`, or until the test has seen what it waits for and calls [`Running::end`].
pub fn as_long_as_needed() -> Duration {
    Duration::from_secs(from_environment("FAULT_SECONDS").unwrap_or(3600).into())
}

/// Whether `bench/faults.sh` runs the tests, on a machine that has nothing else to do: then rates and durations are
/// asserted too.
pub fn is_measured() -> bool {
    from_environment("FAULT_RATE").is_some()
}

fn from_environment(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number")))
}

/// What is to be sent, how often and for how long.
pub struct Load {
    address: SocketAddr,
    requests: Vec<(String, Vec<u8>)>,
    connections: u32,
    rate: u32,
    duration: Duration,
    fresh: bool,
    patience: Duration,
}

impl Load {
    /// `rate` requests a second for that long, over 64 connections that are kept.
    pub fn new(address: SocketAddr, rate: u32, duration: Duration) -> Self {
        let patience = DEADLINE;
        Self { address, requests: Vec::new(), connections: 64, rate, duration, fresh: false, patience }
    }

    /// One more kind of request; they take turns.
    pub fn get(self, target: &str) -> Self {
        self.request("GET", target, &[], b"")
    }

    /// One more kind of request; they take turns.
    pub fn request(mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Self {
        self.requests.push((method.to_owned(), request(method, target, fields, body)));
        self
    }

    /// Over that many connections, which is also how many requests can be under way at once.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Each request on a connection of its own, which is not kept.
    pub fn fresh_connections(mut self) -> Self {
        self.fresh = true;
        for (_, request) in &mut self.requests {
            let line = request.windows(2).position(|window| window == b"\r\n").unwrap();
            request.splice(line..line, b"\r\nConnection: close".iter().copied());
        }
        self
    }

    /// How long an answer may take before it counts as a failure.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Report {
        self.start().finish()
    }

    /// Runs on a thread of its own.
    pub fn start(self) -> Running {
        assert!(!self.requests.is_empty(), "nothing to send");
        let progress = Arc::new(Progress::default());
        let seen = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut report = runtime.block_on(self.drive(seen));
            report.core_share = thread_seconds() / report.took.as_secs_f64();
            report
        });
        Running { thread: Some(thread), progress }
    }

    async fn drive(self, progress: Arc<Progress>) -> Report {
        let begin = Begin { instant: Instant::now(), since_1970: SystemTime::now().duration_since(UNIX_EPOCH).unwrap() };
        let load = Arc::new(self);
        let workers: Vec<_> =
            (0..load.connections).map(|_| tokio::spawn(worker(Arc::clone(&load), Arc::clone(&progress), begin))).collect();
        let mut report = Report::default();
        for worker in workers {
            report.add(worker.await.unwrap());
        }
        report.took = begin.instant.elapsed();
        report
    }
}

/// Load that is under way.
pub struct Running {
    /// None once it was waited for.
    thread: Option<JoinHandle<Report>>,
    progress: Arc<Progress>,
}

impl Drop for Running {
    /// The load of a test that failed ends with it.
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }
}

impl Running {
    /// Requests that were answered or failed so far.
    pub fn done(&self) -> u64 {
        self.progress.done.load(Ordering::Relaxed)
    }

    /// Whether all of it was sent and waited for.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the load of a test that has seen all that it waits for. `bench/faults.sh` has all of it sent.
    pub fn end(self) -> Report {
        if is_measured() { self.finish() } else { self.stop() }
    }

    /// Sends no more requests; those under way are waited for.
    pub fn stop(self) -> Report {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Report {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[derive(Default)]
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Begin {
    instant: Instant,
    since_1970: Duration,
}

impl Begin {
    fn microseconds(&self, instant: Instant) -> u64 {
        (self.since_1970 + instant.saturating_duration_since(self.instant)).as_micros() as u64
    }
}

/// Takes the next request that is due, as long as there is one.
async fn worker(load: Arc<Load>, progress: Arc<Progress>, begin: Begin) -> Report {
    let mut report = Report::default();
    let mut kept: Option<Connection> = None;
    loop {
        let number = progress.next.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_nanos(number * 1_000_000_000 / u64::from(load.rate));
        if after >= load.duration || progress.stop.load(Ordering::Relaxed) {
            return report;
        }
        let due = begin.instant + after;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            tokio::time::sleep(wait).await;
            if progress.stop.load(Ordering::Relaxed) {
                return report;
            }
        }
        let (method, request) = &load.requests[number as usize % load.requests.len()];
        let result = tokio::time::timeout(load.patience, once(&load, &mut kept, method, request)).await;
        let outcome = match result.unwrap_or_else(|_| Err(Failure(format!("no answer within {:?}", load.patience)))) {
            Ok((status, body)) => {
                report.keep_example(status, body);
                Outcome::Status(status)
            }
            Err(failure) => {
                kept = None;
                Outcome::Failed(report.words(failure.0))
            }
        };
        let (due_us, ended_us) = (begin.microseconds(due), begin.microseconds(Instant::now()));
        report.samples.push(Sample { due_us, ended_us, outcome });
        progress.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// One request and its answer. A kept connection that was closed in order before anything was sent is replaced.
async fn once<'a>(
    load: &Load,
    kept: &'a mut Option<Connection>,
    method: &str,
    request: &[u8],
) -> Result<(u16, &'a [u8]), Failure> {
    let reusable = match kept.take() {
        Some(connection) => connection.unless_closed()?,
        None => None,
    };
    let connection = match reusable {
        Some(connection) => kept.insert(connection),
        None => kept.insert(Connection::open(load.address).await?),
    };
    let status = connection.exchange(method, request).await?;
    if load.fresh && !connection.is_over() {
        return Err(Failure("Connection: close was not heeded".to_owned()));
    }
    Ok((status, kept.as_ref().map_or(&[], Connection::body)))
}

/// What this thread has used of a processor, in seconds; 0 where that is not known.
fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: state is the first field, utime the 12th, stime the 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

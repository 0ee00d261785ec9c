//! Clients in a closed loop: each keeps so many requests open, and sends the next one when one is answered. So a server that is slow
//! gets fewer requests, as it does from programs that wait for their answers; [`super::load`] is the load of those that do not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::DEADLINE;
use super::http::request;
use super::load_connection::{Connection, Failure};
use super::random::Random;

/// How long a client waits that was rejected: it ignores Retry-After, and yet is no flood.
const AFTER_A_REJECTION: Duration = Duration::from_millis(100);

/// One client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it connects from.
    pub source: Ipv4Addr,
    /// The fields of its requests.
    pub fields: Vec<(String, String)>,
    /// How many requests it keeps open.
    pub open: usize,
    /// How long it waits between an answer and its next request, on average: half of it to one and a half times as long, so that
    /// clients that were answered together do not ask together ever after.
    pub pause: Duration,
}

/// One request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The index of the client.
    pub client: usize,
    /// The index of the kind.
    pub kind: usize,
    /// When it ended.
    pub ended: Instant,
    pub took: Duration,
    /// The status; `None` if there was no whole answer.
    pub status: Option<u16>,
}

/// What is sent.
#[derive(Debug)]
pub struct Plan {
    pub address: SocketAddr,
    pub clients: Vec<Client>,
    /// The targets of each kind of request, which a client asks for in turn.
    pub kinds: Vec<Vec<String>>,
    /// The kinds of the requests of a client, by index, over and over; each client begins at another place.
    pub cycle: Vec<usize>,
}

/// Clients that are at work, until this is dropped.
pub struct Running {
    runtime: Option<Runtime>,
    tasks: Vec<JoinHandle<()>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Plan {
    /// Starts all clients.
    pub fn start(self) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let samples = Arc::new(Mutex::new(Vec::new()));
        let plan = Arc::new(self);
        let mut tasks = Vec::new();
        for (index, client) in plan.clients.iter().enumerate() {
            for lane in 0..client.open {
                tasks.push(runtime.spawn(ask(Arc::clone(&plan), index, lane, Arc::clone(&samples))));
            }
        }
        Running { runtime: Some(runtime), tasks, samples }
    }
}

impl Running {
    /// What has ended so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }

    /// Ends all clients; requests that are open are given up.
    pub fn stop(mut self) -> Vec<Sample> {
        self.end();
        self.samples()
    }

    fn end(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(DEADLINE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

async fn ask(plan: Arc<Plan>, index: usize, lane: usize, samples: Arc<Mutex<Vec<Sample>>>) {
    let client = &plan.clients[index];
    let fields: Vec<(&str, &str)> = client.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut kept = None;
    // Primes, so that the places are spread over the cycle and over the targets.
    let mut turn = index * 7 + lane * 3;
    let mut random = Random(1 + turn as u64);
    loop {
        let kind = plan.cycle[turn % plan.cycle.len()];
        let targets = &plan.kinds[kind];
        let bytes = request("GET", &targets[(turn + index) % targets.len()], &fields, b"");
        turn += 1;
        let since = Instant::now();
        let status = once(client.source, plan.address, &mut kept, &bytes).await.ok();
        let ended = Instant::now();
        samples.lock().unwrap().push(Sample { client: index, kind, ended, took: ended - since, status });
        let pause = client.pause.mul_f64(0.5 + random.next());
        let pause = if status == Some(200) { pause } else { pause.max(AFTER_A_REJECTION) };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn once(source: Ipv4Addr, address: SocketAddr, kept: &mut Option<Connection>, request: &[u8]) -> Result<u16, Failure> {
    let reusable = match kept.take() {
        Some(connection) => connection.unless_closed()?,
        None => None,
    };
    let mut connection = match reusable {
        Some(connection) => connection,
        None => Connection::open_from(source, address).await?,
    };
    let status = connection.exchange("GET", request).await?;
    *kept = Some(connection);
    Ok(status)
}

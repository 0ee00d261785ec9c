//! A polite client among greedy ones, and what OpenEMR gets done meanwhile: `bench/fairness.sh` prints the table. Here every client is
//! answered, and OpenEMR has no more to do at once than it has workers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::access::api_keys;
use crate::support::closed_load::{Client, Plan, Sample};
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use crate::support::permits::LOADS;

/// What the sandbox is busy with a request of each kind, in milliseconds. A search for Observations has no patient.
const BUSY_MS: [u64; 3] = [30, 650, 890];
const KINDS: [&str; 3] = ["read", "observations", "encounters"];
/// 12 reads, 5 searches for Observations and 3 for Encounters.
const MIXED: [usize; 20] = [0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 0, 2, 0, 0, 1, 0, 2, 0, 1];
const READS: [usize; 1] = [0];

/// What is measured: `bench/fairness.sh` sets all of it.
struct Bench {
    /// Name and `in_flight`, by lines `NAME YAML`.
    settings: Vec<(String, Value)>,
    /// How long a phase is measured, after a warm-up.
    seconds: Duration,
    warm_up: Duration,
    /// How many polite clients there are, first among all: each asks for less than its share. Several give more samples of the same.
    polite: usize,
    greedy: usize,
    open: usize,
    /// Whether clients are told apart by API keys, all at one address.
    by_key: bool,
}

impl Bench {
    fn from_environment() -> Option<Self> {
        let text = std::env::var("FAIRNESS_SETTINGS").ok()?;
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number")),
            Err(_) => default,
        };
        let setting = |line: &str| {
            let (name, in_flight) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{line}: no NAME YAML"));
            (name.to_owned(), serde_yaml::from_str(in_flight).unwrap_or_else(|error| panic!("{line}: {error}")))
        };
        Some(Self {
            settings: text.lines().filter(|line| !line.trim().is_empty()).map(setting).collect(),
            seconds: Duration::from_secs(number("FAIRNESS_SECONDS", 6)),
            warm_up: Duration::from_secs(number("FAIRNESS_WARM_UP", 5)),
            polite: number("FAIRNESS_POLITE", 24) as usize,
            greedy: number("FAIRNESS_GREEDY", 64) as usize,
            open: number("FAIRNESS_OPEN", 1) as usize,
            by_key: number("FAIRNESS_BY_KEY", 0) == 1,
        })
    }

    /// The polite clients, which rest so long after each answer, and so many greedy ones.
    fn clients(&self, greedy: usize, rest: Duration) -> Vec<Client> {
        let client = |index: usize| {
            let source = if self.by_key { 2 } else { 2 + index };
            let fields = if self.by_key { vec![("X-API-Key".to_owned(), api_keys::key_of(&name(index)))] } else { Vec::new() };
            let (open, pause) = if index < self.polite { (1, rest) } else { (self.open, Duration::ZERO) };
            Client { source: Ipv4Addr::new(127, 0, 0, u8::try_from(source).unwrap()), fields, open, pause }
        };
        (0..self.polite + greedy).map(client).collect()
    }

    fn start(&self, in_flight: &Value, workers: u32) -> (OpenEmr, Gateway) {
        let workers = workers.to_string();
        let openemr = OpenEmr::with(&["--workers", &workers, "--timings", "openemr", "--patients", "40"]);
        let mut config = config(&openemr);
        let site = &mut config["sites"]["default"];
        site["scopes"] = json!(["system/Patient.read", "system/Observation.read", "system/Encounter.read"]);
        if !in_flight.is_null() {
            site["in_flight"] = in_flight.clone();
        }
        config["log"]["level"] = json!("warn");
        if self.by_key {
            let named = |index| (name(index), api_keys::client(&name(index)));
            let clients: serde_json::Map<String, Value> = (0..self.polite + self.greedy).map(named).collect();
            config["access"] = json!({"clients": clients});
        }
        (openemr, Gateway::with(config))
    }

    fn plan(&self, gateway: &Gateway, greedy: usize, (cycle, rest): (&[usize], Duration)) -> Plan {
        let clients = self.clients(greedy, rest);
        let fields: Vec<(&str, &str)> = clients[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let patients = eventually("the gateway has a token", || {
            let answer = gateway.caller().send("GET", "/fhir/Patient?_count=200", &fields, b"");
            (answer.status == 200).then(|| answer.json())
        });
        let ids = patients["entry"].as_array().unwrap().iter().map(|entry| entry["resource"]["id"].as_str().unwrap());
        // Clients that ask for the same at the same time would be answered at once.
        let searches = |name: &str| (0..40).map(|number| format!("/fhir/{name}?_count={}", 5 + number)).collect();
        let targets = [ids.map(|id| format!("/fhir/Patient/{id}")).collect(), searches("Observation"), searches("Encounter")];
        Plan { address: gateway.address, clients, kinds: targets.to_vec(), cycle: cycle.to_vec() }
    }

    /// Runs one scenario with workers that change from one phase to the next, and prints a line for each phase.
    fn measure(&self, (scenario, cycle, rest): Scenario, (setting, in_flight): (&str, &Value), greedy: usize, phases: &[u32]) {
        let (openemr, gateway) = self.start(in_flight, phases[0]);
        let running = self.plan(&gateway, greedy, (cycle, rest)).start();
        let mut measured = Vec::new();
        for (index, workers) in phases.iter().enumerate() {
            let phase = match index {
                0 => workers.to_string(),
                _ => format!("{} to {workers}", phases[index - 1]),
            };
            openemr.order(&json!({"workers": workers}));
            // What began with more workers would count for the fewer.
            std::thread::sleep(self.warm_up);
            let begun = Instant::now();
            std::thread::sleep(self.seconds);
            measured.push((phase, begun, Instant::now()));
        }
        let samples = running.stop();
        for (phase, begun, ended) in measured {
            let within = samples.iter().filter(|sample| sample.ended > begun && sample.ended <= ended);
            println!("FAIRNESS|{scenario}|{phase}|{setting}|{}", Row::of(within, self.polite, ended - begun));
        }
    }
}

/// Its name, the kinds of requests in turn, and how long polite clients rest after each answer.
type Scenario<'s> = (&'s str, &'s [usize], Duration);

fn name(client: usize) -> String {
    format!("client-{client}")
}

/// What a phase came to.
struct Row {
    seconds: f64,
    answers: usize,
    busy_ms: u64,
    rejected: usize,
    failed: usize,
    polite_rejected: usize,
    polite: BTreeMap<usize, Vec<Duration>>,
}

impl Row {
    fn of<'s>(samples: impl Iterator<Item = &'s Sample>, polite: usize, lasted: Duration) -> Self {
        let seconds = lasted.as_secs_f64();
        let mut row =
            Self { seconds, answers: 0, busy_ms: 0, rejected: 0, failed: 0, polite_rejected: 0, polite: BTreeMap::new() };
        for sample in samples {
            let is_polite = sample.client < polite;
            match sample.status {
                Some(200) => {
                    row.answers += 1;
                    row.busy_ms += BUSY_MS[sample.kind];
                    if is_polite {
                        row.polite.entry(sample.kind).or_default().push(sample.took);
                    }
                }
                Some(503) => {
                    row.rejected += 1;
                    row.polite_rejected += usize::from(is_polite);
                }
                _ => row.failed += 1,
            }
        }
        row
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |count: f64| count / self.seconds;
        write!(
            formatter,
            "{:.1}|{:.2}|{}|{}|{}",
            per_second(self.answers as f64),
            per_second(self.busy_ms as f64 / 1000.0),
            self.rejected,
            self.failed,
            self.polite_rejected
        )?;
        write!(formatter, "|{}", spread(self.polite.values().flatten().copied().collect()))?;
        for kind in 0..KINDS.len() {
            write!(formatter, "|{}", spread(self.polite.get(&kind).cloned().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// Count, median, 99th percentile and maximum in milliseconds, by nearest rank.
fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let Some(last) = took.len().checked_sub(1) else { return "0".to_owned() };
    let at = |share: f64| took[((took.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last)].as_millis();
    format!("{}: {}/{}/{}", took.len(), at(0.5), at(0.99), took[last].as_millis())
}

#[test]
fn greedy_clients_and_a_polite_one_are_all_answered() {
    let _permit = LOADS.take();
    let Some(bench) = Bench::from_environment() else {
        all_are_answered();
        return;
    };
    let Bench { polite, greedy, open, .. } = bench;
    println!("FAIRNESS of {polite} polite clients and {greedy} greedy ones with {open} open each; kinds: {}", KINDS.join(", "));
    // Five workers give each of 88 clients a request of the mix in six seconds, or two reads a second: a polite one asks for a quarter.
    let scenarios = [("mixed", &MIXED[..], Duration::from_secs(20)), ("reads", &READS, Duration::from_secs(2))];
    let wanted = std::env::var("FAIRNESS_SCENARIO").ok();
    for scenario in scenarios.into_iter().filter(|(name, ..)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        let (name, in_flight) = &bench.settings[0];
        bench.measure(scenario, (&format!("{name}, alone"), in_flight), 0, &[5]);
        for phases in [&[5][..], &[16, 4]] {
            for (name, in_flight) in &bench.settings {
                bench.measure(scenario, (name, in_flight), bench.greedy, phases);
            }
        }
    }
}

/// Twelve greedy clients and a polite one, for as long as it takes until each has had an answer of each kind.
fn all_are_answered() {
    let (polite, greedy, open) = (1, 12, 2);
    let bench =
        Bench { settings: Vec::new(), seconds: Duration::ZERO, warm_up: Duration::ZERO, polite, greedy, open, by_key: false };
    // No client waits too long, however slow the machine is.
    let in_flight = json!({"most": 5, "queue": 64, "queue_timeout": "120s", "queue_target": "120s"});
    let (openemr, gateway) = bench.start(&in_flight, 5);
    let running = bench.plan(&gateway, greedy, (&MIXED, Duration::from_millis(50))).start();
    let answered = |samples: &[Sample], client: usize, kind: usize| {
        samples.iter().any(|sample| (sample.client, sample.kind, sample.status) == (client, kind, Some(200)))
    };
    eventually("every client has an answer of every kind", || {
        let samples = running.samples();
        (0..=greedy).all(|client| (0..KINDS.len()).all(|kind| answered(&samples, client, kind))).then_some(())
    });
    // When clients leave, OpenEMR goes on with their requests while others come.
    let at_once = openemr.count("most_fhir_at_once");
    let samples = running.stop();
    let unexpected: Vec<_> = samples.iter().filter(|sample| sample.status != Some(200)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(openemr.count("most_workers_busy") <= 5);
    // And a health check, which does not wait.
    assert!(at_once <= 6, "{at_once}: no more than in_flight.most were at OpenEMR at once");
}

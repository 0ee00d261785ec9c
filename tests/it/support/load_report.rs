//! The result of a load: how many requests were sent, how each ended, and how long they took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One request. Times are in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub due_us: u64,
    pub ended_us: u64,
    pub outcome: Outcome,
}

impl Sample {
    /// From when it was due; up to a millisecond of it is the timer's.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.ended_us.saturating_sub(self.due_us))
    }

    /// Whether it was under way at some moment between these, in milliseconds since 1970.
    pub fn meets(&self, (began_ms, ended_ms): (u64, u64)) -> bool {
        self.ended_us / 1000 >= began_ms && self.due_us / 1000 <= ended_ms
    }

    /// Whether all of it was between these, in milliseconds since 1970.
    pub fn is_within(&self, (began_ms, ended_ms): (u64, u64)) -> bool {
        self.due_us / 1000 > began_ms && self.ended_us / 1000 < ended_ms
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, with a whole body.
    Status(u16),
    /// Not answered; the index of the words for it.
    Failed(usize),
}

/// All of a load.
#[derive(Debug, Default)]
pub struct Report {
    pub samples: Vec<Sample>,
    pub took: Duration,
    /// What the load itself used of one core.
    pub core_share: f64,
    words: Vec<String>,
    examples: BTreeMap<u16, String>,
}

/// How long requests took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub p999: Duration,
    pub longest: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { count, p50, p99, p999, longest } = self;
        write!(formatter, "{count} requests, p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, longest {longest:.1?}")
    }
}

/// One line of the table that `bench/faults.sh` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub fault: String,
    pub sent: u64,
    pub failed: u64,
    pub longest_stall: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { fault, sent, failed, longest_stall } = self;
        write!(formatter, "FAULT|{fault}|{sent}|{failed}|{} ms", longest_stall.as_millis())
    }
}

impl Row {
    /// Prints it for `bench/faults.sh` to find. Tests that need no [`Report`] make one of what they counted.
    pub fn print(&self) {
        assert!(!self.fault.contains(['|', '\n']), "{}", self.fault);
        println!("{self}");
    }
}

impl Report {
    /// How many requests were sent.
    pub fn sent(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Answers by status.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Status(status) = sample.outcome {
                *statuses.entry(status).or_default() += 1;
            }
        }
        statuses
    }

    /// Failures by their words.
    pub fn failures(&self) -> BTreeMap<&str, u64> {
        let mut failures = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Failed(words) = sample.outcome {
                *failures.entry(self.words[words].as_str()).or_default() += 1;
            }
        }
        failures
    }

    /// How many were not answered as expected.
    pub fn failed(&self, is_expected: impl Fn(u16) -> bool) -> u64 {
        let is_good = |sample: &&Sample| matches!(sample.outcome, Outcome::Status(status) if is_expected(status));
        self.sent() - self.samples.iter().filter(is_good).count() as u64
    }

    /// The longest that any request took from when it was due, answered or not.
    pub fn longest_stall(&self) -> Duration {
        self.samples.iter().map(Sample::took).max().unwrap_or_default()
    }

    /// How long those requests took that are meant; none if there are none.
    pub fn summary(&self, is_meant: impl Fn(&Sample) -> bool) -> Option<Summary> {
        let mut took: Vec<Duration> = self.samples.iter().filter(|sample| is_meant(sample)).map(Sample::took).collect();
        took.sort_unstable();
        let last = took.len().checked_sub(1)?;
        // Nearest rank.
        let at = |share: f64| took[((took.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last)];
        Some(Summary { count: took.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), longest: took[last] })
    }

    /// The line for the table.
    pub fn row(&self, fault: &str, is_expected: impl Fn(u16) -> bool) -> Row {
        let (sent, failed, longest_stall) = (self.sent(), self.failed(is_expected), self.longest_stall());
        Row { fault: fault.to_owned(), sent, failed, longest_stall }
    }

    /// Prints the line for the table and panics unless every request was answered as expected.
    pub fn expect(&self, fault: &str, is_expected: impl Fn(u16) -> bool) {
        let row = self.row(fault, is_expected);
        row.print();
        assert!(self.sent() > 0, "nothing was sent");
        assert_eq!(row.failed, 0, "of {} requests: {self}", row.sent);
    }

    /// Takes up what another one has.
    pub(super) fn add(&mut self, other: Report) {
        let moved: Vec<usize> = other.words.into_iter().map(|words| self.words(words)).collect();
        self.samples.extend(other.samples.into_iter().map(|mut sample| {
            if let Outcome::Failed(words) = &mut sample.outcome {
                *words = moved[*words];
            }
            sample
        }));
        for (status, example) in other.examples {
            self.examples.entry(status).or_insert(example);
        }
    }

    /// The index of these words.
    pub(super) fn words(&mut self, words: String) -> usize {
        self.words.iter().position(|known| *known == words).unwrap_or_else(|| {
            self.words.push(words);
            self.words.len() - 1
        })
    }

    /// Keeps the body of the first answer of each status that is no success, to explain a test that failed.
    pub(super) fn keep_example(&mut self, status: u16, body: &[u8]) {
        if status >= 300 {
            self.examples.entry(status).or_insert_with(|| String::from_utf8_lossy(body).chars().take(500).collect());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "answers {:?}, failures {:?}, examples {:?}", self.statuses(), self.failures(), self.examples)?;
        if let Some(summary) = self.summary(|_| true) {
            writeln!(formatter, "{summary}")?;
        }
        write!(formatter, "took {:?}, {:.2} of a core", self.took, self.core_share)
    }
}

//! The last hour, minute by minute. Nothing is counted for it: every ten seconds somebody hands over the sums of the counters, and
//! their differences are the history. Pure: times are passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::histogram::{BOUNDS, BUCKETS};
use super::totals::{ByBucket, ByClass, Totals, since};

/// How often [`History::note`] is due.
pub(crate) const STEP: Duration = Duration::from_secs(10);
/// How many steps a minute has.
const STEPS: usize = 6;
/// How many whole minutes are remembered.
const MINUTES: usize = 59;

/// The sums of the last hour.
#[derive(Debug)]
pub(crate) struct History {
    /// The begin of each minute, the oldest first; the last minute is under way.
    minutes: VecDeque<Mark>,
    /// The begin of each step of the last minute, the oldest first.
    steps: VecDeque<Mark>,
    /// How many steps have been noted of the minute that is under way.
    noted: usize,
}

/// The sums at one moment.
#[derive(Debug, Clone)]
struct Mark {
    instant: Instant,
    /// The same in seconds since 1970.
    at: i64,
    totals: Totals,
}

/// The requests to the FHIR API in one minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Minute {
    /// When it began, in seconds since 1970.
    pub(crate) at: i64,
    /// How many requests ended.
    pub(crate) requests: u64,
    /// How many of them were answered with 4xx.
    pub(crate) refused: u64,
    /// How many of them were answered with 5xx.
    pub(crate) failed: u64,
    /// The milliseconds within which half of them ended; `None` without a request.
    pub(crate) p50: Option<f64>,
    /// The milliseconds within which 95 of 100 ended.
    pub(crate) p95: Option<f64>,
    /// The milliseconds within which 99 of 100 ended.
    pub(crate) p99: Option<f64>,
    /// The milliseconds within which OpenEMR had answered 95 of 100; `None` when it was not asked.
    pub(crate) openemr_p95: Option<f64>,
}

/// The last hour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hour {
    /// Its minutes, the oldest first; the last one is under way.
    pub(crate) minutes: Vec<Minute>,
    /// Requests a second in the last minute.
    pub(crate) rate: f64,
    /// The clients with a request in the hour.
    pub(crate) clients: Vec<OfClient>,
    /// The reasons of the hour, each with its number and how often it was one.
    pub(crate) reasons: Vec<(usize, u64)>,
}

/// The requests of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfClient {
    /// The client's number.
    pub(crate) number: usize,
    /// Requests a second in the last minute.
    pub(crate) rate: f64,
    /// Requests in the hour.
    pub(crate) requests: u64,
    /// How many of them were answered with 4xx.
    pub(crate) refused: u64,
    /// How many of them were answered with 5xx.
    pub(crate) failed: u64,
}

impl History {
    /// A history that begins now, with these sums. `at`: seconds since 1970.
    #[must_use]
    pub(crate) fn new(instant: Instant, at: i64, totals: Totals) -> Self {
        let mark = Mark { instant, at, totals };
        Self { minutes: VecDeque::from([mark.clone()]), steps: VecDeque::from([mark]), noted: 0 }
    }

    /// Notes the sums of this moment.
    pub(crate) fn note(&mut self, instant: Instant, at: i64, totals: Totals) {
        let mark = Mark { instant, at, totals };
        self.noted += 1;
        if self.noted >= STEPS {
            self.noted = 0;
            push(&mut self.minutes, mark.clone(), MINUTES + 1);
        }
        push(&mut self.steps, mark, STEPS);
    }

    /// The last hour, now that these are the sums.
    #[must_use]
    pub(crate) fn hour(&self, instant: Instant, now: &Totals) -> Hour {
        let ends = self.minutes.iter().skip(1).map(|mark| &mark.totals).chain([now]);
        let minutes = self.minutes.iter().zip(ends).map(|(begin, end)| minute(begin, end)).collect();
        let nothing = Totals::default();
        let oldest = self.minutes.front().map_or(&nothing, |mark| &mark.totals);
        let (recent, seconds) = match self.steps.front() {
            Some(mark) => (&mark.totals, instant.saturating_duration_since(mark.instant).as_secs_f64().max(1.0)),
            None => (&nothing, 1.0),
        };
        let rate = |before: &ByClass, after: &ByClass| since(before, after).iter().sum::<u64>() as f64 / seconds;
        let clients = now.clients.iter().enumerate().map(|(number, counts)| {
            let [_, _, _, _, refused, failed] = since(&of(oldest, number), counts);
            OfClient {
                number,
                rate: rate(&of(recent, number), counts),
                requests: since(&of(oldest, number), counts).iter().sum(),
                refused,
                failed,
            }
        });
        let reasons = now.reasons.iter().enumerate().map(|(number, count)| {
            let before = oldest.reasons.get(number).copied().unwrap_or_default();
            (number, count.saturating_sub(before))
        });
        Hour {
            minutes,
            rate: rate(&recent.requests, &now.requests),
            clients: clients.filter(|client| client.requests > 0).collect(),
            reasons: reasons.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// Pushes a mark, and drops the oldest one of too many.
fn push(marks: &mut VecDeque<Mark>, mark: Mark, most: usize) {
    if marks.len() >= most {
        marks.pop_front();
    }
    marks.push_back(mark);
}

/// The counts of a client.
fn of(totals: &Totals, client: usize) -> ByClass {
    totals.clients.get(client).copied().unwrap_or_default()
}

fn minute(begin: &Mark, end: &Totals) -> Minute {
    let requests = since(&begin.totals.requests, &end.requests);
    let durations = since(&begin.totals.durations, &end.durations);
    let [_, _, _, _, refused, failed] = requests;
    Minute {
        at: begin.at,
        requests: requests.iter().sum(),
        refused,
        failed,
        p50: quantile(&durations, 0.5),
        p95: quantile(&durations, 0.95),
        p99: quantile(&durations, 0.99),
        openemr_p95: quantile(&since(&begin.totals.upstream, &end.upstream), 0.95),
    }
}

/// The milliseconds within which this share of the durations ended, taking those of a bucket to be spread evenly in it. What is
/// longer than the last bound counts as the last bound.
fn quantile(counts: &ByBucket, share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = share * all as f64;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, upper) in counts.iter().map(|count| *count as f64).zip(upper_bounds()) {
        if count > 0.0 && below + count >= rank {
            return Some(lower + (upper - lower) * ((rank - below) / count));
        }
        below += count;
        lower = upper;
    }
    None
}

/// The upper bounds of the buckets, in milliseconds; the last one twice.
fn upper_bounds() -> impl Iterator<Item = f64> {
    let last = BOUNDS.last().into_iter();
    BOUNDS.iter().chain(last).take(BUCKETS).map(|bound| *bound as f64 / 1_000.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// Sums after `good` requests with 200 and `bad` ones with 503, each of about a millisecond.
    fn totals(good: u64, bad: u64) -> Totals {
        let mut totals = Totals { clients: vec![[0; 6]; 3], reasons: vec![0; 2], ..Totals::default() };
        totals.requests = [0, 0, good, 0, 0, bad];
        totals.clients[1] = [0, 0, good, 0, 0, bad];
        totals.durations[3] = good + bad;
        totals.reasons[1] = bad;
        totals
    }

    struct Clock {
        instant: Instant,
        at: i64,
    }

    impl Clock {
        fn step(&mut self) -> (Instant, i64) {
            self.instant += STEP;
            self.at += 10;
            (self.instant, self.at)
        }
    }

    #[test]
    fn a_minute_has_what_came_in_it() {
        let mut clock = Clock { instant: Instant::now(), at: 1_000 };
        let mut history = History::new(clock.instant, clock.at, totals(5, 0));
        for step in 1..=6 {
            let (instant, at) = clock.step();
            history.note(instant, at, totals(5 + step, 0));
        }
        let hour = history.hour(clock.instant + Duration::from_secs(5), &totals(12, 3));
        let shown: Vec<_> = hour.minutes.iter().map(|minute| (minute.at, minute.requests, minute.failed)).collect();
        assert_eq!(shown, [(1_000, 6, 0), (1_060, 4, 3)]);
        assert_eq!(hour.reasons, [(1, 3)]);
        assert_eq!(
            hour.clients.iter().map(|client| (client.number, client.requests, client.failed)).collect::<Vec<_>>(),
            [(1, 10, 3)]
        );
        // Nine requests after the first step, which ended 55 seconds ago.
        assert!((hour.rate - 9.0 / 55.0).abs() < 1e-9, "{}", hour.rate);
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let mut clock = Clock { instant: Instant::now(), at: 0 };
        let mut history = History::new(clock.instant, 0, totals(0, 0));
        for step in 1..=(6 * 200) {
            let (instant, at) = clock.step();
            history.note(instant, at, totals(step, 0));
        }
        let hour = history.hour(clock.instant, &totals(1_200, 0));
        assert_eq!(hour.minutes.len(), 60);
        assert_eq!((hour.minutes[0].at, hour.minutes[0].requests, hour.minutes[59].requests), (141 * 60, 6, 0));
        assert_eq!(hour.clients[0].requests, 59 * 6);
        assert!((hour.rate - 0.1).abs() < 1e-9, "{}", hour.rate);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let mut counts = ByBucket::default();
        assert_eq!(quantile(&counts, 0.5), None);
        // From 2.5 to 5 ms.
        counts[5] = 100;
        for (share, expected) in [(0.5, 3.75), (0.95, 4.875), (1.0, 5.0)] {
            assert!((quantile(&counts, share).unwrap() - expected).abs() < 1e-9, "{share}");
        }
        // Longer than the last bound.
        counts[BUCKETS - 1] = 100;
        assert_eq!(quantile(&counts, 0.99), Some(60_000.0));
    }
}

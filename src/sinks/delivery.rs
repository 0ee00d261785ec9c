//! The delivery of records to a repository, without sockets and clocks: which events go next, what an answer changes, how long to wait.

use std::time::Duration;

use crate::audit::audit_event;
use crate::audit::spool::reader::Pending;
use crate::sinks::batch_answer::{BatchAnswer, Verdict};

/// The shortest and the longest wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// After so many Bundles in a row of which nothing was taken and something refused for good, it is more likely that the repository
/// is at fault than the events: from then on there are waits between them.
const REFUSED_IN_A_ROW: u32 = 3;

/// The events of some records, in order.
#[derive(Debug)]
pub(super) struct Batch {
    records: Vec<Pending>,
    events: Vec<Event>,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Which record it is of, within the batch.
    pub(super) record: usize,
    /// Which of its events it is.
    pub(super) index: u64,
    is_done: bool,
}

/// How far a batch is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// So many records are, from the first on.
    pub(super) records: usize,
    /// So many events of the next one are.
    pub(super) events: u64,
}

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// How many events were taken.
    pub(super) taken: u64,
    /// Those that were refused for good, with the status.
    pub(super) refused: Vec<(Event, u16)>,
    /// Why events wait.
    pub(super) trouble: Option<&'static str>,
    /// How long to wait before the next Bundle.
    pub(super) wait: Option<Duration>,
}

/// How many events go at once, and how often that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    size: usize,
    most: usize,
    failures: u32,
    refused_in_a_row: u32,
}

impl Batch {
    /// The first `most` events of these records that are not posted.
    #[must_use]
    pub(super) fn new(records: Vec<Pending>, most: usize) -> Self {
        let of = |(record, pending): (usize, &Pending)| {
            (pending.posted..audit_event::count(&pending.record)).map(move |index| Event { record, index, is_done: false })
        };
        let events = records.iter().enumerate().flat_map(of).take(most).collect();
        Self { records, events }
    }

    /// The events that go next.
    #[must_use]
    pub(super) fn next(&self, pace: &Pace) -> Vec<Event> {
        self.events.iter().filter(|event| !event.is_done).take(pace.size).copied().collect()
    }

    /// The record of an event.
    #[must_use]
    pub(super) fn record(&self, event: &Event) -> Option<&crate::audit::record::Record> {
        self.records.get(event.record).map(|pending| &pending.record)
    }

    /// How far it is done: what comes before the first event that waits.
    #[must_use]
    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for (number, pending) in self.records.iter().enumerate() {
            let done = self.events.iter().filter(|event| event.record == number).take_while(|event| event.is_done).count();
            let events = pending.posted.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            if events < audit_event::count(&pending.record) {
                return Progress { events, ..progress };
            }
            progress.records += 1;
        }
        progress
    }

    /// Notes the answer to a Bundle with these events. `jitter` is a random number from 0 to 1.
    pub(super) fn answered(&mut self, sent: &[Event], answer: BatchAnswer, pace: &mut Pace, jitter: f64) -> Change {
        let mut change = Change::default();
        match answer {
            BatchAnswer::Each(verdicts) => {
                for (event, verdict) in sent.iter().zip(verdicts) {
                    match verdict {
                        Verdict::Taken => change.taken += 1,
                        Verdict::Refused(status) => change.refused.push((*event, status)),
                        Verdict::Later => {
                            change.trouble = Some("failed");
                            continue;
                        }
                    }
                    self.set_done(event);
                }
                pace.size = pace.most.min(pace.size.saturating_mul(2));
            }
            BatchAnswer::Refused(status) => match sent {
                [event] => {
                    change.refused.push((*event, status));
                    self.set_done(event);
                }
                _ => {
                    pace.size = sent.len().div_ceil(2).max(1);
                    change.trouble = Some("refused");
                    return change;
                }
            },
            BatchAnswer::Later(trouble) => {
                change.trouble = Some(trouble.word);
                change.wait = trouble.wait;
            }
        }
        let own = pace.after(&change, jitter);
        change.wait = change.wait.max(own);
        change
    }

    fn set_done(&mut self, event: &Event) {
        let is_it = |one: &&mut Event| (one.record, one.index) == (event.record, event.index);
        if let Some(event) = self.events.iter_mut().find(is_it) {
            event.is_done = true;
        }
    }
}

impl Pace {
    /// At most so many events at once.
    #[must_use]
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { size: most, most, failures: 0, refused_in_a_row: 0 }
    }

    /// The wait after a Bundle.
    fn after(&mut self, change: &Change, jitter: f64) -> Option<Duration> {
        if change.taken > 0 {
            self.refused_in_a_row = 0;
        } else if !change.refused.is_empty() {
            self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        }
        self.failures = if change.trouble.is_some() { self.failures.saturating_add(1) } else { 0 };
        let failures = self.failures.max(self.refused_in_a_row.saturating_sub(REFUSED_IN_A_ROW));
        (failures > 0).then(|| wait(failures, jitter))
    }
}

/// Exponential backoff: half of the ceiling, and a random part of the other half.
fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).filter(|_| failures <= 16).unwrap_or(u32::MAX);
    let ceiling = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
    (ceiling / 2 + (ceiling / 2).mul_f64(jitter)).max(FIRST_WAIT)
}

#[cfg(test)]
mod tests;

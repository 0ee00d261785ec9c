//! The latest token exchanges and how each ended, for the operator.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

/// How many are remembered.
const REMEMBERED: usize = 10;

/// An exchange that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastExchange {
    /// When it ended.
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why it brought no token, as the log says it; `None` when it brought one.
    pub(crate) failure: Option<String>,
}

/// The latest exchanges, the oldest first.
#[derive(Debug, Default)]
pub(super) struct PastExchanges(VecDeque<PastExchange>);

impl PastExchanges {
    /// Adds the latest one, and forgets the oldest of too many.
    pub(super) fn add(&mut self, exchange: PastExchange) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(exchange);
    }

    /// All of them, the latest first.
    #[must_use]
    pub(super) fn latest_first(&self) -> Vec<PastExchange> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut past = PastExchanges::default();
        for number in 0..13 {
            past.add(PastExchange { at: Timestamp::UNIX_EPOCH, took: Duration::from_secs(number), failure: None });
        }
        let took: Vec<u64> = past.latest_first().iter().map(|one| one.took.as_secs()).collect();
        assert_eq!(took, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    }
}

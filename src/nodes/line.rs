//! Who waits, in the order of arrival, each until his own deadline. Pure: the time is passed in.

use std::collections::VecDeque;
use std::time::Instant;

/// A line of waiters.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<Waiter<T>>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    ticket: u64,
    deadline: Instant,
    turn: T,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), tickets: 0 }
    }
}

impl<T> Line<T> {
    /// Stands at its end; the ticket is for leaving it.
    pub(super) fn join(&mut self, deadline: Instant, turn: T) -> u64 {
        self.tickets += 1;
        self.waiting.push_back(Waiter { ticket: self.tickets, deadline, turn });
        self.tickets
    }

    /// Whether that ticket was still in the line.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        match self.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            Ok(at) => self.waiting.remove(at).is_some(),
            Err(_) => false,
        }
    }

    /// The first whose time is not up, and how many have left the line, he and those before him.
    pub(super) fn next(&mut self, now: Instant) -> (Option<T>, u64) {
        let mut left = 0;
        while let Some(waiter) = self.waiting.pop_front() {
            left += 1;
            if waiter.deadline > now {
                return (Some(waiter.turn), left);
            }
        }
        (None, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn first_come_first_served_but_for_those_who_left_or_whose_time_is_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut line = Line::default();
        let tickets: Vec<u64> = [(later, 'a'), (now, 'b'), (later, 'c'), (now, 'd'), (later, 'e')]
            .into_iter()
            .map(|(deadline, name)| line.join(deadline, name))
            .collect();
        assert!(line.leave(tickets[0]));
        assert!(!line.leave(tickets[0]), "once");
        assert_eq!(line.next(now), (Some('c'), 2), "b is taken out with it");
        assert_eq!(line.next(now), (Some('e'), 2));
        assert!(!line.leave(tickets[4]));
        assert_eq!(line.next(now), (None, 0));
    }
}

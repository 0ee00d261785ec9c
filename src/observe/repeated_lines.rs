//! Keeps a message that repeats from filling the log: within a time window it is written once, and the others are counted.
//! Messages that differ in numbers alone are the same one.
//!
//! Decision: `docs/decisions/47-log-lines.md`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use log::Level;
use parking_lot::Mutex;

use super::safe_text::begin;

/// The most messages that are remembered. Others are written each time.
const MOST: usize = 1024;
/// The longest part of a message that is kept for its count, in bytes.
const LONGEST: usize = 400;

/// The messages of the windows that have not ended.
#[derive(Default)]
pub(super) struct RepeatedLines(Mutex<State>);

#[derive(Default)]
struct State {
    messages: HashMap<u64, Message>,
    /// Whether somebody waits for the ends of windows.
    is_watched: bool,
}

struct Message {
    level: Level,
    text: String,
    since: Instant,
    ends: Instant,
    more: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is the first of its window, and written.
    First,
    /// It is counted.
    Counted,
    /// It is counted, and from now on somebody has to call [`RepeatedLines::ended`].
    CountedUnwatched,
}

/// How often a message was counted in a window that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) level: Level,
    pub(super) text: String,
}

impl RepeatedLines {
    /// Decides about a line.
    pub(super) fn see(&self, level: Level, message: &str, window: Duration, now: Instant) -> Seen {
        let mut state = self.0.lock();
        let State { messages, is_watched } = &mut *state;
        if messages.len() >= MOST {
            messages.retain(|_, message| message.more > 0 || message.ends > now);
        }
        let is_full = messages.len() >= MOST;
        match messages.entry(key(level, message)) {
            Entry::Occupied(mut known) if known.get().ends > now => {
                known.get_mut().more += 1;
                if std::mem::replace(is_watched, true) { Seen::Counted } else { Seen::CountedUnwatched }
            }
            // Its count has not been taken: this line is the first of the next window, and the count goes on.
            Entry::Occupied(mut known) if known.get().more > 0 => {
                known.get_mut().more += 1;
                Seen::Counted
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                (known.since, known.ends) = (now, now + window);
                Seen::First
            }
            Entry::Vacant(_) if is_full => Seen::First,
            Entry::Vacant(place) => {
                let text = begin(message, LONGEST).to_owned();
                place.insert(Message { level, text, since: now, ends: now + window, more: 0 });
                Seen::First
            }
        }
    }

    /// Takes the counts of the windows that have ended by `now`, and when the next one ends. With `None` nobody waits any longer.
    pub(super) fn ended(&self, now: Instant) -> (Vec<Count>, Option<Instant>) {
        let mut state = self.0.lock();
        let counts = state.messages.extract_if(|_, message| message.ends <= now).filter_map(|(_, message)| count(&message, now));
        let counts = counts.collect();
        let next = state.messages.values().filter(|message| message.more > 0).map(|message| message.ends).min();
        state.is_watched = next.is_some();
        (counts, next)
    }

    /// Takes all counts, before the process ends.
    pub(super) fn all(&self, now: Instant) -> Vec<Count> {
        self.0.lock().messages.drain().filter_map(|(_, message)| count(&message, now)).collect()
    }
}

fn count(message: &Message, now: Instant) -> Option<Count> {
    let Message { level, text, since, more, .. } = message;
    let seconds = now.saturating_duration_since(*since).as_secs_f64().ceil();
    (*more > 0).then(|| Count { level: *level, text: format!("{more} more in {seconds} s: {text}") })
}

/// What makes two messages the same one: all but their numbers.
fn key(level: Level, message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    level.hash(&mut hasher);
    for word in message.split(' ') {
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_number = !core.is_empty() && core.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { "0" } else { word }.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn texts(counts: &[Count]) -> Vec<&str> {
        counts.iter().map(|count| count.text.as_str()).collect()
    }

    #[test]
    fn a_message_is_written_once_a_window_and_the_others_are_counted() {
        let (lines, start) = (RepeatedLines::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let see = |message, seconds| lines.see(Level::Warn, message, WINDOW, at(seconds));
        assert_eq!(see("site a: the queue is full", 0), Seen::First);
        assert_eq!(see("site b: the queue is full", 1), Seen::First);
        assert_eq!(see("site a: the queue is full", 1), Seen::CountedUnwatched);
        assert_eq!(see("site a: the queue is full", 2), Seen::Counted);
        assert_eq!(lines.ended(at(9)), (Vec::new(), Some(at(10))));
        let (counts, next) = lines.ended(at(10));
        assert_eq!((texts(&counts), next), (vec!["2 more in 10 s: site a: the queue is full"], None));
        assert_eq!(see("site a: the queue is full", 11), Seen::First);
        assert_eq!(see("site b: the queue is full", 12), Seen::First);
        assert_eq!(lines.ended(at(30)), (Vec::new(), None));
    }

    #[test]
    fn numbers_make_no_other_message_and_addresses_do() {
        let (lines, now) = (RepeatedLines::default(), Instant::now());
        let see = |message| lines.see(Level::Warn, message, WINDOW, now);
        assert_eq!(see("the next exchange is due in 3 s"), Seen::First);
        assert_eq!(see("the next exchange is due in 29 s"), Seen::CountedUnwatched);
        assert_eq!(see("node http://10.0.0.1: refused (os error 111)"), Seen::First);
        assert_eq!(see("node http://10.0.0.2: refused (os error 111)"), Seen::First);
        assert_eq!(lines.see(Level::Error, "the next exchange is due in 3 s", WINDOW, now), Seen::First);
        assert_eq!(texts(&lines.all(now)), ["1 more in 0 s: the next exchange is due in 3 s"]);
    }

    #[test]
    fn no_more_messages_are_kept_than_may_be() {
        let (lines, now) = (RepeatedLines::default(), Instant::now());
        for number in 0..MOST + 10 {
            assert_eq!(lines.see(Level::Warn, &format!("site s{number}"), WINDOW, now), Seen::First);
        }
        assert_eq!(lines.0.lock().messages.len(), MOST);
        assert_eq!(lines.see(Level::Warn, &"é".repeat(LONGEST), WINDOW, now + WINDOW), Seen::First);
        assert!(lines.0.lock().messages.values().all(|message| message.text.len() <= LONGEST));
    }
}

//! The client assertions that were used: each `jti` of a client is good once (SMART App Launch 2.2, "Asymmetric client
//! authentication"), until the assertion has expired and is refused for that.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::keys::sha256;

/// The most assertions of one client that are remembered at a time: 66 a second over the life of one.
const MOST_PER_CLIENT: usize = 20_000;

/// The assertions that were used. One lock: a client asks for a token every few minutes, not with each request.
#[derive(Debug, Default)]
pub(crate) struct Replay(Mutex<HashMap<Arc<str>, Used>>);

/// The assertions of one client: the digest of each `jti`, and the last second at which it could be used.
#[derive(Debug, Default)]
struct Used {
    jtis: HashMap<[u8; 16], i64>,
    /// No assertion expires before this second, so that nothing can be forgotten before it.
    first_ends: i64,
}

/// Why an assertion may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOnce {
    /// It was used before.
    Replayed,
    /// The client has used too many to remember another one.
    Full,
}

impl Replay {
    /// Uses an assertion of a client, which is good to the end of the second `until`.
    ///
    /// # Errors
    /// It was used before, or nobody could remember that it was used now.
    pub(crate) fn once(&self, client: &str, jti: &str, until: i64, now: i64) -> Result<(), NotOnce> {
        let mut key = [0; 16];
        key.iter_mut().zip(sha256(jti.as_bytes())).for_each(|(to, from)| *to = from);
        let mut clients = self.0.lock();
        if !clients.contains_key(client) {
            clients.insert(client.into(), Used::default());
        }
        let used = clients.entry(client.into()).or_default();
        used.once(key, until, now)
    }
}

impl Used {
    fn once(&mut self, jti: [u8; 16], until: i64, now: i64) -> Result<(), NotOnce> {
        if self.jtis.get(&jti).is_some_and(|known| *known >= now) {
            return Err(NotOnce::Replayed);
        }
        if self.jtis.len() >= MOST_PER_CLIENT || (self.first_ends < now && self.jtis.len() >= 64) {
            self.jtis.retain(|_, until| *until >= now);
            self.first_ends = self.jtis.values().copied().min().unwrap_or(i64::MAX);
        }
        if self.jtis.len() >= MOST_PER_CLIENT {
            return Err(NotOnce::Full);
        }
        self.first_ends = if self.jtis.is_empty() { until } else { self.first_ends.min(until) };
        self.jtis.insert(jti, until);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_used_once_by_each_client() {
        let replay = Replay::default();
        assert_eq!(replay.once("a", "1", 300, 0), Ok(()));
        assert_eq!(replay.once("a", "1", 300, 1), Err(NotOnce::Replayed));
        assert_eq!(replay.once("a", "1", 300, 300), Err(NotOnce::Replayed));
        assert_eq!(replay.once("a", "2", 300, 1), Ok(()));
        assert_eq!(replay.once("b", "1", 300, 1), Ok(()));
        // An assertion of that id would be another one now: the first has expired.
        assert_eq!(replay.once("a", "1", 601, 301), Ok(()));
        assert_eq!(replay.once("a", "1", 601, 302), Err(NotOnce::Replayed));
    }

    #[test]
    fn what_cannot_be_remembered_is_refused_and_nothing_is_forgotten() {
        let mut used = Used::default();
        let key = |number: usize| (number as u128).to_be_bytes();
        for number in 0..MOST_PER_CLIENT {
            let until = if number < 10 { 100 } else { 300 };
            assert_eq!(used.once(key(number), until, 0), Ok(()));
        }
        assert_eq!(used.once(key(MOST_PER_CLIENT), 300, 100), Err(NotOnce::Full));
        assert_eq!(used.once(key(5), 300, 100), Err(NotOnce::Replayed));
        assert_eq!(used.once(key(MOST_PER_CLIENT), 400, 101), Ok(()));
        assert_eq!(used.once(key(10), 400, 101), Err(NotOnce::Replayed));
        assert_eq!(used.jtis.len(), MOST_PER_CLIENT - 9);
    }
}

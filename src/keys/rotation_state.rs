//! Reads and writes the state file of a rotation: JSON beside the JWK Set. It holds public keys and times, nothing secret.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jwk_set::Jwk;
use crate::keys::rotation::{Finished, Rotation, Stage, Standing, State, Which};

/// The largest state file that is read, in bytes.
pub(super) const MAX_STATE_FILE: usize = 256 * 1024;

/// Why a file is not a state file. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// It is not JSON, or not in the form that the gateway writes.
    #[error("is damaged: it is not the JSON that the gateway writes (line {line}, column {column})")]
    Form {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// It was written by a later version.
    #[error("was written by another version of the gateway (its version is {0}, not 1)")]
    Version(u64),
    /// A member is missing, or its value is impossible.
    #[error("is damaged: `{0}` is missing or malformed")]
    Member(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<WrittenRotation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<WrittenFinished>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRotation {
    phase: Phase,
    published_at: String,
    switch_at: String,
    retire_after_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    switched_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noticed_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetched_at: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sites: BTreeMap<String, WrittenStanding>,
    old: Value,
    new: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Published,
    Switched,
    Retiring,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Signs {
    Old,
    New,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStanding {
    signs: Signs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFinished {
    kid: String,
    retired_at: String,
}

impl State {
    /// Parses a state file.
    ///
    /// # Errors
    /// [`StateError`] for anything that the gateway does not write.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let form = |error: serde_json::Error| StateError::Form { line: error.line(), column: error.column() };
        let Versioned { version } = serde_json::from_slice(bytes).map_err(form)?;
        if version != 1 {
            return Err(StateError::Version(version));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(form)?;
        let last = written.last.map(|last| Ok(Finished { kid: last.kid, retired_at: time("retired_at", &last.retired_at)? }));
        Ok(Self { rotation: written.rotation.map(rotation).transpose()?, last: last.transpose()? })
    }

    /// Returns the content of the state file.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        let written = Written {
            version: 1,
            rotation: self.rotation.as_ref().map(written_rotation),
            last: self.last.as_ref().map(|last| WrittenFinished { kid: last.kid.clone(), retired_at: text(last.retired_at) }),
        };
        // A tree of strings and numbers always serialises.
        serde_json::to_string_pretty(&written).unwrap_or_default() + "\n"
    }
}

/// Returns whether a `kid` can be part of a file's name.
#[must_use]
fn fits_in_a_file_name(kid: &str) -> bool {
    (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn rotation(written: WrittenRotation) -> Result<Rotation, StateError> {
    let optional = |name, value: &Option<String>| value.as_deref().map(|value| time(name, value)).transpose();
    let (old, new) = (key("old", &written.old)?, key("new", &written.new)?);
    if !new.kid().is_some_and(fits_in_a_file_name) || new.kid() == old.kid() || new.public_key() == old.public_key() {
        return Err(StateError::Member("new"));
    }
    let standing = |written: WrittenStanding| {
        let signs = match written.signs {
            Signs::Old => Which::Old,
            Signs::New => Which::New,
        };
        Ok(Standing { signs, accepted_at: optional("accepted_at", &written.accepted_at)? })
    };
    Ok(Rotation {
        old,
        new,
        published_at: time("published_at", &written.published_at)?,
        switch_at: time("switch_at", &written.switch_at)?,
        retire_after: Duration::from_millis(written.retire_after_ms),
        stage: match (written.phase, optional("switched_at", &written.switched_at)?) {
            (Phase::Published, None) => Stage::Published,
            (Phase::Switched, Some(at)) => Stage::Switched { at },
            (Phase::Retiring, None) => Stage::Retiring,
            (Phase::Published | Phase::Switched | Phase::Retiring, _) => return Err(StateError::Member("switched_at")),
        },
        noticed_at: optional("noticed_at", &written.noticed_at)?,
        fetched_at: optional("fetched_at", &written.fetched_at)?,
        sites: written
            .sites
            .into_iter()
            .map(|(site, written)| Ok((site, standing(written)?)))
            .collect::<Result<_, StateError>>()?,
    })
}

/// Parses a key that can sign and has a kid.
fn key(name: &'static str, value: &Value) -> Result<Jwk, StateError> {
    let jwk = Jwk::from_value(value).map_err(|_| StateError::Member(name))?;
    if jwk.public_key().is_some() && jwk.kid().is_some() { Ok(jwk) } else { Err(StateError::Member(name)) }
}

fn time(name: &'static str, text: &str) -> Result<Timestamp, StateError> {
    text.parse().map_err(|_| StateError::Member(name))
}

fn written_rotation(rotation: &Rotation) -> WrittenRotation {
    WrittenRotation {
        phase: match rotation.stage {
            Stage::Published => Phase::Published,
            Stage::Switched { .. } => Phase::Switched,
            Stage::Retiring => Phase::Retiring,
        },
        published_at: text(rotation.published_at),
        switch_at: text(rotation.switch_at),
        retire_after_ms: u64::try_from(rotation.retire_after.as_millis()).unwrap_or(u64::MAX),
        switched_at: match rotation.stage {
            Stage::Switched { at } => Some(text(at)),
            Stage::Published | Stage::Retiring => None,
        },
        noticed_at: rotation.noticed_at.map(text),
        fetched_at: rotation.fetched_at.map(text),
        sites: rotation
            .sites
            .iter()
            .map(|(site, standing)| {
                let signs = match standing.signs {
                    Which::Old => Signs::Old,
                    Which::New => Signs::New,
                };
                (site.clone(), WrittenStanding { signs, accepted_at: standing.accepted_at.map(text) })
            })
            .collect(),
        old: rotation.old.to_value(),
        new: rotation.new.to_value(),
    }
}

/// Writes a time in RFC 3339, in UTC.
fn text(time: Timestamp) -> String {
    time.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::rotation::Event;

    fn jwk(kid: &str, n: &str) -> Jwk {
        Jwk::from_value(&serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": kid})).unwrap()
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    /// States that a gateway could have written.
    fn state() -> impl Strategy<Value = State> {
        let event = prop_oneof![
            Just(Event::Noticed),
            Just(Event::Fetched),
            "[a-z]{1,8}".prop_map(Event::NewAccepted),
            "[a-z]{1,8}".prop_map(Event::OldPreferred),
            prop::collection::vec("[a-z]{1,8}", 0..3).prop_map(Event::Clock),
        ];
        (0..5_i64, prop::collection::vec((event, 0..9_i64), 0..12)).prop_map(|(published, events)| {
            let keys = (jwk("any text at all…", "AQAB"), jwk("new_kid-2", "AQAC"));
            let wait = Duration::from_millis(4500);
            let begun = State::default().begin(keys, time(published), wait, wait).unwrap();
            events
                .into_iter()
                .fold(begun, |state, (event, second)| state.after(time(published + second), &event))
                .finished(time(99))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in state()) {
            prop_assert_eq!(State::parse(state.to_json().as_bytes()), Ok(state));
        }

        #[test]
        fn a_byte_changed_is_refused_or_harmless(state in state(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = state.to_json().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(State { rotation: Some(rotation), .. }) = State::parse(&bytes) {
                prop_assert!(rotation.new.kid().is_some_and(fits_in_a_file_name));
                prop_assert!(rotation.new.public_key() != rotation.old.public_key());
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = State::parse(&bytes);
        }
    }

    #[test]
    fn damage_is_named() {
        let good =
            State::default().begin((jwk("a", "AQAB"), jwk("b", "AQAC")), time(0), Duration::from_secs(1), Duration::from_secs(1));
        let good = good.unwrap().to_json();
        for (from, to, words) in [
            ("{", "", "not the JSON"),
            ("\"version\": 1", "\"version\": 2", "another version"),
            ("\"published\"", "\"unheard-of\"", "not the JSON"),
            ("\"kid\": \"b\"", "\"kid\": \"../../etc/passwd\"", "`new`"),
            ("\"kid\": \"b\"", "\"kid\": \"a\"", "`new`"),
            ("\"n\": \"AQAC\"", "\"n\": \"AQAB\"", "`new`"),
            ("\"kty\": \"RSA\"", "\"kty\": \"oct\"", "`old`"),
            ("\"switch_at\": \"2026", "\"switch_at\": \"at noon, 2026", "`switch_at`"),
            ("\"phase\": \"published\"", "\"phase\": \"switched\"", "`switched_at`"),
            ("\"retire_after_ms\"", "\"retire\"", "not the JSON"),
        ] {
            assert!(good.contains(from), "{from} is not in {good}");
            let error = State::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{to}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_written() {
        let with_private = serde_json::json!({"kty": "RSA", "n": "AQAC", "e": "AQAB", "kid": "b", "d": "c2VjcmV0"});
        let keys = (jwk("a", "AQAB"), Jwk::from_value(&with_private).unwrap());
        let text = State::default().begin(keys, time(0), Duration::ZERO, Duration::ZERO).unwrap().to_json();
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }
}

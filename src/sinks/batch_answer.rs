//! What a repository answers to a Bundle of type `batch` (FHIR R4, http.html#transaction-response), and what follows from it.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::http::retry_after;

/// What the repository said of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has it.
    Taken,
    /// It will never take it, and answered with this status.
    Refused(u16),
    /// It may take it later.
    Later,
}

/// What the repository said of a Bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BatchAnswer {
    /// A verdict for each event.
    Each(Vec<Verdict>),
    /// It will not take the Bundle as it is, and answered with this status: an event is at fault, or there are too many.
    Refused(u16),
    /// It takes nothing now.
    Later(Trouble),
}

/// Why nothing is taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In a word.
    pub(super) word: &'static str,
    /// For how long the repository wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl BatchAnswer {
    /// Nothing is taken, for this reason.
    #[must_use]
    pub(super) fn later(word: &'static str) -> Self {
        Self::Later(Trouble { word, wait: None })
    }

    /// Reads an answer to a Bundle with `sent` events. Whatever is not understood leaves the events where they are.
    #[must_use]
    pub(super) fn read(status: u16, retry_after: Option<&str>, now: SystemTime, body: &[u8], sent: usize) -> Self {
        let wait = || retry_after.and_then(|field| retry_after::parse(field, now));
        match status {
            200..=299 => {
                verdicts(body).filter(|each| each.len() == sent).map_or_else(|| Self::later("not_understood"), Self::Each)
            }
            400 | 413 | 422 => Self::Refused(status),
            401 | 403 => Self::Later(Trouble { word: "unauthorized", wait: wait() }),
            429 => Self::Later(Trouble { word: "busy", wait: wait() }),
            408 | 500..=599 => Self::Later(Trouble { word: "failed", wait: wait() }),
            // Whatever else: the address is wrong, or its server is another.
            _ => Self::Later(Trouble { word: "not_understood", wait: wait() }),
        }
    }
}

fn verdicts(body: &[u8]) -> Option<Vec<Verdict>> {
    let bundle: Value = serde_json::from_slice(body).ok()?;
    if bundle.get("resourceType")? != "Bundle" || bundle.get("type")? != "batch-response" {
        return None;
    }
    // A server leaves an empty list out.
    let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(verdict).collect()
}

fn verdict(entry: &Value) -> Option<Verdict> {
    let status = entry.get("response")?.get("status")?.as_str()?.get(..3)?.parse().ok()?;
    Some(match status {
        200..=299 => Verdict::Taken,
        400 | 404 | 409 | 410 | 412 | 413 | 422 => Verdict::Refused(status),
        _ => Verdict::Later,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    fn read(status: u16, body: &str, sent: usize) -> BatchAnswer {
        BatchAnswer::read(status, Some("7"), UNIX_EPOCH, body.as_bytes(), sent)
    }

    #[test]
    fn each_entry_has_its_verdict() {
        let entries = r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"201 Created"}},
            {"response":{"status":"422"}},{"response":{"status":"503 x","outcome":{}}},{"response":{"status":"403"}}]}"#;
        let expected = vec![Verdict::Taken, Verdict::Refused(422), Verdict::Later, Verdict::Later];
        assert_eq!(read(200, entries, 4), BatchAnswer::Each(expected));
        assert_eq!(read(200, entries, 3), BatchAnswer::later("not_understood"), "another number of entries");
    }

    #[test]
    fn what_is_no_answer_to_a_batch_takes_nothing() {
        for body in ["", "{}", "<html>", r#"{"resourceType":"Bundle","type":"batch","entry":[{"response":{"status":"201"}}]}"#] {
            assert_eq!(read(200, body, 1), BatchAnswer::later("not_understood"), "{body}");
        }
        for (status, word) in [
            (401, "unauthorized"),
            (403, "unauthorized"),
            (429, "busy"),
            (408, "failed"),
            (500, "failed"),
            (507, "failed"),
            (302, "not_understood"),
            (404, "not_understood"),
            (405, "not_understood"),
        ] {
            let wait = Some(Duration::from_secs(7));
            assert_eq!(read(status, "", 1), BatchAnswer::Later(Trouble { word, wait }), "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(read(status, "", 1), BatchAnswer::Refused(status));
        }
    }

    proptest! {
        #[test]
        fn only_as_many_verdicts_as_events_count(status in 100..600_u16, body in ".{0,80}", sent in 0..5_usize) {
            if let BatchAnswer::Each(each) = read(status, &body, sent) {
                prop_assert_eq!(each.len(), sent);
            }
        }
    }
}

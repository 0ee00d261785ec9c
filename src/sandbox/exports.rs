//! The jobs and files of bulk exports, and how exports behave.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::response::Body;

/// How exports behave. By default they succeed at once; the other settings are what real installs do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExportBehavior {
    /// The most types that one kick-off exports; with a token that grants more, Apache answers 504 and the job is lost.
    pub(super) most_types: Option<usize>,
    /// How long Apache waits for PHP, in milliseconds; 60 s in OpenEMR's image.
    pub(super) apache_waits_ms: u32,
    /// How long the export of one type takes, in milliseconds.
    pub(super) type_takes_ms: u32,
    /// What an export does when the token grants Provenance.
    pub(super) provenance: ProvenanceBehavior,
    /// How many polls of the status are answered with "in progress".
    pub(super) polls: u32,
    /// How long files exist, in seconds; one hour in OpenEMR.
    pub(super) files_live_seconds: u64,
}

/// What an export does when the token grants Provenance.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProvenanceBehavior {
    /// It does not fail.
    #[default]
    No,
    /// It fails at once with 500.
    Error,
    /// It fails with Apache's 504, after Apache's timeout.
    Timeout,
}

impl Default for ExportBehavior {
    fn default() -> ExportBehavior {
        ExportBehavior {
            most_types: None,
            apache_waits_ms: 60_000,
            type_takes_ms: 0,
            provenance: ProvenanceBehavior::No,
            polls: 0,
            files_live_seconds: 3600,
        }
    }
}

impl ExportBehavior {
    /// Returns the status of a kick-off for these types, and the milliseconds until it is sent.
    pub(super) fn kick_off(&self, types: &[&str]) -> (u16, u32) {
        let grants_provenance = types.contains(&"Provenance");
        let takes_ms = self.type_takes_ms.saturating_mul(types.len() as u32);
        match self.provenance {
            ProvenanceBehavior::Error if grants_provenance => (500, 0),
            ProvenanceBehavior::Timeout if grants_provenance => (504, self.apache_waits_ms),
            _ if self.most_types.is_some_and(|most| types.len() > most) => (504, self.apache_waits_ms),
            _ if takes_ms > self.apache_waits_ms => (504, self.apache_waits_ms),
            _ => (202, takes_ms),
        }
    }
}

/// The jobs, and the files that they wrote.
#[derive(Default)]
pub(super) struct Exports {
    jobs: HashMap<String, Job>,
    files: HashMap<String, File>,
    files_made: u64,
    behavior: ExportBehavior,
    kick_offs: Vec<Value>,
}

struct Job {
    client: String,
    manifest: String,
    polls_left: u32,
}

/// How far a job is.
pub(super) enum JobStatus {
    /// Still in progress.
    InProgress,
    /// Complete, with the text of its manifest.
    Complete(String),
}

enum File {
    Export {
        name: String,
        content: Bytes,
        /// In seconds since 1970.
        expires: f64,
    },
    /// Published through the admin address, with its length in bytes.
    Pattern(u64),
}

/// A file that can be downloaded.
pub(super) struct Download {
    /// The media type.
    pub(super) content_type: &'static str,
    /// The content.
    pub(super) body: Body,
    /// The name for `Content-Disposition`.
    pub(super) file_name: String,
}

impl Exports {
    /// Publishes a Binary of `bytes` bytes under `id`.
    pub(super) fn publish(&mut self, id: String, bytes: u64) {
        self.files.insert(id, File::Pattern(bytes));
    }

    /// Returns how exports behave at present.
    pub(super) fn behavior(&self) -> &ExportBehavior {
        &self.behavior
    }

    /// Sets how exports behave from now on.
    pub(super) fn set_behavior(&mut self, behavior: ExportBehavior) {
        self.behavior = behavior;
    }

    /// Restores the default behaviour and forgets the kick-offs. Jobs and files stay.
    pub(super) fn reset(&mut self) {
        self.behavior = ExportBehavior::default();
        self.kick_offs.clear();
    }

    /// Records a kick-off for the admin address.
    pub(super) fn record_kick_off(&mut self, kick_off: Value) {
        self.kick_offs.push(kick_off);
    }

    /// Returns the recorded kick-offs: target, types, status, when each began (by the machine's clock) and how long it took.
    pub(super) fn kick_offs(&self) -> &[Value] {
        &self.kick_offs
    }

    /// Returns how many jobs are known.
    pub(super) fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Adds a file that exists from `now` (seconds since 1970) for as long as files live, and returns its id.
    pub(super) fn add_file(&mut self, name: String, content: Bytes, now: f64) -> String {
        self.files_made += 1;
        let id = (100_000 + self.files_made).to_string();
        let expires = now + self.behavior.files_live_seconds as f64;
        self.files.insert(id.clone(), File::Export { name, content, expires });
        id
    }

    /// Adds the job `id` of `client`.
    pub(super) fn add_job(&mut self, id: String, client: String, manifest: String) {
        self.jobs.insert(id, Job { client, manifest, polls_left: self.behavior.polls });
    }

    /// Polls a job; `None` when `client` has no job of this id.
    pub(super) fn poll(&mut self, id: &str, client: &str) -> Option<JobStatus> {
        let job = self.jobs.get_mut(id).filter(|job| job.client == client)?;
        if job.polls_left > 0 {
            job.polls_left -= 1;
            return Some(JobStatus::InProgress);
        }
        Some(JobStatus::Complete(job.manifest.clone()))
    }

    /// Deletes a job and its files; returns false when `client` has no job of this id.
    pub(super) fn delete(&mut self, id: &str, client: &str) -> bool {
        if self.jobs.get(id).is_none_or(|job| job.client != client) {
            return false;
        }
        self.jobs.remove(id);
        let of_this_job = format!("-{id}.ndjson");
        for file in self.files.values_mut() {
            if let File::Export { name, content, expires } = file
                && name.ends_with(&of_this_job)
            {
                (*content, *expires) = (Bytes::new(), 0.0);
            }
        }
        true
    }

    /// Returns whether there is or was a file `id`.
    pub(super) fn has(&self, id: &str) -> bool {
        self.files.contains_key(id)
    }

    /// Returns the file `id` if it exists at `now` (seconds since 1970).
    pub(super) fn download(&self, id: &str, now: f64) -> Option<Download> {
        match self.files.get(id)? {
            File::Export { expires, .. } if now >= *expires => None,
            File::Export { name, content, .. } => Some(Download {
                content_type: "application/fhir+ndjson",
                body: Body::Whole(content.clone()),
                file_name: name.clone(),
            }),
            File::Pattern(length) => Some(Download {
                content_type: "application/octet-stream",
                body: Body::Pattern(*length),
                file_name: format!("{id}.bin"),
            }),
        }
    }
}

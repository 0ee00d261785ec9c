//! The files of a trail, as the tests read them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder for a trail and its keys.
pub struct Trail(TempDir);

impl Trail {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn folder(&self) -> PathBuf {
        self.0.path().join("audit")
    }

    /// Where a key or another file beside the trail is.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a configuration keep the trail here.
    pub fn keep(&self, config: &mut Value) {
        self.keep_with(config, &json!({}));
    }

    /// The same with more keys.
    pub fn keep_with(&self, config: &mut Value, more: &Value) {
        let mut audit = json!({
            "folder": self.folder(),
            "ids_key": self.beside("ids.key"),
            "checkpoint_key": self.beside("checkpoint.key"),
        });
        for (key, value) in more.as_object().unwrap() {
            audit[key] = value.clone();
        }
        config["audit"] = audit;
    }

    /// The files, the oldest first.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).collect();
        files.sort();
        files
    }

    /// All that the files hold, as text.
    pub fn text(&self) -> String {
        self.files().iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    /// All records, the oldest first.
    pub fn records(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The records of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["kind"] == kind).collect()
    }

    /// The one record of a request, by its id.
    pub fn of_request(&self, id: &str) -> Value {
        let mut found = self.of_kind("request").into_iter().filter(|record| record["request_id"] == id);
        let record = found.next().unwrap_or_else(|| panic!("request {id} has no record"));
        assert!(found.next().is_none(), "request {id} has two records");
        record
    }
}

/// Whether a file holds nothing that others may read.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

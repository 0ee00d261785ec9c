//! `audit verify`: whether files of the trail were changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::audit_files::some_names;
use super::outcome::{Failure, Outcome, load, print, say};
use crate::audit::checkpoint::VerifierKey;
use crate::audit::checkpoint_key::public_file;
use crate::audit::disk::Folder;
use crate::audit::finding::Finding;
use crate::audit::verify::{Verified, gone, verify};
use crate::config::CONFIG_FILE;
use crate::config::problem::shown_path;

/// The arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Files of the trail, or folders with them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A file with the public keys that verify checkpoints, one a line; by default the one beside `audit.checkpoint_key`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The configuration file, which names the key
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE, conflicts_with = "key")]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    env_file: Option<PathBuf>,
}

impl Verify {
    /// Checks the files; prints what each holds, and whatever is found.
    ///
    /// # Errors
    /// Something was changed, or a file cannot be read.
    pub(super) fn run(self) -> Outcome {
        let keys = self.keys()?;
        let mut faults = Vec::new();
        for (folder, Named { names, is_whole }) in by_folder(&self.files)? {
            let failed = |error: io::Error| {
                let message = format!("the trail in {} cannot be read: {error}", shown_path(&folder));
                vec![Failure::new(message, "see who may read it")]
            };
            let at = |file: &str| folder.join(file).display().to_string();
            let mut report = |mut finding: Finding| {
                finding.file = at(&finding.file);
                match finding.what.is_fault() {
                    true => faults.push(Failure::of(finding)),
                    false => say(format!("note: {finding}")),
                }
            };
            let disk = Folder::at(&folder);
            if is_whole {
                gone(&disk).map_err(failed)?.into_iter().for_each(&mut report);
            }
            let verified = verify(&disk, &names, &keys, &mut report);
            for Verified { file, records, signed } in verified.map_err(failed)? {
                print(&format!("{}: {records} records, {signed} signed\n", at(&file)))?;
            }
        }
        if faults.is_empty() { print("nothing was changed\n") } else { Err(faults) }
    }

    fn keys(&self) -> Result<Vec<VerifierKey>, Vec<Failure>> {
        let path = match &self.key {
            Some(path) => path.clone(),
            None => public_file(&load(&self.config, self.env_file.as_deref())?.audit.checkpoint_key),
        };
        let failed =
            |what: String| vec![Failure::new(what, "name the file with the public half of audit.checkpoint_key with --key")];
        let text = fs::read_to_string(&path).map_err(|error| failed(format!("{} cannot be read: {error}", shown_path(&path))))?;
        VerifierKey::parse_all(&text)
            .ok_or_else(|| failed(format!("{} holds no keys that verify checkpoints", shown_path(&path))))
    }
}

/// The files of one folder.
#[derive(Debug, Default)]
struct Named {
    names: Vec<String>,
    /// Whether the folder itself was named.
    is_whole: bool,
}

/// The files by their folders, the oldest first.
fn by_folder(files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Named>, Vec<Failure>> {
    let mut all: BTreeMap<PathBuf, Named> = BTreeMap::new();
    for path in files {
        if path.is_dir() {
            let named = all.entry(path.clone()).or_default();
            named.names.extend(some_names(path)?);
            named.is_whole = true;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file());
        let Some(name) = name else {
            return Err(vec![Failure::new(format!("{} is no file", shown_path(path)), "name a file of the audit trail")]);
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        all.entry(folder.to_owned()).or_default().names.push(name.to_owned());
    }
    for Named { names, .. } in all.values_mut() {
        names.sort_unstable();
        names.dedup();
    }
    Ok(all)
}

//! The plans of a site's exports on disk: a folder with one file for each job, and a mark beside each that is to be deleted. What is done
//! here waits for the disk.
//!
//! Only the process that holds the lock of the folder works on jobs and changes their files; every process may add jobs and
//! marks. So the two processes of an upgrade never work on one job, and each can answer for all of them.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::warn;
use uuid::Uuid;

use crate::config;
use crate::exports::listing::Listing;
use crate::exports::store_error::StoreError;
use crate::keys::key_files::replace;
use crate::openemr::export::files::{FILES_LIVE, LONGEST_JOB};
use crate::openemr::export::plan::{MAX_PLAN, Plan};

/// The mode of the folders.
const OWN_FOLDER: u32 = 0o700;
/// The mode of the files.
const OWN: u32 = 0o600;
/// A half-written file that is older than this was left by a process that has ended.
const ABANDONED: Duration = Duration::from_secs(60);

/// The folder of one site's jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

/// Keeps other processes from working on the jobs of a folder until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// `None` when the file system has no locks.
    _folder: Option<File>,
}

impl Folder {
    /// The folder of a site. Site names have no character with a meaning in paths.
    pub(crate) fn of(site: &config::Site) -> Self {
        let folder =
            std::path::absolute(&site.answers.bulk_data.folder).unwrap_or_else(|_| site.answers.bulk_data.folder.clone());
        Self(folder.join(site.name.as_str()))
    }

    /// The folder at this path.
    #[cfg(test)]
    pub(super) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn plan(&self, job: Uuid) -> PathBuf {
        self.0.join(format!("{job}.json"))
    }

    fn aside(&self, job: Uuid) -> PathBuf {
        self.0.join(format!("{job}.damaged"))
    }

    fn mark(&self, job: Uuid) -> PathBuf {
        self.0.join(format!("{job}.deleted"))
    }

    /// Writes a job's plan over an earlier one of the same job. It is on disk when this returns.
    pub(crate) fn save(&self, plan: &Plan) -> Result<(), StoreError> {
        DirBuilder::new().recursive(true).mode(OWN_FOLDER).create(&self.0)?;
        Ok(replace(&self.plan(plan.job), &plan.to_bytes(), OWN, None)?)
    }

    /// Reads a job's plan; `None` when there is none, or when it is to be deleted.
    pub(crate) fn load(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        if self.is_marked(job) { Ok(None) } else { self.load_any(job) }
    }

    /// Reads a job's plan, also of a job that is to be deleted; `None` when there is none.
    pub(crate) fn load_any(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        let mut bytes = Vec::new();
        match File::open(self.plan(job)).and_then(|file| file.take(MAX_PLAN as u64 + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let plan = Plan::parse(&bytes)?;
        if plan.job == job { Ok(Some(plan)) } else { Err(StoreError::OtherJob) }
    }

    /// Whether OpenEMR may still have files of a job whose plan cannot be read.
    pub(crate) fn may_have_files(&self, job: Uuid) -> bool {
        may_have_files(&self.plan(job))
    }

    /// Lists the jobs and marks; none when there is no folder.
    pub(crate) fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some((stem, kind)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            match (Uuid::parse_str(stem), kind) {
                (Ok(job), "json") => drop(listing.jobs.insert(job)),
                (Ok(job), "deleted") => drop(listing.marked.insert(job)),
                (Ok(job), "damaged") => listing.has_lost_plan |= may_have_files(&self.aside(job)),
                _ => {}
            }
        }
        Ok(listing)
    }

    /// Marks a job to be deleted.
    pub(crate) fn mark_deleted(&self, job: Uuid) -> Result<(), StoreError> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(OWN).open(self.mark(job))?;
        Ok(())
    }

    /// Whether a job is to be deleted.
    pub(crate) fn is_marked(&self, job: Uuid) -> bool {
        self.mark(job).exists()
    }

    /// Removes a job's plan and mark.
    pub(crate) fn remove(&self, job: Uuid) -> Result<(), StoreError> {
        // The mark goes last: after a crash between the two, the job must not come back.
        for path in [self.plan(job), self.mark(job)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                warn!("{} cannot be removed: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Renames a plan that cannot be read, and keeps it for the operator to look at.
    pub(crate) fn set_aside(&self, job: Uuid) -> Result<(), StoreError> {
        if let Err(error) = fs::rename(self.plan(job), self.aside(job)) {
            warn!("{} cannot be renamed: {error}", self.plan(job).display());
        }
        Ok(())
    }

    /// Locks the folder for this process; `None` when another one holds the lock.
    pub(crate) fn lock(&self) -> Result<Option<FolderLock>, StoreError> {
        let folder = File::open(&self.0)?;
        match folder.try_lock() {
            Ok(()) => {
                self.sweep();
                Ok(Some(FolderLock { _folder: Some(folder) }))
            }
            Err(TryLockError::Error(_)) => Ok(Some(FolderLock { _folder: None })),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }

    /// Removes half-written files of a process that was killed.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let is_half_written = entry.path().extension().is_some_and(|extension| extension == "new");
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed().unwrap_or_default());
            if is_half_written && age.is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether OpenEMR may still have files of the job with this plan: it was written less than their life ago.
fn may_have_files(plan: &Path) -> bool {
    let written = fs::metadata(plan).and_then(|metadata| metadata.modified());
    let longest = u64::try_from(FILES_LIVE + LONGEST_JOB).unwrap_or(u64::MAX);
    written.is_ok_and(|written| written.elapsed().unwrap_or_default() < Duration::from_millis(longest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use crate::openemr::export::plan::tests;
    use std::os::unix::fs::PermissionsExt as _;

    fn plan(job: u128) -> Plan {
        let mut plan = tests::plan(&[("Patient", true)]);
        plan.job = Uuid::from_u128(job);
        plan
    }

    #[test]
    fn what_is_saved_is_found_again_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder(folder.path().join("bulk/default"));
        assert_eq!(store.list().unwrap(), Listing::default());
        assert_eq!(store.load(Uuid::from_u128(1)).unwrap(), None);
        store.save(&plan(1)).unwrap();
        store.save(&plan(1)).unwrap();
        assert_eq!(store.load(Uuid::from_u128(1)).unwrap(), Some(plan(1)));
        assert_eq!(store.list().unwrap().jobs, HashSet::from([Uuid::from_u128(1)]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&folder.path().join("bulk")), mode(store.path())), (0o700, 0o700));
        assert_eq!(mode(&store.plan(Uuid::from_u128(1))), 0o600);
    }

    #[test]
    fn a_marked_job_is_not_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder(folder.path().to_owned());
        let job = Uuid::from_u128(1);
        store.save(&plan(1)).unwrap();
        store.mark_deleted(job).unwrap();
        store.mark_deleted(job).unwrap();
        assert_eq!(store.load(job).unwrap(), None);
        assert!(store.load_any(job).unwrap().is_some());
        assert_eq!(
            store.list().unwrap(),
            Listing { jobs: HashSet::from([job]), marked: HashSet::from([job]), ..Listing::default() }
        );
        store.remove(job).unwrap();
        store.remove(job).unwrap();
        assert_eq!(store.list().unwrap(), Listing::default());
    }

    #[test]
    fn a_damaged_plan_is_an_error_and_can_be_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder(folder.path().to_owned());
        store.save(&plan(1)).unwrap();
        fs::rename(store.plan(Uuid::from_u128(1)), store.plan(Uuid::from_u128(2))).unwrap();
        assert!(matches!(store.load(Uuid::from_u128(2)), Err(StoreError::OtherJob)));
        assert!(store.may_have_files(Uuid::from_u128(2)));
        store.set_aside(Uuid::from_u128(2)).unwrap();
        assert_eq!(store.list().unwrap(), Listing { has_lost_plan: true, ..Listing::default() });
    }

    #[test]
    fn one_at_a_time_has_the_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder(folder.path().to_owned());
        let held = store.lock().unwrap();
        assert!(held.is_some() && store.lock().unwrap().is_none());
        drop(held);
        assert!(store.lock().unwrap().is_some());
    }
}

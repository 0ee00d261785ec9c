//! The thread that writes records: all that wait at once, to every sink, before any of their answers ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::audit::disk::Folder;
use crate::audit::files::Files;
use crate::audit::ids::Ids;
use crate::audit::record::{Kind, Record};
use crate::audit::spool::writer as spool;
use crate::audit::trail::Inbox;
use crate::config::{Audit, Sync};
use crate::sinks::syncing::Syncing;
use crate::sinks::watch::Troubles;

/// The longest wait for records; then it looks whether something else is due.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Writes records to the sinks.
pub(super) struct Writer {
    inbox: Inbox,
    files: Option<Files<Folder>>,
    spool: Option<spool::Writer<Folder>>,
    ids: Ids,
    sync: Sync,
    sync_interval: Duration,
    syncing: Syncing,
    /// When records were forced to the disk last, and whether there are new ones.
    synced: (Instant, bool),
    /// Of how many lost records the files tell.
    told: u64,
    troubles: Arc<Troubles>,
    ending: Arc<AtomicBool>,
}

impl Writer {
    /// A writer of what comes out of the inbox.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(super) fn new(
        inbox: Inbox,
        (files, spool): (Option<Files<Folder>>, Option<spool::Writer<Folder>>),
        ids: Ids,
        config: &Audit,
        troubles: Arc<Troubles>,
        ending: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let syncing = Syncing::start(Arc::clone(&troubles))?;
        let Audit { sync, sync_interval, .. } = *config;
        let synced = (Instant::now(), false);
        Ok(Self { inbox, files, spool, ids, sync, sync_interval, syncing, synced, told: 0, troubles, ending })
    }

    /// Writes until the process ends.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let is_ending = self.ending.load(Ordering::Acquire);
            let wait = if is_ending { Duration::ZERO } else { self.wait() };
            let is_open = self.inbox.take(&mut batch, wait);
            if !batch.is_empty() {
                let are_written = self.write(&mut batch);
                self.inbox.done(are_written);
            }
            let is_healthy = self.tend();
            self.inbox.shared().set_ready(is_healthy);
            if batch.is_empty() && (is_ending || !is_open) {
                break;
            }
        }
        if let Some(spool) = &mut self.spool {
            spool.sync().unwrap_or_else(|error| self.troubles.note("ending the spool", &error));
        }
        if let Some(files) = self.files.take() {
            files.close(Timestamp::now()).unwrap_or_else(|error| self.troubles.note("ending the file", &error));
        }
    }

    /// Writes a batch to every sink; gives whether all have it.
    fn write(&mut self, batch: &mut [Record]) -> bool {
        let is_each = self.sync == Sync::Each;
        let force = |done: io::Result<()>, sync: &mut dyn FnMut() -> io::Result<()>| {
            done.and_then(|()| if is_each { sync() } else { Ok(()) })
        };
        // The repository needs ids as they are, and queries; files must have neither.
        let spooled = self.spool.as_mut().map_or(Ok(()), |spool| force(spool.append(batch), &mut || spool.sync()));
        batch.iter_mut().for_each(|record| self.ids.write(record));
        let now = Timestamp::now();
        let filed = self.files.as_mut().map_or(Ok(()), |files| force(files.append(batch, now), &mut || files.sync()));
        self.synced.1 = true;
        let noted = |done: io::Result<()>, doing| done.map_err(|error| self.troubles.note(doing, &error)).is_ok();
        let is_spooled = noted(spooled, "writing to audit.repository.spool");
        noted(filed, "writing to audit.folder") && is_spooled
    }

    /// Does what is due besides; gives whether the next records can be written, as far as is known.
    fn tend(&mut self) -> bool {
        self.sync_by_interval();
        let is_tended = match self.tend_files() {
            Ok(has_room) => has_room,
            Err(error) => {
                self.troubles.note("writing to audit.folder", &error);
                false
            }
        };
        is_tended && self.spool.as_mut().is_none_or(spool::Writer::has_room)
    }

    /// Rotates, signs, and says where the files have a gap; gives whether they have room.
    fn tend_files(&mut self) -> io::Result<bool> {
        let (now, lost) = (Timestamp::now(), self.inbox.shared().health().lost);
        let Some(files) = &mut self.files else { return Ok(true) };
        files.tend(now)?;
        // What room there is belongs to the requests that have begun.
        if lost > self.told && files.has_room() {
            files.append(&[Record { entries: Some(lost - self.told), ..Record::new(Kind::Lost, now) }], now)?;
            self.told = lost;
        }
        Ok(files.has_room())
    }

    /// Forces what was written to the disk where that is due, on another thread.
    fn sync_by_interval(&mut self) {
        if self.sync != Sync::Interval || !self.synced.1 || self.synced.0.elapsed() < self.sync_interval {
            return;
        }
        let files = self.files.as_ref().map(Files::syncer).transpose();
        let spool = self.spool.as_mut().map(spool::Writer::syncer).transpose();
        match files.and_then(|files| Ok((files, spool?))) {
            Ok((files, spool)) => {
                let both =
                    move || files.map_or(Ok(()), |sync| sync()).and_then(|()| spool.flatten().map_or(Ok(()), |sync| sync()));
                if self.syncing.offer(Box::new(both)) {
                    self.synced = (Instant::now(), false);
                }
            }
            Err(error) => self.troubles.note("forcing records to the disk", &error),
        }
    }

    /// Until something besides records is due.
    fn wait(&self) -> Duration {
        let duty = self.files.as_ref().and_then(|files| files.next_duty().duration_since(Timestamp::now()).try_into().ok());
        let sync =
            (self.sync == Sync::Interval && self.synced.1).then(|| self.sync_interval.saturating_sub(self.synced.0.elapsed()));
        let least = duty.into_iter().chain(sync).chain([LONGEST_WAIT]).min().unwrap_or(LONGEST_WAIT);
        least.max(Duration::from_millis(1))
    }
}

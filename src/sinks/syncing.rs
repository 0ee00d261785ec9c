//! Forces records to the disk on a thread of its own: the disk can take long, and records go on being written meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use crate::audit::disk::SyncTask;
use crate::sinks::watch::Troubles;

/// The thread.
#[derive(Debug)]
pub(super) struct Syncing {
    work: SyncSender<SyncTask>,
}

impl Syncing {
    /// Starts the thread, which ends with this value.
    ///
    /// # Errors
    /// The system starts none.
    pub(super) fn start(troubles: Arc<Troubles>) -> io::Result<Self> {
        let (work, queue): (SyncSender<SyncTask>, Receiver<SyncTask>) = sync_channel(1);
        Builder::new().name("audit sync".to_owned()).spawn(move || {
            for sync in queue {
                if let Err(error) = sync() {
                    troubles.note("forcing records to the disk", &error);
                }
            }
        })?;
        Ok(Self { work })
    }

    /// Hands one over. False while an earlier one waits already.
    pub(super) fn offer(&self, sync: SyncTask) -> bool {
        self.work.try_send(sync).is_ok()
    }
}

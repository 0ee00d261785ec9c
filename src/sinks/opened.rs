//! The sinks of a configuration: opened before the first request, closed after the last.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{info, warn};

use crate::audit::checkpoint_key::{self, NoCheckpointKey};
use crate::audit::disk::Folder;
use crate::audit::files::{Files, Settings};
use crate::audit::ids::Ids;
use crate::audit::ids_key::{self, NoIdsKey};
use crate::audit::spool::shared::{Shared, Sizes};
use crate::audit::spool::{self};
use crate::audit::trail::Trail;
use crate::config::{Audit, AuditRepository, IdForm};
use crate::sinks::repository::Repository;
use crate::sinks::watch::{self, Troubles};
use crate::sinks::writer::Writer;

/// How long the end of the process waits for the last records.
const LAST: Duration = Duration::from_secs(3);

/// The running sinks.
#[derive(Debug)]
pub(crate) struct Sinks {
    /// What posts records to a repository, until it is started.
    pub(crate) repository: Option<Repository>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Why the audit trail cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTrail {
    /// The key of hashed ids.
    #[error("audit.ids_key: {0}")]
    IdsKey(#[from] NoIdsKey),
    /// The key of checkpoints.
    #[error("audit.checkpoint_key: {0}")]
    CheckpointKey(#[from] NoCheckpointKey),
    /// The folder, or a file in it.
    #[error("audit.folder: {path} cannot be written: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The spool, or a file in it.
    #[error("audit.repository.spool: {path} cannot be written: {source}", path = path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("a thread for the audit trail cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// Opens the sinks of a configuration; gives the trail that goes to them, and the sinks if there are any.
///
/// # Errors
/// A file or a key cannot be used.
pub(crate) fn open(config: &Audit) -> Result<(Arc<Trail>, Option<Sinks>), NoTrail> {
    if !config.is_on() {
        return Ok((Trail::off(), None));
    }
    let files = config.folder.as_ref().map(|folder| files(config, folder)).transpose()?;
    let (spool, repository) = match &config.repository {
        Some(repository) => spool(config, repository).map(|(spool, repository)| (Some(spool), repository))?,
        None => (None, None),
    };
    let ids = match config.ids {
        IdForm::Plain => Ids::Plain,
        IdForm::None => Ids::None,
        IdForm::Hashed => Ids::hashed(&*ids_key::open(&config.ids_key)?),
    };
    let (trail, inbox) = Trail::new(config.required, config.repository.is_some());
    if let Some(repository) = &repository {
        trail.set_posting(Arc::clone(repository.posting()));
    }
    let ending = Arc::new(AtomicBool::new(false));
    let troubles = Arc::new(Troubles::default());
    let shared = Arc::clone(inbox.shared());
    let writer =
        Writer::new(inbox, (files, spool), ids, config, Arc::clone(&troubles), Arc::clone(&ending)).map_err(NoTrail::Thread)?;
    let watched = Arc::clone(&ending);
    let threads = vec![
        spawn("audit writer", move || writer.run())?,
        spawn("audit watch", move || watch::run(&shared, &troubles, &watched))?,
    ];
    if let Some(folder) = &config.folder {
        info!("the audit trail is kept in {}", folder.display());
    }
    Ok((trail, Some(Sinks { repository, ending, threads })))
}

fn files(config: &Audit, folder: &std::path::Path) -> Result<Files<Folder>, NoTrail> {
    let failed = |source| NoTrail::Folder { path: folder.to_owned(), source };
    let key = checkpoint_key::open(&config.checkpoint_key, &config.name)?;
    let settings = Settings {
        origin: config.name.clone(),
        rotate_at: config.rotate_at as u64,
        checkpoint_every: config.checkpoint_interval,
    };
    let disk = Folder::make(folder).map_err(failed)?;
    let (files, notes) = Files::open(disk, settings, key, Timestamp::now()).map_err(failed)?;
    notes.iter().for_each(|note| warn!("audit trail: {note}"));
    Ok(files)
}

/// The spool of a repository: what writes it, and what posts it.
fn spool(config: &Audit, repository: &AuditRepository) -> Result<(spool::writer::Writer<Folder>, Option<Repository>), NoTrail> {
    let failed = |source| NoTrail::Spool { path: repository.spool.clone(), source };
    let disk = Folder::make(&repository.spool).map_err(failed)?;
    let (sizes, shared) = (Sizes::of(repository.spool_size as u64), Arc::<Shared>::default());
    let writer = spool::writer::Writer::open(disk.clone(), sizes, Arc::clone(&shared)).map_err(failed)?;
    Ok((writer, Repository::new(config, disk, &sizes, shared)))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NoTrail> {
    Builder::new().name(name.to_owned()).spawn(run).map_err(NoTrail::Thread)
}

impl Sinks {
    /// Writes what was handed over, and ends the files in order. Call it after the last request.
    pub(crate) fn close(self) {
        self.ending.store(true, Ordering::Release);
        let deadline = Instant::now() + LAST;
        for thread in self.threads {
            thread.thread().unpark();
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                warn!("audit trail: the last records are not written after {} s; the process ends without", LAST.as_secs());
                return;
            }
            let _ = thread.join();
        }
    }
}

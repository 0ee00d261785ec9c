//! The background service that follows key rotations: it reads what `keys rotate` wrote, switches keys when that is due, and
//! retires the old key when OpenEMR has accepted the new one.
//!
//! The state file is written before anything else changes, here or in the files, so that after a crash at any
//! moment the next look completes it.
//!
//! Decision: `docs/decisions/07-key-rotation.md`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use log::{error, info};
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::task::JoinSet;

use crate::audit::record::{Kind, Outcome, Record, Text};
use crate::audit::trail::Trail;
use crate::config;
use crate::keys::key_files::{KeyFileError, KeyFiles};
use crate::keys::rotation::{Event, Rotation, Stage, State, Which};
use crate::keys::rotation_files::{KeyFile, KeyFolder as _, reconcile};
use crate::smart::key_rings::{KeyRings, SharedRing};

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a ring cannot be brought up to date. Prints as one line for the log.
#[derive(Debug, thiserror::Error)]
enum UpdateError {
    /// The next step of a rotation cannot be written.
    #[error("the rotation of {} cannot go on: {source}; the gateway's user must be able to write to that folder", key.display())]
    Write { key: PathBuf, source: KeyFileError },
    /// The files of a rotation cannot be read.
    #[error("the rotation of {} is not followed: {source}", key.display())]
    Read { key: PathBuf, source: KeyFileError },
    /// The keys of some sites cannot be used.
    #[error("{0}")]
    Keys(String),
    #[error("the key files could not be looked at")]
    Panicked,
}

impl UpdateError {
    fn of(source: KeyFileError, files: &KeyFiles) -> Self {
        let key = files.private_key().to_owned();
        match source {
            KeyFileError::Write { .. } => Self::Write { key, source },
            KeyFileError::Read { .. } | KeyFileError::State { .. } | KeyFileError::Set(_) => Self::Read { key, source },
        }
    }
}

/// Follows the rotations of all rings.
pub(crate) struct KeyKeeper {
    rings: KeyRings,
    trail: Arc<Trail>,
}

impl KeyKeeper {
    /// A keeper of these rings, and of those that are added later. Each step of a rotation is recorded.
    #[must_use]
    pub(crate) fn new(rings: KeyRings, trail: Arc<Trail>) -> Self {
        Self { rings, trail }
    }

    /// Each ring in a task of its own: a slow exchange of one holds up no other.
    fn look_after_all(&self) -> JoinSet<()> {
        let with_work = self.rings.all().into_iter().filter(|ring| has_work(ring));
        with_work.filter_map(Turn::take).map(|turn| look_after(turn, Arc::clone(&self.trail))).collect()
    }

    /// The pause until the next look: shorter where a rotation is due.
    fn pause(&self) -> Duration {
        let now = now();
        let due = |ring: Arc<SharedRing>| due_at(&ring).map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let soonest = self.rings.all().into_iter().filter_map(due).min().unwrap_or(LOOK_EVERY);
        // Something overdue that cannot be done is no reason to spin.
        if soonest.is_zero() { LOOK_EVERY } else { soonest.min(LOOK_EVERY) }
    }
}

#[async_trait]
impl BackgroundService for KeyKeeper {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        self.look_after_all().join_all().await;
        ready.notify_ready();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                () = self.rings.wake().notified() => {}
                _ = shutdown.changed() => return,
            }
            self.look_after_all().detach_all();
        }
    }
}

/// Marks a ring as looked after until dropped, so that no second task does.
struct Turn(Arc<SharedRing>);

impl Turn {
    fn take(ring: Arc<SharedRing>) -> Option<Self> {
        (!ring.is_looked_after.swap(true, Ordering::AcqRel)).then_some(Self(ring))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_looked_after.store(false, Ordering::Release);
    }
}

/// Brings a ring up to date, while no exchange is under way.
async fn look_after(turn: Turn, trail: Arc<Trail>) {
    let ring = &turn.0;
    let _alone = ring.gate.write().await;
    let working = Arc::clone(ring);
    let result = tokio::task::spawn_blocking(move || bring_up_to_date(&working, &trail)).await;
    let complaint = result.unwrap_or(Err(UpdateError::Panicked)).err().map(|error| error.to_string());
    let mut seen = ring.seen.lock();
    if let Some(complaint) = &complaint
        && seen.complaint.as_ref() != Some(complaint)
    {
        error!("{complaint}. The keys stay as they are");
    }
    seen.complaint = complaint;
}

fn has_work(ring: &SharedRing) -> bool {
    let (versions, news) = (ring.files.versions(), !ring.events.lock().is_empty());
    let due = due_at(ring).is_some_and(|at| at <= now());
    let seen = ring.seen.lock();
    let unknown = seen.rotation.as_ref().is_some_and(|rotation| rotation.fetched_at.is_none());
    seen.versions != Some(versions)
        || news
        || due
        || (unknown && ring.fetched.load(Ordering::Acquire))
        || ring.is_stale.load(Ordering::Acquire)
}

/// When the next step of the rotation is due.
fn due_at(ring: &SharedRing) -> Option<Timestamp> {
    let names = names(ring);
    let seen = ring.seen.lock();
    let rotation = seen.rotation.as_ref()?;
    match rotation.stage {
        Stage::Published => Some(rotation.switch_at),
        Stage::Switched { .. } => rotation.retire_at(&names),
        Stage::Retiring => Some(Timestamp::MIN),
    }
}

fn names(ring: &SharedRing) -> Vec<String> {
    ring.signers().iter().map(|signer| signer.name().to_owned()).collect()
}

/// Reads the state, moves it on, makes the files agree, and installs the keys that are in them now.
fn bring_up_to_date(ring: &SharedRing, trail: &Trail) -> Result<(), UpdateError> {
    ring.is_stale.store(false, Ordering::Release);
    // What changes after this look, here or elsewhere, is seen at the next one.
    ring.seen.lock().versions = Some(ring.files.versions());
    let events = ring.events.lock().clone();
    let mut files = ring.files.clone();
    let (before, after) = move_on(ring, &mut files, &events).map_err(|error| UpdateError::of(error, &files))?;
    {
        let mut queue = ring.events.lock();
        let done = events.len().min(queue.len());
        queue.drain(..done);
    }
    let mut problems = Vec::new();
    for signer in ring.signers() {
        match config::reread_keys(&signer.config.load()) {
            Ok(read) => signer.install(read),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("site {}: {problem}", signer.name()))),
        }
    }
    if let Some(news) = news(before.rotation.as_ref(), &after) {
        info!("rotation of {}: {news}", files.private_key().display());
        let record = Record::event(Kind::KeyRotation, Timestamp::now(), Outcome::Success, news);
        trail.record(Record { site: names(ring).into_iter().next().map(Text::from), ..record }, None);
    }
    ring.seen.lock().rotation = after.rotation;
    problems.dedup();
    if problems.is_empty() { Ok(()) } else { Err(UpdateError::Keys(problems.join("; ").replace('\n', " "))) }
}

fn move_on(ring: &SharedRing, files: &mut KeyFiles, events: &[Event]) -> Result<(State, State), KeyFileError> {
    if files.state()?.rotation.is_none() {
        // Nothing to write: a folder that cannot be locked or written to is no matter.
        let state = files.state()?;
        return Ok((state.clone(), state));
    }
    let _alone = files.lock()?;
    let (before, now) = (files.state()?, now());
    if before.rotation.as_ref().is_some_and(|rotation| rotation.noticed_at.is_none()) {
        // What was fetched before the new key was in it does not count.
        ring.fetched.store(false, Ordering::Release);
    }
    let fetched = ring.fetched.load(Ordering::Acquire).then_some(Event::Fetched);
    let clock = Event::Clock(names(ring));
    let all = [Event::Noticed].into_iter().chain(fetched).chain(events.iter().cloned()).chain([clock]);
    let after = all.fold(before.clone(), |state, event| state.after(now, &event));
    if after != before {
        files.write(&KeyFile::State, after.to_json().as_bytes())?;
    }
    Ok((before, reconcile(after, now, files)?))
}

/// What has changed, if anything that is worth telling.
fn news(before: Option<&Rotation>, after: &State) -> Option<String> {
    let stage = |rotation: &Rotation| (rotation.new.kid().map(str::to_owned), rotation.noticed_at.is_some(), rotation.stage);
    match (before, &after.rotation) {
        (Some(_), None) => {
            let kid = after.last.as_ref().map_or("", |last| last.kid.as_str());
            Some(format!("the old key is retired; {kid} is there now and alone"))
        }
        (before, Some(rotation)) if before.map(stage) != Some(stage(rotation)) => {
            let (old, new) = (rotation.kid(Which::Old), rotation.kid(Which::New));
            match rotation.stage {
                Stage::Published => {
                    Some(format!("{new} is published second; it comes first and signs at {}", rotation.switch_at))
                }
                Stage::Switched { .. } => Some(format!("{new} is published first and signs, {old} is second")),
                Stage::Retiring => None,
            }
        }
        (_, Some(_) | None) => None,
    }
}

/// The time, as the state file writes it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

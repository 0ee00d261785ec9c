//! A folder in memory that fails when it is told to, and forgets what a crash would.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

/// A folder in memory. Clones are the same folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    /// How many more steps succeed; `None` is all.
    until_failure: Option<u64>,
    /// The most bytes of all files together; `None` is any.
    room: Option<usize>,
    steps: u64,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
    /// Bytes set aside beyond the length.
    reserved: usize,
    is_locked: bool,
}

/// A file of a [`SimulatedDisk`].
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    length: u64,
}

impl SimulatedDisk {
    /// Lets this many more steps succeed, and every later one fail; an append that fails leaves a half of its bytes.
    pub(crate) fn fail_after(&self, steps: u64) {
        self.0.lock().until_failure = Some(steps);
    }

    /// Lets everything succeed again.
    pub(crate) fn mend(&self) {
        self.0.lock().until_failure = None;
    }

    /// Bounds the bytes of all files together.
    pub(crate) fn set_room(&self, room: Option<usize>) {
        self.0.lock().room = room;
    }

    /// The process ends: locks are gone. What was written stays.
    pub(crate) fn kill(&self) {
        let mut state = self.0.lock();
        state.until_failure = None;
        state.files.values_mut().for_each(|file| file.is_locked = false);
    }

    /// The machine ends: locks are gone, and of what was not synced only the first `kept` bytes of each file stay.
    pub(crate) fn lose_power(&self, kept: usize) {
        self.kill();
        for file in self.0.lock().files.values_mut() {
            let length = file.synced.saturating_add(kept).min(file.bytes.len());
            file.bytes.truncate(length);
        }
    }

    /// A file's content; empty where there is none.
    #[must_use]
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.0.lock().files.get(name).map(|file| file.bytes.clone()).unwrap_or_default()
    }

    /// Changes a file behind the program's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.0.lock().files.entry(name.to_owned()).or_default().bytes);
    }

    fn step<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock();
        state.steps += 1;
        match &mut state.until_failure {
            Some(0) => return Err(io::Error::other("the simulated disk fails")),
            Some(left) => *left -= 1,
            None => {}
        }
        act(&mut state)
    }
}

impl State {
    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        self.files.get_mut(name).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether so many bytes more fit into a file.
    fn check_room(&self, name: &str, more: usize) -> io::Result<()> {
        let used: usize = self.files.values().map(|file| file.bytes.len() + file.reserved).sum();
        let own = self.files.get(name).map_or(0, |file| file.reserved);
        match self.room {
            // What was set aside is there, whatever else has filled the disk since.
            Some(room) if more > own && used - own + more > room => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.step(|state| Ok(state.files.keys().cloned().collect()))
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        self.step(|state| {
            if state.files.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.files.insert(name.to_owned(), Content { is_locked: true, ..Content::default() });
            Ok(SimulatedFile { disk: self.clone(), name: name.to_owned(), length: 0 })
        })
    }

    fn open(&self, name: &str) -> io::Result<Option<SimulatedFile>> {
        self.step(|state| {
            let file = state.file(name)?;
            if file.is_locked {
                return Ok(None);
            }
            file.is_locked = true;
            Ok(Some(SimulatedFile { disk: self.clone(), name: name.to_owned(), length: file.bytes.len() as u64 }))
        })
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.step(|state| Ok(state.file(name)?.bytes.len() as u64))
    }

    fn read(&self, name: &str, from: u64, most: usize) -> io::Result<Vec<u8>> {
        self.step(|state| {
            let bytes = &state.file(name)?.bytes;
            Ok(bytes.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).take(most).copied().collect())
        })
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.step(|state| {
            state.check_room(name, content.len())?;
            let synced = content.len();
            state.files.insert(name.to_owned(), Content { bytes: content.to_vec(), synced, ..Content::default() });
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|state| state.files.remove(name).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into()))
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let done = self.disk.step(|state| {
            let room = state.check_room(&self.name, bytes.len());
            let file = state.file(&self.name)?;
            let written = if room.is_ok() { bytes.len() } else { bytes.len() / 2 };
            file.bytes.extend_from_slice(bytes.get(..written).unwrap_or_default());
            file.reserved = file.reserved.saturating_sub(written);
            room
        });
        match &done {
            Ok(()) => self.length += bytes.len() as u64,
            Err(error) if error.kind() == ErrorKind::Other => {
                let mut state = self.disk.0.lock();
                state.file(&self.name)?.bytes.extend_from_slice(bytes.get(..bytes.len() / 2).unwrap_or_default());
            }
            Err(_) => {}
        }
        done
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.step(|state| {
            let file = state.file(&self.name)?;
            file.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            file.synced = file.synced.min(file.bytes.len());
            file.reserved = 0;
            Ok(())
        })?;
        self.length = length;
        Ok(())
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.disk.step(|state| {
            let now = state.file(&self.name)?.bytes.len();
            let more = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(now);
            let reserved = state.file(&self.name)?.reserved;
            if more > reserved {
                state.check_room(&self.name, more)?;
                state.file(&self.name)?.reserved = more;
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(|state| {
            let file = state.file(&self.name)?;
            file.synced = file.bytes.len();
            Ok(())
        })
    }

    fn syncer(&self) -> io::Result<Box<dyn FnOnce() -> io::Result<()> + Send>> {
        let file = Self { disk: self.disk.clone(), name: self.name.clone(), length: self.length };
        Ok(Box::new(move || file.sync()))
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if let Ok(file) = self.disk.0.lock().file(&self.name) {
            file.is_locked = false;
        }
    }
}

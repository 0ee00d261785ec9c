//! One file of the trail that is written: its lines, its tree, and its signed checkpoint.

use std::io;

use jiff::Timestamp;

use super::checkpoint::{Checkpoint, CheckpointKey};
use super::disk::{Disk, DiskFile, SyncTask};
use super::line::{self, Bond, Follows};
use super::names;
use super::record::{Kind, Record};
use super::tree::{self, Hash, Tree};

/// How many bytes are set aside ahead of what is written.
const AHEAD: u64 = 4 * 1024 * 1024;
/// A buffer that has grown beyond this, in bytes, is given back.
const KEPT_BUFFER: usize = 4 * 1024 * 1024;

/// What signs the checkpoints of files.
#[derive(Debug)]
pub(super) struct Signer {
    /// The name of the trail.
    pub(super) origin: String,
    /// The key.
    pub(super) key: CheckpointKey,
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct OpenFile<F> {
    pub(super) name: String,
    file: F,
    tree: Tree,
    /// The hash of the last line.
    last: Hash,
    /// What a file that has not begun will say of another one.
    follows: Option<Follows>,
    /// How much of it is whole lines.
    length: u64,
    /// Whether something may stand behind these.
    is_torn: bool,
    is_ended: bool,
    signed: u64,
    signed_at: Timestamp,
    /// To which length room is set aside.
    reserved: u64,
    has_room: bool,
    /// The tree as it will be, and the text of an append.
    next: Tree,
    text: Vec<u8>,
}

impl<F: DiskFile> OpenFile<F> {
    /// A file without a line.
    pub(super) fn new(name: String, file: F, follows: Option<Follows>, now: Timestamp) -> Self {
        Self {
            name,
            file,
            tree: Tree::default(),
            last: Hash::default(),
            follows,
            length: 0,
            is_torn: false,
            is_ended: false,
            signed: 0,
            signed_at: now,
            reserved: 0,
            has_room: true,
            next: Tree::default(),
            text: Vec::new(),
        }
    }

    /// A file that a process has left, of which this is known.
    pub(super) fn left(name: String, file: F, tree: Tree, last: Hash, length: u64, is_ended: bool, now: Timestamp) -> Self {
        Self { tree, last, length, is_torn: file.length() > length, is_ended, ..Self::new(name, file, None, now) }
    }

    /// The bytes of its lines.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// When its checkpoint was signed.
    pub(super) fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// Whether there are records that no checkpoint covers.
    pub(super) fn has_unsigned(&self) -> bool {
        self.signed < self.tree.size()
    }

    /// Whether its first line is there.
    pub(super) fn has_begun(&self) -> bool {
        self.tree.size() > 0
    }

    /// Keeps a clock that was set back from delaying the next checkpoint.
    pub(super) fn follow_clock(&mut self, now: Timestamp) {
        self.signed_at = self.signed_at.min(now);
    }

    /// Whether the next records have room that is set aside.
    pub(super) fn has_room(&self) -> bool {
        self.has_room
    }

    /// What a file that comes after this one says of it.
    pub(super) fn as_followed(&self) -> Follows {
        Follows { file: self.name.clone(), records: self.tree.size(), root: self.tree.root() }
    }

    /// Writes the first line and its checkpoint, unless they are there.
    ///
    /// # Errors
    /// They are not; the call can be repeated.
    pub(super) fn begin<D: Disk>(&mut self, disk: &D, signer: &Signer, now: Timestamp) -> io::Result<()> {
        if !self.has_begun() {
            let version = concat!("openemr-gateway ", env!("CARGO_PKG_VERSION"));
            self.append(&[Record { detail: Some(version.into()), ..Record::new(Kind::FileBegun, now) }])?;
        }
        if self.signed == 0 { self.sign(disk, signer, now) } else { Ok(()) }
    }

    /// Appends these records: all, or none.
    ///
    /// # Errors
    /// None of them is in the file, as soon as something else is written; the call can be repeated.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.mend()?;
        self.next.clone_from(&self.tree);
        let mut last = self.last;
        self.text.clear();
        for record in records {
            let begin = self.text.len();
            let n = self.next.size();
            let bond = if n == 0 { Bond::First(self.follows.as_ref()) } else { Bond::Prev(&last) };
            line::write(&mut self.text, n, bond, record);
            let content = self.text.get(begin..self.text.len().saturating_sub(1)).unwrap_or_default();
            last = tree::leaf(content);
            self.next.push(last);
        }
        let done = self.file.append(&self.text);
        let bytes = self.text.len() as u64;
        if self.text.capacity() > KEPT_BUFFER {
            self.text = Vec::new();
        }
        if let Err(error) = done {
            self.is_torn = true;
            let _ = self.mend();
            return Err(error);
        }
        std::mem::swap(&mut self.tree, &mut self.next);
        self.last = last;
        self.length += bytes;
        self.set_room_aside();
        Ok(())
    }

    /// Sets room aside for what comes, unless enough is. A full disk is no error before that is used up.
    pub(super) fn set_room_aside(&mut self) {
        let left = self.reserved.saturating_sub(self.length);
        if left < AHEAD / 2 && !self.is_ended {
            let length = self.length + AHEAD;
            if self.file.reserve(length).is_ok() {
                self.reserved = length;
            }
        }
        self.has_room = self.reserved.saturating_sub(self.length) >= AHEAD / 4;
    }

    /// Cuts off what a failed append has left.
    ///
    /// # Errors
    /// It may still be there.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.truncate(self.length)?;
            self.is_torn = false;
            // What was set aside is free again.
            self.reserved = self.length;
        }
        Ok(())
    }

    /// Signs what is there. It is on the disk itself before: a power failure must not leave a checkpoint of records that are lost.
    ///
    /// # Errors
    /// The checkpoint cannot be written; the one before stays.
    pub(super) fn sign<D: Disk>(&mut self, disk: &D, signer: &Signer, now: Timestamp) -> io::Result<()> {
        self.file.sync()?;
        let checkpoint =
            Checkpoint { origin: format!("{}/{}", signer.origin, self.name), size: self.tree.size(), root: self.tree.root() };
        disk.replace(&names::checkpoint(&self.name), signer.key.sign(&checkpoint).as_bytes())?;
        self.signed = checkpoint.size;
        self.signed_at = now;
        Ok(())
    }

    /// Writes the record that ends the file, and signs it, unless that is done. `why`: where another process does it.
    ///
    /// # Errors
    /// It is not ended, or not signed; the call can be repeated.
    pub(super) fn end<D: Disk>(
        &mut self,
        disk: &D,
        signer: &Signer,
        why: Option<&'static str>,
        now: Timestamp,
    ) -> io::Result<()> {
        if !self.is_ended {
            if self.signed == 0 {
                // No file has a second record before its first checkpoint: whoever checks it relies on that.
                self.sign(disk, signer, now)?;
            }
            self.append(&[Record { detail: why.map(Into::into), ..Record::new(Kind::FileEnded, now) }])?;
            self.is_ended = true;
            // Nothing more comes, so that no room need be set aside.
            let _ = self.file.truncate(self.length);
        }
        if self.has_unsigned() { self.sign(disk, signer, now) } else { Ok(()) }
    }

    /// Waits until all of it is on the disk itself.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// What does the same on another thread.
    pub(super) fn syncer(&self) -> io::Result<SyncTask> {
        self.file.syncer()
    }
}

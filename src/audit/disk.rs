//! A folder with the trail's files, as far as the trail needs one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keys::key_files::replace;

/// The mode of files, for their owner alone.
const OWN_FILE: u32 = 0o600;
/// The mode of a folder that is made.
const OWN_FOLDER: u32 = 0o700;

/// A folder. Names are those of files in it.
pub(crate) trait Disk {
    /// A file that is appended to.
    type File: DiskFile;

    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet, with a lock that ends with the process.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to append to it; `None` while another process holds its lock.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// The length of a file in bytes, whoever writes it.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Reads up to `most` bytes from this position on; fewer only at the end.
    fn read(&self, name: &str, from: u64, most: usize) -> io::Result<Vec<u8>>;

    /// Replaces a file, or makes it: after a crash it has its old content or all of the new.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// What forces a file to the disk itself, on another thread.
pub(crate) type SyncTask = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A file that is appended to.
pub(crate) trait DiskFile: Send {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Appends these bytes. After an error none or some of them may be there; [`DiskFile::length`] is as before.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to this length. What was set aside beyond it is free again.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Sets room aside so that the file can grow to this length whatever else fills the disk. The length stays. A file system that
    /// cannot do that is no error.
    fn reserve(&mut self, length: u64) -> io::Result<()>;

    /// Waits until all that was appended is on the disk itself.
    fn sync(&self) -> io::Result<()>;

    /// What does the same as [`DiskFile::sync`] on another thread.
    fn syncer(&self) -> io::Result<Box<dyn FnOnce() -> io::Result<()> + Send>>;
}

/// A folder of the file system.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: Arc<Path>,
}

/// A file in a [`Folder`].
#[derive(Debug)]
pub(crate) struct FolderFile {
    file: File,
    length: u64,
}

impl Folder {
    /// The folder at this path, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(OWN_FOLDER).create(path)?;
        Ok(Self::at(path))
    }

    /// The folder at this path.
    #[must_use]
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.into() }
    }

    fn of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the names of files survive a crash.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    type File = FolderFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<FolderFile> {
        let file = OpenOptions::new().append(true).create_new(true).mode(OWN_FILE).open(self.of(name))?;
        file.try_lock().map_err(io::Error::from)?;
        // Whoever removes files holds their locks, and may have been quicker with this one.
        if file.metadata()?.nlink() == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        self.sync()?;
        Ok(FolderFile { file, length: 0 })
    }

    fn open(&self, name: &str) -> io::Result<Option<FolderFile>> {
        let file = OpenOptions::new().append(true).open(self.of(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderFile { length: file.metadata()?.len(), file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.of(name))?.len())
    }

    fn read(&self, name: &str, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.of(name))?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        replace(&self.of(name), content, OWN_FILE, None)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.of(name))
    }
}

impl DiskFile for FolderFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        let more = length.saturating_sub(self.length);
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, self.length, more) {
            Ok(()) => Ok(()),
            Err(error) => match io::Error::from(error) {
                error if error.kind() == ErrorKind::Unsupported => Ok(()),
                error => Err(error),
            },
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn syncer(&self) -> io::Result<Box<dyn FnOnce() -> io::Result<()> + Send>> {
        let file = self.file.try_clone()?;
        Ok(Box::new(move || file.sync_data()))
    }
}

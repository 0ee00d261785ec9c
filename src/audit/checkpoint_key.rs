//! The file with the key that signs checkpoints, in PKCS#8 PEM; beside it, in the same name with `.pub`, the keys that verify them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use pem::{EncodeConfig, LineEnding, Pem};
use zeroize::Zeroizing;

use super::checkpoint::{CheckpointKey, VerifierKey};
use crate::keys::key_files::replace;
use crate::keys::secret_file::{self, SecretFileError};
use crate::keys::secret_pem;

/// What a PEM block with a key is called.
const LABEL: &str = "PRIVATE KEY";
/// The most bytes of either file.
const MOST: usize = 16 * 1024;
/// The mode of the public half.
const PUBLIC: u32 = 0o644;

/// Why no checkpoint can be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCheckpointKey {
    /// The file cannot be read or made.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It holds something else.
    #[error("{path} holds no Ed25519 key in PKCS#8 PEM", path = .0.display())]
    Bad(PathBuf),
    /// The public half cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No key could be made.
    #[error("the cryptographic library made no key")]
    Crypto,
}

/// Where the public half of a key is.
#[must_use]
pub(crate) fn public_file(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".pub");
    path.with_file_name(name)
}

/// Reads the key, which signs under this name; makes the file where there is none, and sees to it that the file with the public half has
/// it. Keys that were there before stay in that file.
///
/// # Errors
/// It cannot be used.
pub(crate) fn open(path: &Path, name: &str) -> Result<CheckpointKey, NoCheckpointKey> {
    if !path.exists() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| NoCheckpointKey::Crypto)?;
        let line_feeds = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let text = Zeroizing::new(pem::encode_config(&Pem::new(LABEL, pkcs8.as_ref()), line_feeds));
        secret_file::make(path, &text)?;
    }
    let (text, _) = secret_file::read(path, MOST)?;
    let bad = || NoCheckpointKey::Bad(path.to_owned());
    let mut blocks = secret_pem::blocks(text.as_bytes()).unwrap_or_default();
    let is_one = blocks.len() == 1;
    let block = blocks.pop().filter(|block| is_one && block.label == LABEL && !block.is_encrypted).ok_or_else(bad)?;
    let key = CheckpointKey::read(name, &block.contents).ok_or_else(bad)?;
    publish(&public_file(path), key.verifier())?;
    Ok(key)
}

fn publish(path: &Path, key: &VerifierKey) -> Result<(), NoCheckpointKey> {
    let failed = |source| NoCheckpointKey::Public { path: path.to_owned(), source };
    let known = match fs::read_to_string(path) {
        Ok(known) => known,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let line = key.to_string();
    if known.lines().any(|known| known.trim() == line) {
        return Ok(());
    }
    // The newest first.
    replace(path, format!("{line}\n{known}").as_bytes(), PUBLIC, None).map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_its_public_half_under_every_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/checkpoint.key");
        let one = open(&path, "one.example").unwrap();
        assert_eq!(open(&path, "one.example").unwrap().verifier(), one.verifier());
        let other = open(&path, "other.example").unwrap();
        let published = fs::read_to_string(public_file(&path)).unwrap();
        let keys = VerifierKey::parse_all(&published).unwrap();
        assert_eq!(keys, [other.verifier().clone(), one.verifier().clone()]);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.key");
        open(&path, "one.example").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&public_file(&path))), (0o600, 0o644));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(open(&path, "one.example"), Err(NoCheckpointKey::File(SecretFileError::Open { mode: 0o644, .. }))));
    }

    #[test]
    fn a_key_in_the_form_of_other_programs_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.key");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        // With the public half in it, and with the line ends of Windows.
        secret_file::make(&path, &pem::encode(&Pem::new(LABEL, pkcs8.as_ref()))).unwrap();
        assert!(open(&path, "one.example").is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.key");
        secret_file::make(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(open(&path, "one.example"), Err(NoCheckpointKey::Bad(_))));
    }
}

//! The file with the key of hashed ids: 64 hexadecimal digits.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::keys::secret_file::{self, SecretFileError};

const DIGITS: usize = 64;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoIdsKey {
    /// The file cannot be read or made.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It holds something else.
    #[error("{path} holds no key: 64 hexadecimal digits", path = .0.display())]
    Bad(PathBuf),
    /// No key could be made.
    #[error("the cryptographic library made no key")]
    Crypto,
}

/// Reads the key.
///
/// # Errors
/// There is none, or others can read it.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, NoIdsKey> {
    let (text, _) = secret_file::read(path, DIGITS + 2)?;
    let mut key = Zeroizing::new([0; 32]);
    let digits = text.trim_end().as_bytes();
    let pairs = digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(NoIdsKey::Bad(path.to_owned()));
    }
    for (place, byte) in key.iter_mut().zip(pairs) {
        *place = byte.ok_or_else(|| NoIdsKey::Bad(path.to_owned()))?;
    }
    Ok(key)
}

/// Reads the key; makes the file where there is none.
///
/// # Errors
/// As [`read`]; it cannot be made.
pub(crate) fn open(path: &Path) -> Result<Zeroizing<[u8; 32]>, NoIdsKey> {
    if !path.exists() {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| NoIdsKey::Crypto)?;
        let mut text = Zeroizing::new([b'\n'; DIGITS + 1]);
        let (digits, _) = text.split_at_mut(DIGITS);
        hex::encode_to_slice(*key, digits).map_err(|_| NoIdsKey::Crypto)?;
        secret_file::make(path, std::str::from_utf8(&*text).map_err(|_| NoIdsKey::Crypto)?)?;
    }
    read(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/ids.key");
        assert!(matches!(read(&path), Err(NoIdsKey::File(SecretFileError::Read { .. }))));
        let key = open(&path).unwrap();
        assert_ne!(*key, [0; 32]);
        assert_eq!((*open(&path).unwrap(), *read(&path).unwrap()), (*key, *key));
    }

    #[test]
    fn what_is_no_key_or_open_to_others_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.key");
        let good = "0f".repeat(32);
        for (text, is_key) in
            [(good.clone(), true), (format!("{good}\n"), true), (format!("{good}0"), false), ("g".repeat(64), false)]
        {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(read(&path).is_ok_and(|key| *key == [15; 32]), is_key);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(NoIdsKey::File(SecretFileError::Open { mode: 0o644, .. }))));
    }
}

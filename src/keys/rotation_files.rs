//! The files of a rotation, and how they are reconciled with its state.
//!
//! The state file is the authority. A change is written there first; then [`reconcile`] changes the other files accordingly, in
//! steps that can be repeated: what a crash leaves undone is done at the next call.
//!
//! Decision: `docs/decisions/07-key-rotation.md`.

use jiff::Timestamp;

use super::jwk_set::{JwkSet, JwkSetError};
use super::rotation::{Stage, State};

/// The files of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyFile {
    /// The state: `jwks.rotation.json` beside `jwks.json`.
    State,
    /// The configured JWK Set.
    Set,
    /// The JWK Set after the rotation, to be given to OpenEMR by hand: `jwks.next.json`.
    NextSet,
    /// The configured private key.
    PrivateKey,
    /// The new private key of this `kid`, until it replaces the configured one: `private_key.KID.pem`.
    NewPrivateKey(String),
    /// The public key that `keys generate` wrote beside the private one, if any: `public_key.pem`.
    PublicKey,
    /// The new public key: `public_key.KID.pem`.
    NewPublicKey(String),
}

/// The folder of these files. Every change is on the disk when its call returns, whole or not at all.
pub(crate) trait KeyFolder {
    /// Why an operation failed. A JWK Set that cannot be read is not overwritten.
    type Error: From<JwkSetError>;

    /// Returns the contents of a file; `None` when it does not exist.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn read(&self, file: &KeyFile) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Writes a file, replacing an existing one.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn write(&mut self, file: &KeyFile, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Moves a file over another one. A file that does not exist has been moved already, which is no error.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn rename(&mut self, from: &KeyFile, to: &KeyFile) -> Result<(), Self::Error>;

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn remove(&mut self, file: &KeyFile) -> Result<(), Self::Error>;
}

/// Changes the files to match a state that has been written, and completes a rotation in [`Stage::Retiring`]. Returns the state
/// that holds then. Files that already match are not written.
///
/// # Errors
/// The first file that could not be changed; the call may be repeated.
pub(crate) fn reconcile<F: KeyFolder>(state: State, now: Timestamp, folder: &mut F) -> Result<State, F::Error> {
    let Some(rotation) = &state.rotation else { return Ok(state) };
    // Without a set, only the two keys are published.
    let set = folder.read(&KeyFile::Set)?.map(|bytes| JwkSet::parse(&bytes)).transpose()?.unwrap_or_default();
    let put = |folder: &mut F, file: KeyFile, wanted: &JwkSet| {
        let found = folder.read(&file)?.and_then(|bytes| JwkSet::parse(&bytes).ok());
        if found.as_ref() == Some(wanted) { Ok(()) } else { folder.write(&file, wanted.to_json_pretty().as_bytes()) }
    };
    put(folder, KeyFile::Set, &rotation.set(&set, rotation.first_in_file()))?;
    match rotation.stage {
        Stage::Published | Stage::Switched { .. } => {
            put(folder, KeyFile::NextSet, &rotation.set_after(&set))?;
            Ok(state)
        }
        Stage::Retiring => {
            let kid = rotation.new.kid().unwrap_or_default().to_owned();
            folder.rename(&KeyFile::NewPublicKey(kid.clone()), &KeyFile::PublicKey)?;
            folder.rename(&KeyFile::NewPrivateKey(kid), &KeyFile::PrivateKey)?;
            folder.remove(&KeyFile::NextSet)?;
            let state = state.finished(now);
            folder.write(&KeyFile::State, state.to_json().as_bytes())?;
            Ok(state)
        }
    }
}

#[cfg(test)]
mod tests;

//! The files of a rotation, and how they are made to agree with its state.
//!
//! The state file is the authority. A change is written there first, then [`agree`] brings the other files after it, in steps
//! that may be repeated: whatever a crash leaves undone is done at the next call.

use jiff::Timestamp;

use super::rotation::{Stage, State};
use super::{JwkSet, JwkSetError};

/// A file of a rotation, by its part in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyFile {
    /// The state: `jwks.rotation.json` beside `jwks.json`.
    State,
    /// The configured JWK Set.
    Set,
    /// The set as it is when the rotation is over, to be given to OpenEMR by hand: `jwks.next.json`.
    NextSet,
    /// The configured private key.
    PrivateKey,
    /// The new private key of this `kid`, until it takes the configured one's place: `private_key.KID.pem`.
    NewPrivateKey(String),
    /// The public key that `keys generate` wrote beside the private one, where there is one: `public_key.pem`.
    PublicKey,
    /// The new one: `public_key.KID.pem`.
    NewPublicKey(String),
}

/// Where these files are. Every change is on the disk when its call returns, whole or not at all.
pub trait KeyFolder {
    /// Why something could not be done; a JWK Set that cannot be read is not written over.
    type Error: From<JwkSetError>;

    /// The contents; `None` when there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn read(&self, file: &KeyFile) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Puts a file in place, over the one that is there.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn write(&mut self, file: &KeyFile, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Moves a file over another one. One that is not there is left alone: it has been moved already.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn rename(&mut self, from: &KeyFile, to: &KeyFile) -> Result<(), Self::Error>;

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    fn remove(&mut self, file: &KeyFile) -> Result<(), Self::Error>;
}

/// Makes the files agree with a state that has been written, and ends a rotation whose old key is to go. Writes nothing that is
/// right already. Gives the state that then holds.
///
/// # Errors
/// The first file that could not be changed; the call may be repeated.
pub fn agree<F: KeyFolder>(state: State, now: Timestamp, folder: &mut F) -> Result<State, F::Error> {
    let Some(rotation) = &state.rotation else { return Ok(state) };
    // Without a set, the two keys are what there is to publish.
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

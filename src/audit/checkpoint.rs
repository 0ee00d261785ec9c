//! Signed checkpoints: how many records a file has, and the root of the tree over them, in formats that tools of others verify:
//! a checkpoint (<https://c2sp.org/tlog-checkpoint>) in a signed note (<https://c2sp.org/signed-note>) with an Ed25519 signature.
//!
//! Decision: `docs/decisions/42-audit-files.md`.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::line::parse_hash;
use super::tree::Hash;
use crate::keys::sha256;

/// The longest note that is read, in bytes.
pub(crate) const MAX_NOTE: usize = 64 * 1024;
/// The type of Ed25519 signatures in a key.
const ED25519_TYPE: u8 = 1;
/// What a line with a signature begins with: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";
/// The most signatures of a note, and the most keys of a file.
const MOST: usize = 16;

/// What is signed of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Which log it is.
    pub(crate) origin: String,
    /// How many records it has.
    pub(crate) size: u64,
    /// The root of the tree over their lines.
    pub(crate) root: Hash,
}

/// The key that signs checkpoints.
pub(crate) struct CheckpointKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

/// A key that verifies checkpoints. It is written as `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// Why a checkpoint is not to be believed. The text completes a sentence that begins with its file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCheckpoint {
    /// It is no checkpoint at all.
    #[error("is no signed checkpoint")]
    Malformed,
    /// None of its signatures is by a key that is known.
    #[error("is signed with another key")]
    UnknownKey,
    /// It was changed, or signed by somebody who has not the key.
    #[error("has a signature that is not right: it was changed")]
    Signature,
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text. Lines that extend it are passed over.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let written = lines.next()?;
        let size: u64 = written.parse().ok()?;
        let root = parse_hash(lines.next()?)?;
        // No leading zeroes, no sign.
        (size.to_string() == written && lines.all(|line| !line.is_empty())).then_some(Self { origin, size, root })
    }

    /// Reads a signed checkpoint.
    ///
    /// # Errors
    /// [`BadCheckpoint`] unless a key that is known has signed it, and all signatures by such keys are right.
    pub(crate) fn open(note: &[u8], keys: &[VerifierKey]) -> Result<Self, BadCheckpoint> {
        let note = std::str::from_utf8(note).ok().filter(|note| note.len() <= MAX_NOTE).ok_or(BadCheckpoint::Malformed)?;
        let (text, signatures) = split(note).ok_or(BadCheckpoint::Malformed)?;
        let mut is_signed = false;
        for (name, id, signature) in &signatures {
            if let Some(key) = keys.iter().find(|key| key.name == *name && key.id == *id) {
                let public = UnparsedPublicKey::new(&ED25519, key.public);
                public.verify(text.as_bytes(), signature).map_err(|_| BadCheckpoint::Signature)?;
                is_signed = true;
            }
        }
        if !is_signed {
            return Err(BadCheckpoint::UnknownKey);
        }
        Self::parse(text).ok_or(BadCheckpoint::Malformed)
    }
}

/// The text of a note, and its signatures: name, key id, signature.
type Signature<'n> = (&'n str, [u8; 4], Vec<u8>);

fn split(note: &str) -> Option<(&str, Vec<Signature<'_>>)> {
    if note.chars().any(|letter| letter < ' ' && letter != '\n') {
        return None;
    }
    let at = note.rfind("\n\n")?;
    let (text, signatures) = (note.get(..=at)?, note.get(at + 2..)?.strip_suffix('\n')?);
    let read = |line: &'_ str| {
        let (name, base64) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
        let bytes = STANDARD.decode(base64).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        is_key_name(name).then(|| (*id, signature.to_vec()))
    };
    let mut all = Vec::new();
    for line in signatures.split('\n') {
        let (id, signature) = read(line)?;
        let name = line.strip_prefix(SIGNATURE)?.split(' ').next()?;
        all.push((name, id, signature));
    }
    (all.len() <= MOST).then_some((text, all))
}

/// Whether a key can have this name.
#[must_use]
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '+')
}

impl CheckpointKey {
    /// The key of this name from its PKCS#8; `None` for another kind of key, or a name that no key can have.
    #[must_use]
    pub(crate) fn read(name: &str, pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        let verifier = VerifierKey::new(name, public)?;
        Some(Self { pair, verifier })
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a checkpoint.
    #[must_use]
    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let signature = self.pair.sign(text.as_bytes());
        let signature = [&self.verifier.id, signature.as_ref()].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Option<Self> {
        let hash = sha256(&[name.as_bytes(), &[b'\n', ED25519_TYPE], &public].concat());
        let id = *hash.first_chunk()?;
        is_key_name(name).then(|| Self { name: name.to_owned(), id, public })
    }

    /// Reads a key from one line.
    #[must_use]
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, STANDARD.decode(parts.next()?).ok()?);
        let public = key.strip_prefix(&[ED25519_TYPE])?.try_into().ok()?;
        // An id that was made another way is not ours.
        Self::new(name, public).filter(|key| key.hex() == id)
    }

    /// Reads a file with one key a line; `None` unless each line is one, and there is one.
    #[must_use]
    pub(crate) fn parse_all(file: &str) -> Option<Vec<Self>> {
        let lines = file.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<_> = lines.map(Self::parse).collect::<Option<_>>()?;
        (1..=MOST).contains(&keys.len()).then_some(keys)
    }

    fn hex(&self) -> String {
        hex::encode(self.id)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_TYPE][..], &self.public].concat();
        write!(f, "{}+{}+{}", self.name, self.hex(), STANDARD.encode(key))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use signed_note::{Note, StandardVerifier, Verifier as _, VerifierList};

    /// A new key of this name.
    pub(in crate::audit) fn key(name: &str) -> CheckpointKey {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        CheckpointKey::read(name, pkcs8.as_ref()).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "gateway.example/audit-1.jsonl".to_owned(), size: 12, root: [3; 32] }
    }

    #[test]
    fn another_program_verifies_ours() {
        let key = key("gateway.example");
        let signed = key.sign(&checkpoint());
        let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
        assert_eq!(verifier.name(), "gateway.example");
        let known = VerifierList::new(vec![Box::new(verifier)]);
        let note = Note::from_bytes(signed.as_bytes()).unwrap();
        let (verified, unknown) = note.verify(&known).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 0));
        let read = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((read.origin(), read.size(), read.hash().0), ("gateway.example/audit-1.jsonl", 12, [3; 32]));
        let forged = signed.replace("\n12\n", "\n13\n");
        assert!(Note::from_bytes(forged.as_bytes()).unwrap().verify(&known).is_err());
    }

    #[test]
    fn ours_verifies_the_example_of_the_standard() {
        let key = VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        assert_eq!(key.to_string(), "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
        let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        // The signature is right, and the text no checkpoint.
        assert_eq!(Checkpoint::open(note.as_bytes(), std::slice::from_ref(&key)), Err(BadCheckpoint::Malformed));
        let changed = note.replace("example message", "Example message");
        assert_eq!(Checkpoint::open(changed.as_bytes(), &[key]), Err(BadCheckpoint::Signature));
    }

    #[test]
    fn whatever_letter_is_changed_it_does_not_verify() {
        let key = key("gateway.example");
        let keys = [key.verifier().clone()];
        let signed = key.sign(&checkpoint()).into_bytes();
        assert_eq!(Checkpoint::open(&signed, &keys), Ok(checkpoint()));
        for at in 0..signed.len() {
            for bit in 0..8 {
                let mut changed = signed.clone();
                changed[at] ^= 1 << bit;
                // The last bits of base64's last letter are no part of the signature.
                assert!(Checkpoint::open(&changed, &keys).is_err(), "{at} {bit}");
            }
            assert!(Checkpoint::open(&signed[..at], &keys).is_err(), "{at}");
        }
    }

    #[test]
    fn a_signature_of_another_key_is_passed_over_beside_ours() {
        let (ours, other) = (key("gateway.example"), key("witness.example"));
        let mut signed = ours.sign(&checkpoint());
        let theirs = other.sign(&checkpoint());
        signed.push_str(theirs.rsplit_once("\n\n").unwrap().1);
        assert_eq!(Checkpoint::open(signed.as_bytes(), &[ours.verifier().clone()]), Ok(checkpoint()));
        assert_eq!(Checkpoint::open(theirs.as_bytes(), &[ours.verifier().clone()]), Err(BadCheckpoint::UnknownKey));
        assert_eq!(Checkpoint::open(theirs.as_bytes(), &[]), Err(BadCheckpoint::UnknownKey));
    }

    #[test]
    fn a_key_is_refused_when_it_is_none() {
        let good = key("gateway.example").verifier().to_string();
        assert!(VerifierKey::parse_all(&format!("{good}\n\n{good}\n")).unwrap().len() == 2);
        let renamed = good.replace("gateway.example", "other.example");
        for bad in ["", "a+b", "a b+00000000+AQ==", &renamed, &good[..good.len() - 4], &format!("{good}\nhello")] {
            assert_eq!(VerifierKey::parse_all(bad), None, "{bad}");
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert!(!is_key_name(name), "{name:?}");
        }
    }
}

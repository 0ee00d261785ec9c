//! The keys of a site, also during a rotation: the state file says which of two keys signs, and in which order both are
//! published.

use std::path::Path;
use std::sync::Arc;

use super::problem::{Findings, Problem, Written, shown, shown_path};
use super::site_keys;
use crate::keys::key_files::{KeyFileError, KeyFiles};
use crate::keys::rotation::{Rotation, Stage, Which};
use crate::keys::rotation_files::KeyFile;
use crate::keys::{JwkSet, SigningKey};

/// The key that signs a site's client assertions, and the JWK Set that is published.
#[derive(Debug, Clone)]
pub struct SiteKeys {
    /// The key that signs.
    pub key: Arc<SigningKey>,
    /// The `kid` in the assertion's header; stands in `jwks` and belongs to `key`.
    pub kid: String,
    /// The JWK Set that is published. Its first RSA key is `key`, if that is one.
    pub jwks: JwkSet,
    /// The rotation in progress.
    pub rotating: Option<Box<Rotating>>,
}

/// A site's part in a rotation.
#[derive(Debug, Clone)]
pub struct Rotating {
    /// The rotation.
    pub rotation: Rotation,
    /// Which of the two keys signs for this site.
    pub signs: Which,
    /// The other one, its `kid`, and the set that is published when it signs; `None` when the old key is being retired.
    pub other: Option<(Arc<SigningKey>, String, JwkSet)>,
}

/// Reads the private key, the JWK Set and the state beside it, and checks that they fit together.
pub(super) fn read(
    key_file: &Written<String>,
    jwks_file: &Written<String>,
    kid: Option<&Written<String>>,
    site: &str,
    findings: &mut Findings,
) -> Option<SiteKeys> {
    let key = site_keys::private_key(key_file, findings);
    let jwks = site_keys::jwk_set(jwks_file, &key_file.value, findings);
    let (key, jwks) = (key?, jwks?);
    let files = KeyFiles::new(Path::new(&key_file.value), Path::new(&jwks_file.value));
    let rotation = match files.state() {
        Ok(state) => state.rotation,
        Err(error) => {
            findings.problem(damaged(&error, key_file, jwks_file));
            return None;
        }
    };
    let Some(rotation) = rotation else {
        let kid = site_keys::key_id(kid, &key, &jwks, jwks_file, &key_file.value, findings)?;
        return Some(SiteKeys { key, kid, jwks, rotating: None });
    };
    if let Some(kid) = kid {
        let problem = kid.place.problem("names one key while two are in use: a rotation is in progress");
        findings.problem(problem.remedy("leave kid out; the gateway finds it in the JWK Set"));
        return None;
    }
    match Pair::read(&rotation, key, &files, jwks_file, findings) {
        Ok(pair) => Some(pair.site_keys(rotation, &jwks, site)),
        Err(problem) => {
            findings.problem(*problem);
            None
        }
    }
}

fn damaged(error: &KeyFileError, key_file: &Written<String>, jwks_file: &Written<String>) -> Problem {
    let problem = jwks_file.place.problem(error.to_string());
    problem.remedy(match error {
        KeyFileError::Read { .. } | KeyFileError::Write { .. } => "let the gateway's user read it".to_owned(),
        KeyFileError::State { .. } | KeyFileError::Set(_) => format!(
            "put it back as it was or, if that cannot be, remove it: then the key of {} signs, and must come first in {}",
            shown(&key_file.value),
            shown(&jwks_file.value)
        ),
    })
}

/// The private keys of a rotation.
struct Pair {
    old: Option<Arc<SigningKey>>,
    new: Arc<SigningKey>,
}

impl Pair {
    fn read(
        rotation: &Rotation,
        configured: Arc<SigningKey>,
        files: &KeyFiles,
        jwks_file: &Written<String>,
        findings: &mut Findings,
    ) -> Result<Self, Box<Problem>> {
        let is = |key: &SigningKey, which| Some(key.public_key()) == rotation.jwk(which).public_key();
        let state_file = files.path(&KeyFile::State);
        if rotation.stage == Stage::Retiring && is(&configured, Which::New) {
            return Ok(Self { old: None, new: configured });
        }
        if !is(&configured, Which::Old) {
            let problem = jwks_file.place.problem(format!(
                "{} is about the rotation of another key than that of {}",
                shown_path(&state_file),
                shown_path(files.private_key())
            ));
            return Err(Box::new(problem.remedy(format!(
                "put the key of kid `{}` back, or remove the state file to give the rotation up",
                shown(rotation.kid(Which::Old))
            ))));
        }
        let new_file = files.path(&KeyFile::NewPrivateKey(rotation.kid(Which::New).to_owned()));
        let give_up = || {
            format!(
                "put it back or, to give the rotation up, remove {} and put the old key first in {}",
                shown(&state_file.display().to_string()),
                shown(&jwks_file.value)
            )
        };
        let new = site_keys::read_private_key(&new_file, &jwks_file.place, findings)
            .map_err(|problem| Box::new(problem.remedy(give_up())))?;
        if !is(&new, Which::New) {
            let message = format!("{} does not hold the key of its name", shown_path(&new_file));
            return Err(Box::new(jwks_file.place.problem(message).remedy(give_up())));
        }
        let old = (rotation.stage != Stage::Retiring).then_some(configured);
        Ok(Self { old, new: new.shared() })
    }

    fn site_keys(self, rotation: Rotation, set: &JwkSet, site: &str) -> SiteKeys {
        let signs = rotation.signs(site);
        let named = |which, key| (key, rotation.kid(which).to_owned(), rotation.set(set, which));
        let new = named(Which::New, self.new);
        let (signing, other) = match self.old.map(|old| named(Which::Old, old)) {
            None => (new, None),
            Some(old) if signs == Which::Old => (old, Some(new)),
            Some(old) => (new, Some(old)),
        };
        let (key, kid, jwks) = signing;
        SiteKeys { key, kid, jwks, rotating: Some(Box::new(Rotating { rotation, signs, other })) }
    }
}

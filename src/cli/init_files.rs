//! The files that `init` writes: keys, a certificate to trust, the configuration. Each is whole or not there, and none is replaced but a
//! configuration that is to be, which is kept as `FILE.bak`.

use std::fs;
use std::path::{Path, PathBuf};

use super::init_answers::Answers;
use super::init_openemr::OpenEmr;
use super::keys;
use super::new_files::{PUBLIC, SECRET, Target, folder_of};
use super::outcome::{Failure, Outcome, failures, print, warn};
use super::rewritten_file::{self, Backup};
use crate::access::api_key::ApiKey;
use crate::config::problem::{shown, shown_path};
use crate::config::{self, Initial};
use crate::keys::generate::NewKey;
use crate::keys::{JwkSet, KidMethod, kid};

/// What stands for the id in the trial of a configuration that has none yet.
const UNREGISTERED: &str = "unregistered";

/// The configuration that the answers make, and the key of its first client, which is nowhere else.
pub(super) struct Configuration {
    initial: Initial,
    api_key: Option<String>,
}

impl Configuration {
    /// Puts the answers together.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn of(answers: &Answers, client_id: Option<String>) -> Result<Self, Vec<Failure>> {
        let Answers { openemr, scopes, keys, callers } = answers;
        let new_key = |name: &String| {
            let failed = |_| vec![Failure::new("the system has no random numbers", "see why /dev/urandom cannot be read")];
            ApiKey::generate().map_err(failed).map(|(key, digest)| (key, (name.clone(), digest.hex())))
        };
        let (api_key, client) = callers.client.as_ref().map(new_key).transpose()?.unzip();
        let initial = Initial {
            openemr: openemr.url.clone(),
            site: openemr.site.clone(),
            client_id,
            token_audience: openemr.token_audience.clone(),
            ca_file: openemr.ca_file.clone(),
            private_key: keys.join("private_key.pem"),
            jwks: keys.join("jwks.json"),
            scopes: scopes.clone(),
            listen: callers.listen,
            tls: callers.tls.clone(),
            allow_from: callers.allow_from.clone(),
            hosts: callers.hosts.clone(),
            client,
        };
        Ok(Self { initial, api_key })
    }

    /// The text.
    pub(super) fn yaml(&self) -> String {
        self.initial.to_yaml()
    }

    /// Makes the keys where there are none, and writes the certificate that is to be trusted and the configuration, in the place of
    /// the `old` one if there is one.
    ///
    /// # Errors
    /// A file that is in the way or cannot be written, and whatever a start would object to.
    pub(super) fn write(mut self, file: &Path, openemr: &OpenEmr, old: Option<&str>) -> Outcome {
        let target = Target { folder: folder_of(file), option: "--config" };
        target.create_folder()?;
        let backup = old.map(|_| Backup::prepare(file, true)).transpose()?;
        make_keys(&self.initial.private_key, &self.initial.jwks)?;
        if let (Some(path), Some(pem)) = (&openemr.ca_file, &openemr.certificate) {
            write_certificate(path, pem)?;
        }
        let yaml = self.yaml();
        self.initial.client_id.get_or_insert_with(|| UNREGISTERED.to_owned());
        config::read_text(&self.yaml()).map_err(failures)?;
        match (old, backup) {
            (Some(old), Some(backup)) => {
                rewritten_file::replace(file, old, &yaml, backup, "see what it is now, and run this again")?;
                print(&format!("wrote {}\n", shown(&file.display().to_string())))?;
            }
            _ => target.write(&[(&file.to_owned(), yaml.as_bytes(), SECRET)], false)?,
        }
        match (&self.api_key, &self.initial.client) {
            (Some(key), Some((name, _))) => {
                print(&format!("\nThe key of the client {name}, which is shown once:\n\n  {key}\n\n"))
            }
            _ => Ok(()),
        }
    }
}

/// Makes a signing key with its JWK Set, unless there is one.
fn make_keys(private_key: &Path, jwks: &Path) -> Outcome {
    let folder = folder_of(private_key);
    let public_key = private_key.with_file_name("public_key.pem");
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let kept = |path: &Path| print(&format!("{} is there; it is kept and used\n", shown(&path.display().to_string())));
    if !is_there(private_key) {
        if let Some(other) = [jwks, &public_key].into_iter().find(|path| is_there(path)) {
            let message = format!("{} is there without {}", shown_path(other), shown_path(private_key));
            return Err(vec![Failure::new(message, "put its key there, move it away, or name another folder with --keys")]);
        }
        return keys::generate_files(folder, NewKey::Rsa3072, KidMethod::Sha256Ne, false);
    }
    kept(private_key)?;
    if is_there(jwks) {
        return kept(jwks);
    }
    let (key, warnings) = config::read_private_key(private_key).map_err(failures)?;
    warn(warnings);
    let set = JwkSet::of(&key, &kid(key.public_key(), KidMethod::Sha256Ne)).to_json_pretty();
    Target { folder, option: "--keys" }.write(&[(&jwks.to_owned(), set.as_bytes(), PUBLIC)], false)
}

/// Writes the certificate that OpenEMR showed, unless it is there.
fn write_certificate(path: &PathBuf, pem: &str) -> Outcome {
    if fs::symlink_metadata(path).is_ok() {
        if fs::read_to_string(path).is_ok_and(|found| found == pem) {
            return Ok(());
        }
        let message = format!("{} is there already, and it is another certificate", shown_path(path));
        return Err(vec![Failure::new(message, "move it away, or name the file to trust with --ca-file")]);
    }
    Target { folder: folder_of(path), option: "--config" }.write(&[(path, pem.as_bytes(), PUBLIC)], false)
}

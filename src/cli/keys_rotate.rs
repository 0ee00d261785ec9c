//! `keys rotate`: begins the rotation of a site's signing key.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::keys_status::{describe, sites_text, time};
use super::keys_target::{Target, beside, failure, files, signing_sites, state, unusable};
use super::outcome::{Failure, Outcome, print, say};
use crate::config::problem::{shell_word, shown};
use crate::config::value::{duration, duration_text};
use crate::config::{Config, Site};
use crate::keys::generate::{GeneratedKey, NewKey, generate};
use crate::keys::jwk_set::MAX_KEYS;
use crate::keys::key_files::{KeyFileError, KeyFiles};
use crate::keys::rotation::{Rotation, Stage, State, Which};
use crate::keys::rotation_files::{KeyFile, KeyFolder as _, reconcile};
use crate::keys::{Jwk, KidMethod, kid};

/// How long a copy of the JWK Set may be kept, by its Cache-Control.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// The arguments of `keys rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    target: Target,
    /// How long the new key is published in second place before it signs; longer than any server caches the JWK Set
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    publish_for: Duration,
    /// How long the old key stays published after OpenEMR has accepted the new one
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    retire_after: Duration,
}

impl Rotate {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration or key, a rotation in progress, a folder that cannot be written to.
    pub(super) fn run(self) -> Outcome {
        let mut config = self.target.load()?;
        if finish(&files(self.target.site(&config)?))? {
            config = self.target.load()?;
        }
        let site = self.target.site(&config)?;
        let mut files = files(site);
        let names = signing_sites(&config, &files);
        check_others(&config, site)?;
        if let Some(rotation) = state(&files)?.rotation {
            return Err(in_progress(&rotation, &names));
        }
        let old = old_jwk(site)?;
        let new = generate(NewKey::like(&site.keys.key))
            .map_err(|error| failure(error, "try again; if it fails again, the machine's random source may be broken"))?;
        let new_kid = kid(new.key.public_key(), kid_method(site));
        let begun = self.begin(&mut files, &names, old, (&new, &new_kid))?;
        self.report(site, &files, &begun, &names)
    }

    /// Writes the new key, then the state, then the files that follow from it.
    fn begin(
        &self,
        files: &mut KeyFiles,
        names: &[String],
        old: Jwk,
        (new, new_kid): (&GeneratedKey, &str),
    ) -> Result<Rotation, Vec<Failure>> {
        let unusable = |error: KeyFileError| unusable(&error);
        let _alone = files.lock().map_err(unusable)?;
        // Another process may have been faster.
        let state = files.state().map_err(unusable)?;
        let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default();
        let keys = (old, Jwk::of(&new.key, new_kid));
        let state =
            state.begin(keys, now, self.publish_for, self.retire_after).map_err(|rotation| in_progress(&rotation, names))?;
        let private = KeyFile::NewPrivateKey(new_kid.to_owned());
        let public = KeyFile::NewPublicKey(new_kid.to_owned());
        let mut write = || {
            files.write(&private, new.private_pem.as_bytes())?;
            let has_public = files.private_key().ends_with("private_key.pem") && files.read(&KeyFile::PublicKey)?.is_some();
            if has_public {
                files.write(&public, new.public_pem.as_bytes())?;
            }
            files.write(&KeyFile::State, state.to_json().as_bytes())
        };
        if let Err(error) = write() {
            // Without a state that names it, the key is not used.
            let _ = files.remove(&private).and_then(|()| files.remove(&public));
            return Err(unusable(error));
        }
        reconcile(state, now, files).map_err(unusable)?.rotation.ok_or_else(Vec::new)
    }

    fn report(&self, site: &Site, files: &KeyFiles, rotation: &Rotation, names: &[String]) -> Outcome {
        let (old, new) = (rotation.kid(Which::Old), rotation.kid(Which::New));
        let named = |file: &KeyFile| beside(&site.jwks_file, &files.path(file));
        let key_file = beside(&site.private_key_file, &files.path(&KeyFile::NewPrivateKey(new.to_owned())));
        let mut text = format!("made a new {} key: {key_file}\n", site.keys.key.algorithm());
        let _ = write!(
            text,
            "\nThe rotation from {old} to {new} has begun, for {sites}:\n\
             \x20 now                 {new} is published second in {set}; a running gateway serves it within a second\n\
             \x20 {switch_at}\n\
             \x20                     the gateway publishes it first and signs with it, in one step\n\
             \x20 {retire_after} after OpenEMR accepted it\n\
             \x20                     the old key is retired, and the new one moves to {private}\n",
            sites = sites_text(names),
            set = named(&KeyFile::Set),
            switch_at = time(rotation.switch_at),
            retire_after = duration_text(rotation.retire_after),
            private = site.private_key_file.display(),
        );
        let _ = write!(
            text,
            "\nA client that is registered with a jwks_uri needs nothing more. One that is registered with an inline JWK Set (`jwks`) does:\n\
             \x20 OpenEMR cannot replace its keys, neither through its API nor on its pages: it has to be registered anew, with a\n\
             \x20 jwks_uri or with the new set, {next}. Enable the new client\n\
             \x20 under Admin > System > API Clients, set its client_id, and reload; at any time from now on.\n\
             \x20 Until then the gateway signs with the old key; it changes to the new one by itself.\n\
             \nTo see its progress:  openemr-gateway keys status --config {config}\n",
            next = named(&KeyFile::NextSet),
            config = shell_word(&self.target.config),
        );
        if self.publish_for < CACHED_FOR {
            say(format!(
                "warning: a server may keep a copy of the JWK Set for {}, longer than the new key is published before it signs ({})",
                duration_text(CACHED_FOR),
                duration_text(self.publish_for)
            ));
        }
        print(&text)
    }
}

/// Completes a rotation whose last step a crash prevented; returns whether there was one.
fn finish(files: &KeyFiles) -> Result<bool, Vec<Failure>> {
    let is_ending = |state: &State| state.rotation.as_ref().is_some_and(|rotation| rotation.stage == Stage::Retiring);
    if !is_ending(&state(files)?) {
        return Ok(false);
    }
    let unusable = |error: KeyFileError| unusable(&error);
    let mut files = files.clone();
    let _alone = files.lock().map_err(unusable)?;
    let state = files.state().map_err(unusable)?;
    if is_ending(&state) {
        reconcile(state, Timestamp::now(), &mut files).map_err(unusable)?;
    }
    Ok(true)
}

/// Checks that no other site uses the key in another way, which a rotation would break.
fn check_others(config: &Config, site: &Site) -> Outcome {
    let of = files(site);
    let mut failures = Vec::new();
    for other in &config.sites {
        let (others, name) = (files(other), other.name.as_str());
        if others == of {
            if let Some(kid) = &other.fixed_kid {
                failures.push(Failure::new(
                    format!("sites.{name}.kid names the old key, `{}`, and would be wrong after the rotation", shown(kid)),
                    "leave kid out (and KID of the environment unset); the gateway finds it in the JWK Set",
                ));
            }
        } else if others.private_key() == of.private_key() || others.jwks() == of.jwks() {
            failures.push(Failure::new(
                format!(
                    "site {name} uses one of the two files {} and {} with another one",
                    of.private_key().display(),
                    of.jwks().display()
                ),
                "give that site the same two files, or two of its own",
            ));
        }
    }
    if site.keys.jwks.keys().len() >= MAX_KEYS {
        let message = format!("{} holds {MAX_KEYS} keys; there is no room for another one", site.jwks_file.display());
        failures.push(Failure::new(message, "remove keys that are not used any more"));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn old_jwk(site: &Site) -> Result<Jwk, Vec<Failure>> {
    site.keys
        .jwks
        .find(&site.keys.kid)
        .cloned()
        .ok_or_else(|| failure("the signing key is not in the JWK Set", "see `config check`"))
}

/// Returns the method by which the old kid was computed.
fn kid_method(site: &Site) -> KidMethod {
    let thumbprint = kid(site.keys.key.public_key(), KidMethod::Rfc7638);
    if site.keys.kid == thumbprint { KidMethod::Rfc7638 } else { KidMethod::default() }
}

fn in_progress(rotation: &Rotation, names: &[String]) -> Vec<Failure> {
    let mut how_far = String::new();
    describe(&mut how_far, rotation, names);
    let message = "a rotation is in progress; it must complete first";
    failure(message, how_far.trim())
}

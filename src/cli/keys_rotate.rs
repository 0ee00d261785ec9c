//! `keys rotate` and `keys status`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::outcome::{Failure, Outcome, load, print};
use crate::config::problem::shown;
use crate::config::value::{duration, duration_text};
use crate::config::{Config, Site, defaults};
use crate::keys::generate::{GeneratedKey, NewKey, generate};
use crate::keys::jwk_set::MAX_KEYS;
use crate::keys::key_files::{KeyFileError, KeyFiles};
use crate::keys::rotation::{Rotation, Stage, State, Which};
use crate::keys::rotation_files::{KeyFile, KeyFolder as _, reconcile};
use crate::keys::{Jwk, KidMethod, kid};
use crate::smart::identity::TokenIdentity;

/// How long a copy of the JWK Set may be kept, by its Cache-Control.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// The arguments that name a configuration and a site.
#[derive(Debug, clap::Args)]
struct Target {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment takes precedence
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The site; required when the sites have several keys
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
}

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

/// The arguments of `keys status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

impl Target {
    fn load(&self) -> Result<Config, Vec<Failure>> {
        let config = load(&self.config, self.env_file.as_deref())?;
        match &self.site {
            Some(name) if !config.sites.iter().any(|site| site.name.as_str() == name) => {
                let names: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
                Err(failure(format!("no site `{}` is configured", shown(name)), format!("name one of  {}", names.join(", "))))
            }
            _ => Ok(config),
        }
    }

    /// Returns the site whose key is to be rotated.
    fn site<'c>(&self, config: &'c Config) -> Result<&'c Site, Vec<Failure>> {
        let named = |site: &&Arc<Site>| self.site.as_ref().is_none_or(|name| site.name.as_str() == name);
        let first = config.sites.iter().find(named).ok_or_else(Vec::new)?;
        let is_clear = self.site.is_some() || config.sites.iter().all(|site| files(site) == files(first));
        if is_clear { Ok(first) } else { Err(failure("the sites have several keys", "name the one that is meant with --site")) }
    }
}

fn files(site: &Site) -> KeyFiles {
    KeyFiles::new(&site.private_key_file, &site.jwks_file)
}

/// Returns the sites that sign with these files; of the sites that share a token, the first one signs.
fn signing_sites(config: &Config, of: &KeyFiles) -> Vec<String> {
    let mut tokens: Vec<TokenIdentity> = Vec::new();
    let mut names = Vec::new();
    for site in config.sites.iter().filter(|site| files(site) == *of) {
        let token = TokenIdentity::of(site);
        if !tokens.contains(&token) {
            tokens.push(token);
            names.push(site.name.as_str().to_owned());
        }
    }
    names
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
             \x20 give OpenEMR the new set, {next}, at any time from now on. OpenEMR's API cannot change it: an\n\
             \x20 administrator edits the client's JWK Set under Admin > System > API Clients, or the client is registered anew.\n\
             \x20 Until then the gateway signs with the old key; it changes to the new one by itself.\n\
             \nTo see its progress:  openemr-gateway keys status --config {config}\n",
            next = named(&KeyFile::NextSet),
            config = self.target.config.display(),
        );
        if self.publish_for < CACHED_FOR {
            eprintln!(
                "warning: a server may keep a copy of the JWK Set for {}, longer than the new key is published before it signs ({})",
                duration_text(CACHED_FOR),
                duration_text(self.publish_for)
            );
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

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration or state file.
    pub(super) fn run(self) -> Outcome {
        let config = self.target.load()?;
        let mut text = String::new();
        for site in &config.sites {
            if self.target.site.as_ref().is_some_and(|name| name != site.name.as_str()) {
                continue;
            }
            let files = files(site);
            let state = state(&files)?;
            let _ = writeln!(text, "site {}", site.name.as_str());
            let _ = writeln!(text, "  files       {}, {}", site.private_key_file.display(), site.jwks_file.display());
            let _ = writeln!(text, "  signs with  {} ({})", site.keys.kid, site.keys.key.algorithm());
            match &state.rotation {
                Some(rotation) => {
                    describe(&mut text, rotation, &signing_sites(&config, &files));
                    let next_set = beside(&site.jwks_file, &files.path(&KeyFile::NextSet));
                    let _ = writeln!(
                        text,
                        "  new set     {next_set} (for OpenEMR, where the client is registered with an inline JWK Set)"
                    );
                }
                None => {
                    let _ = writeln!(text, "  phase       idle: no rotation is in progress");
                }
            }
            if let (None, Some(last)) = (&state.rotation, &state.last) {
                let _ =
                    writeln!(text, "  last        rotated to {}; the old key was retired {}", last.kid, time(last.retired_at));
            }
        }
        print(&text)
    }
}

/// Writes the progress of a rotation and its next step.
fn describe(text: &mut String, rotation: &Rotation, names: &[String]) {
    let phase = match rotation.stage {
        Stage::Published => format!("published: the new key is second in the JWK Set, since {}", time(rotation.published_at)),
        Stage::Switched { at } => format!("switched: the new key comes first, since {}", time(at)),
        Stage::Retiring => "retiring: the new key is alone".to_owned(),
    };
    let waiting: Vec<&str> = rotation.waiting(names).collect();
    let next = match (rotation.stage, rotation.retire_at(names)) {
        (Stage::Published, _) => format!("the new key comes first and signs: {}", time(rotation.switch_at)),
        (Stage::Switched { .. }, Some(at)) => format!("the old key is retired: {}", time(at)),
        (Stage::Switched { .. }, None) => {
            format!("the old key is retired {} after OpenEMR accepted the new one", duration_text(rotation.retire_after))
        }
        (Stage::Retiring, _) => "the new private key moves to the place of the old one: at once".to_owned(),
    };
    let noticed = rotation
        .noticed_at
        .map_or_else(|| "no running gateway has taken it up yet".to_owned(), |at| format!("has taken it up, {}", time(at)));
    let fetched = rotation.fetched_at.map_or_else(
        || "has not fetched the JWK Set since the new key was published".to_owned(),
        |at| format!("has fetched the JWK Set, {}", time(at)),
    );
    let accepted = match rotation.sites.values().filter_map(|standing| standing.accepted_at).max() {
        Some(at) if waiting.is_empty() => format!("has accepted the new key, {}", time(at)),
        _ if names.len() > 1 => format!("has yet to accept the new key of {}", sites_text(&waiting)),
        _ => "has not accepted the new key yet".to_owned(),
    };
    let lines = [
        ("old key", rotation.kid(Which::Old).to_owned()),
        ("new key", rotation.kid(Which::New).to_owned()),
        ("phase", phase),
        ("next", next),
        ("gateway", noticed),
        ("OpenEMR", fetched),
        ("", accepted),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<11} {value}");
    }
    for (site, standing) in &rotation.sites {
        if standing.signs == Which::Old {
            let _ = writeln!(text, "  {:<11} refuses the new key of site {site}; the old one signs until it is accepted", "");
        }
    }
}

fn sites_text<T: AsRef<str>>(names: &[T]) -> String {
    let names: BTreeSet<&str> = names.iter().map(AsRef::as_ref).collect();
    let word = if names.len() == 1 { "site" } else { "sites" };
    format!("{word} {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

/// Formats a time in UTC, and in the operator's zone if that is another.
fn time(at: Timestamp) -> String {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let utc = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let local = at.to_zoned(TimeZone::system());
    if local.offset().is_zero() { utc.to_string() } else { format!("{utc} ({})", local.strftime("%H:%M:%S %Z")) }
}

/// Returns the path of a file as the configuration would write it.
fn beside(configured: &Path, file: &Path) -> String {
    configured.with_file_name(file.file_name().unwrap_or_default()).display().to_string()
}

fn state(files: &KeyFiles) -> Result<State, Vec<Failure>> {
    files.state().map_err(|error| unusable(&error))
}

fn unusable(error: &KeyFileError) -> Vec<Failure> {
    failure(
        error,
        match error {
            KeyFileError::Read { .. } => "run this as a user who may read it",
            KeyFileError::Write { .. } => {
                "run this as a user who may write to that folder; the gateway's user must be able to as well, since it makes the later steps"
            }
            KeyFileError::State { .. } | KeyFileError::Set(_) => "see `config check`",
        },
    )
}

fn failure(message: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Vec<Failure> {
    vec![Failure::new(message, remedy)]
}

//! The arguments of `keys rotate` and `keys status`, and the key files that they name.

use std::path::{Path, PathBuf};

use super::outcome::{Failure, load};
use crate::config::{CONFIG_FILE, Config, Site};
use crate::keys::key_files::{KeyFileError, KeyFiles};
use crate::keys::rotation::State;
use crate::smart::identity::TokenIdentity;

/// The arguments that name a configuration and a site.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub(super) config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment takes precedence
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// The site; required when the sites have several keys
    #[arg(long, value_name = "NAME")]
    pub(super) site: Option<String>,
}

impl Target {
    /// Reads the configuration.
    ///
    /// # Errors
    /// An invalid configuration, a site that is not in it.
    pub(super) fn load(&self) -> Result<Config, Vec<Failure>> {
        let config = load(&self.config, self.env_file.as_deref())?;
        config.site(self.site.as_deref()).map_err(|problem| vec![problem.into()])?;
        Ok(config)
    }

    /// Returns the site whose key is to be rotated.
    ///
    /// # Errors
    /// No site is named, and the sites have several keys.
    pub(super) fn site<'c>(&self, config: &'c Config) -> Result<&'c Site, Vec<Failure>> {
        let first = config.site(self.site.as_deref()).map_err(|problem| vec![problem.into()])?;
        let is_clear = self.site.is_some() || config.sites.iter().all(|site| files(site) == files(first));
        if is_clear { Ok(first) } else { Err(failure("the sites have several keys", "name the one that is meant with --site")) }
    }
}

/// Returns the key files of a site.
pub(super) fn files(site: &Site) -> KeyFiles {
    KeyFiles::new(&site.private_key_file, &site.jwks_file)
}

/// Returns the sites that sign with these files; of the sites that share a token, the first one signs.
pub(super) fn signing_sites(config: &Config, of: &KeyFiles) -> Vec<String> {
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

/// Returns the path of a file as the configuration would write it.
pub(super) fn beside(configured: &Path, file: &Path) -> String {
    configured.with_file_name(file.file_name().unwrap_or_default()).display().to_string()
}

/// Reads the state of the rotation.
pub(super) fn state(files: &KeyFiles) -> Result<State, Vec<Failure>> {
    files.state().map_err(|error| unusable(&error))
}

/// Returns the failure for a file that cannot be used.
pub(super) fn unusable(error: &KeyFileError) -> Vec<Failure> {
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

/// Returns one failure with its remedy.
pub(super) fn failure(message: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Vec<Failure> {
    vec![Failure::new(message, remedy)]
}

//! Reads the configuration: the YAML file, the environment, and every file that they name.

use std::path::Path;

use super::certificates::CaFile;
use super::configuration::Config;
use super::declaration::Members as _;
use super::env::Environment;
use super::node::{Node, Value};
use super::problem::{Findings, Mark, Place, Problem, Source, Warning, Written, shown, shown_path};
use super::read::{self, ReadError};
use super::setting::Setting as _;
use super::site::Site;
use super::site_rotation::SiteKeys;
use super::text::{self, NotText};
use super::{permissions, site_keys, site_rotation, yaml};
use crate::keys::{JwkSet, SigningKey, sha256_hex, without_byte_order_mark};

/// The file that is read when none is named.
pub(crate) const CONFIG_FILE: &str = "conf/gateway.yaml";
/// The largest configuration file that is read, in bytes: room for 100,000 clients.
pub(super) const MAX_CONFIG_FILE: usize = 32 * 1024 * 1024;

/// A configuration that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd about it and keeps nothing from working.
    pub warnings: Vec<Warning>,
    /// The SHA-256 of the file as it was read, in hexadecimal digits; `None` where variables stand in for the file.
    pub sha256: Option<String>,
}

/// Reads and checks the configuration.
///
/// Without a file at [`CONFIG_FILE`] the Python proxy's variables alone do, in the environment or in `env_file`; a file of any
/// other name must exist.
///
/// # Errors
/// Every problem found, not only the first.
pub(crate) fn load(config_path: &Path, env_file: Option<&Path>) -> Result<Loaded, Vec<Problem>> {
    let mut findings = Findings::default();
    let environment = Environment::of_process(env_file, &mut findings);
    let place = Place::whole(Source::File(config_path.into()));
    let (mut config, mut sha256) = (None, None);
    if let Some((mut root, digest)) = root(config_path, &place, &environment, &mut findings) {
        sha256 = digest;
        if root.value == Value::Null {
            root.value = Value::Map(Vec::new());
        }
        environment.substitute(&mut root, &place, &mut findings);
        environment.override_keys(&mut root, &Config::keys(), &mut findings);
        config = Config::read(&root, &root.place(place), &mut findings);
    }
    findings.settle_readable_keys(config.as_ref().is_some_and(|config| config.keys_readable_by_others));
    match config {
        Some(config) if findings.problems.is_empty() => Ok(Loaded { config, warnings: findings.warnings, sha256 }),
        _ => Err(findings.problems),
    }
}

/// Reads a configuration that the program wrote itself, such as the demo's, without the environment.
///
/// # Errors
/// Every problem found, not only the first.
pub(crate) fn read_text(text: &str) -> Result<Config, Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::CommandLine);
    let config = match yaml::parse(text) {
        Ok(root) => Config::read(&root, &place, &mut findings),
        Err(error) => {
            findings.problem(place.at(error.mark).problem(error.to_string()));
            None
        }
    };
    config.filter(|_| findings.problems.is_empty()).ok_or(findings.problems)
}

/// Reads a private key whose file was named on the command line, with the same checks and the same errors. That others can read
/// it is a warning here.
///
/// # Errors
/// What keeps the file from being read, why it holds no key that can sign, or who else can change it.
pub(crate) fn read_private_key(path: &Path) -> Result<(SigningKey, Vec<Warning>), Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::CommandLine).member("--private-key");
    let key = site_keys::read_private_key(path, &place, &mut findings);
    findings.settle_readable_keys(true);
    match key {
        Ok(key) if findings.problems.is_empty() => Ok((key, findings.warnings)),
        Ok(_) => Err(findings.problems),
        Err(problem) => Err(findings.problems.into_iter().chain([problem]).collect()),
    }
}

/// Reads the certificates of a CA whose file was named on the command line, with the checks of `ca_file`.
///
/// # Errors
/// What keeps the file from being read, or why it holds no certificate of a CA.
pub(crate) fn read_ca_file(path: &Path) -> Result<(CaFile, Vec<Warning>), Vec<Problem>> {
    let mut findings = Findings::default();
    let node = Node { value: Value::Text(path.to_string_lossy().into_owned()), ..Node::nothing() };
    let file = CaFile::read(&node, &Place::whole(Source::CommandLine).member("--ca-file"), &mut findings);
    file.filter(|_| findings.problems.is_empty()).map(|file| (file, findings.warnings)).ok_or(findings.problems)
}

/// Reads the public keys whose file was named on the command line, with the checks of `jwks`.
///
/// # Errors
/// What keeps the file from being read, or why it holds no JWK Set that may be given away.
pub(crate) fn read_jwk_set(path: &Path) -> Result<(JwkSet, Vec<Warning>), Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::CommandLine).member("--jwks");
    let written = Written { value: path.to_string_lossy().into_owned(), place };
    let set = site_keys::jwk_set(&written, "keys/private_key.pem", &mut findings);
    set.filter(|_| findings.problems.is_empty()).map(|set| (set, findings.warnings)).ok_or(findings.problems)
}

/// Reads the keys of a site again, with the same checks as at start. Changes nothing.
///
/// # Errors
/// Every problem of the files.
pub(crate) fn reread_keys(site: &Site) -> Result<SiteKeys, Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::File(site.jwks_file.as_path().into()));
    let written = |value: String| Written { value, place: place.clone() };
    let path = |path: &Path| written(path.to_string_lossy().into_owned());
    let kid = site.fixed_kid.clone().map(written);
    let (key_file, jwks_file) = (path(&site.private_key_file), path(&site.jwks_file));
    site_rotation::read(&key_file, &jwks_file, kid.as_ref(), site.name.as_str(), &mut findings)
        .filter(|_| findings.problems.is_empty())
        .ok_or(findings.problems)
}

/// The YAML tree with the SHA-256 of its file, or an empty one when variables stand in for it.
pub(super) fn root(
    path: &Path,
    place: &Place,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<(Node, Option<String>)> {
    permissions::check_writers(path, place, findings);
    let bytes = match read::file(path, MAX_CONFIG_FILE) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) if path == Path::new(CONFIG_FILE) && environment.describes_a_site() => {
            return Some((Node::nothing(), None));
        }
        Err(error) => {
            let problem = Problem { place: place.clone(), message: format!("{} {error}", shown_path(path)), remedy: None };
            findings.problem(match error {
                ReadError::Missing => problem.remedy(
                    "name the file with --config, or set OEMR_BASE, CLIENT_ID, PRIVATE_KEY_PATH, JWKS_PATH and SCOPE instead",
                ),
                ReadError::Forbidden => problem.remedy("let the gateway's user read it"),
                ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Other(_) => {
                    problem.remedy("name a YAML file with --config")
                }
            });
            return None;
        }
    };
    let text = match text::of(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let mark = match &error {
                NotText::Utf16 => None,
                NotText::NotUtf8(error) => Some(mark_of(without_byte_order_mark(&bytes), error.valid_up_to())),
            };
            let problem = place.clone().at(mark).problem(format!("{} {error}", shown_path(path)));
            findings.problem(problem.remedy("save it as UTF-8"));
            return None;
        }
    };
    match yaml::parse(text) {
        Ok(node) => Some((node, Some(sha256_hex(&bytes)))),
        Err(error) => {
            let problem = place.clone().at(error.mark).problem(format!(
                "{} is not valid YAML: {}",
                shown_path(path),
                shown(&error.to_string())
            ));
            findings.problem(problem.remedy("mend that line; indent with blanks, and put values with : or # in quotes"));
            None
        }
    }
}

/// The line and column behind so many bytes of text.
fn mark_of(bytes: &[u8], good: usize) -> Mark {
    let good = bytes.get(..good).and_then(|good| std::str::from_utf8(good).ok()).unwrap_or_default();
    let line = good.rsplit('\n').next().unwrap_or_default();
    Mark { line: good.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Any tree of the keys and values that the file knows, in places where they belong or not.
    fn tree() -> impl Strategy<Value = String> {
        let key = "listen|address|tls|routes|fhir|sites|default|openemr|scopes|access|allow_from|limits|timeouts|read|log|level|server|threads|repairs|cors|x";
        let value =
            "null|true|-1|1e9|5s|64KiB|open|'/fhir'|'https://a'|'127[.]0[.]0[.]1:8000'|'::1/128'|system/Patient[.]read|''";
        value.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
                prop::collection::vec((key, inner), 0..5).prop_map(|entries| {
                    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                    format!("{{{}}}", entries.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_tree_panics_and_none_passes_without_keys(text in tree()) {
            let mut findings = Findings::default();
            let root = yaml::parse(&text);
            prop_assert!(root.is_ok(), "{text}: {root:?}");
            let place = Place::whole(Source::Environment);
            let _ = Config::read(&root.unwrap(), &place, &mut findings);
            prop_assert!(!findings.problems.is_empty());
        }
    }
}

//! What can be checked on this machine: the configuration, who may read and write which file, and the keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::problem::{shell_word, shown, shown_path};
use crate::config::{Config, IdForm, Problem, Site, Warning};
use crate::diagnosis::outcome::{Finding, Step};
use crate::diagnosis::walk::Walk;
use crate::keys::Jwk;
use crate::keys::rotation::Which;

/// Records what came of reading the configuration, or the options that stand in for it; gives it if it is good. `found` says what
/// it is.
pub(crate) fn configuration<T>(
    walk: &mut Walk<'_>,
    did: String,
    read: impl FnOnce() -> Result<(T, Vec<Warning>), Vec<Problem>>,
    found: impl FnOnce(&T) -> String,
) -> Option<T> {
    let reading = walk.begin(Step::Configuration, did.clone());
    match read() {
        Ok((config, warnings)) => {
            walk.end(reading, Finding::ok(found(&config)));
            for Warning(problem) in warnings {
                let warned = walk.begin(Step::Configuration, did.clone());
                walk.end(warned, of_problem(Finding::warning("a warning"), problem));
            }
            Some(config)
        }
        Err(problems) => {
            let mut begun = Some(reading);
            for problem in problems {
                let begun = begun.take().unwrap_or_else(|| walk.begin(Step::Configuration, did.clone()));
                walk.end(begun, of_problem(Finding::failed("not usable"), problem));
            }
            for (step, did) in [
                (Step::Files, "check files"),
                (Step::Keys, "check the keys"),
                (Step::Dns, "look up OpenEMR"),
                (Step::Tcp, "connect to OpenEMR"),
                (Step::Tls, "check the certificate"),
                (Step::Discovery, "read the SMART configuration"),
                (Step::Clock, "compare the clocks"),
                (Step::Token, "get an access token"),
                (Step::Scopes, "compare the scopes"),
                (Step::Metadata, "read the CapabilityStatement"),
                (Step::Count, "count resources"),
                (Step::Version, "tell the version"),
                (Step::Vulnerability, "compare with the published vulnerabilities"),
            ] {
                walk.skip(step, did, Step::Configuration);
            }
            None
        }
    }
}

fn of_problem(finding: Finding, problem: Problem) -> Finding {
    // What is wrong with a file as a whole begins with its name.
    let names_itself = problem.place.key.is_empty() && problem.message.starts_with(&problem.place.source.to_string());
    let cause = if names_itself { problem.message } else { format!("{}: {}", problem.place, problem.message) };
    finding.cause(cause).remedy(problem.remedy)
}

/// Checks what the gateway as a whole writes to.
pub(crate) fn check_gateway(walk: &mut Walk<'_>, config: &Config) {
    check_log(walk, config);
    let audit = &config.audit;
    if !audit.is_on() {
        return;
    }
    if let Some(folder) = &audit.folder {
        check_folder(walk, "audit.folder", folder);
        check_folder(walk, "the folder of audit.checkpoint_key", folder_of(&audit.checkpoint_key));
    }
    if audit.ids == IdForm::Hashed {
        check_folder(walk, "the folder of audit.ids_key", folder_of(&audit.ids_key));
    }
    if let Some(repository) = &audit.repository {
        check_folder(walk, "audit.repository.spool", &repository.spool);
    }
}

fn check_log(walk: &mut Walk<'_>, config: &Config) {
    let target = config.log.target();
    let Some(path) = target.path() else { return };
    let looking = walk.begin(Step::Files, format!("look whether the log can be written: {}", shown_path(path)));
    walk.end(
        looking,
        match target.check() {
            Ok(()) => Finding::ok("yes"),
            Err(error) => Finding::failed("no").cause(error.to_string()).remedy(error.remedy()),
        },
    );
}

/// Checks the files and keys of a site.
pub(super) fn check_site(walk: &mut Walk<'_>, site: &Site) {
    let looking = walk.begin(Step::Files, format!("look who can read {}", shown_path(&site.private_key_file)));
    // Who else could read or change it is a problem of the configuration already, or a warning.
    let mode = fs::metadata(&site.private_key_file).map(|found| found.permissions().mode() & 0o7777);
    walk.end(
        looking,
        match mode {
            Ok(mode) => Finding::ok(format!("mode {mode:04o}, as the configuration allows")),
            Err(error) => Finding::failed("it is gone").cause(error.to_string()).remedy("check again".to_owned()),
        },
    );
    let exports = site.token.scopes.iter().any(|scope| scope.as_str().ends_with(".$export"));
    if exports && site.answers.repairs.bulk_data {
        check_folder(walk, "bulk_data.folder", &site.answers.bulk_data.folder);
    }
    check_keys(walk, site);
}

fn check_keys(walk: &mut Walk<'_>, site: &Site) {
    let keys = &site.keys;
    let checking = walk.begin(Step::Keys, format!("check the key against {}", shown_path(&site.jwks_file)));
    let count = keys.jwks.keys().len();
    let place = keys.jwks.keys().iter().position(|jwk| jwk.kid() == Some(&keys.kid)).map_or(0, |at| at + 1);
    let rsa = keys.jwks.keys().iter().filter(|jwk| Jwk::is_rsa(jwk)).count();
    let found = format!(
        "{} key, kid {}, number {place} of {count} ({rsa} RSA); OpenEMR verifies with the first RSA key",
        keys.key.algorithm(),
        shown(&keys.kid)
    );
    let mut details = vec![
        "what is registered at OpenEMR cannot be read from here: the token exchange shows whether this key is the first of it"
            .to_owned(),
    ];
    if let Some(rotating) = &keys.rotating {
        let which = if rotating.signs == Which::New { "new" } else { "old" };
        details.push(format!("a rotation is in progress, and the {which} key signs: see  openemr-gateway keys status"));
    }
    walk.end(checking, Finding { details, ..Finding::ok(found) });
}

/// Checks that a folder can be written to, or made.
fn check_folder(walk: &mut Walk<'_>, key: &str, folder: &Path) {
    let looking = walk.begin(Step::Files, format!("look whether {key} can be written: {}", shown_path(folder)));
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let existing = nearest(&path);
    let usable = access(&existing, Access::WRITE_OK | Access::EXEC_OK);
    let is_folder = existing.is_dir();
    let me = rustix::process::geteuid().as_raw();
    walk.end(looking, match usable {
        _ if !is_folder => Finding::failed("no")
            .cause(format!("{} is no folder", shown_path(&existing)))
            .remedy(format!("write the name of a folder as {}", key.rsplit(' ').next().unwrap_or(key))),
        Ok(()) if existing == path => Finding::ok("yes"),
        Ok(()) => Finding::ok(format!("it is not there, and can be made in {}", shown_path(&existing))),
        Err(error) => Finding::failed("no")
            .cause(format!("user {me} cannot write to {}: {error}", shown_path(&existing)))
            .remedy(format!(
                "make the folder, and give it to the gateway's user:  install -d -m 700 -o USER {}  (and run this check as that user)",
                shell_word(folder)
            )),
    });
}

/// The path itself, or the nearest one above it that is there.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(path).to_owned()
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

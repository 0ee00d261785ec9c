//! The files that `access` names: lists of patients, and the public keys of clients.

use std::path::Path;
use std::sync::Arc;

use super::problem::{Findings, Written, shown, shown_path};
use super::read::{self, ReadError};
use super::site_keys::holds_key;
use super::{permissions, text};
use crate::access::patients::PatientList;
use crate::fhir::id::is_id;
use crate::keys::JwkSet;
use crate::keys::jwk_set::MAX_JWK_SET;

/// The largest list of patients that is read, in bytes.
const MAX_PATIENTS_FILE: usize = 64 * 1024 * 1024;
/// The most lines of a list of patients.
const MAX_PATIENTS: usize = 1_000_000;
/// How many bad lines of a list are named.
const NAMED_LINES: usize = 10;

/// Reads a list of patients: one id a line. Blank lines, and what follows `#`, are left out.
pub(super) fn patients(written: &Written<String>, findings: &mut Findings) -> Option<PatientList> {
    let bytes = bytes(written, MAX_PATIENTS_FILE, "name a file with one id of a patient on each line", findings)?;
    let file = shown_path(Path::new(&written.value));
    let problem = |message: String| written.place.problem(message);
    let text = match text::of(&bytes) {
        Ok(text) => text,
        Err(error) => {
            findings.problem(problem(format!("{file} {error}")).remedy("save it as UTF-8"));
            return None;
        }
    };
    if text.lines().nth(MAX_PATIENTS).is_some() {
        let message = format!("{file} has more than {MAX_PATIENTS} lines");
        findings.problem(problem(message).remedy("write shorter lists, or leave `patients` out for a client that may read all"));
        return None;
    }
    let id = |line: &'_ str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, id(line)));
    let (good, bad): (Vec<_>, Vec<_>) = numbered.filter(|(_, id)| !id.is_empty()).partition(|(_, id)| is_id(id));
    for (number, _) in bad.iter().take(NAMED_LINES) {
        // The line may hold a name: it is not shown.
        let problem = problem(format!("line {number} of {file} is no id of a patient"));
        findings.problem(problem.remedy("write one id a line: letters, digits, - and . only, at most 64; remarks begin with #"));
    }
    if bad.len() > NAMED_LINES {
        findings.problem(problem(format!("{} more lines of {file} are no ids of patients", bad.len() - NAMED_LINES)));
    }
    if good.is_empty() && bad.is_empty() {
        let remedy = "write one id a line; to switch a client off, take its entry out of access.clients";
        findings.problem(problem(format!("{file} names no patient")).remedy(remedy));
    }
    (bad.is_empty() && !good.is_empty()).then(|| good.into_iter().map(|(_, id)| id).collect())
}

/// Reads a JWK Set with the public keys of a client.
pub(super) fn public_keys(written: &Written<String>, findings: &mut Findings) -> Option<Arc<str>> {
    const REMEDY: &str = "name the JWK Set with the public keys of the client, of RSA or on the curve P-384";
    if let Some(problem) = holds_key(written) {
        findings.problem(problem);
        return None;
    }
    let bytes = bytes(written, MAX_JWK_SET, REMEDY, findings)?;
    let file = shown_path(Path::new(&written.value));
    let mut problem = |message: String, remedy: &str| findings.problem(written.place.problem(message).remedy(remedy));
    let set = match JwkSet::parse(&bytes) {
        Ok(set) => set,
        Err(error) => {
            problem(format!("{file} {error}"), REMEDY);
            return None;
        }
    };
    if !set.private_members().is_empty() {
        let members = shown(&set.private_members().join(", "));
        problem(
            format!("{file} holds private members: {members}"),
            "the client keeps its private key; write the public members alone",
        );
        return None;
    }
    if !set.keys().iter().any(|key| key.public_key().is_some()) {
        problem(format!("{file} holds no public key that can be used"), REMEDY);
        return None;
    }
    text::of(&bytes).ok().map(Into::into)
}

fn bytes(written: &Written<String>, limit: usize, remedy: &str, findings: &mut Findings) -> Option<Vec<u8>> {
    let path = Path::new(&written.value);
    permissions::check_writers(path, &written.place, findings);
    match read::file(path, limit) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let problem = written.place.problem(format!("{} {error}", shown_path(path)));
            findings.problem(problem.remedy(match error {
                ReadError::Forbidden => "let the gateway's user read it",
                _ => remedy,
            }));
            None
        }
    }
}

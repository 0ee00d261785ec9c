//! Reads a site's private key and JWK Set, and checks them against each other and against OpenEMR's rules.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::permissions;
use super::problem::{Findings, Place, Problem, Written, shell_word, shown, shown_path};
use super::read::{self, ReadError};
use crate::keys::jwk_set::MAX_JWK_SET;
use crate::keys::signing_key::MAX_KEY_FILE;
use crate::keys::{Algorithm, Jwk, JwkSet, KidMethod, SigningKey, kid, not_pem};

/// Reads the private key of a site, and checks who else can change or read it.
pub(super) fn private_key(written: &Written<String>, findings: &mut Findings) -> Option<Arc<SigningKey>> {
    let path = Path::new(&written.value);
    if let Some(problem) = holds_key(written) {
        findings.problem(problem);
        return None;
    }
    match read_private_key(path, &written.place, findings) {
        Ok(key) => {
            match key.algorithm() {
                Algorithm::Rs384 => {}
                Algorithm::Es384 => findings.warning(
                    written
                        .place
                        .problem(format!("{} signs ES384, which no release of OpenEMR takes", shown_path(path)))
                        .remedy("for OpenEMR make an RSA key:  openemr-gateway keys generate --out keys --algorithm RS384"),
                ),
            }
            Some(key.shared())
        }
        Err(problem) => {
            findings.problem(problem);
            None
        }
    }
}

/// Reads a private key from its file; who else can change or read that goes to the findings.
pub(super) fn read_private_key(path: &Path, place: &Place, findings: &mut Findings) -> Result<SigningKey, Problem> {
    let named = shown_path(path);
    let file = shell_word(path);
    permissions::check_writers(path, place, findings);
    permissions::check_readers(path, place, findings);
    let bytes = read::file(path, MAX_KEY_FILE).map(Zeroizing::new).map_err(|error| {
        place.problem(format!("{named} {error}")).remedy(match error {
            ReadError::Missing => "create one:  openemr-gateway keys generate --out keys".to_owned(),
            ReadError::Forbidden => {
                format!("let the gateway's user read it:  chown {} {file}", permissions::user())
            }
            ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Other(_) => {
                "name the PEM file of the private key".to_owned()
            }
        })
    })?;
    SigningKey::from_pem(&bytes)
        .map_err(|error| place.problem(format!("{named} {error}")).remedy(error.remedy().replace("{file}", &file)))
}

/// Returns a problem for a key, in any of the forms in which keys are handed around, in place of its file's name, without showing
/// it.
pub(super) fn holds_key(written: &Written<String>) -> Option<Problem> {
    not_pem::is_key_material(&written.value).then(|| {
        let problem = written.place.problem("holds a key or a certificate itself where the name of its file was due");
        problem.remedy("save it to a file, readable by the gateway alone, and write that file's name here")
    })
}

/// Reads the JWK Set of a site.
pub(super) fn jwk_set(written: &Written<String>, private_key: &str, findings: &mut Findings) -> Option<JwkSet> {
    let path = Path::new(&written.value);
    if let Some(problem) = holds_key(written) {
        findings.problem(problem);
        return None;
    }
    permissions::check_writers(path, &written.place, findings);
    let make = make_set(written, private_key);
    let problem = |text: String| written.place.problem(format!("{} {text}", shown_path(path)));
    let bytes = match read::file(path, MAX_JWK_SET) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = match error {
                ReadError::Forbidden => "let the gateway's user read it".to_owned(),
                _ => make,
            };
            findings.problem(problem(error.to_string()).remedy(remedy));
            return None;
        }
    };
    match JwkSet::parse(&bytes) {
        Ok(set) => {
            if !set.private_members().is_empty() {
                let text = format!("holds private members: {}", shown(&set.private_members().join(", ")));
                let advice = format!(
                    "{make}\n  and if that file was ever given away or published, make a new key:  openemr-gateway keys generate --out keys.new"
                );
                findings.problem(problem(text).remedy(advice));
            }
            if let (true, Some(first)) = (set.keys().is_empty(), set.ignored().first()) {
                findings.problem(problem(shown(first)).remedy(make));
                return None;
            }
            for ignored in set.ignored() {
                let remedy = "nothing, if the key is none of the gateway's; take it out to be rid of this line";
                findings.warning(
                    problem(format!("holds a key that is ignored and not published: {}", shown(ignored))).remedy(remedy),
                );
            }
            Some(set)
        }
        Err(error) => {
            findings.problem(problem(error.to_string()).remedy(make));
            None
        }
    }
}

/// What to do about a JWK Set that is missing or wrong. The command refuses to overwrite what is there, which can be anything: the
/// private key, if that was named by mistake.
fn make_set(jwks: &Written<String>, private_key: &str) -> String {
    let path = Path::new(&jwks.value);
    let first = if fs::symlink_metadata(path).is_ok() { "move that file away, and write" } else { "write" };
    let (key, file) = (shell_word(Path::new(private_key)), shell_word(path));
    format!("{first} the key's own:  openemr-gateway keys jwks --private-key {key} --out {file}")
}

/// Finds the `kid` under which the key stands in the set, and checks that OpenEMR will verify with that very key.
pub(super) fn key_id(
    written: Option<&Written<String>>,
    key: &SigningKey,
    set: &JwkSet,
    jwks: &Written<String>,
    private_key: &str,
    findings: &mut Findings,
) -> Option<String> {
    let file = shown_path(Path::new(&jwks.value));
    let make = make_set(jwks, private_key);
    let own = |jwk: &&Jwk| jwk.public_key() == Some(key.public_key());
    let kid = match written {
        Some(written) => written.value.clone(),
        None => {
            let computed = kid(key.public_key(), KidMethod::default());
            let mut own_kids = set.keys().iter().filter(own).filter_map(Jwk::kid);
            match (set.find(&computed), own_kids.next(), own_kids.next()) {
                (None, Some(only), None) => only.to_owned(),
                _ => computed,
            }
        }
    };
    let place = written.map_or(&jwks.place, |written| &written.place);
    let Some(position) = set.keys().iter().position(|jwk| jwk.kid() == Some(&kid)) else {
        let kids: Vec<&str> = set.keys().iter().filter_map(Jwk::kid).collect();
        let holds = if kids.is_empty() { "no key with a kid".to_owned() } else { shown(&kids.join(", ")) };
        let ignored = match set.ignored() {
            [] => String::new(),
            ignored => format!("; ignored were {}", shown(&ignored.join(", "))),
        };
        let problem = place.problem(format!("kid `{}` is not in {file}, which holds {holds}{ignored}", shown(&kid)));
        findings.problem(problem.remedy(match set.keys().iter().find(own).and_then(Jwk::kid) {
            Some(own) => format!("the private key stands there as `{}`; write that as kid, or leave kid out", shown(own)),
            None => make,
        }));
        return None;
    };
    if set.keys().iter().filter(|jwk| jwk.kid() == Some(&kid)).count() > 1 {
        let problem = jwks.place.problem(format!("{file} holds more than one key of kid `{}`", shown(&kid)));
        findings.problem(problem.remedy("keep one of them; a kid is the name of one key"));
        return None;
    }
    let jwk = set.keys().get(position)?;
    if !own(&jwk) {
        let problem = jwks.place.problem(format!(
            "the key of kid `{}` in {file} does not belong to {}",
            shown(&kid),
            shown_path(Path::new(private_key))
        ));
        findings.problem(problem.remedy(format!("{make}\n  and register that set at OpenEMR again")));
        return None;
    }
    if let Some(contradiction) = jwk.contradiction(key.algorithm()) {
        let message = format!("the key of kid `{}` in {file} {}", shown(&kid), shown(&contradiction));
        let remedy = format!("{make}\n  and register that set at OpenEMR again");
        findings.problem(jwks.place.problem(message).remedy(remedy));
        return None;
    }
    let first_rsa = set.keys().iter().position(Jwk::is_rsa);
    if jwk.is_rsa() && first_rsa != Some(position) {
        let first = first_rsa.and_then(|index| set.keys().get(index)).and_then(Jwk::kid).unwrap_or("without a kid");
        let problem = jwks.place.problem(format!(
            "in {file} another RSA key ({}) stands before the signing one (`{}`); OpenEMR verifies with the first, whatever the kid",
            shown(first),
            shown(&kid)
        ));
        findings
            .problem(problem.remedy("move the signing key to the front of `keys`, here and in what is registered at OpenEMR"));
        return None;
    }
    Some(kid)
}

//! The environment: `${NAME}` in values, the Python proxy's variables, `--env-file`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::dotenv::{self, is_name};
use super::file::{File, FileSite};
use super::node::{Node, Value};
use super::problem::{Findings, Place, Source, Written, shown, shown_path};
use super::read;

/// The largest environment file that is read, in bytes.
const MAX_ENV_FILE: usize = 1024 * 1024;
/// The Python proxy's variables that say enough to make up a site.
const SITE_MAKERS: [&str; 6] = ["OEMR_BASE", "CLIENT_ID", "PRIVATE_KEY_PATH", "JWKS_PATH", "TOKEN_URL", "FHIR_BASE"];
/// The site that those variables are about.
const DEFAULT_SITE: &str = "default";

/// The variables that there are: those of the process, then those of `--env-file`. An empty one counts as unset.
pub(super) struct Environment {
    process: HashMap<String, String>,
    file: Option<(Arc<Path>, HashMap<String, String>)>,
}

impl Environment {
    /// The process environment, with a file below it. Variables that are not UTF-8 are passed over.
    pub(super) fn of_process(file: Option<&Path>, findings: &mut Findings) -> Self {
        let utf8 =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { process: std::env::vars_os().filter_map(utf8).collect(), file: file.and_then(|path| read_file(path, findings)) }
    }

    /// A variable and where it came from.
    pub(super) fn get(&self, name: &str) -> Option<Written<String>> {
        let found = |variables: &HashMap<String, String>, source: Source| {
            let value = variables.get(name).filter(|value| !value.is_empty())?.clone();
            Some(Written { value, place: Place { source, mark: None, key: name.to_owned() } })
        };
        found(&self.process, Source::Environment).or_else(|| {
            let (path, variables) = self.file.as_ref()?;
            found(variables, Source::EnvFile(path.clone()))
        })
    }

    /// Whether the Python proxy's variables describe a site.
    pub(super) fn describes_a_site(&self) -> bool {
        SITE_MAKERS.iter().any(|name| self.get(name).is_some())
    }

    /// Replaces `${NAME}` in every text of the tree, and `$${` by `${`.
    pub(super) fn substitute(&self, node: &mut Node, place: &Place, findings: &mut Findings) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => match self.substituted(text) {
                Ok(value) => node.value = Value::Substituted(value),
                Err(problem) => {
                    let (message, remedy) = match problem {
                        Unset::Name(name) => (
                            format!("${{{name}}} is not set"),
                            format!("set {name} in the environment or in the file given with --env-file"),
                        ),
                        Unset::Form => (
                            format!("`{}` holds a ${{ that names no variable", shown(text)),
                            "write ${NAME}, or $${ where ${ itself is meant".to_owned(),
                        ),
                    };
                    findings.problem(place.problem(message).remedy(remedy));
                    node.value = Value::Broken;
                }
            },
            Value::List(nodes) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    let place = node.place(place.element(index));
                    self.substitute(node, &place, findings);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let place = entry.place(place);
                    self.substitute(&mut entry.node, &place, findings);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Substituted(_) | Value::Broken => {}
        }
    }

    fn substituted(&self, text: &str) -> Result<String, Unset> {
        let mut value = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            let reference = reference.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                value.push_str(before);
                value.push_str("${");
                rest = reference;
                continue;
            }
            let (name, after) = reference.split_once('}').filter(|(name, _)| is_name(name)).ok_or(Unset::Form)?;
            value.push_str(before);
            value.push_str(&self.get(name).ok_or_else(|| Unset::Name(name.to_owned()))?.value);
            rest = after;
        }
        value.push_str(rest);
        Ok(value)
    }

    /// Puts the Python proxy's variables over the `default` site, which they may also make up.
    pub(super) fn override_default_site(&self, file: &mut File, findings: &mut Findings) {
        if let Some(level) = self.get("LOG_LEVEL") {
            file.log_level = Some(level);
        }
        if !file.sites.iter().any(|site| site.name == DEFAULT_SITE) {
            if !self.describes_a_site() {
                for name in ["SITE", "SCOPE", "KID"] {
                    if let Some(variable) = self.get(name) {
                        findings.warning(variable.place.problem("is set, but there is no site `default` that it could override"));
                    }
                }
                return;
            }
            let place = file.place.member("sites").member(DEFAULT_SITE);
            file.sites.insert(0, FileSite::empty(DEFAULT_SITE, place));
        }
        let Some(site) = file.sites.iter_mut().find(|site| site.name == DEFAULT_SITE) else {
            return;
        };
        let over = |field: &mut Option<Written<String>>, name| *field = self.get(name).or_else(|| field.take());
        let over_all = |field: &mut Option<Vec<Written<String>>>, name| {
            *field = self.get(name).map(|one| vec![one]).or_else(|| field.take());
        };
        over_all(&mut site.openemr, "OEMR_BASE");
        over(&mut site.openemr_site, "SITE");
        over(&mut site.client_id, "CLIENT_ID");
        over(&mut site.private_key, "PRIVATE_KEY_PATH");
        over(&mut site.jwks, "JWKS_PATH");
        over(&mut site.kid, "KID");
        over_all(&mut site.token_url, "TOKEN_URL");
        over_all(&mut site.fhir_base, "FHIR_BASE");
        if let Some(Written { value, place }) = self.get("SCOPE") {
            let scope = |text: &str| Written { value: text.to_owned(), place: place.clone() };
            site.scopes = Some(Written { value: value.split_whitespace().map(scope).collect(), place: place.clone() });
        }
    }
}

enum Unset {
    Name(String),
    Form,
}

fn read_file(path: &Path, findings: &mut Findings) -> Option<(Arc<Path>, HashMap<String, String>)> {
    let whole = Place::whole(Source::EnvFile(path.into()));
    let bytes = match read::file(path, MAX_ENV_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            let problem = whole.problem(format!("{} {error}", shown_path(path)));
            findings.problem(problem.remedy("name the right file with --env-file"));
            return None;
        }
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        findings.problem(whole.problem(format!("{} is not UTF-8 text", shown_path(path))));
        return None;
    };
    match dotenv::parse(text) {
        Ok(variables) => Some((path.into(), variables)),
        Err(line) => {
            let problem = whole.problem(format!("line {line} of {} is no KEY=VALUE", shown_path(path)));
            findings.problem(problem.remedy("write KEY=VALUE, in quotes if the value holds blanks, or begin the line with #"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let process = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment { process: process.collect(), file: None }
    }

    #[test]
    fn substitutes() {
        let environment = environment(&[("HOST", "emr.example.org"), ("N", "7"), ("EMPTY", "")]);
        for (text, value) in [
            ("https://${HOST}/x", Some("https://emr.example.org/x")),
            ("${N}${N}", Some("77")),
            ("$${N}", Some("${N}")),
            ("a $${ ${N}", Some("a ${ 7")),
            ("$ {N} $N", Some("$ {N} $N")),
            ("${MISSING}", None),
            ("${EMPTY}", None),
            ("${N", None),
            ("${}", None),
            ("${a b}", None),
        ] {
            assert_eq!(environment.substituted(text).ok().as_deref(), value, "{text}");
        }
    }

    #[test]
    fn what_is_substituted_is_not_read_again() {
        let environment = environment(&[("A", "${B}"), ("B", "secret")]);
        assert_eq!(environment.substituted("${A}").ok().as_deref(), Some("${B}"));
    }
}

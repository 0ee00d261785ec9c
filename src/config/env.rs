//! The environment: `${NAME}` in values, the Python proxy's variables, `--env-file`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::dotenv::{self, Parsed, Unreadable, Variable};
use super::expansion::is_name;
use super::node::{Entry, Node, Value};
use super::permissions;
use super::problem::{Findings, Place, Source, Written, shown, shown_path};
use super::read;
use super::shape::{KeyDescription, Shape};
use super::text;

/// The largest environment file that is read, in bytes.
const MAX_ENV_FILE: usize = 1024 * 1024;
/// The Python proxy's variables each of which describes a site.
const SITE_MAKERS: [&str; 6] = ["OEMR_BASE", "CLIENT_ID", "PRIVATE_KEY_PATH", "JWKS_PATH", "TOKEN_URL", "FHIR_BASE"];
/// The site that those variables are about.
const DEFAULT_SITE: &str = "default";

/// The environment variables: those of the process, then those of `--env-file`. An empty one counts as unset.
pub(super) struct Environment {
    process: HashMap<String, String>,
    file: Option<(Arc<Path>, HashMap<String, Variable>)>,
}

impl Environment {
    /// Reads the process environment, and a file whose variables it overrides. Variables that are not UTF-8 are ignored.
    pub(super) fn of_process(file: Option<&Path>, findings: &mut Findings) -> Self {
        let utf8 =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let process: HashMap<String, String> = std::env::vars_os().filter_map(utf8).collect();
        let file = file.and_then(|path| read_file(path, &process, "name the right file with --env-file", findings));
        Self { process, file }
    }

    /// One without variables.
    pub(super) fn empty() -> Self {
        Self { process: HashMap::new(), file: None }
    }

    /// Reads the variables of a file alone.
    pub(super) fn of_file(path: &Path, findings: &mut Findings) -> Self {
        let process = HashMap::new();
        let file = read_file(path, &process, "name a file of KEY=VALUE lines that can be read", findings);
        Self { process, file }
    }

    /// The names of the variables in the file, in no particular order.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.file.iter().flat_map(|(_, variables)| variables.keys().cloned())
    }

    /// Returns a variable and its place.
    pub(super) fn get(&self, name: &str) -> Option<Written<String>> {
        let place = |source, mark| Place { source, mark, key: name.to_owned() };
        if let Some(value) = self.process.get(name).filter(|value| !value.is_empty()) {
            return Some(Written { value: value.clone(), place: place(Source::Environment, None) });
        }
        let (path, variables) = self.file.as_ref()?;
        let (value, mark) = variables.get(name).filter(|(value, _)| !value.is_empty())?;
        Some(Written { value: value.clone(), place: place(Source::EnvFile(path.clone()), Some(*mark)) })
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

    /// Replaces the keys whose variables are set. The Python proxy's variables also make the site `default` where there is
    /// none.
    pub(super) fn override_keys(&self, root: &mut Node, keys: &[KeyDescription], findings: &mut Findings) {
        for key in keys {
            match (&key.shape, key.variable.and_then(|name| self.get(name))) {
                (_, Some(variable)) => {
                    if let Some(entry) = entry(root, &key.name) {
                        entry.node = Node::of_variable(variable.value, variable.place);
                    }
                }
                (Shape::Section(keys), None) if self.is_any_set(keys) => {
                    if let Some(entry) = entry(root, &key.name) {
                        self.override_keys(&mut entry.node, keys, findings);
                    }
                }
                (Shape::Named(site), None) => self.override_site(root, &key.name, site.keys(), findings),
                _ => {}
            }
        }
    }

    fn override_site(&self, root: &mut Node, sites: &str, keys: &[KeyDescription], findings: &mut Findings) {
        if !self.is_any_set(keys) {
            return;
        }
        let has_site = has(root, sites, |node| has(node, DEFAULT_SITE, |_| true));
        if !has_site && !self.describes_a_site() {
            for variable in keys.iter().filter_map(|key| self.get(key.variable?)) {
                findings.warning(variable.place.problem("is set, but there is no site `default` that it could override"));
            }
            return;
        }
        if let Some(site) = entry(root, sites).and_then(|entry| self::entry(&mut entry.node, DEFAULT_SITE)) {
            self.override_keys(&mut site.node, keys, findings);
        }
    }

    fn is_any_set(&self, keys: &[KeyDescription]) -> bool {
        keys.iter().any(|key| key.variable.is_some_and(|name| self.get(name).is_some()))
    }
}

/// Whether a mapping has this key with a value that `such` accepts.
fn has(mapping: &Node, key: &str, such: impl Fn(&Node) -> bool) -> bool {
    matches!(&mapping.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == key && such(&entry.node)))
}

/// Returns the entry of this key, which is made if it is absent; `None` if the node is not a mapping.
fn entry<'n>(mapping: &'n mut Node, key: &str) -> Option<&'n mut Entry> {
    if mapping.value == Value::Null {
        mapping.value = Value::Map(Vec::new());
    }
    let mark = mapping.mark;
    let Value::Map(entries) = &mut mapping.value else { return None };
    if !entries.iter().any(|entry| entry.key == key) {
        let node = Node { mark, ..Node::nothing() };
        entries.push(Entry { key: key.to_owned(), mark, node });
    }
    entries.iter_mut().find(|entry| entry.key == key)
}

enum Unset {
    Name(String),
    Form,
}

/// Reads a file of variables. `another`: what to do where there is none, or none that can be read.
fn read_file(
    path: &Path,
    process: &HashMap<String, String>,
    another: &str,
    findings: &mut Findings,
) -> Option<(Arc<Path>, HashMap<String, Variable>)> {
    let whole = Place::whole(Source::EnvFile(path.into()));
    permissions::check_writers(path, &whole, findings);
    let bytes = match read::file(path, MAX_ENV_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            let problem = whole.problem(format!("{} {error}", shown_path(path)));
            findings.problem(problem.remedy(another));
            return None;
        }
    };
    let text = match text::of(&bytes) {
        Ok(text) => text,
        Err(error) => {
            findings.problem(whole.problem(format!("{} {error}", shown_path(path))).remedy("save it as UTF-8"));
            return None;
        }
    };
    match dotenv::parse(text, &|name| process.get(name).map(String::as_str).filter(|value| !value.is_empty())) {
        Ok(Parsed { variables, unset }) => {
            for (name, line) in unset {
                let problem = whole.problem(format!("line {line} of {}: ${{{name}}} is not set", shown_path(path)));
                let remedy = format!("it is read as nothing; set {name} above that line, or write the value in single quotes");
                findings.warning(problem.remedy(remedy));
            }
            Some((path.into(), variables))
        }
        Err(Unreadable::NoVariable(line)) => {
            let problem = whole.problem(format!("line {line} of {} is no KEY=VALUE", shown_path(path)));
            findings.problem(problem.remedy("write KEY=VALUE, in quotes if the value holds blanks, or begin the line with #"));
            None
        }
        Err(Unreadable::TooLong(line)) => {
            let problem = whole.problem(format!("line {line} of {}: the value becomes too long", shown_path(path)));
            findings.problem(problem.remedy("write the value in single quotes if its ${ is meant as it stands"));
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

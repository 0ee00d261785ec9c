//! A configuration made from a file of the Python proxy's variables.

use std::fmt::Write as _;
use std::path::Path;

use super::configuration::Config;
use super::declaration::Members as _;
use super::env::Environment;
use super::node::{Node, Value};
use super::problem::{Findings, Place, Problem, Source, Warning, shown};
use super::setting::Setting as _;
use super::shape::{KeyDescription, Shape};
use super::yaml;

/// The variable that names OpenEMR's site; in a file, the site's name says it.
const SITE: &str = "SITE";
/// The widest comment, in characters.
const COMMENT_WIDTH: usize = 100;

/// A configuration made from variables.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The YAML, with a comment for each key.
    pub yaml: String,
    /// The names that no key has, in their order.
    pub unknown: Vec<String>,
    /// What is odd about the file of variables.
    pub warnings: Vec<Warning>,
}

/// Makes a configuration from a file of variables, and checks it with the files that it names. Variables of the process count for
/// nothing.
///
/// # Errors
/// Every problem of the file, and of the configuration that came of it.
pub(crate) fn import_env(file: &Path) -> Result<Imported, Vec<Problem>> {
    let mut findings = Findings::default();
    let environment = Environment::of_file(file, &mut findings);
    if !findings.problems.is_empty() {
        return Err(findings.problems);
    }
    check_variables(file, &environment)?;
    let mut import = Import { environment: &environment, used: vec![SITE.to_owned()], yaml: String::new() };
    let _ = writeln!(import.yaml, "# Made by `openemr-gateway import-env`. docs/configuration.md describes every key.");
    import.section(&Config::keys(), 0);
    let Import { used, yaml, .. } = import;
    check_text(&yaml)?;
    let mut unknown: Vec<String> = environment.names().filter(|name| !used.contains(name)).collect();
    unknown.sort();
    Ok(Imported { yaml, unknown, warnings: findings.warnings })
}

/// Reads the variables as a start with `--env-file` does, so that what is wrong is named where it stands.
fn check_variables(file: &Path, environment: &Environment) -> Result<(), Vec<Problem>> {
    let mut findings = Findings::default();
    let mut root = Node { value: Value::Map(Vec::new()), ..Node::nothing() };
    environment.override_keys(&mut root, &Config::keys(), &mut findings);
    let _ = Config::read(&root, &Place::whole(Source::EnvFile(file.into())), &mut findings);
    findings.settle_readable_keys(false);
    if findings.problems.is_empty() { Ok(()) } else { Err(findings.problems) }
}

/// Reads what was written as a start does.
fn check_text(text: &str) -> Result<(), Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::CommandLine);
    let mut root = yaml::parse(text).map_err(|error| vec![place.clone().at(error.mark).problem(error.to_string())])?;
    Environment::empty().substitute(&mut root, &place, &mut findings);
    let _ = Config::read(&root, &place, &mut findings);
    if findings.problems.is_empty() { Ok(()) } else { Err(findings.problems) }
}

struct Import<'e> {
    environment: &'e Environment,
    /// The variables that a key has.
    used: Vec<String>,
    yaml: String,
}

impl Import<'_> {
    /// Writes the keys of a section whose variables are set.
    fn section(&mut self, keys: &[KeyDescription], depth: usize) {
        for key in keys {
            if let Some(name) = key.variable.filter(|name| *name != SITE) {
                self.used.push(name.to_owned());
                if let Some(written) = self.environment.get(name) {
                    self.key(key, name, &written.value, depth);
                }
            }
            match &key.shape {
                Shape::Section(below) if self.is_any_set(below) => {
                    let _ = writeln!(self.yaml, "{}{}:", indent(depth), key.name);
                    self.section(below, depth + 1);
                }
                Shape::Named(site) => {
                    let name = self.environment.get(SITE).map_or_else(|| "default".to_owned(), |written| written.value);
                    let _ = writeln!(self.yaml, "{}{}:\n{}{}:", indent(depth), key.name, indent(depth + 1), quoted(&name));
                    self.section(site.keys(), depth + 2);
                }
                _ => {}
            }
        }
    }

    fn key(&mut self, key: &KeyDescription, variable: &str, value: &str, depth: usize) {
        let indent = indent(depth);
        for line in wrapped(&key.text) {
            let _ = writeln!(self.yaml, "{indent}# {line}");
        }
        let value = match &key.shape {
            Shape::List(_) if value.contains(char::is_whitespace) => {
                format!("[{}]", value.split_whitespace().map(quoted).collect::<Vec<_>>().join(", "))
            }
            _ => quoted(value),
        };
        let _ = writeln!(self.yaml, "{indent}{}: {value}   # {variable}", key.name);
    }

    fn is_any_set(&self, keys: &[KeyDescription]) -> bool {
        keys.iter().any(|key| key.variable.is_some_and(|name| self.environment.get(name).is_some()))
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// A text as YAML has it in double quotes; `${` stands for itself.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// A comment on several lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COMMENT_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(shown(word)),
        }
    }
    lines
}

//! `access check`: whether every policy lies within what OpenEMR grants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use super::outcome::{Failure, Outcome, load, print};
use crate::access::grants::{ExportGrant, OperationGrant};
use crate::access::line::Line;
use crate::access::policy::Policy;
use crate::access::rule::{Letter, Rule};
use crate::config::{CONFIG_FILE, Config, Site};
use crate::fhir::resource_type;
use crate::scopes::scope::{Scope, Scopes};

/// The arguments of `access check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// The interactions that OpenEMR has scopes for. It deletes nothing: a policy that permits it permits nothing.
const LETTERS: [Letter; 4] = [Letter::Create, Letter::Read, Letter::Update, Letter::Search];

impl Check {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration; each rule that permits more than a site's scopes.
    pub(super) fn run(self) -> Outcome {
        let config = load(&self.config, self.env_file.as_deref())?;
        let mut text = String::new();
        let mut failures = BTreeMap::new();
        for (name, policy) in callers(&config) {
            let mut is_within = true;
            for site in sites(&config, policy) {
                for ((number, key), missing) in beyond(policy, &site.token.scopes) {
                    is_within = false;
                    failures.entry((number, key, site.name.as_str())).or_insert(missing);
                }
            }
            let names: Vec<&str> = sites(&config, policy).map(|site| site.name.as_str()).collect();
            if is_within {
                let _ = writeln!(text, "{name}: policy {} lies within the scopes of {}", policy.name, names.join(", "));
            }
        }
        print(&text)?;
        let failure = |((number, key, site), missing): ((Option<usize>, String, &str), BTreeSet<String>)| {
            let missing = missing.into_iter().collect::<Vec<_>>().join(" ");
            let message = format!("{}: {}: site {site} has no scope {missing}", self.config.display(), Line { key, number });
            Failure::new(message, format!("add it to sites.{site}.scopes, registered at OpenEMR, or narrow the policy"))
        };
        let failures: Vec<Failure> = failures.into_iter().map(failure).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }
}

/// Everybody who may do something, each with its policy.
fn callers(config: &Config) -> impl Iterator<Item = (&str, &Policy)> {
    let clients = &config.access.clients;
    // Where nothing is written, everything that OpenEMR grants is permitted.
    let anonymous = clients.anonymous.iter().filter(|policy| !policy.is_everything || !clients.is_empty());
    let named = clients.iter().map(|client| (&*client.name, &*client.policy));
    named.chain(anonymous.map(|policy| ("callers without credentials", &**policy)))
}

/// The sites for which a policy is.
fn sites<'c>(config: &'c Config, policy: &'c Policy) -> impl Iterator<Item = &'c Site> {
    let is_meant = |site: &&Site| policy.sites.as_ref().is_none_or(|names| names.iter().any(|name| name == site.name.as_str()));
    config.sites.iter().map(|site| &**site).filter(is_meant)
}

/// What of a policy goes beyond the scopes of a site: the lines, each with the scopes that are missing.
fn beyond(policy: &Policy, granted: &Scopes) -> BTreeMap<(Option<usize>, String), BTreeSet<String>> {
    let granted_text = granted.to_string();
    let lacks = |scope: &String| {
        let scopes = Scope::parse(scope).ok().and_then(|scope| Scopes::new([scope]));
        scopes.is_none_or(|scopes| !scopes.missing_from(&granted_text).is_empty())
    };
    let rules = policy.rules.iter().map(|rule| (rule.line.clone(), scopes_of(rule, granted)));
    let line = |key: &str| Line { key: format!("{}.{key}", policy.line.key), number: policy.line.number };
    let exports = policy.export.iter().map(|grant| (line("export"), export_scopes(grant)));
    let operations = policy.operations.iter().map(|grant| (line("operations"), vec![operation_scope(grant)]));
    let mut beyond: BTreeMap<(Option<usize>, String), BTreeSet<String>> = BTreeMap::new();
    for (line, scopes) in rules.chain(exports).chain(operations) {
        let missing: Vec<String> = scopes.into_iter().filter(lacks).collect();
        if !missing.is_empty() {
            beyond.entry((line.number, line.key)).or_default().extend(missing);
        }
    }
    beyond
}

/// The scopes that a rule needs. `*` stands for the types for which the site has scopes.
fn scopes_of(rule: &Rule, granted: &Scopes) -> Vec<String> {
    let types: Vec<&str> = match rule.resource_type {
        Some(resource_type) => vec![resource_type],
        None => {
            let named = |scope: &Scope| {
                let (named, permission) = scope.as_str().strip_prefix("system/")?.split_once('.')?;
                resource_type::known(named.as_bytes()).filter(|_| !permission.starts_with('$'))
            };
            granted.iter().filter_map(named).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    let letters = LETTERS.iter().filter(|letter| rule.letters.has(**letter));
    letters.flat_map(|letter| types.iter().map(move |named| format!("system/{named}.{}", letter.name()))).collect()
}

fn export_scopes(grant: &ExportGrant) -> Vec<String> {
    let level = match grant {
        ExportGrant::System => "*",
        ExportGrant::Patient => "Patient",
        ExportGrant::AnyGroup | ExportGrant::Group(_) => "Group",
    };
    // OpenEMR keeps the files as Binaries.
    [format!("system/{level}.$export"), "system/*.$bulkdata-status".to_owned(), "system/Binary.read".to_owned()].into()
}

fn operation_scope(grant: &OperationGrant) -> String {
    format!("system/{}.${}", grant.resource_type.unwrap_or("*"), grant.name)
}

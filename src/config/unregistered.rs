//! Reads a configuration for a client that is yet to be registered: everything but its `client_id` must be there.

use std::path::Path;

use super::client_id_text::with_client_id;
use super::configuration::Config;
use super::declaration::Members as _;
use super::env::Environment;
use super::load::{MAX_CONFIG_FILE, root};
use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Problem, Source, Warning, shown_path};
use super::setting::Setting as _;
use super::{read, text};

/// What stands for the id until there is one.
const UNREGISTERED: &str = "unregistered";
/// The site that the environment's variables are about.
const DEFAULT_SITE: &str = "default";

/// A configuration of which one site has no client yet.
#[derive(Debug)]
pub(crate) struct Unregistered {
    /// The configuration, with a stand-in for the id.
    pub config: Config,
    /// What is odd about it and keeps nothing from working.
    pub warnings: Vec<Warning>,
    /// The id that the site has in the file, unless it is a placeholder.
    pub present: Option<String>,
    /// The text of the file, without a byte-order mark.
    text: String,
    site: String,
}

impl Unregistered {
    /// The site without a client.
    #[must_use]
    pub(crate) fn site(&self) -> &str {
        &self.site
    }

    /// The text of the file, without a byte-order mark.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text of the file with this id.
    ///
    /// # Errors
    /// What keeps the id from being written, as the end of a sentence that begins with the file's name.
    pub(crate) fn with_id(&self, id: &str) -> Result<String, super::client_id_text::NotWritten> {
        with_client_id(&self.text, &self.site, id)
    }
}

/// Reads and checks a configuration but for the `client_id` of a site: the one that is named, or the first one.
///
/// # Errors
/// Every problem found, and a `client_id` that the file does not decide.
pub(crate) fn load_unregistered(path: &Path, env_file: Option<&Path>, site: Option<&str>) -> Result<Unregistered, Vec<Problem>> {
    let mut findings = Findings::default();
    let environment = Environment::of_process(env_file, &mut findings);
    let place = Place::whole(Source::File(path.into()));
    let Some((mut root, Some(_))) = root(path, &place, &environment, &mut findings) else {
        if findings.problems.is_empty() {
            let problem = place.problem(format!("{} does not exist", shown_path(path)));
            findings.problem(problem.remedy("write a configuration first: the id is written there"));
        }
        return Err(findings.problems);
    };
    let text = read::file(path, MAX_CONFIG_FILE).ok().and_then(|bytes| Some(text::of(&bytes).ok()?.to_owned()));
    environment.substitute(&mut root, &place, &mut findings);
    environment.override_keys(&mut root, &Config::keys(), &mut findings);
    let (site, present) = match name_client(&mut root, site) {
        Some(named) => named,
        None => {
            let name = site.unwrap_or(DEFAULT_SITE);
            let problem = place.member("sites").problem(format!("names no site `{}`", super::problem::shown(name)));
            findings.problem(problem.remedy("name one of the sites in the file with --site"));
            return Err(findings.problems);
        }
    };
    if let Some(variable) = environment.get("CLIENT_ID").filter(|_| site == DEFAULT_SITE) {
        let problem = variable.place.problem("decides the client_id of the site `default`, whatever the file says");
        findings.problem(problem.remedy("take the variable away, so that the id in the file counts"));
    }
    let config = Config::read(&root, &root.place(place.clone()), &mut findings);
    findings.settle_readable_keys(config.as_ref().is_some_and(|config| config.keys_readable_by_others));
    match (config, text) {
        (Some(config), Some(text)) if findings.problems.is_empty() => {
            Ok(Unregistered { config, warnings: findings.warnings, present, text, site })
        }
        (_, None) if findings.problems.is_empty() => {
            Err(vec![place.problem(format!("{} has changed meanwhile", shown_path(path))).remedy("try again")])
        }
        _ => Err(findings.problems),
    }
}

/// Puts the stand-in in the place of a site's `client_id`. Returns the site's name, and the id that was there.
fn name_client(root: &mut Node, site: Option<&str>) -> Option<(String, Option<String>)> {
    let sites = entries(root)?.iter_mut().find(|entry| entry.key == "sites")?;
    let sites = entries(&mut sites.node)?;
    let wanted = site.or_else(|| sites.iter().any(|entry| entry.key == DEFAULT_SITE).then_some(DEFAULT_SITE));
    let found = sites.iter_mut().find(|entry| wanted.is_none_or(|name| entry.key == name))?;
    let name = found.key.clone();
    let keys = entries(&mut found.node)?;
    let id = Node { value: Value::Text(UNREGISTERED.to_owned()), ..Node::nothing() };
    let present = match keys.iter_mut().find(|entry| entry.key == "client_id") {
        Some(entry) => std::mem::replace(&mut entry.node, id).scalar(),
        None => {
            keys.push(Entry { key: "client_id".to_owned(), mark: None, node: id });
            None
        }
    };
    Some((name, present.filter(|id| !id.is_empty() && !id.starts_with('<') && id != "…")))
}

fn entries(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

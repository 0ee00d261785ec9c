//! One mapping of the YAML tree, read key by key; everything odd about it becomes a problem.

use std::collections::HashSet;

use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Written, did_you_mean, shown};
use super::shape::{KeyDescription, Visibility};

/// A mapping whose keys are all known by now.
pub(super) struct Section<'n> {
    pub(super) place: Place,
    entries: &'n [Entry],
}

impl<'n> Section<'n> {
    /// Takes `node` as a mapping with these keys and no others; `None` when it is no mapping.
    pub(super) fn open(node: &'n Node, place: &Place, keys: &[KeyDescription], findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, place, findings)?;
        let known = keys.iter().filter(|key| key.visibility != Visibility::VariableOnly).map(|key| key.name.as_str());
        let known: Vec<&str> = known.collect();
        for Entry { key, mark, node } in entries {
            if !known.contains(&key.as_str()) && node.variable.is_none() {
                let problem = place.member(key).at(*mark).problem(format!("unknown key `{}`", shown(key)));
                findings.problem(match did_you_mean(key, known.iter().copied()) {
                    Some(name) => problem.remedy(format!("did you mean `{name}`?")),
                    None => problem.remedy(format!("known here: {}", known.join(", "))),
                });
            }
        }
        Some(Self { place: place.clone(), entries })
    }

    /// Whether the key was written, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether the key is absent or left blank.
    pub(super) fn is_unset(&self, key: &str) -> bool {
        self.entry(key).is_none_or(|entry| entry.node.value == Value::Null)
    }

    /// The value of a key; `None` when it is absent or already reported. `null` is a value.
    pub(super) fn raw(&self, key: &str) -> Option<(&'n Node, Place)> {
        let entry = self.entry(key)?;
        (entry.node.value != Value::Broken).then(|| (&entry.node, entry.place(&self.place)))
    }

    /// The value of a key; `None` when it is absent, `null` or already reported.
    pub(super) fn node(&self, key: &str) -> Option<(&'n Node, Place)> {
        self.raw(key).filter(|(node, _)| node.value != Value::Null)
    }

    /// The address of a key; when it is absent, at the position of the section.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or_else(|| self.place.member(key), |entry| entry.place(&self.place))
    }

    /// Whether this is the site that the environment's variables are about.
    pub(super) fn is_default_site(&self) -> bool {
        self.place.key == "sites.default"
    }

    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// The entries of a mapping whose keys are names of the operator's choice; the first of duplicate keys counts.
pub(super) fn entries<'n>(node: &'n Node, place: &Place, findings: &mut Findings) -> Option<&'n [Entry]> {
    match &node.value {
        Value::Map(entries) => {
            let mut seen = HashSet::new();
            for Entry { key, mark, .. } in entries {
                if !seen.insert(key) {
                    let problem = place.member(key).at(*mark).problem("is written twice");
                    findings.problem(problem.remedy("keep one of the two"));
                }
            }
            Some(entries)
        }
        Value::Broken => None,
        _ => {
            findings.problem(place.problem(format!("{} where a mapping was due", node.kind())));
            None
        }
    }
}

/// The elements of a list, each with its place.
pub(super) fn elements<'n>(
    node: &'n Node,
    place: &Place,
    findings: &mut Findings,
) -> Option<impl Iterator<Item = (&'n Node, Place)> + use<'n>> {
    match &node.value {
        Value::List(nodes) => {
            let list = place.clone();
            Some(nodes.iter().enumerate().map(move |(index, node)| (node, node.place(list.element(index)))))
        }
        Value::Broken => None,
        _ => {
            findings.problem(place.problem(format!("{} where a list was due", node.kind())));
            None
        }
    }
}

/// A text value. Numbers and booleans are refused, since YAML gives them a type in which they may read otherwise.
pub(super) fn text(node: &Node, place: Place, findings: &mut Findings) -> Option<Written<String>> {
    match &node.value {
        Value::Text(value) | Value::Substituted(value) => Some(Written { value: value.clone(), place }),
        Value::Broken => None,
        _ => {
            let problem = place.problem(format!("{} where text was due", node.kind()));
            findings.problem(match node.scalar() {
                Some(value) => problem.remedy(format!("put it in quotes:  \"{value}\"")),
                None => problem,
            });
            None
        }
    }
}

//! One mapping of the YAML tree, read key by key; everything odd about it becomes a problem.

use std::time::Duration;

use super::node::Node;
use super::problem::{Findings, Place, Written, did_you_mean, shown};
use super::value;

/// A mapping whose keys are all known by now.
pub(super) struct Section<'n> {
    pub(super) place: Place,
    entries: &'n [(String, Node)],
}

impl<'n> Section<'n> {
    /// Takes `node` as a mapping with these keys and no others; `None` when it is no mapping.
    pub(super) fn open(node: &'n Node, place: &Place, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, place, findings)?;
        for (key, _) in entries {
            if !known.contains(&key.as_str()) {
                let problem = place.member(key).problem(format!("unknown key `{}`", shown(key)));
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
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// The value of a key; `None` when it is absent or already reported. `null` is a value.
    pub(super) fn raw(&self, key: &str) -> Option<(&'n Node, Place)> {
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        (*node != Node::Broken).then(|| (node, self.place.member(key)))
    }

    /// The value of a key; `None` when it is absent, `null` or already reported.
    pub(super) fn node(&self, key: &str) -> Option<(&'n Node, Place)> {
        self.raw(key).filter(|(node, _)| **node != Node::Null)
    }

    /// A section below this one.
    pub(super) fn section(&self, key: &str, known: &[&str], findings: &mut Findings) -> Option<Section<'n>> {
        let (node, place) = self.node(key)?;
        Section::open(node, &place, known, findings)
    }

    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Written<String>> {
        let (node, place) = self.node(key)?;
        text(node, place, findings)
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self, key: &str, findings: &mut Findings) -> Option<Vec<Written<String>>> {
        let (node, place) = self.node(key)?;
        match node {
            Node::List(_) => {
                let texts = elements(node, &place, findings)?;
                Some(texts.filter_map(|(node, place)| text(node, place, findings)).collect())
            }
            one => Some(vec![text(one, place, findings)?]),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool, findings: &mut Findings) -> bool {
        let Some((node, place)) = self.node(key) else {
            return default;
        };
        match (node, node.scalar().as_deref()) {
            (Node::Bool(value), _) => *value,
            (Node::Substituted(_), Some("true")) => true,
            (Node::Substituted(_), Some("false")) => false,
            (other, _) => {
                let problem = place.problem(format!("{} where true or false was due", other.kind()));
                findings.problem(problem.remedy("write true or false, without quotes"));
                default
            }
        }
    }

    pub(super) fn duration(&self, key: &str, default: Duration, findings: &mut Findings) -> Duration {
        self.small(key, default, "a duration such as 5s", findings, value::duration)
    }

    pub(super) fn size(&self, key: &str, default: usize, findings: &mut Findings) -> usize {
        self.small(key, default, "a size such as 64KiB", findings, value::size)
    }

    pub(super) fn count(&self, key: &str, default: u32, findings: &mut Findings) -> u32 {
        self.small(key, default, "a whole number", findings, |text| {
            text.parse().ok().filter(|count| *count > 0).ok_or("is no whole number above 0")
        })
    }

    fn small<T>(
        &self,
        key: &str,
        default: T,
        wanted: &str,
        findings: &mut Findings,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> T {
        let Some((node, place)) = self.node(key) else {
            return default;
        };
        let read = match node {
            Node::Number(_) | Node::Text(_) | Node::Substituted(_) => read(&node.scalar().unwrap_or_default()),
            other => {
                findings.problem(place.problem(format!("{} where {wanted} was due", other.kind())));
                return default;
            }
        };
        read.unwrap_or_else(|reason| {
            let written = node.scalar().unwrap_or_default();
            findings.problem(place.problem(format!("`{}` {reason}", shown(&written))));
            default
        })
    }
}

/// The entries of a mapping whose keys are names of the operator's choice; the first of duplicate keys counts.
pub(super) fn entries<'n>(node: &'n Node, place: &Place, findings: &mut Findings) -> Option<&'n [(String, Node)]> {
    match node {
        Node::Map(entries) => {
            for (index, (key, _)) in entries.iter().enumerate() {
                if entries.iter().take(index).any(|(earlier, _)| earlier == key) {
                    let problem = place.member(key).problem("is written twice");
                    findings.problem(problem.remedy("keep one of the two"));
                }
            }
            Some(entries)
        }
        Node::Broken => None,
        other => {
            findings.problem(place.problem(format!("{} where a mapping was due", other.kind())));
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
    match node {
        Node::List(nodes) => {
            let list = place.clone();
            Some(nodes.iter().enumerate().map(move |(index, node)| (node, list.element(index))))
        }
        Node::Broken => None,
        other => {
            findings.problem(place.problem(format!("{} where a list was due", other.kind())));
            None
        }
    }
}

/// A text value. Numbers and booleans are refused, since YAML has already changed how they were written.
pub(super) fn text(node: &Node, place: Place, findings: &mut Findings) -> Option<Written<String>> {
    match node {
        Node::Text(value) | Node::Substituted(value) => Some(Written { value: value.clone(), place }),
        Node::Broken => None,
        other => {
            let problem = place.problem(format!("{} where text was due", other.kind()));
            findings.problem(match other.scalar() {
                Some(value) => problem.remedy(format!("put it in quotes:  \"{value}\"")),
                None => problem,
            });
            None
        }
    }
}

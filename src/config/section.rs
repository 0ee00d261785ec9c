//! One mapping of the YAML tree, read key by key; everything odd about it becomes a problem.

use std::time::Duration;

use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Written, did_you_mean, shown};
use super::value;

/// A mapping whose keys are all known by now.
pub(super) struct Section<'n> {
    pub(super) place: Place,
    entries: &'n [Entry],
}

impl<'n> Section<'n> {
    /// Takes `node` as a mapping with these keys and no others; `None` when it is no mapping.
    pub(super) fn open(node: &'n Node, place: &Place, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, place, findings)?;
        for Entry { key, mark, .. } in entries {
            if !known.contains(&key.as_str()) {
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
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of a key; `None` when it is absent or already reported. `null` is a value.
    pub(super) fn raw(&self, key: &str) -> Option<(&'n Node, Place)> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Broken).then(|| (&entry.node, entry.place(&self.place)))
    }

    /// The value of a key; `None` when it is absent, `null` or already reported.
    pub(super) fn node(&self, key: &str) -> Option<(&'n Node, Place)> {
        self.raw(key).filter(|(node, _)| node.value != Value::Null)
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
        match &node.value {
            Value::List(_) => {
                let texts = elements(node, &place, findings)?;
                Some(texts.filter_map(|(node, place)| text(node, place, findings)).collect())
            }
            _ => Some(vec![text(node, place, findings)?]),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool, findings: &mut Findings) -> bool {
        let Some((node, place)) = self.node(key) else {
            return default;
        };
        match (&node.value, node.scalar().as_deref()) {
            (Value::Bool(value), _) => *value,
            (Value::Substituted(_), Some("true")) => true,
            (Value::Substituted(_), Some("false")) => false,
            _ => {
                let problem = place.problem(format!("{} where true or false was due", node.kind()));
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
        let read = match node.value {
            Value::Number(_) | Value::Text(_) | Value::Substituted(_) => read(&node.scalar().unwrap_or_default()),
            _ => {
                findings.problem(place.problem(format!("{} where {wanted} was due", node.kind())));
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
pub(super) fn entries<'n>(node: &'n Node, place: &Place, findings: &mut Findings) -> Option<&'n [Entry]> {
    match &node.value {
        Value::Map(entries) => {
            for (index, Entry { key, mark, .. }) in entries.iter().enumerate() {
                if entries.iter().take(index).any(|earlier| earlier.key == *key) {
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

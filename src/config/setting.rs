//! The types that a key can have: how each is read, written and described.
//!
//! Decision: `docs/decisions/22-configuration.md`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_yaml::Value as Yaml;

use super::node::{Node, Value};
use super::problem::{Findings, Place, Written, shown};
use super::section::{elements, text};
use super::shape::{RestartRequired, Shape};
use super::value::{self, Share};
use crate::limits::rate::Rate;

/// A type whose values can be written in the configuration.
pub(super) trait Setting: Sized {
    /// Whether `null` is a value of this type; elsewhere it is as if the key were absent.
    const NULL_IS_A_VALUE: bool = false;

    /// What is accepted.
    fn shape() -> Shape;

    /// Reads a value; what is wrong with it goes to `findings`, and then there is none.
    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self>;

    /// Writes the value so that [`Setting::read`] reads it.
    fn to_yaml(&self) -> Yaml;

    /// Adds what a running process keeps of this value, the keys below it included.
    fn restart_required(&self, _path: &str, _kept: &mut RestartRequired) {}
}

impl Setting for bool {
    fn shape() -> Shape {
        Shape::Flag
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        match (&node.value, node.scalar().as_deref()) {
            (Value::Bool(value), _) => Some(*value),
            (Value::Substituted(_), Some("true")) => Some(true),
            (Value::Substituted(_), Some("false")) => Some(false),
            _ => {
                let problem = place.problem(format!("{} where true or false was due", node.kind()));
                findings.problem(problem.remedy("write true or false, without quotes"));
                None
            }
        }
    }

    fn to_yaml(&self) -> Yaml {
        (*self).into()
    }
}

impl Setting for u32 {
    fn shape() -> Shape {
        Shape::Count
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let count = |text: &str| text.parse().ok().filter(|count| *count > 0).ok_or("is no whole number above 0");
        parsed(node, place, "a whole number", findings, count)
    }

    fn to_yaml(&self) -> Yaml {
        (*self).into()
    }
}

/// Sizes in bytes.
impl Setting for usize {
    fn shape() -> Shape {
        Shape::Size
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        parsed(node, place, "a size such as 64KiB", findings, value::size)
    }

    fn to_yaml(&self) -> Yaml {
        value::size_text(*self).into()
    }
}

impl Setting for Duration {
    fn shape() -> Shape {
        Shape::Duration
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        parsed(node, place, "a duration such as 5s", findings, value::duration)
    }

    fn to_yaml(&self) -> Yaml {
        value::duration_text(*self).into()
    }
}

impl Setting for Share {
    fn shape() -> Shape {
        Shape::Share
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        parsed(node, place, "a number from 0 to 1", findings, value::share)
    }

    fn to_yaml(&self) -> Yaml {
        match self.get() {
            0.0 => 0.into(),
            1.0 => 1.into(),
            number => number.into(),
        }
    }
}

impl Setting for Rate {
    fn shape() -> Shape {
        Shape::Text("rate")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        parsed(node, place, "a rate such as 20/s", findings, Self::parse)
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

impl Setting for String {
    fn shape() -> Shape {
        Shape::Text("text")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        text(node, place.clone(), findings).map(|written| written.value)
    }

    fn to_yaml(&self) -> Yaml {
        self.as_str().into()
    }
}

impl Setting for PathBuf {
    fn shape() -> Shape {
        Shape::Text("path")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        String::read(node, place, findings).map(Self::from)
    }

    fn to_yaml(&self) -> Yaml {
        self.display().to_string().into()
    }
}

impl Setting for log::LevelFilter {
    fn shape() -> Shape {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        Shape::Words(levels.map(|level| (level, String::new())).to_vec())
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?;
        let level = value::level(&written.value);
        if level.is_none() {
            let problem = place.problem(format!("`{}` is no log level", shown(&written.value)));
            findings.problem(problem.remedy("write off, error, warn, info, debug or trace"));
        }
        level
    }

    fn to_yaml(&self) -> Yaml {
        self.as_str().to_ascii_lowercase().into()
    }
}

impl Setting for IpNet {
    fn shape() -> Shape {
        Shape::Text("network or address")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let network = written.parse::<Self>().or_else(|_| written.parse().map(|address: std::net::IpAddr| address.into()));
        let Ok(network) = network else {
            let problem = place.problem(format!("`{}` is no network", shown(&written)));
            findings.problem(problem.remedy("write  10.0.0.0/8  or  \"fd00::/8\"  or one address"));
            return None;
        };
        if network != network.trunc() {
            let whole = network.trunc();
            let problem = place.problem(format!("`{written}` names one address, and is read as the whole network {whole}"));
            findings.warning(problem.remedy(format!("write  {whole}  or, for that address alone,  {}", network.addr())));
        }
        Some(network.trunc())
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

impl<T: Setting> Setting for Option<T> {
    const NULL_IS_A_VALUE: bool = true;

    fn shape() -> Shape {
        Shape::Optional(Box::new(T::shape()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            _ => T::read(node, place, findings).map(Some),
        }
    }

    fn to_yaml(&self) -> Yaml {
        self.as_ref().map_or(Yaml::Null, T::to_yaml)
    }

    fn restart_required(&self, path: &str, kept: &mut RestartRequired) {
        if let Some(value) = self {
            value.restart_required(path, kept);
        }
    }
}

/// A list; a single value may stand alone.
impl<T: Setting> Setting for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(_) | Value::Substituted(_) = node.value {
            return T::read(node, place, findings).map(|one| vec![one]);
        }
        let elements = elements(node, place, findings)?;
        Some(elements.filter_map(|(node, place)| T::read(node, &place, findings)).collect())
    }

    fn to_yaml(&self) -> Yaml {
        self.iter().map(T::to_yaml).collect::<Vec<_>>().into()
    }

    fn restart_required(&self, path: &str, kept: &mut RestartRequired) {
        let elements = self.iter().map(|element| {
            let mut kept = RestartRequired::default();
            element.restart_required("", &mut kept);
            kept
        });
        kept.push_list(path, elements.collect());
    }
}

impl<T: Setting> Setting for Written<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        T::read(node, place, findings).map(|value| Self { value, place: place.clone() })
    }

    fn to_yaml(&self) -> Yaml {
        self.value.to_yaml()
    }

    fn restart_required(&self, path: &str, kept: &mut RestartRequired) {
        self.value.restart_required(path, kept);
    }
}

/// A value in one of the small languages of [`value`].
fn parsed<T>(
    node: &Node,
    place: &Place,
    due: &str,
    findings: &mut Findings,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let (Value::Number(_) | Value::Text(_) | Value::Substituted(_)) = node.value else {
        if node.value != Value::Broken {
            findings.problem(place.problem(format!("{} where {due} was due", node.kind())));
        }
        return None;
    };
    let written = node.scalar().unwrap_or_default();
    read(&written).map_err(|reason| findings.problem(place.problem(format!("`{}` {reason}", shown(&written))))).ok()
}

//! The tree of a YAML document: every value with the position at which it was written, duplicate keys kept so that each
//! can be reported.

use super::problem::{Mark, Place};

/// One value of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The document.
    Document(Mark),
    #[allow(dead_code)]
    /// An environment variable that stands in for the document.
    Variable(Place),
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written; which type is wanted is decided by the code that reads it.
    Number(String),
    Text(String),
    /// Text that came out of `${NAME}` or an environment variable: it may hold a number or a boolean.
    Substituted(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value with a problem that has been reported already.
    Broken,
}

/// One entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) node: Node,
}

impl Entry {
    /// The place of the value; of the key where the value was left blank.
    pub(super) fn place(&self, mapping: &Place) -> Place {
        let place = mapping.member(&self.key).at(self.mark);
        if self.node.value == Value::Null { place } else { self.node.place(place) }
    }
}

impl Node {
    /// A value of the document.
    pub(super) fn new(value: Value, mark: Mark) -> Self {
        Self { value, origin: Origin::Document(mark) }
    }

    /// The address of this value: `address` with its position, or the variable that it came from.
    pub(super) fn place(&self, address: Place) -> Place {
        match &self.origin {
            Origin::Document(mark) => address.at(*mark),
            Origin::Variable(place) => place.clone(),
        }
    }

    /// What kind of value it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Substituted(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => "a broken value",
        }
    }

    /// A single value as it was written, for errors; `None` for lists and mappings.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(value) | Value::Text(value) | Value::Substituted(value) => Some(value.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Broken => None,
        }
    }

    /// The value as serde_yaml has it, for structs that are not ours.
    pub(super) fn to_yaml(&self) -> serde_yaml::Value {
        match &self.value {
            Value::Null | Value::Broken => serde_yaml::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::Number(value) | Value::Substituted(value) => match serde_yaml::from_str(value) {
                Ok(scalar @ (serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_))) => scalar,
                _ => value.as_str().into(),
            },
            Value::List(nodes) => nodes.iter().map(Self::to_yaml).collect::<Vec<_>>().into(),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.as_str().into(), entry.node.to_yaml()));
                serde_yaml::Value::Mapping(pairs.collect())
            }
        }
    }
}

//! The tree of a YAML document: every value with the position at which it was written, duplicate keys kept so that each
//! can be reported.

use super::problem::{Mark, Place};

/// One value of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Where it stands in the document; `None` where there is no document.
    pub(super) mark: Option<Mark>,
    /// The environment variable that the value comes from, in place of the document.
    pub(super) variable: Option<Place>,
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
    /// Where the key stands in the document.
    pub(super) mark: Option<Mark>,
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
        Self { value, mark: Some(mark), variable: None }
    }

    /// An empty document.
    pub(super) fn nothing() -> Self {
        Self { value: Value::Null, mark: None, variable: None }
    }

    /// A value that an environment variable gives.
    pub(super) fn of_variable(text: String, variable: Place) -> Self {
        Self { value: Value::Substituted(text), mark: None, variable: Some(variable) }
    }

    /// The address of this value: `address` with its position, or the variable that it came from.
    pub(super) fn place(&self, address: Place) -> Place {
        self.variable.clone().unwrap_or_else(|| address.at(self.mark))
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

//! The YAML tree as written: duplicate keys kept so that each can be reported, aliases bounded.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The most values that a file may hold once its aliases are followed.
const MAX_NODES: usize = 50_000;

/// One value of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// As serde_yaml prints it; which type is wanted is decided by who reads it.
    Number(serde_yaml::Number),
    Text(String),
    /// Text that came out of `${NAME}`: a number or a boolean may stand in it.
    Substituted(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// A value with a problem that has been reported already.
    Broken,
}

impl Node {
    /// Reads one YAML document.
    pub(super) fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        let budget = Cell::new(MAX_NODES);
        Seed { budget: &budget }.deserialize(serde_yaml::Deserializer::from_str(text))
    }

    /// What kind of value it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) | Self::Substituted(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Broken => "a broken value",
        }
    }

    /// A single value as it was written, for errors; `None` for lists and mappings.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(value) => Some(value.to_string()),
            Self::Text(value) | Self::Substituted(value) => Some(value.clone()),
            Self::Null | Self::List(_) | Self::Map(_) | Self::Broken => None,
        }
    }

    /// The value as serde_yaml has it, for structs that are not ours.
    pub(super) fn to_yaml(&self) -> serde_yaml::Value {
        match self {
            Self::Null | Self::Broken => serde_yaml::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => serde_yaml::Value::Number(value.clone()),
            Self::Text(value) => value.as_str().into(),
            Self::Substituted(value) => match serde_yaml::from_str(value) {
                Ok(scalar @ (serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_))) => scalar,
                _ => value.as_str().into(),
            },
            Self::List(nodes) => nodes.iter().map(Self::to_yaml).collect::<Vec<_>>().into(),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|(key, node)| (key.as_str().into(), node.to_yaml()));
                serde_yaml::Value::Mapping(pairs.collect())
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let left = self.budget.get().checked_sub(1);
        self.budget.set(left.ok_or_else(|| D::Error::custom(format_args!("holds more than {MAX_NODES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML without tags")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    /// An empty document.
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(self)? {
            let key = key.scalar().ok_or_else(|| A::Error::custom(format_args!("{} cannot be a key", key.kind())))?;
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_duplicate_keys() {
        let Node::Map(entries) = Node::parse("a: 1\nb: x\na: true\n").unwrap() else { unreachable!() };
        let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "a"]);
    }

    #[test]
    fn refuses_alias_bombs_tags_and_depth() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "));
        }
        Node::parse(&bomb).unwrap_err();
        Node::parse("a: !include b\n").unwrap_err();
        Node::parse(&"[".repeat(100_000)).unwrap_err();
        Node::parse("a: 1\n---\nb: 2\n").unwrap_err();
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-c:,\\-&*!{}\\[\\]'\" \n|>#0-9~]{0,60}") {
            let _ = Node::parse(&text);
        }
    }
}

//! A small JSON value that borrows its texts where they are written without escapes, and the elements in it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::fhir::criteria::definition::Step;

/// The bytes are no JSON object of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a resource cannot be read")]
pub struct Illegible;

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number: no parameter that is tested compares one.
    Number,
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a value.
    ///
    /// # Errors
    /// It is no JSON, or too deep.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Illegible> {
        serde_json::from_slice(text).map_err(|_| Illegible)
    }

    /// Returns a member of an object; `None` where it is not there, is `null`, or this is no object.
    ///
    /// # Errors
    /// It is there twice: readers differ on which is meant.
    pub(crate) fn member(&self, name: &str) -> Result<Option<&Self>, Illegible> {
        let Self::Object(members) = self else { return Ok(None) };
        let mut named = members.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(Illegible),
            (found, None) => Ok(found.filter(|value| **value != Json::Null)),
        }
    }

    /// Returns a member that is a text.
    ///
    /// # Errors
    /// It is there twice.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Illegible> {
        Ok(match self.member(name)? {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        })
    }

    /// Returns the items of a member, or the member itself where it is no array.
    ///
    /// # Errors
    /// It is there twice.
    pub(crate) fn items(&self, name: &str) -> Result<&[Self], Illegible> {
        Ok(match self.member(name)? {
            Some(Self::Array(items)) => items,
            Some(one) => std::slice::from_ref(one),
            None => &[],
        })
    }

    /// Calls `found` with each element that the steps lead to, but for `null`. Arrays are gone into wherever they are. `only`
    /// chooses among the items of this value.
    ///
    /// # Errors
    /// A member on the way is there twice, or `found` fails.
    pub(super) fn select(
        &self,
        only: Option<(&str, &str)>,
        steps: &[Step],
        found: &mut impl FnMut(&Self) -> Result<(), Illegible>,
    ) -> Result<(), Illegible> {
        if let Self::Array(items) = self {
            return items.iter().try_for_each(|item| item.select(only, steps, found));
        }
        if let Some((name, value)) = only
            && self.text(name)? != Some(value)
        {
            return Ok(());
        }
        match steps {
            [] if *self == Self::Null => Ok(()),
            [] => found(self),
            [step, rest @ ..] => match self.member(step.name)? {
                Some(member) => member.select(step.only, rest, found),
                None => Ok(()),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            object.push((name, members.next_value()?));
        }
        Ok(Json::Object(object))
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(Error::custom("a name is a text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let Json::Array(items) = Json::read(br#"["a","\u0062",null,1,-1,0.5,true,{"k\n":[]}]"#).unwrap() else { panic!() };
        assert!(matches!(&items[0], Json::Text(Cow::Borrowed("a"))));
        assert_eq!(items[1], Json::Text("b".into()));
        assert_eq!(items[2..7], [Json::Null, Json::Number, Json::Number, Json::Number, Json::Bool(true)]);
        assert_eq!(items[7], Json::Object(vec![("k\n".into(), Json::Array(vec![]))]));
    }

    #[test]
    fn what_is_no_json_is_illegible() {
        for bad in ["", "{", "[1,]", "{\"a\":1,}", "\"\\ud800\"", "nul", "1 2"] {
            assert_eq!(Json::read(bad.as_bytes()), Err(Illegible), "{bad}");
        }
        assert_eq!(Json::read(b"\"\xff\""), Err(Illegible));
        assert_eq!(Json::read("[".repeat(100_000).as_bytes()), Err(Illegible));
    }

    #[test]
    fn a_member_that_is_there_twice_is_illegible() {
        let value = Json::read(br#"{"a":1,"b":null,"\u0061":2}"#).unwrap();
        assert_eq!(value.member("a"), Err(Illegible));
        assert_eq!((value.member("b"), value.member("c")), (Ok(None), Ok(None)));
    }
}

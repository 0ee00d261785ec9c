//! The file of an export, NDJSON with one resource a line, on its way to the client.
//!
//! OpenEMR writes no newline behind the last line, and some resources twice (a join of its tables doubles every Immunization).
//! Each line leaves with a newline, and a resource whose type and id came before is dropped. A line that is no JSON object ends
//! the file as broken: it was cut, or OpenEMR wrote something else into it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use memchr::memchr;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fhir::body_step::{BodyStep, Broken, Verdict};
use crate::fhir::json::completeness::Completeness;

/// The longest line that is kept to be looked at, in bytes. A longer one passes as it is, whether it came before or not.
const MAX_LINE: usize = 1024 * 1024;
/// How many resources are remembered at least. One that comes again later than that is not recognized.
const REMEMBERED: usize = 100_000;

const BROKEN: Broken =
    Broken { reason: "a line of the export's file is no JSON object", text: "OpenEMR's file of this export is broken." };

/// Makes a valid file of what OpenEMR exported.
#[derive(Debug)]
pub(crate) struct NdjsonFile {
    line: Line,
    seen: Seen,
    is_broken: bool,
}

/// The line that has begun.
#[derive(Debug)]
enum Line {
    /// Its bytes so far.
    Kept(Vec<u8>),
    /// It is longer than [`MAX_LINE`] and passes piece by piece.
    Passing(Completeness),
}

/// The resources that came, each as a fingerprint of its type and id with a key of this file's own, in two generations.
struct Seen {
    keys: [RandomState; 2],
    new: HashSet<u128>,
    old: HashSet<u128>,
    most: usize,
}

impl Default for NdjsonFile {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl NdjsonFile {
    fn remembering(most: usize) -> Self {
        let seen = Seen { keys: Default::default(), new: HashSet::new(), old: HashSet::new(), most };
        Self { line: Line::Kept(Vec::new()), seen, is_broken: false }
    }

    /// Takes a part of a line that does not end here.
    fn begin(&mut self, part: &[u8], out: &mut Vec<u8>) {
        match &mut self.line {
            Line::Kept(line) if line.len() + part.len() <= MAX_LINE => line.extend_from_slice(part),
            Line::Kept(line) => {
                let mut completeness = Completeness::default();
                for part in [line, part] {
                    completeness.feed(part);
                    out.extend_from_slice(part);
                }
                self.line = Line::Passing(completeness);
            }
            Line::Passing(completeness) => {
                completeness.feed(part);
                out.extend_from_slice(part);
            }
        }
    }

    /// Takes the rest of a line.
    fn end(&mut self, part: &[u8], out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.line, Line::Kept(Vec::new())) {
            Line::Kept(line) if line.len() + part.len() > MAX_LINE => {
                // As it would be if it had come in other pieces.
                self.line = Line::Kept(line);
                self.begin(part, out);
                self.end(b"", out);
            }
            Line::Kept(line) if line.is_empty() => self.whole(part, out),
            Line::Kept(mut line) => {
                line.extend_from_slice(part);
                self.whole(&line, out);
                line.clear();
                self.line = Line::Kept(line);
            }
            Line::Passing(mut completeness) => {
                completeness.feed(part);
                out.extend_from_slice(part);
                match completeness.is_complete() {
                    true => out.push(b'\n'),
                    false => self.is_broken = true,
                }
            }
        }
    }

    /// Takes a line, without its newline.
    fn whole(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        match Identity::of(line) {
            Some(Identity { resource_type: Some(resource_type), id: Some(id) }) if !self.seen.is_new(&resource_type, &id) => {}
            Some(_) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            None => self.is_broken = true,
        }
    }
}

impl BodyStep for NdjsonFile {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(piece.len() + 1);
        let mut rest = &piece[..];
        while !self.is_broken {
            let Some(at) = memchr(b'\n', rest) else {
                self.begin(rest, &mut out);
                break;
            };
            let (line, others) = rest.split_at(at);
            self.end(line, &mut out);
            rest = others.get(1..).unwrap_or_default();
        }
        out.into()
    }

    fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if !self.is_broken {
            self.end(b"", &mut out);
        }
        out.into()
    }

    fn verdict(&self) -> Verdict {
        if self.is_broken { Verdict::Bad(BROKEN) } else { Verdict::Good }
    }
}

impl Seen {
    /// Whether a resource has not come before.
    fn is_new(&mut self, resource_type: &str, id: &str) -> bool {
        let [first, second] = &self.keys;
        let halves = [first, second].map(|key| u128::from(key.hash_one((resource_type, id))));
        let [low, high] = halves;
        let fingerprint = low | (high << 64);
        if self.old.contains(&fingerprint) {
            return false;
        }
        if self.new.len() >= self.most {
            self.old = std::mem::take(&mut self.new);
            return self.new.insert(fingerprint) && !self.old.contains(&fingerprint);
        }
        self.new.insert(fingerprint)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("resources", &(self.new.len() + self.old.len())).finish_non_exhaustive()
    }
}

/// What makes a resource the same as another one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Identity<'a> {
    resource_type: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
}

impl<'a> Identity<'a> {
    /// Reads it from a line; `None` when the line is not exactly one JSON object.
    fn of(line: &'a [u8]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let identity = json.deserialize_map(Members).ok()?;
        json.end().ok().map(|()| identity)
    }
}

/// Reads the members of an object.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Identity<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a resource")
    }

    fn visit_map<Map: MapAccess<'de>>(self, mut members: Map) -> Result<Identity<'de>, Map::Error> {
        let mut identity = Identity::default();
        while let Some(name) = members.next_key::<Text<'de>>()? {
            match name.0.as_deref().unwrap_or_default() {
                "resourceType" => identity.resource_type = members.next_value::<Text<'de>>()?.0,
                "id" => identity.id = members.next_value::<Text<'de>>()?.0,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(identity)
    }
}

/// A JSON string; `None` for any other value.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Text<'de>, A::Error> {
                IgnoredAny.visit_seq(elements).map(|_| Text(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Text<'de>, A::Error> {
                IgnoredAny.visit_map(members).map(|_| Text(None))
            }
        }

        json.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;

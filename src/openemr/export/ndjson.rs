//! The file of an export, NDJSON with one resource a line, on its way to the client.
//!
//! OpenEMR writes no newline behind the last line, and some resources twice (a join of its tables doubles every Immunization).
//! Each line leaves with a newline, and a resource whose type and id came before is dropped. A line that is no JSON object ends
//! the file as broken: it was cut, or OpenEMR wrote something else into it. Where the export has a filter for the type, or the client may
//! not have everything, each resource that is not selected, or not permitted, is dropped, and one that cannot be tested ends the file as
//! broken.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fhir::body_step::{BodyStep, Broken, Verdict};
use crate::fhir::criteria::Illegible;
use crate::fhir::json::completeness::Completeness;
use crate::fhir::reason::Reason;
use crate::fhir::resource_test::Permitted;
use crate::openemr::export::type_filter::TypeTest;

/// The longest line that is kept to be looked at, in bytes. A longer one passes as it is, whether it came before or not.
const MAX_LINE: usize = 1024 * 1024;
/// The longest line that is tested, in bytes: the longest resource of a search that is, too. A longer one ends the file.
const MAX_TESTED: usize = 4 * 1024 * 1024;
/// How many resources are remembered at least. One that comes again later than that is not recognized.
const REMEMBERED: usize = 100_000;

const BROKEN: Broken = Broken {
    reason: "a line of the export's file is no JSON object",
    text: "OpenEMR's file of this export is broken.",
    code: Reason::NotFhir,
};
const UNTESTED: Broken = Broken {
    reason: "a resource in the export's file cannot be tested by _typeFilter: it is too long, of another type, or ambiguous",
    text: "OpenEMR's file of this export has a resource that cannot be tested by _typeFilter.",
    code: Reason::NotFhir,
};
const UNDECIDED: Broken = Broken {
    reason: "a resource in the export's file cannot be tested by the policy of the client: it is too long, or ambiguous",
    text: "OpenEMR's file of this export has a resource of which nobody knows whether the client may have it.",
    code: Reason::NotFhir,
};

/// Makes a valid file of what OpenEMR exported.
#[derive(Debug)]
pub(crate) struct NdjsonFile {
    line: Line,
    seen: Seen,
    test: Option<Arc<TypeTest>>,
    permit: Option<Arc<LinePermit>>,
    broken: Option<Broken>,
}

/// Which resources of a file a client may have: those of the file's type that pass every test.
#[derive(Debug)]
pub(crate) struct LinePermit {
    resource_type: String,
    tests: Vec<Permitted>,
}

impl LinePermit {
    /// The permit for a file with resources of this type.
    #[must_use]
    pub(crate) fn new(resource_type: &str, tests: Vec<Permitted>) -> Self {
        Self { resource_type: resource_type.to_owned(), tests }
    }

    /// How many resources were not permitted until now, of those of the file's type.
    #[must_use]
    pub(crate) fn refused(&self) -> u64 {
        self.tests.iter().map(|Permitted(test)| test.refused()).sum()
    }

    /// Whether the client may have a resource, a whole JSON object.
    fn permits(&self, line: &[u8], identity: &Identity<'_>) -> Result<bool, Illegible> {
        let resource_type = identity.resource_type.as_deref().filter(|_| !identity.is_ambiguous).ok_or(Illegible)?;
        if resource_type != self.resource_type {
            return Ok(false);
        }
        for Permitted(test) in &self.tests {
            if !test.permits(resource_type, line)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
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
    /// One that keeps the resources that pass a test and are permitted.
    #[must_use]
    pub(crate) fn of_those_that_pass(test: Option<Arc<TypeTest>>, permit: Option<Arc<LinePermit>>) -> Self {
        Self { test, permit, ..Self::default() }
    }

    fn remembering(most: usize) -> Self {
        let seen = Seen { keys: Default::default(), new: HashSet::new(), old: HashSet::new(), most };
        Self { line: Line::Kept(Vec::new()), seen, test: None, permit: None, broken: None }
    }

    /// The longest line that is kept.
    fn longest(&self) -> usize {
        if self.is_tested() { MAX_TESTED } else { MAX_LINE }
    }

    fn is_tested(&self) -> bool {
        self.test.is_some() || self.permit.is_some()
    }

    /// Ends the file at a resource that cannot be tested.
    fn untested(&self) -> Broken {
        if self.permit.is_some() { UNDECIDED } else { UNTESTED }
    }

    /// Takes a part of a line that does not end here.
    fn begin(&mut self, part: &[u8], out: &mut Vec<u8>) {
        let (longest, is_tested) = (self.longest(), self.is_tested());
        match &mut self.line {
            Line::Kept(line) if line.len() + part.len() <= longest => line.extend_from_slice(part),
            Line::Kept(_) if is_tested => self.broken = Some(self.untested()),
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
            Line::Kept(line) if line.len() + part.len() > self.longest() => {
                // As it would be if it had come in other pieces.
                self.line = Line::Kept(line);
                self.begin(part, out);
                if self.broken.is_none() {
                    self.end(b"", out);
                }
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
                    false => self.broken = Some(BROKEN),
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
        let Some(identity) = Identity::of(line) else { return self.broken = Some(BROKEN) };
        match self.is_kept(line, &identity) {
            Ok(true) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            Ok(false) => {}
            Err(Illegible) => self.broken = Some(self.untested()),
        }
    }

    /// Whether a resource is kept: it is permitted, has not come before, and passes the test.
    fn is_kept(&mut self, line: &[u8], identity: &Identity<'_>) -> Result<bool, Illegible> {
        // First: nothing else may depend on what the client may not have.
        if let Some(permit) = &self.permit
            && !permit.permits(line, identity)?
        {
            return Ok(false);
        }
        if let Identity { resource_type: Some(resource_type), id: Some(id), .. } = identity
            && !self.seen.is_new(resource_type, id)
        {
            return Ok(false);
        }
        match &self.test {
            None => Ok(true),
            Some(test) if identity.resource_type.as_deref() != Some(&test.resource_type) => Err(Illegible),
            Some(test) => test.is_passed_by(line),
        }
    }
}

impl BodyStep for NdjsonFile {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(piece.len() + 1);
        let mut rest = &piece[..];
        while self.broken.is_none() {
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
        if self.broken.is_none() {
            self.end(b"", &mut out);
        }
        out.into()
    }

    fn verdict(&self) -> Verdict {
        self.broken.map_or(Verdict::Good, Verdict::Bad)
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
    /// Whether there are several types or ids.
    is_ambiguous: bool,
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
        let (mut types, mut ids) = (0_usize, 0_usize);
        while let Some(name) = members.next_key::<Text<'de>>()? {
            match name.0.as_deref().unwrap_or_default() {
                "resourceType" => {
                    identity.resource_type = members.next_value::<Text<'de>>()?.0;
                    types += 1;
                }
                "id" => {
                    identity.id = members.next_value::<Text<'de>>()?.0;
                    ids += 1;
                }
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        identity.is_ambiguous = types > 1 || ids > 1;
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

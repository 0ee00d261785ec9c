//! The step that drops members of resources for `_elements` and `_summary`, and adds the tag SUBSETTED, in one pass and in
//! constant memory.
//!
//! FHIR R4, "Search", 3.1.1.5.8 and 3.1.1.5.9. Mandatory members stay, so that the resource remains valid.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::fhir::body_step::BodyStep;
use crate::fhir::json::walk::{JsonWalk, Part};
use crate::fhir::projection::rule::{Projection, Rule, Subject};
use crate::fhir::resource_type;
use crate::fhir::spliced::Spliced;

/// The longest name or URL that is read, in bytes.
const MAX_TEXT: usize = 2048;

const SUBSETTED: &[u8] = br#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

/// Drops members from the resources of one answer. Everything outside resources stays as it is.
#[derive(Debug)]
pub struct Projector {
    rule: Rule,
    walk: JsonWalk,
    place: Place,
    /// Whether the resources are in the entries of a Bundle.
    in_entries: bool,
    /// The type that a resource is taken for until its own is read.
    expected: Subject,
    /// The type of the current resource, as far as it is known.
    subject: Subject,
    /// Whether a member was written yet in the resource, in its `meta`, and in its tags.
    has_members: [bool; 3],
    has_meta: bool,
    has_tag: bool,
    /// The name that is being read or was read last, with its quotes.
    name: Vec<u8>,
    /// What happens to the value that is being skipped, if one is.
    passing: Option<Passing>,
    /// The skipped value, where it tells the resource's type.
    text: Vec<u8>,
}

/// The place in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside resources.
    Bundle,
    /// Among the members of a resource.
    Resource,
    /// Within the resource's `meta`.
    Meta,
    /// Within the resource's `meta.tag`.
    Tags,
    /// After something that was not understood: everything is kept.
    Lost,
}

/// What happens to a value that is skipped as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    /// It is kept.
    Kept,
    /// It is kept, and tells the resource's type as the second to last segment of its URL.
    FullUrl,
    /// It is kept, and is the resource's type.
    ResourceType,
    /// It is dropped.
    Dropped,
}

impl Projector {
    /// Makes the step for a Bundle. A resource in its entries is taken for one of the type in its fullUrl, else of the type
    /// `expected`, until its own type is read.
    #[must_use]
    pub fn bundle(projection: Projection, expected: Option<&'static str>) -> Self {
        Self::new(projection, expected, true)
    }

    /// Makes the step for a single resource, which is taken for one of the type `expected` until its own type is read.
    #[must_use]
    pub(crate) fn resource(projection: Projection, expected: Option<&'static str>) -> Self {
        Self::new(projection, expected, false)
    }

    fn new(projection: Projection, expected: Option<&'static str>, in_entries: bool) -> Self {
        Self {
            rule: Rule::of(projection),
            walk: JsonWalk::default(),
            place: if in_entries { Place::Bundle } else { Place::Resource },
            in_entries,
            expected: Subject::of(expected),
            subject: Subject::of(expected),
            has_members: [false; 3],
            has_meta: false,
            has_tag: false,
            name: Vec::new(),
            passing: None,
            text: Vec::new(),
        }
    }

    /// Returns the depth of a resource's members.
    fn level(&self) -> u32 {
        if self.in_entries { 4 } else { 1 }
    }

    fn advance(&mut self, at: usize, out: &mut Spliced) -> Option<usize> {
        let rest = out.piece().get(at..).filter(|rest| !rest.is_empty())?;
        if self.place == Place::Lost {
            let length = rest.len();
            out.keep(at..at + length);
            return Some(length);
        }
        if let Some(passing) = self.passing {
            let (length, has_ended) = self.walk.skip(rest);
            self.pass(passing, rest.get(..length).unwrap_or_default());
            if passing != Passing::Dropped {
                out.keep(at..at + length);
            }
            if has_ended {
                self.passing = None;
                self.read_text(passing);
            }
            return Some(length);
        }
        let (part, length) = self.walk.step(rest)?;
        match part {
            Part::Name => {
                let room = MAX_TEXT.saturating_sub(self.name.len()).min(length);
                self.name.extend_from_slice(rest.get(..room).unwrap_or_default());
                if room < length && self.place == Place::Resource {
                    self.begin_member(out);
                    out.keep(at + room..at + length);
                    self.place = Place::Lost;
                    return Some(length);
                }
            }
            Part::OpenObject | Part::Comma => self.name.clear(),
            _ => {}
        }
        let here = at..at + length;
        match self.place {
            Place::Bundle => self.in_bundle(part, here, out),
            Place::Resource => self.in_resource(part, here, out),
            Place::Meta => self.in_meta(part, here, out),
            Place::Tags => self.in_tags(part, here, out),
            Place::Lost => out.keep(here),
        }
        Some(length)
    }

    fn pass(&mut self, passing: Passing, value: &[u8]) {
        if self.place == Place::Tags {
            self.has_members[2] |= !value.trim_ascii().is_empty();
        }
        if matches!(passing, Passing::FullUrl | Passing::ResourceType) {
            let room = MAX_TEXT.saturating_sub(self.text.len()).min(value.len());
            self.text.extend_from_slice(value.get(..room).unwrap_or_default());
        }
    }

    fn read_text(&mut self, passing: Passing) {
        let text = self.text.trim_ascii();
        match passing {
            Passing::ResourceType => self.subject = Subject::of(resource_type::known(decoded(text).as_bytes())),
            Passing::FullUrl => {
                let url = decoded(text);
                if let Some(known) = url.rsplit('/').nth(1).and_then(|segment| resource_type::known(segment.as_bytes())) {
                    self.subject = Subject::of(Some(known));
                }
            }
            Passing::Kept | Passing::Dropped => {}
        }
        self.text.clear();
    }

    fn in_bundle(&mut self, part: Part, here: Range<usize>, out: &mut Spliced) {
        out.keep(here);
        let is_named = |name: &str| decoded(&self.name) == name;
        match (part, self.walk.depth()) {
            (Part::Colon, 1) if is_named("entry") => {}
            (Part::Colon, 3) if is_named("resource") => {}
            (Part::Colon, 3) if is_named("fullUrl") => self.passing = Some(Passing::FullUrl),
            (Part::Colon, ..) => self.passing = Some(Passing::Kept),
            (Part::OpenObject, 3) => self.subject = self.expected,
            // `name` was cleared by the bracket, so that it holds only names within this object.
            (Part::OpenObject, 4) => self.enter(Place::Resource),
            _ => {}
        }
    }

    fn enter(&mut self, place: Place) {
        self.place = place;
        match place {
            Place::Resource => (self.has_members[0], self.has_meta, self.has_tag) = (false, false, false),
            Place::Meta => self.has_members[1] = false,
            Place::Tags => self.has_members[2] = false,
            Place::Bundle | Place::Lost => {}
        }
    }

    fn in_resource(&mut self, part: Part, here: Range<usize>, out: &mut Spliced) {
        let level = self.level();
        match part {
            Part::OpenObject if self.walk.depth() == level => {
                out.keep(here);
                self.enter(Place::Resource);
            }
            // `meta` is the only member whose value is not skipped.
            Part::OpenObject if self.walk.depth() == level + 1 => {
                out.keep(here);
                self.enter(Place::Meta);
            }
            Part::Name | Part::Comma => {}
            Part::Colon => self.decide(out),
            Part::Close if self.walk.depth() + 1 == level => {
                if self.rule.marks(self.subject) && !self.has_meta {
                    out.put(if self.has_members[0] { br#","meta":{"tag":["# } else { br#""meta":{"tag":["# });
                    out.put(SUBSETTED);
                    out.put(b"]}");
                }
                out.keep(here);
                self.place = if self.in_entries { Place::Bundle } else { Place::Lost };
            }
            Part::Space | Part::Value => out.keep(here),
            Part::OpenArray | Part::OpenObject | Part::Close => {
                out.keep(here);
                self.place = Place::Lost;
            }
        }
    }

    /// Decides whether the member whose name was read is kept.
    fn decide(&mut self, out: &mut Spliced) {
        let name = decoded(&self.name);
        let stays = self.rule.keeps(self.subject, &name);
        let is_entered = name == "meta" && self.rule.marks(self.subject);
        self.passing = match name.as_ref() {
            _ if !stays => Some(Passing::Dropped),
            _ if is_entered => None,
            "resourceType" => Some(Passing::ResourceType),
            _ => Some(Passing::Kept),
        };
        self.has_meta |= name == "meta";
        if stays {
            self.begin_member(out);
            out.put(b":");
        }
    }

    fn begin_member(&mut self, out: &mut Spliced) {
        if std::mem::replace(&mut self.has_members[0], true) {
            out.put(b",");
        }
        out.put(&self.name);
    }

    fn in_meta(&mut self, part: Part, here: Range<usize>, out: &mut Spliced) {
        let depth = self.walk.depth();
        if part == Part::Close && depth == self.level() {
            if !self.has_tag {
                out.put(if self.has_members[1] { br#","tag":["# } else { br#""tag":["# });
                out.put(SUBSETTED);
                out.put(b"]");
                self.has_tag = true;
            }
            self.place = Place::Resource;
        }
        out.keep(here);
        self.has_members[1] |= part == Part::Name;
        let is_tag = decoded(&self.name) == "tag";
        match part {
            Part::Colon if !is_tag => self.passing = Some(Passing::Kept),
            Part::OpenArray if is_tag => {
                self.enter(Place::Tags);
                self.passing = Some(Passing::Kept);
            }
            Part::OpenArray | Part::OpenObject => self.place = Place::Lost,
            Part::Value => self.has_tag |= is_tag,
            _ => {}
        }
    }

    fn in_tags(&mut self, part: Part, here: Range<usize>, out: &mut Spliced) {
        match part {
            Part::Comma => self.passing = Some(Passing::Kept),
            Part::Close => {
                if self.has_members[2] {
                    out.put(b",");
                }
                out.put(SUBSETTED);
                self.has_tag = true;
                self.place = Place::Meta;
            }
            _ => {}
        }
        out.keep(here);
    }
}

impl BodyStep for Projector {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Spliced::of(piece);
        let mut at = 0;
        while let Some(length) = self.advance(at, &mut out) {
            at += length;
        }
        out.finish()
    }

    fn finish(&mut self) -> Bytes {
        Bytes::new()
    }
}

/// Decodes the escapes of a string, such as the name of a member. Servers hardly ever write any there.
fn decoded(name: &[u8]) -> Cow<'_, str> {
    let plain = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).filter(|name| !name.contains(&b'\\'));
    match plain.and_then(|plain| str::from_utf8(plain).ok()) {
        Some(plain) => plain.into(),
        None => serde_json::from_slice::<String>(name).unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests;

//! One JSON document: a resource, with those in it.

use std::ops::ControlFlow;

use super::findings::Findings;
use super::reference::{Target, unescaped};
use super::resource::{List, Resource};
use crate::fhir::json::is_blank;
use crate::fhir::json::outline::rest_of_string;
use crate::fhir::json::structure::{Mark, Structure};

/// The most levels of brackets that are followed. Deeper ones are counted, and references in them found.
const MAX_DEPTH: usize = 256;
/// The longest value that is kept until the rest of it comes, in bytes as written.
const MAX_VALUE: usize = 8 * 1024;
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A position in a document.
#[derive(Debug, Default)]
pub(super) struct Document {
    place: Place,
    structure: Structure,
    levels: Levels,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before it, behind so many bytes of a byte order mark.
    #[default]
    Before,
    /// Within a byte order mark, of which so many bytes were read.
    Marked(usize),
    Within,
    Behind,
    /// What is no document.
    Lost,
}

/// The brackets that are open, and what they belong to.
#[derive(Debug, Default)]
struct Levels {
    depth: usize,
    /// A bit for each level: whether it is an object.
    objects: [u64; MAX_DEPTH / 64],
    /// The resources that have begun, each within the one before.
    resources: Vec<Resource>,
    /// Whether a resource begins if an object comes next.
    is_due: bool,
    /// The levels whose innermost object refers to a Patient that can be read.
    named: Depths,
    /// Those whose innermost object says that it refers to a Patient.
    typed: Depths,
    value: Value,
    is_bundle: bool,
}

/// A bit for each level.
#[derive(Debug, Default)]
struct Depths([u64; MAX_DEPTH / 64 + 1]);

/// A value that is wanted.
#[derive(Debug, Default)]
struct Value {
    wanted: Option<Wanted>,
    is_open: bool,
    is_escaped: bool,
    /// What earlier pieces had of it.
    held: Vec<u8>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Reference,
    ResourceType,
    /// The type of what is contained.
    ContainedType,
    /// Of a Reference, perhaps.
    Type,
    Id,
}

impl Document {
    /// Reads on.
    pub(super) fn read(&mut self, piece: &[u8], findings: &mut Findings) {
        let mut rest = piece;
        if matches!(self.place, Place::Before | Place::Marked(_)) {
            rest = self.begin(piece, findings);
        }
        if self.place == Place::Within {
            let Self { structure, levels, place } = self;
            levels.go_on(rest, findings);
            let mut end = 0;
            structure.read(rest, |mark, at| {
                let told = levels.tell(mark, rest.get(at..).unwrap_or_default(), findings);
                if told.is_break() {
                    *place = Place::Behind;
                    end = at;
                }
                told
            });
            rest = rest.get(end..).unwrap_or_default();
        }
        if self.place == Place::Behind && !rest.iter().all(is_blank) {
            findings.is_unknown = true;
        }
    }

    /// Reads what stands before the document, and returns the rest of the piece.
    fn begin<'p>(&mut self, piece: &'p [u8], findings: &mut Findings) -> &'p [u8] {
        for (at, byte) in piece.iter().enumerate() {
            let marked = if let Place::Marked(marked) = self.place { marked } else { 0 };
            self.place = match byte {
                b'{' if marked == 0 || marked == BYTE_ORDER_MARK.len() => Place::Within,
                _ if BYTE_ORDER_MARK.get(marked) == Some(byte) => Place::Marked(marked + 1),
                _ if is_blank(byte) && (marked == 0 || marked == BYTE_ORDER_MARK.len()) => continue,
                _ => Place::Lost,
            };
            match self.place {
                Place::Within => {
                    self.levels.is_due = true;
                    return piece.get(at..).unwrap_or_default();
                }
                Place::Lost => {
                    findings.is_unknown = true;
                    return &[];
                }
                _ => {}
            }
        }
        &[]
    }

    /// Ends the document, whole or not.
    pub(super) fn finish(&mut self, findings: &mut Findings) {
        findings.is_unknown |= matches!(self.place, Place::Within | Place::Marked(1 | 2));
        while let Some(resource) = self.levels.resources.pop() {
            resource.end(findings);
        }
    }

    /// Begins another one.
    pub(super) fn reset(&mut self) {
        if self.place == Place::Before {
            return;
        }
        // What is allocated is used again.
        let levels = std::mem::take(&mut self.levels);
        let Value { mut held, scratch, .. } = levels.value;
        held.clear();
        self.levels.resources = levels.resources;
        self.levels.value = Value { held, scratch, ..Value::default() };
        self.structure = Structure::default();
        self.place = Place::Before;
    }

    /// Whether there is anything but blanks.
    #[must_use]
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.place, Place::Before | Place::Marked(_))
    }

    /// Whether the document is a Bundle, as far as it has been read.
    #[must_use]
    pub(super) fn is_bundle(&self) -> bool {
        self.levels.is_bundle
    }
}

impl Levels {
    /// Reads on in a value that began in an earlier piece.
    fn go_on(&mut self, piece: &[u8], findings: &mut Findings) {
        if self.value.wanted.is_some() {
            self.read_value(piece, findings);
        }
    }

    /// Takes the next mark; `rest` is what the piece has behind it. Breaks at the end of the document.
    #[inline(always)]
    fn tell(&mut self, mark: Mark<'_>, rest: &[u8], findings: &mut Findings) -> ControlFlow<()> {
        match mark {
            Mark::Name { written, is_escaped } => self.name(written, is_escaped, rest, findings),
            Mark::Open { is_object } => self.open(is_object, findings),
            Mark::Close { is_object } => return self.close(is_object, findings),
        }
        ControlFlow::Continue(())
    }

    fn open(&mut self, is_object: bool, findings: &mut Findings) {
        let is_due = std::mem::take(&mut self.is_due);
        self.set_level(self.depth, is_object);
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            findings.is_unknown = true;
        } else if is_due && is_object {
            let list = self.resources.last().and_then(|resource| resource.list);
            findings.entries += u64::from(list == Some(List::Entries));
            self.resources.push(Resource::at(self.depth));
        }
    }

    fn close(&mut self, is_object: bool, findings: &mut Findings) -> ControlFlow<()> {
        self.is_due = false;
        // A Reference to a Patient that says so, and does not say to which.
        let is_named = self.named.take(self.depth);
        findings.is_unknown |= self.typed.take(self.depth) && !is_named;
        if self.resources.last().is_some_and(|resource| resource.depth == self.depth)
            && let Some(resource) = self.resources.pop()
        {
            resource.end(findings);
        }
        self.depth = self.depth.saturating_sub(1);
        findings.is_unknown |= self.is_object(self.depth).is_some_and(|opened| opened != is_object);
        if let Some(resource) = self.resources.last_mut().filter(|resource| resource.depth == self.depth) {
            resource.list = None;
        }
        if self.depth == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    #[inline(always)]
    fn name(&mut self, written: &[u8], is_escaped: bool, rest: &[u8], findings: &mut Findings) {
        self.is_due = false;
        let name = if is_escaped { unescaped(written, &mut self.value.scratch) } else { written };
        let Some(resource) = self.resources.last_mut() else { return };
        let is_own = resource.depth == self.depth;
        if is_own {
            resource.list = None;
        }
        let wanted = match name {
            b"reference" => Wanted::Reference,
            b"id" if is_own => Wanted::Id,
            b"resourceType" if is_own => Wanted::ResourceType,
            b"resourceType" => Wanted::ContainedType,
            b"type" if !is_own => Wanted::Type,
            b"entry" if is_own => return resource.list = Some(List::Entries),
            b"parameter" if is_own => return resource.list = Some(List::Parameters),
            b"resource" => return self.is_due = !is_own && resource.list.is_some(),
            _ => return,
        };
        self.value.begin(wanted);
        self.read_value(rest, findings);
    }

    /// Reads on in the value that is wanted.
    fn read_value(&mut self, rest: &[u8], findings: &mut Findings) {
        let Some((wanted, text)) = self.value.read(rest, findings) else { return };
        let is_root = self.resources.len() == 1;
        let Some(resource) = self.resources.last_mut() else { return };
        match wanted {
            Wanted::ResourceType => {
                resource.set_type(text, findings);
                if is_root {
                    self.is_bundle = resource.is_bundle();
                }
            }
            Wanted::Id => resource.set_id(text, findings),
            // Its id is nobody's elsewhere.
            Wanted::ContainedType => findings.is_unknown |= text == b"Patient",
            Wanted::Type if text == b"Patient" => self.typed.set(self.depth),
            Wanted::Type => {}
            Wanted::Reference => match Target::of(text) {
                Target::Patient(id) => {
                    resource.names_a_patient = true;
                    self.named.set(self.depth);
                    findings.tell(id);
                }
                Target::Unreadable => findings.is_unknown = true,
                Target::Other => {}
            },
        }
    }

    fn set_level(&mut self, level: usize, is_object: bool) {
        if let Some(objects) = self.objects.get_mut(level / 64) {
            let bit = 1 << (level % 64);
            *objects = if is_object { *objects | bit } else { *objects & !bit };
        }
    }

    fn is_object(&self, level: usize) -> Option<bool> {
        self.objects.get(level / 64).map(|objects| objects >> (level % 64) & 1 == 1)
    }
}

impl Depths {
    fn set(&mut self, depth: usize) {
        if let Some(bits) = self.0.get_mut(depth / 64) {
            *bits |= 1 << (depth % 64);
        }
    }

    /// Whether it was set; it is not any more.
    fn take(&mut self, depth: usize) -> bool {
        let Some(bits) = self.0.get_mut(depth / 64) else { return false };
        let bit = 1 << (depth % 64);
        let is_set = *bits & bit != 0;
        *bits &= !bit;
        is_set
    }
}

impl Value {
    fn begin(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
        self.is_open = false;
        self.is_escaped = false;
        self.held.clear();
    }

    /// Reads on, and returns the text once it is whole. A value that is no string is none.
    fn read<'t>(&'t mut self, rest: &'t [u8], findings: &mut Findings) -> Option<(Wanted, &'t [u8])> {
        let mut rest = rest;
        if !self.is_open {
            let begin = rest.iter().position(|byte| !is_blank(byte))?;
            let (first, behind) = rest.get(begin..)?.split_first()?;
            if *first != b'"' {
                self.wanted = None;
                return None;
            }
            self.is_open = true;
            rest = behind;
        }
        let (length, has_ended) = rest_of_string(rest, &mut self.is_escaped);
        let part = rest.get(..length - usize::from(has_ended))?;
        if self.held.len() + part.len() > MAX_VALUE {
            findings.is_unknown = true;
            self.wanted = None;
            return None;
        }
        if has_ended && self.held.is_empty() {
            return Some((self.wanted.take()?, unescaped(part, &mut self.scratch)));
        }
        self.held.extend_from_slice(part);
        if !has_ended {
            return None;
        }
        Some((self.wanted.take()?, unescaped(&self.held, &mut self.scratch)))
    }
}

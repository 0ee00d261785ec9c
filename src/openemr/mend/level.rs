//! What is known of the objects and lists that are open.

use crate::openemr::mend::names::Kind;

/// An object or a list that is open.
#[derive(Debug)]
pub(crate) struct Level {
    /// Where it begins in the output, with its name and the comma before it.
    pub(crate) mark: u64,
    /// Where it begins in the document.
    pub(crate) begun: u64,
    /// What it is.
    pub(crate) shape: Shape,
    /// What the object is, or the objects of the list.
    pub(crate) kind: Kind,
    /// Whether it is a list of text.
    pub(crate) is_text: bool,
    /// Whether it is a list of extensions.
    pub(crate) has_extensions: bool,
    /// What becomes of it is known at its end.
    pub(crate) hold: Hold,
    /// How many members or items are kept, those that are in doubt among them.
    pub(crate) items: u64,
    /// Whether something is kept for good.
    pub(crate) is_confirmed: bool,
    /// Whether something was dropped that was not empty.
    pub(crate) has_lost: bool,
    /// Which members there are.
    pub(crate) notes: Notes,
    /// What its parent notes once it is kept.
    pub(crate) note: Notes,
    /// The type of the resource.
    pub(crate) resource: Resource,
    /// What may be changed at its end: items, or the prefix of a code.
    pub(crate) open: Open,
    /// Its name, as a number. Lists alone have it.
    pub(crate) name: u64,
}

/// What may be changed at the end of a level.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open {
    /// How many parts.
    pub(crate) count: u64,
    /// Where the first of them begins in the output.
    pub(crate) at: u64,
    /// The same in the document.
    pub(crate) begun: u64,
    /// The length of it.
    pub(crate) length: u64,
}

/// What a level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    /// A list in which no object has come, and no list.
    List,
    /// A list of objects or lists.
    Objects,
    /// The list of a name with `_`, whose items belong to those of another list.
    Twins,
}

/// What becomes of an object at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    /// An extension, which goes without a `url`.
    Extension,
    /// An object in the place of text, which gets another name if it is an element without a value.
    Misplaced {
        /// Where its name begins in the output, with its quote.
        name_at: u64,
    },
}

/// The resources that are not like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Other,
    ValueSet,
    Group,
}

/// Which members an object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Notes(u8);

impl Notes {
    /// The `url` of an extension.
    pub(crate) const URL: Self = Self(1);
    /// The value of an extension, or extensions in it.
    pub(crate) const VALUE: Self = Self(1 << 1);
    /// What is no part of an element that stands for text without a value.
    pub(crate) const OTHER: Self = Self(1 << 2);
    /// `status`.
    pub(crate) const STATUS: Self = Self(1 << 3);
    /// `type`.
    pub(crate) const TYPE: Self = Self(1 << 4);
    /// `actual`.
    pub(crate) const ACTUAL: Self = Self(1 << 5);
    /// A patient that is a member of a group.
    pub(crate) const PATIENT: Self = Self(1 << 6);
    /// SNOMED CT as the system of a code.
    pub(crate) const SNOMED: Self = Self(1 << 7);

    /// What a level notes of a member of this name.
    #[must_use]
    pub(crate) fn of(level: &Level, name: &[u8]) -> Self {
        let in_place = match level.hold {
            Hold::Misplaced { .. } if !matches!(name, b"extension" | b"id" | b"_id") => Self::OTHER,
            _ => Self::default(),
        };
        let in_kind = match level.kind {
            Kind::Extension => match name {
                b"url" => Self::URL,
                b"extension" => Self::VALUE,
                _ if name.starts_with(b"value") || name.starts_with(b"_value") => Self::VALUE,
                _ => Self::default(),
            },
            Kind::Resource => match name {
                b"status" | b"_status" => Self::STATUS,
                b"type" | b"_type" => Self::TYPE,
                b"actual" | b"_actual" => Self::ACTUAL,
                _ => Self::default(),
            },
            _ => Self::default(),
        };
        Self(in_place.0 | in_kind.0)
    }

    /// Adds others.
    pub(crate) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// These without some.
    #[must_use]
    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether a member was noted.
    #[must_use]
    pub(crate) fn have(self, note: Self) -> bool {
        self.0 & note.0 != 0
    }
}

//! Which elements of FHIR R4 are text in JSON, by the names of members and by what they are members of.

use std::sync::LazyLock;

/// What an object is, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Anything else.
    #[default]
    Other,
    Resource,
    Narrative,
    Coding,
    Quantity,
    Identifier,
    ContactPoint,
    HumanName,
    Address,
    Period,
    Extension,
    /// `Group.member`, and what else is called so.
    GroupMember,
    /// `Group.member.entity`.
    GroupEntity,
}

impl Kind {
    /// What the object, or the list of objects, of this name is.
    #[must_use]
    pub(crate) fn of(parent: Self, name: &[u8]) -> Self {
        match name {
            b"resource" | b"contained" => Self::Resource,
            b"text" if parent == Self::Resource => Self::Narrative,
            b"coding" | b"valueCoding" | b"tag" | b"security" | b"class" => Self::Coding,
            b"identifier" | b"valueIdentifier" => Self::Identifier,
            b"telecom" | b"valueContactPoint" => Self::ContactPoint,
            b"name" | b"valueHumanName" => Self::HumanName,
            b"address" | b"valueAddress" => Self::Address,
            b"extension" | b"modifierExtension" => Self::Extension,
            b"member" if parent == Self::Resource => Self::GroupMember,
            b"entity" if parent == Self::GroupMember => Self::GroupEntity,
            b"quantity" => Self::Quantity,
            b"period" => Self::Period,
            _ if name.ends_with(b"Quantity") => Self::Quantity,
            _ if name.ends_with(b"Period") => Self::Period,
            _ => Self::Other,
        }
    }

    /// Whether the element is text, such as a code, a string, a date or a URI. `in_list`: it may be repeated.
    #[must_use]
    pub(crate) fn is_text(self, name: &[u8], in_list: bool) -> bool {
        let is_here = match self {
            Self::Resource => match name {
                b"status" | b"language" | b"gender" | b"intent" => true,
                b"name" => !in_list,
                b"text" | b"system" => false,
                _ => is_text_everywhere(name),
            },
            Self::Coding => matches!(name, b"code" | b"version"),
            Self::Quantity => matches!(name, b"code" | b"unit"),
            Self::Identifier | Self::ContactPoint => matches!(name, b"use" | b"value"),
            Self::HumanName => matches!(name, b"use" | b"family"),
            Self::Address => matches!(name, b"use" | b"type" | b"state" | b"country"),
            Self::Period => matches!(name, b"start" | b"end"),
            Self::Narrative => name == b"status",
            Self::Extension => name == b"valueCode",
            Self::Other | Self::GroupMember | Self::GroupEntity => false,
        };
        // Only resources have a text that is an object, or a system that is a boolean.
        is_here || (self != Self::Resource && (matches!(name, b"text" | b"system") || is_text_everywhere(name)))
    }
}

/// Whether every element of this name in FHIR R4 is text.
fn is_text_everywhere(name: &[u8]) -> bool {
    let mut slot = slot(name);
    loop {
        match SLOTS.get(slot % SIZE) {
            Some(&"") => return false,
            Some(found) if found.as_bytes() == name => return true,
            Some(_) => slot += 1,
            None => return false,
        }
    }
}

/// A power of two, several times the number of names.
const SIZE: usize = 2048;

/// The names, each in its slot or in the next that is free.
static SLOTS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut slots = vec![""; SIZE];
    for name in names() {
        let begin = slot(name.as_bytes());
        let free = (begin..begin + SIZE).map(|slot| slot % SIZE).find(|slot| slots.get(*slot).is_some_and(|at| at.is_empty()));
        if let Some(at) = free.and_then(|free| slots.get_mut(free)) {
            *at = name;
        }
    }
    slots
});

fn slot(name: &[u8]) -> usize {
    let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or_default());
    let length = name.len();
    byte(0) * 31 + byte(length.wrapping_sub(1)) * 241 + byte(length / 2) * 1009 + byte(length / 3) * 83 + length * 17
}

/// The names of elements that are text wherever R4 has them, `[x]` written out.
fn names() -> impl Iterator<Item = &'static str> {
    include_str!("names.txt").split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_found_and_no_other() {
        for name in names() {
            assert!(is_text_everywhere(name.as_bytes()), "{name}");
        }
        for name in ["", "d", "code", "value", "valueQuantity", "extension", "displa", "displayed", "Display"] {
            assert!(!is_text_everywhere(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_text_in_one_place_need_not_be_in_another() {
        for (kind, name, in_list, is_text) in [
            (Kind::Coding, "code", false, true),
            (Kind::Other, "code", false, false),
            (Kind::Resource, "code", false, false),
            (Kind::Coding, "display", false, true),
            (Kind::Other, "display", false, true),
            (Kind::Identifier, "value", false, true),
            (Kind::Quantity, "value", false, false),
            (Kind::Resource, "text", false, false),
            (Kind::Other, "text", false, true),
            (Kind::Resource, "name", false, true),
            (Kind::Resource, "name", true, false),
            (Kind::Other, "name", false, false),
            (Kind::HumanName, "given", true, true),
            (Kind::Resource, "system", false, false),
            (Kind::ContactPoint, "rank", false, false),
            (Kind::Extension, "valueInteger", false, false),
            (Kind::Extension, "url", false, true),
        ] {
            assert_eq!(kind.is_text(name.as_bytes(), in_list), is_text, "{kind:?} {name}");
        }
    }
}

//! The members of a resource that are sent, by `_elements` or `_summary` and by the definition of its type.

use crate::fhir::projection::elements::{Elements, RequestedElement};

/// The part of each resource that is sent (FHIR R4, "Search", `_elements` and `_summary`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// The whole resource.
    #[default]
    Whole,
    /// `_elements`: these members and the mandatory ones.
    Elements(Vec<String>),
    /// `_summary=true`: the members that the definitions mark as summary.
    Summary,
    /// `_summary=text`: `text`, `id`, `meta` and the mandatory members.
    Text,
    /// `_summary=data`: every member but `text`.
    Data,
}

/// Decides which members of resources are sent.
#[derive(Debug)]
pub(crate) struct Rule {
    projection: Projection,
    requested: Vec<RequestedElement>,
}

impl Rule {
    /// Makes the rule of a projection.
    #[must_use]
    pub(crate) fn of(projection: Projection) -> Self {
        let requested = match &projection {
            Projection::Elements(items) => items.iter().map(|item| RequestedElement::read(item)).collect(),
            _ => Vec::new(),
        };
        Self { projection, requested }
    }

    /// Whether a resource keeps this member. `_summary=true` keeps all members of a type that is not known.
    #[must_use]
    pub(crate) fn keeps(&self, subject: Subject, member: &str) -> bool {
        // `_birthDate` holds the extensions of `birthDate`.
        let member = member.strip_prefix('_').unwrap_or(member);
        if matches!(member, "resourceType" | "id" | "meta") || subject.is_outcome() {
            return true;
        }
        let is_mandatory = || subject.elements.is_some_and(|elements| elements.is_mandatory(member));
        match self.projection {
            Projection::Whole => true,
            Projection::Data => member != "text",
            Projection::Text => member == "text" || is_mandatory(),
            Projection::Summary => subject.elements.is_none_or(|elements| elements.is_summary(member)),
            Projection::Elements(_) => {
                self.requested.iter().any(|element| element.means(subject.resource_type, member)) || is_mandatory()
            }
        }
    }

    /// Whether a resource gets the tag SUBSETTED, because members of it may be missing.
    #[must_use]
    pub(crate) fn marks(&self, subject: Subject) -> bool {
        match self.projection {
            Projection::Whole => false,
            _ if subject.is_outcome() => false,
            Projection::Summary => subject.resource_type.is_none() || subject.elements.is_some(),
            Projection::Elements(_) | Projection::Text | Projection::Data => true,
        }
    }
}

/// The type of a resource, with the elements that are known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    resource_type: Option<&'static str>,
    elements: Option<Elements>,
}

impl Subject {
    /// Looks up a resource type.
    #[must_use]
    pub(crate) fn of(resource_type: Option<&'static str>) -> Self {
        Self { resource_type, elements: resource_type.and_then(Elements::of) }
    }

    /// Whether the resource is an OperationOutcome, which describes the search and is always sent whole.
    fn is_outcome(self) -> bool {
        self.resource_type == Some("OperationOutcome")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_members_stay_by_type() {
        let elements = |words: &[&str]| Projection::Elements(words.iter().map(|&word| word.to_owned()).collect());
        for (projection, resource_type, member, stays) in [
            (Projection::Whole, Some("Patient"), "text", true),
            (Projection::Data, Some("Patient"), "text", false),
            (Projection::Data, Some("Patient"), "name", true),
            (Projection::Text, Some("Patient"), "text", true),
            (Projection::Text, Some("Patient"), "name", false),
            (Projection::Text, Some("Observation"), "status", true),
            (Projection::Text, None, "meta", true),
            (Projection::Summary, Some("Patient"), "name", true),
            (Projection::Summary, Some("Patient"), "_birthDate", true),
            (Projection::Summary, Some("Patient"), "communication", false),
            (Projection::Summary, Some("Account"), "owner", true),
            (Projection::Summary, None, "owner", true),
            (elements(&["name"]), Some("Patient"), "name", true),
            (elements(&["name"]), Some("Patient"), "_name", true),
            (elements(&["name"]), Some("Patient"), "gender", false),
            (elements(&["name"]), Some("Observation"), "code", true),
            (elements(&["name"]), Some("OperationOutcome"), "issue", true),
            (elements(&[]), None, "id", true),
        ] {
            let rule = Rule::of(projection.clone());
            assert_eq!(rule.keeps(Subject::of(resource_type), member), stays, "{projection:?} {resource_type:?} {member}");
        }
    }

    #[test]
    fn what_may_be_less_than_whole_is_marked() {
        for (projection, resource_type, marked) in [
            (Projection::Whole, Some("Patient"), false),
            (Projection::Data, Some("Account"), true),
            (Projection::Summary, Some("Patient"), true),
            (Projection::Summary, Some("Account"), false),
            (Projection::Text, Some("OperationOutcome"), false),
            (Projection::Elements(Vec::new()), None, true),
        ] {
            assert_eq!(Rule::of(projection).marks(Subject::of(resource_type)), marked, "{resource_type:?}");
        }
    }
}

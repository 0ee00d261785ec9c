//! Which members of a resource `_elements` and `_summary` leave, by what FHIR R4's definitions say of its type.

use crate::fhir::projection::elements::{Asked, Elements};

/// What is left of each resource (FHIR R4, "Search", `_elements` and `_summary`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// All of it.
    #[default]
    Whole,
    /// These members, besides the mandatory ones.
    Elements(Vec<String>),
    /// `_summary=true`: what the definitions mark as summary.
    Summary,
    /// `_summary=text`: `text`, `id`, `meta`, and what is mandatory.
    Text,
    /// `_summary=data`: all but `text`.
    Data,
}

/// What stays of resources.
#[derive(Debug)]
pub struct Rule {
    projection: Projection,
    asked: Vec<Asked>,
}

impl Rule {
    /// The rule of a projection.
    #[must_use]
    pub fn of(projection: Projection) -> Self {
        let asked = match &projection {
            Projection::Elements(words) => words.iter().map(|word| Asked::read(word)).collect(),
            _ => Vec::new(),
        };
        Self { projection, asked }
    }

    /// Whether a resource keeps this member. What is not known of a type is kept.
    #[must_use]
    pub fn keeps(&self, subject: Subject, member: &str) -> bool {
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
            Projection::Elements(_) => self.asked.iter().any(|asked| asked.is(subject.resource_type, member)) || is_mandatory(),
        }
    }

    /// Whether a resource is to be marked as a part of itself.
    #[must_use]
    pub fn marks(&self, subject: Subject) -> bool {
        match self.projection {
            Projection::Whole => false,
            _ if subject.is_outcome() => false,
            Projection::Summary => subject.resource_type.is_none() || subject.elements.is_some(),
            Projection::Elements(_) | Projection::Text | Projection::Data => true,
        }
    }
}

/// The type of a resource, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    resource_type: Option<&'static str>,
    elements: Option<Elements>,
}

impl Subject {
    /// A resource of that type.
    #[must_use]
    pub fn of(resource_type: Option<&'static str>) -> Self {
        Self { resource_type, elements: resource_type.and_then(Elements::of) }
    }

    /// An outcome speaks of the search, and is never cut.
    fn is_outcome(self) -> bool {
        self.resource_type == Some("OperationOutcome")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_of_which_type() {
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

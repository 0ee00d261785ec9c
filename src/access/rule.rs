//! One rule of a policy: a SMART scope (SMART App Launch 2.2, "Scopes for requesting FHIR Resources") in the v1 or the v2 syntax.

use crate::access::line::Line;

/// The interactions that a rule permits, as the letters of the v2 syntax: create, read, update, delete, search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Letters(u8);

/// One of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Letter {
    /// `c`
    Create = 1,
    /// `r`, which also permits vread and the history of one resource.
    Read = 2,
    /// `u`, which also permits patch.
    Update = 4,
    /// `d`
    Delete = 8,
    /// `s`, which also permits the histories of a type and of the system.
    Search = 16,
}

impl Letters {
    /// Adds a letter.
    #[must_use]
    pub(crate) fn with(self, letter: Letter) -> Self {
        Self(self.0 | letter as u8)
    }

    /// Whether the letter is one of them.
    #[must_use]
    pub(crate) fn has(self, letter: Letter) -> bool {
        self.0 & letter as u8 != 0
    }

    /// The letters that both have.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A search parameter with the value that a resource must have: `category=http://…|laboratory`. Commas mean *or*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint {
    /// The parameter, without modifier.
    pub(crate) name: String,
    /// The value, percent-decoded.
    pub(crate) value: String,
}

/// A rule: some interactions with the resources of one type, or of all, that meet every constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The type; `None` is every type.
    pub(crate) resource_type: Option<&'static str>,
    /// The interactions.
    pub(crate) letters: Letters,
    /// What a resource must meet.
    pub(crate) constraints: Vec<Constraint>,
    /// Where the scope is written.
    pub(crate) line: Line,
}

/// Why a scope cannot be a rule. The text goes on from the scope in backquotes, and the remedy says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BadScope {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) remedy: String,
}

impl Rule {
    /// Reads a scope of a system client: `system/Patient.rs`, `system/*.read`,
    /// `system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory`.
    ///
    /// # Errors
    /// It is no such scope, or has a constraint that cannot be enforced.
    pub(crate) fn parse(scope: &str, line: Line) -> Result<Self, BadScope> {
        let _ = line;
        Err(BadScope { message: format!("`{scope}` cannot be enforced"), remedy: "write  system/Patient.rs".to_owned() })
    }
}

//! What is known of a resource while it is read.

use super::findings::Findings;
use super::reference::{LONGEST_ID, is_id};
use crate::fhir::without_patients::is_without_patients;

/// A resource that has begun.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    /// The number of brackets that are open within it, outside of its values.
    pub(super) depth: usize,
    /// The member that is being read, if others are within it.
    pub(super) list: Option<List>,
    /// Whether there was a reference to a Patient.
    pub(super) names_a_patient: bool,
    about: Option<About>,
    id: [u8; LONGEST_ID],
    id_length: usize,
    has_id: bool,
}

/// A member with other resources in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// `Bundle.entry`
    Entries,
    /// `Parameters.parameter`
    Parameters,
}

/// Whom resources of a type are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A Patient: about itself.
    Itself,
    /// A Bundle: about those of its entries.
    Entries,
    /// No patient.
    Nobody,
    /// Whatever else is in the answer, if it does not say so itself.
    Others,
    /// The patients that it names; if it names none, patients who are not known.
    Named,
}

impl About {
    /// Whom resources of this type are about. One that is not known may be about anybody.
    #[must_use]
    fn of(resource_type: &[u8]) -> Self {
        match resource_type {
            b"Patient" => Self::Itself,
            b"Bundle" => Self::Entries,
            b"OperationOutcome" | b"Parameters" | b"Subscription" => Self::Nobody,
            b"AuditEvent" | b"Linkage" | b"Location" | b"MessageHeader" | b"Provenance" => Self::Others,
            _ if is_without_patients(resource_type) => Self::Nobody,
            _ => Self::Named,
        }
    }
}

impl Resource {
    /// One that begins with the bracket that is the `depth`-th that is open.
    #[must_use]
    pub(super) fn at(depth: usize) -> Self {
        Self { depth, list: None, names_a_patient: false, about: None, id: [0; LONGEST_ID], id_length: 0, has_id: false }
    }

    /// Whether it is a Bundle, as far as it has been read.
    #[must_use]
    pub(super) fn is_bundle(&self) -> bool {
        self.about == Some(About::Entries)
    }

    /// It is of this type.
    pub(super) fn set_type(&mut self, resource_type: &[u8], findings: &mut Findings) {
        // A second type, or a second id: nobody knows which one the client takes.
        findings.is_unknown |= self.about.is_some();
        self.about = Some(About::of(resource_type));
    }

    /// It has this id.
    pub(super) fn set_id(&mut self, id: &[u8], findings: &mut Findings) {
        findings.is_unknown |= self.has_id;
        self.has_id = true;
        self.id_length = if is_id(id) { id.len() } else { 0 };
        self.id.iter_mut().zip(id).for_each(|(to, from)| *to = *from);
    }

    /// Tells what it is about, at its end or where it was cut.
    pub(super) fn end(&self, findings: &mut Findings) {
        match self.about {
            Some(About::Itself) => match self.id.get(..self.id_length).filter(|id| !id.is_empty()) {
                Some(id) => findings.tell(id),
                None => findings.is_unknown = true,
            },
            Some(About::Entries | About::Nobody) => {}
            Some(About::Others) => findings.is_dependent |= !self.names_a_patient,
            Some(About::Named) => findings.is_unknown |= !self.names_a_patient,
            None => findings.is_unknown = true,
        }
    }
}

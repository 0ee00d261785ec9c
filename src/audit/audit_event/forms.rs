//! The form of an event: which codes it has, and which pattern it follows.

use serde_json::Value;

use super::coding::{DCM, coding};
use crate::audit::record::{Kind, Outcome, Record};

/// Kinds of events beside DICOM's.
const EVENT: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
/// FHIR's interactions.
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
/// Steps in the life of a record (ISO 21089).
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
/// Transactions of IHE.
const TRANSACTION: &str = "urn:ihe:event-type-code";

/// The form of an event.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// The kind of event.
    pub(super) event: Value,
    /// More about it.
    pub(super) subtypes: Vec<Value>,
    /// C, R, U, D or E.
    pub(super) action: &'static str,
    /// Who takes part as what, and what is said of the data.
    pub(super) pattern: Pattern,
}

/// A pattern of BALP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Read,
    Query,
    Create,
    Update,
    Delete,
    /// Privacy Disclosure at the source.
    Disclosure,
    /// Another interaction, with agents as a query has them.
    Other,
    /// No request to a FHIR route.
    Security,
}

impl Form {
    /// The form of an event of this record.
    #[must_use]
    pub(super) fn of(record: &Record, names_patient: bool) -> Self {
        let dicom = |code, display, subtypes: Vec<Value>| Self {
            event: coding(DCM, code, display),
            subtypes,
            action: "E",
            pattern: Pattern::Security,
        };
        let alert = |code, display| dicom("110113", "Security Alert", vec![coding(DCM, code, display)]);
        let token = || dicom("110114", "User Authentication", vec![coding(TRANSACTION, "ITI-71", "Get Access Token")]);
        match record.kind {
            Kind::Request | Kind::Patients => Self::of_request(record, names_patient),
            Kind::TokenExchange | Kind::TokenIssued | Kind::ForcedRefresh => token(),
            Kind::CredentialRefused => alert("110126", "Node Authentication"),
            Kind::KeyRotation => alert("110129", "Security Configuration"),
            Kind::Reload => alert("110131", "Software Configuration"),
            Kind::FileBegun => alert("110134", "Audit Recording Started"),
            Kind::FileEnded | Kind::Lost => alert("110133", "Audit Recording Stopped"),
            Kind::Unknown => dicom("110100", "Application Activity", Vec::new()),
        }
    }

    fn of_request(record: &Record, names_patient: bool) -> Self {
        let interaction = record.interaction.as_deref().unwrap_or_default();
        if interaction == "export-file" {
            let is_disclosed = names_patient && !matches!(record.outcome, Some(Outcome::Refused | Outcome::Failed));
            let disclosed = || coding(LIFECYCLE, "disclose", "Disclose Record Lifecycle Event");
            return Self {
                event: coding(DCM, "110106", "Export"),
                subtypes: if is_disclosed { vec![disclosed()] } else { Vec::new() },
                action: "R",
                pattern: if is_disclosed { Pattern::Disclosure } else { Pattern::Other },
            };
        }
        let (code, action, pattern) = match interaction {
            "read" => ("read", "R", Pattern::Read),
            "vread" => ("vread", "R", Pattern::Read),
            "search-type" | "search-compartment" => ("search-type", "E", Pattern::Query),
            "search-system" => ("search-system", "E", Pattern::Query),
            "create" => ("create", "C", Pattern::Create),
            "update" | "conditional-update" => ("update", "U", Pattern::Update),
            "patch" | "conditional-patch" => ("patch", "U", Pattern::Update),
            "delete" | "conditional-delete" => ("delete", "D", Pattern::Delete),
            "history-instance" => ("history-instance", "R", Pattern::Other),
            "history-type" => ("history-type", "R", Pattern::Other),
            "history-system" => ("history-system", "R", Pattern::Other),
            "capabilities" => ("capabilities", "R", Pattern::Other),
            "batch" => ("batch", "E", Pattern::Other),
            "operation" | "export" | "export-status" => ("operation", "E", Pattern::Other),
            _ => ("", "E", Pattern::Other),
        };
        Self {
            event: coding(EVENT, "rest", "RESTful Operation"),
            subtypes: if code.is_empty() { Vec::new() } else { vec![coding(INTERACTION, code, code)] },
            action,
            pattern,
        }
    }
}

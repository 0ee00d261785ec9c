//! What OpenEMR announces and does wrong: a search that fails, finds nothing or a part, or keeps a worker for minutes. One table,
//! which the plan of a search obeys: what is in it is not asked of OpenEMR.
//!
//! Measured on 7.0.3, 8.0 and 8.1. OpenEMR names its number up to 7.0.3 only. One that names a later number than 8.1 was not
//! measured: it is asked what would fail loudly, and not what would fail without a word.
//!
//! Decision: `docs/decisions/16-search.md`.

use std::fmt;

use http::StatusCode;

use crate::fhir::capabilities::Capabilities;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::openemr::version::Version;

/// Any resource type.
const ANY: &str = "*";
/// The codes (LOINC) of which OpenEMR writes both into each of two Observations. It finds one Observation by each.
pub(crate) const PULSE_OXIMETRY: [&str; 2] = ["59408-5", "2708-6"];
/// The null flavour that OpenEMR writes where it has no code.
const UNKNOWN: &str = "UNK";

/// One thing that OpenEMR does wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breakage {
    /// The resource type that is searched, or [`ANY`].
    resource_type: &'static str,
    /// The search parameter, whatever its modifier.
    parameter: &'static str,
    /// How it must be used for it to go wrong.
    asked: Asked,
    /// Which versions it goes wrong in.
    versions: Versions,
    /// How it goes wrong.
    symptom: Symptom,
    /// What to do instead: the end of a sentence.
    instead: &'static str,
}

/// A use of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// With any value.
    AtAll,
    /// With one of these codes among its values.
    Codes(&'static [&'static str]),
    /// With several values of which one has no system before it.
    BareCodes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    /// All that were measured.
    Every,
    /// 7.0.4 and later.
    Modern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symptom {
    /// An error, or an answer that is none.
    Fails,
    /// An empty Bundle, whatever there is.
    FindsNothing,
    /// A part of what there is.
    FindsAPart,
}

/// The table. `docs/fhir.md` has it for clients.
static TABLE: [Breakage; 10] = [
    Breakage {
        resource_type: ANY,
        parameter: "code",
        asked: Asked::BareCodes,
        versions: Versions::Every,
        symptom: Symptom::FindsNothing,
        instead: "write system|code for each of several codes, or ask for one code at a time",
    },
    Breakage {
        resource_type: "Practitioner",
        parameter: "name",
        asked: Asked::AtAll,
        versions: Versions::Every,
        symptom: Symptom::Fails,
        instead: "ask for family or given",
    },
    Breakage {
        resource_type: "Organization",
        parameter: "address",
        asked: Asked::AtAll,
        versions: Versions::Every,
        symptom: Symptom::Fails,
        instead: "ask for address-city, address-state or address-postalcode",
    },
    Breakage {
        resource_type: "Goal",
        parameter: "description",
        asked: Asked::AtAll,
        versions: Versions::Modern,
        symptom: Symptom::Fails,
        instead: "ask for patient, and choose among what is found",
    },
    Breakage {
        resource_type: "Goal",
        parameter: "target-date",
        asked: Asked::AtAll,
        versions: Versions::Modern,
        symptom: Symptom::FindsNothing,
        instead: "ask for patient, and choose among what is found",
    },
    Breakage {
        resource_type: "MedicationDispense",
        parameter: "status",
        asked: Asked::AtAll,
        versions: Versions::Modern,
        symptom: Symptom::Fails,
        instead: "ask for patient, and choose among what is found",
    },
    Breakage {
        resource_type: "Observation",
        parameter: "code",
        asked: Asked::Codes(&PULSE_OXIMETRY),
        versions: Versions::Every,
        symptom: Symptom::FindsAPart,
        instead: "ask for both codes of pulse oximetry",
    },
    Breakage {
        resource_type: "ServiceRequest",
        parameter: "status",
        // OpenEMR compares its own words: pending, routed, complete, canceled.
        asked: Asked::Codes(&["active", "completed", "revoked", "draft", "on-hold", "entered-in-error", "unknown"]),
        versions: Versions::Modern,
        symptom: Symptom::FindsNothing,
        instead: "OpenEMR finds those that are completed as status=complete",
    },
    Breakage {
        resource_type: "DiagnosticReport",
        parameter: "code",
        asked: Asked::Codes(&[UNKNOWN]),
        versions: Versions::Every,
        symptom: Symptom::FindsNothing,
        instead: "ask for patient, and choose among what is found",
    },
    Breakage {
        resource_type: "DocumentReference",
        parameter: "type",
        asked: Asked::Codes(&[UNKNOWN]),
        versions: Versions::Every,
        symptom: Symptom::FindsNothing,
        instead: "ask for patient, and choose among what is found",
    },
];

/// The server as far as it decides what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    version: Option<Version>,
    is_measured: bool,
}

impl Measured {
    /// Reads a CapabilityStatement; `None` while it is not known.
    #[must_use]
    pub(crate) fn of(capabilities: Option<&Capabilities>) -> Self {
        Self { version: capabilities.map(Version::of), is_measured: capabilities.is_some_and(Version::is_measured) }
    }

    /// Checks one parameter of a search: its name without its modifier, and its value.
    ///
    /// # Errors
    /// What OpenEMR would do wrong.
    pub(crate) fn check(self, resource_type: &str, parameter: &str, value: &str) -> Result<(), &'static Breakage> {
        let is_of_type = |breakage: &&Breakage| matches!(breakage.resource_type, ANY) || breakage.resource_type == resource_type;
        let mut known = TABLE.iter().filter(|breakage| breakage.parameter == parameter).filter(is_of_type);
        known.find(|breakage| self.has(breakage) && breakage.is_asked(value)).map_or(Ok(()), Err)
    }

    /// Whether OpenEMR fails on an id that is no UUID.
    #[must_use]
    pub(crate) fn takes_uuids_alone(self, resource_type: &str) -> bool {
        resource_type == "Observation" && self.is_measured
    }

    /// Checks the read of a resource.
    ///
    /// # Errors
    /// OpenEMR fails on every read of the type.
    pub(crate) fn check_read(self, resource_type: &'static str) -> Result<(), BrokenRead> {
        if self.is_measured && reads_may_fail(resource_type) { Err(BrokenRead(resource_type)) } else { Ok(()) }
    }

    /// Whether a type is never searched by a parameter, whatever its value.
    #[must_use]
    pub(crate) fn is_never_asked(self, resource_type: &str, parameter: &str) -> bool {
        let is_this = |breakage: &&Breakage| breakage.resource_type == resource_type && breakage.parameter == parameter;
        TABLE.iter().filter(is_this).any(|breakage| breakage.asked == Asked::AtAll && self.has(breakage))
    }

    /// Whether OpenEMR fails on `_count` for a type: ValueSet, on 7.0.4 and later, below 200.
    #[must_use]
    pub(crate) fn fails_on_count(self, resource_type: &str) -> bool {
        resource_type == "ValueSet" && self.version != Some(Version::Old) && self.is_measured
    }

    fn has(self, breakage: &Breakage) -> bool {
        let is_of_version = breakage.versions == Versions::Every || self.version != Some(Version::Old);
        is_of_version && (self.is_measured || breakage.symptom != Symptom::Fails)
    }
}

/// Everything in the table that this OpenEMR does wrong.
pub(crate) fn known(capabilities: &Capabilities) -> impl Iterator<Item = &'static Breakage> {
    let measured = Measured::of(Some(capabilities));
    TABLE.iter().filter(move |breakage| measured.has(breakage))
}

/// Whether there are versions in which OpenEMR fails on every read of a type.
#[must_use]
pub(crate) fn reads_may_fail(resource_type: &str) -> bool {
    resource_type == "ValueSet"
}

/// OpenEMR fails on every read of this type. A sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("OpenEMR fails on reading a {0} by its id; search for {0}, and choose among what is found.")]
pub(crate) struct BrokenRead(&'static str);

impl From<BrokenRead> for Rejection {
    fn from(broken: BrokenRead) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, IssueCode::NotSupported, Reason::NotSupported, broken.to_string())
    }
}

/// The search takes OpenEMR minutes: every Provenance is made from the resources of all types. A sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Provenance cannot be searched without _id here: OpenEMR would work on it for minutes; ask for _id, or for the Provenance of \
     another type's resources with _revinclude=Provenance:target."
)]
pub(crate) struct TakesMinutes;

/// Whether a search for a type takes minutes unless OpenEMR is asked for `_id`.
#[must_use]
pub(crate) fn needs_id(resource_type: &str) -> bool {
    resource_type == "Provenance"
}

impl Breakage {
    fn is_asked(&self, value: &str) -> bool {
        match self.asked {
            Asked::AtAll => true,
            Asked::Codes(codes) => value.split(',').any(|part| part.rsplit('|').next().is_some_and(|code| codes.contains(&code))),
            Asked::BareCodes => value.contains(',') && value.split(',').any(|part| !part.contains('|')),
        }
    }
}

/// A sentence for the client.
impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.asked {
            Asked::AtAll => "by",
            Asked::Codes(_) => "with that value for",
            Asked::BareCodes => "with several codes without their system for",
        };
        let searched = if self.resource_type == ANY { "This type" } else { self.resource_type };
        let symptom = match self.symptom {
            Symptom::Fails => "OpenEMR fails on it",
            Symptom::FindsNothing => "OpenEMR finds nothing, whatever there is",
            Symptom::FindsAPart => "OpenEMR finds a part of what there is",
        };
        write!(f, "{searched} cannot be searched {by} {} here: {symptom}; {}.", self.parameter, self.instead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::parameters;

    const EIGHT: Measured = Measured { version: Some(Version::Modern), is_measured: true };
    const OLD: Measured = Measured { version: Some(Version::Old), is_measured: true };
    const LATER: Measured = Measured { version: Some(Version::Modern), is_measured: false };
    const UNKNOWN: Measured = Measured { version: None, is_measured: false };

    fn is_wrong(openemr: Measured, resource_type: &str, query: &str) -> bool {
        parameters(query.as_bytes()).any(|one| {
            let base = one.name.split(':').next().unwrap();
            openemr.check(resource_type, base, &one.value).is_err_and(|breakage| breakage.parameter == base)
        })
    }

    #[test]
    fn what_goes_wrong_is_not_asked_of_the_versions_that_do_it() {
        for (resource_type, query, eight, old, later, unknown) in [
            ("Observation", "code=a,b", true, true, true, true),
            ("Observation", "code=http://loinc.org|a,b", true, true, true, true),
            ("Observation", "code:not=a,b", true, true, true, true),
            ("Observation", "code=http://loinc.org|a,http://loinc.org|b", false, false, false, false),
            ("Observation", "code=a", false, false, false, false),
            ("Observation", "code=59408-5", true, true, true, true),
            ("Observation", "code=http://loinc.org|8867-4,http://loinc.org|2708-6", true, true, true, true),
            ("Observation", "category=a,b", false, false, false, false),
            ("Practitioner", "name=a", true, true, false, false),
            ("Practitioner", "name:exact=a", true, true, false, false),
            ("Practitioner", "family=a&given=b", false, false, false, false),
            ("Patient", "name=a", false, false, false, false),
            ("Organization", "address=a", true, true, false, false),
            ("Organization", "address-city=a", false, false, false, false),
            ("Goal", "description=a", true, false, false, false),
            ("Goal", "target-date=2024", true, false, true, true),
            ("MedicationDispense", "status=completed", true, false, false, false),
            ("ServiceRequest", "status=active,completed", true, false, true, true),
            ("ServiceRequest", "status=http://hl7.org/fhir/request-status|revoked", true, false, true, true),
            ("ServiceRequest", "status=complete", false, false, false, false),
            ("DiagnosticReport", "code=http://x|UNK", true, true, true, true),
            ("DocumentReference", "type=UNK", true, true, true, true),
            ("DocumentReference", "category=UNK", false, false, false, false),
        ] {
            let got = [EIGHT, OLD, LATER, UNKNOWN].map(|openemr| is_wrong(openemr, resource_type, query));
            assert_eq!(got, [eight, old, later, unknown], "{resource_type}?{query}");
        }
        assert!(EIGHT.takes_uuids_alone("Observation") && OLD.takes_uuids_alone("Observation"));
        assert!(!LATER.takes_uuids_alone("Observation") && !OLD.takes_uuids_alone("Encounter"));
    }

    #[test]
    fn each_refusal_names_the_parameter_and_what_works() {
        for breakage in &TABLE {
            let told = breakage.to_string();
            assert!(told.contains(breakage.parameter) && told.contains(breakage.instead) && told.ends_with('.'), "{told}");
        }
        let told = TABLE.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = "Practitioner cannot be searched by name here: OpenEMR fails on it; ask for family or given.";
        assert!(told.iter().any(|told| told == expected), "{told:?}");
    }

    #[test]
    fn value_sets_are_neither_counted_nor_read_by_openemr() {
        assert!(EIGHT.fails_on_count("ValueSet") && !EIGHT.fails_on_count("Patient"));
        assert!(!OLD.fails_on_count("ValueSet") && !LATER.fails_on_count("ValueSet"));
        assert!(EIGHT.check_read("ValueSet").is_err() && OLD.check_read("ValueSet").is_err());
        assert!(EIGHT.check_read("Patient").is_ok() && LATER.check_read("ValueSet").is_ok());
    }
}

//! The elements of resources in FHIR R4's definitions: which are mandatory, which belong to the summary, and which have their
//! type appended to their name.
//!
//! The table has the resource types that electronic health records usually serve.

use crate::fhir::resource_type;

/// The elements of one resource type, apart from those that all types have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elements {
    mandatory: &'static str,
    summary: &'static str,
}

impl Elements {
    /// Returns the elements of a type; `None` for a type that is not in the table.
    #[must_use]
    pub(crate) fn of(resource_type: &str) -> Option<Self> {
        let index = TYPES.binary_search_by(|(name, ..)| (*name).cmp(resource_type)).ok()?;
        TYPES.get(index).map(|&(_, mandatory, summary)| Self { mandatory, summary })
    }

    /// Whether a resource of the type is invalid without this member.
    #[must_use]
    pub(crate) fn is_mandatory(self, member: &str) -> bool {
        is_listed(self.mandatory, member)
    }

    /// Whether the member belongs to the type's summary. Mandatory members do.
    #[must_use]
    pub(crate) fn is_summary(self, member: &str) -> bool {
        member == "implicitRules" || is_listed(self.summary, member) || self.is_mandatory(member)
    }
}

/// One item of `_elements`: `name`, `value` (which also means `valueQuantity` and its like), `name.family` (which means all of
/// `name`) or `Patient.name` (which is about one type only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestedElement {
    member: String,
    is_choice: bool,
    only_of: Option<&'static str>,
}

impl RequestedElement {
    /// Reads an item of `_elements`.
    #[must_use]
    pub(crate) fn read(word: &str) -> Self {
        let mut segments = word.split('.');
        let first = segments.next().unwrap_or_default();
        let only_of = resource_type::known(first.as_bytes());
        let member = only_of.map_or(first, |_| segments.next().unwrap_or_default());
        let member = member.strip_suffix("[x]").unwrap_or(member);
        Self { member: member.to_owned(), is_choice: CHOICES.binary_search(&member).is_ok(), only_of }
    }

    /// Whether the item means this member of a resource of that type.
    #[must_use]
    pub(crate) fn means(&self, resource_type: Option<&str>, member: &str) -> bool {
        let is_named = self.member == member || (self.is_choice && is_choice(&self.member, member));
        is_named && (self.only_of.is_none() || self.only_of == resource_type)
    }
}

fn is_listed(list: &str, member: &str) -> bool {
    list.split_ascii_whitespace()
        .any(|element| element.strip_suffix("[x]").map_or(element == member, |element| is_choice(element, member)))
}

fn is_choice(element: &str, member: &str) -> bool {
    member.strip_prefix(element).is_some_and(|of_type| of_type.starts_with(|first: char| first.is_ascii_uppercase()))
}

/// The elements of R4's resources that may be of several types, sorted.
static CHOICES: &[&str] = &[
    "abatement",
    "age",
    "asNeeded",
    "born",
    "code",
    "created",
    "deceased",
    "doseNumber",
    "effective",
    "event",
    "identified",
    "item",
    "legallyBinding",
    "manufacturer",
    "medication",
    "module",
    "multipleBirth",
    "occurred",
    "occurrence",
    "onset",
    "performed",
    "product",
    "quantity",
    "reported",
    "seriesDoses",
    "serviced",
    "source",
    "start",
    "statusReason",
    "subject",
    "target",
    "timing",
    "topic",
    "value",
];

/// Resource types, sorted, each with its mandatory elements and with the others in its summary. `id`, `meta` and
/// `implicitRules` belong to every summary and are not listed.
#[rustfmt::skip]
static TYPES: &[(&str, &str, &str)] = &[
    ("AllergyIntolerance", "patient", "identifier clinicalStatus verificationStatus type category criticality code asserter"),
    ("Appointment", "status participant", "identifier cancelationReason serviceCategory serviceType specialty appointmentType reasonCode start end"),
    ("Binary", "contentType", "securityContext url"),
    ("CarePlan", "status intent subject", "identifier instantiatesCanonical instantiatesUri basedOn replaces partOf category title description encounter period created author addresses"),
    ("CareTeam", "", "identifier status category name subject encounter period managingOrganization"),
    ("Condition", "subject", "identifier clinicalStatus verificationStatus code bodySite encounter onset[x] recordedDate recorder asserter"),
    ("Coverage", "status beneficiary payor", "identifier type policyHolder subscriber subscriberId dependent period order network"),
    ("Device", "", "udiCarrier status safety"),
    ("DiagnosticReport", "status code", "identifier category subject encounter effective[x] issued performer resultsInterpreter media"),
    ("DocumentReference", "status content", "masterIdentifier identifier docStatus type category subject date author relatesTo description securityLabel context"),
    ("Encounter", "status class", "identifier type serviceType subject episodeOfCare participant appointment reasonCode reasonReference diagnosis"),
    ("Goal", "lifecycleStatus description subject", "achievementStatus category priority start[x] statusDate expressedBy"),
    ("Group", "type actual", "identifier active code name quantity managingEntity"),
    ("Immunization", "status vaccineCode patient occurrence[x]", "primarySource performer note isSubpotent"),
    ("Location", "", "identifier status operationalStatus name description mode type physicalType managingOrganization"),
    ("Media", "status content", "identifier basedOn partOf type modality view subject encounter created[x] issued operator reasonCode bodySite deviceName device height width frames duration"),
    ("Medication", "", "identifier code status manufacturer amount"),
    ("MedicationDispense", "status medication[x]", "subject whenPrepared"),
    ("MedicationRequest", "status intent medication[x] subject", "priority doNotPerform reported[x] authoredOn requester performerType instantiatesCanonical instantiatesUri basedOn groupIdentifier"),
    ("Observation", "status code", "identifier basedOn partOf subject focus encounter effective[x] issued performer value[x] hasMember derivedFrom component"),
    ("OperationDefinition", "name status kind code system type instance", "url version title experimental date publisher contact useContext jurisdiction affectsState base resource"),
    ("Organization", "", "identifier active type name partOf"),
    ("Patient", "", "identifier active name telecom gender birthDate deceased[x] address managingOrganization link"),
    ("Person", "", "name telecom gender birthDate managingOrganization active"),
    ("Practitioner", "", "identifier active name telecom address gender birthDate"),
    ("PractitionerRole", "", "identifier active period practitioner organization code specialty location telecom"),
    ("Procedure", "status subject", "identifier instantiatesCanonical instantiatesUri basedOn partOf statusReason category code encounter performed[x] recorder asserter performer location reasonCode reasonReference bodySite outcome"),
    ("Provenance", "target recorded agent", ""),
    ("Questionnaire", "status", "url identifier version name title experimental subjectType date publisher contact useContext jurisdiction effectivePeriod code"),
    ("QuestionnaireResponse", "status", "identifier basedOn partOf questionnaire subject encounter authored author source"),
    ("RelatedPerson", "patient", "identifier active relationship name telecom gender birthDate address"),
    ("ServiceRequest", "status intent subject", "identifier instantiatesCanonical instantiatesUri basedOn replaces requisition category priority doNotPerform code orderDetail quantity[x] encounter occurrence[x] asNeeded[x] authoredOn requester performerType performer locationCode locationReference reasonCode reasonReference specimen bodySite patientInstruction"),
    ("Specimen", "", "identifier accessionIdentifier status type subject receivedTime condition"),
    ("ValueSet", "status", "url identifier version name title experimental date publisher contact useContext jurisdiction immutable"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(CHOICES.is_sorted());
        assert!(TYPES.is_sorted_by_key(|(name, ..)| name));
        for (name, ..) in TYPES {
            assert!(Elements::of(name).is_some());
        }
        assert_eq!(Elements::of("Account"), None);
    }

    #[test]
    fn members_by_type() {
        let of = |name| Elements::of(name).unwrap();
        for (resource_type, member, mandatory, summary) in [
            ("Patient", "birthDate", false, true),
            ("Patient", "deceasedBoolean", false, true),
            ("Patient", "deceased", false, false),
            ("Patient", "communication", false, false),
            ("Patient", "implicitRules", false, true),
            ("Observation", "status", true, true),
            ("Observation", "valueQuantity", false, true),
            ("Observation", "values", false, false),
            ("Observation", "note", false, false),
            ("Immunization", "occurrenceDateTime", true, true),
            ("Provenance", "agent", true, true),
            ("Encounter", "period", false, false),
        ] {
            assert_eq!(of(resource_type).is_mandatory(member), mandatory, "{resource_type} {member}");
            assert_eq!(of(resource_type).is_summary(member), summary, "{resource_type} {member}");
        }
    }

    #[test]
    fn items_of_elements() {
        for (word, member, is) in [
            ("name", "name", true),
            ("name", "names", false),
            ("name", "nameHuman", false),
            ("value", "valueQuantity", true),
            ("value[x]", "valueString", true),
            ("value", "values", false),
            ("valueQuantity", "valueQuantity", true),
            ("name.family", "name", true),
            ("Patient.name", "name", true),
            ("Patient.name.family", "name", true),
            ("Observation.name", "name", false),
            ("Patient", "name", false),
            ("", "name", false),
        ] {
            assert_eq!(RequestedElement::read(word).means(Some("Patient"), member), is, "{word} {member}");
        }
    }
}

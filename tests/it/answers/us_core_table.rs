//! The searches of US Core, from the CapabilityStatements of its versions 3.1.1, 6.1.0 and 8.0.0, and the elements that their parameters are
//! about (FHIR R4, "SearchParameter").

/// The versions of US Core.
pub const US_CORE: [&str; 3] = ["3.1.1", "6.1.0", "8.0.0"];

/// The searches of each type: what each version demands (S: SHALL, s: SHOULD), and the parameters that are combined.
pub const SEARCHES: [(&str, &str); 24] = [
    ("AllergyIntolerance", "SSS patient, sss patient+clinical-status"),
    (
        "CarePlan",
        "SSS patient+category, sss patient+category+status+date, sss patient+category+status, sss patient+category+date",
    ),
    ("CareTeam", "SSS patient+status, -ss role, -ss patient+role"),
    (
        "Condition",
        "SSS patient, sss patient+onset-date, sSS patient+category, sss patient+clinical-status, sss patient+code, -ss patient+recorded-date, -ss patient+asserted-date, -ss patient+category+clinical-status, -ss patient+abatement-date, -ss patient+category+encounter, --s patient+_lastUpdated",
    ),
    ("Coverage", "-SS patient"),
    ("Device", "SSS patient, sss patient+type, -ss patient+status"),
    (
        "DiagnosticReport",
        "SSS patient+category, SSS patient, SSS patient+category+date, sss patient+status, sss patient+code+date, SSS patient+code, --s patient+category+_lastUpdated",
    ),
    (
        "DocumentReference",
        "SSS patient, SSS _id, sss patient+type+period, SSS patient+type, SSS patient+category+date, sss patient+status, SSS patient+category",
    ),
    (
        "Encounter",
        "SSS patient, SSS _id, sss identifier, sss class+patient, sss patient+status, sss patient+type, SSS date+patient, -ss patient+location, -ss patient+discharge-disposition, --s patient+_lastUpdated",
    ),
    ("Goal", "SSS patient, sss patient+lifecycle-status, sss patient+target-date, -ss patient+description"),
    ("Immunization", "SSS patient, sss patient+date, sss patient+status"),
    ("Location", "SSS name, SSS address, sss address-city, sss address-state, sss address-postalcode"),
    ("MedicationDispense", "-SS patient, -ss patient+status+type, -ss patient+status"),
    (
        "MedicationRequest",
        "SSS patient+intent, sss patient+intent+encounter, sss patient+intent+authoredon, SSS patient+intent+status",
    ),
    (
        "Observation",
        "SSS patient+code, SSS patient+category+date, sss patient+category+status, sss patient+code+date, SSS patient+category, --s patient+category+_lastUpdated",
    ),
    ("Organization", "SSS name, SSS address"),
    (
        "Patient",
        "SSS _id, SSS identifier, SSS name, sss birthdate+family, ss- family+gender, SSS birthdate+name, SS- gender+name, -ss death-date+family",
    ),
    ("Practitioner", "SSS name, SSS identifier, -ss _id"),
    ("PractitionerRole", "SSS specialty, SSS practitioner"),
    ("Procedure", "SSS patient, SSS patient+date, sss patient+status, sss patient+code+date"),
    ("QuestionnaireResponse", "-SS patient, -SS _id, -ss patient+questionnaire, -ss patient+authored, -ss patient+status"),
    ("RelatedPerson", "-ss patient, -SS _id, -ss name, -ss patient+name"),
    (
        "ServiceRequest",
        "-SS patient, -SS _id, -SS patient+category+authored, -ss patient+status, -SS patient+category, -ss patient+code+authored, -SS patient+code",
    ),
    ("Specimen", "-ss patient, -SS _id"),
];

/// Searches beside those, which OpenEMR lacks or breaks.
pub const OTHERS: [(&str, &str); 10] = [
    ("Encounter", "identifier+patient, date, class+patient+date"),
    ("Goal", "patient+description+target-date"),
    ("Location", "name+address-city"),
    ("Organization", "address-city, address+name"),
    ("Patient", "birthdate+birthdate, name+name"),
    ("Practitioner", "family, name+family"),
    ("DiagnosticReport", "patient+code+status"),
    ("DocumentReference", "patient+type+status"),
    ("Observation", "patient+code+status, patient+date+date"),
    ("ServiceRequest", "patient+status+category"),
];

/// What a parameter is about: its kind, and the elements of a type (of any type after `*`), each by its members.
pub const PARAMETERS: &[(&str, char, &str)] = &[
    ("* _id", 't', "id"),
    ("* patient", 'r', "patient subject beneficiary"),
    ("* _lastUpdated", 'd', "meta.lastUpdated"),
    ("* status", 't', "status"),
    ("* category", 't', "category"),
    ("* code", 't', "code"),
    ("* identifier", 't', "identifier"),
    ("* encounter", 'r', "encounter context.encounter"),
    ("* name", 's', "name"),
    ("* family", 's', "name.family"),
    ("* address", 's', "address"),
    ("* address-city", 's', "address.city"),
    ("* address-state", 's', "address.state"),
    ("* address-postalcode", 's', "address.postalCode"),
    ("AllergyIntolerance clinical-status", 't', "clinicalStatus"),
    ("CarePlan date", 'd', "period"),
    ("CareTeam role", 't', "participant.role"),
    ("Condition clinical-status", 't', "clinicalStatus"),
    ("Condition onset-date", 'd', "onsetDateTime onsetPeriod"),
    ("Condition abatement-date", 'd', "abatementDateTime abatementPeriod"),
    ("Condition recorded-date", 'd', "recordedDate"),
    ("Condition asserted-date", 'd', "extension.valueDateTime"),
    ("Device type", 't', "type"),
    ("DiagnosticReport date", 'd', "effectiveDateTime effectivePeriod"),
    ("DocumentReference date", 'd', "date"),
    ("DocumentReference period", 'd', "context.period"),
    ("DocumentReference type", 't', "type"),
    ("Encounter class", 't', "class"),
    ("Encounter type", 't', "type"),
    ("Encounter date", 'd', "period"),
    ("Encounter location", 'r', "location.location"),
    ("Encounter discharge-disposition", 't', "hospitalization.dischargeDisposition"),
    ("Goal lifecycle-status", 't', "lifecycleStatus"),
    ("Goal target-date", 'd', "target.dueDate"),
    ("Goal description", 't', "description"),
    ("Immunization date", 'd', "occurrenceDateTime"),
    ("MedicationDispense type", 't', "type"),
    ("MedicationRequest intent", 't', "intent"),
    ("MedicationRequest authoredon", 'd', "authoredOn"),
    ("Observation date", 'd', "effectiveDateTime effectivePeriod"),
    ("Patient birthdate", 'd', "birthDate"),
    ("Patient death-date", 'd', "deceasedDateTime"),
    ("Patient gender", 't', "gender"),
    ("PractitionerRole practitioner", 'r', "practitioner"),
    ("PractitionerRole specialty", 't', "specialty"),
    ("Procedure date", 'd', "performedDateTime performedPeriod"),
    ("QuestionnaireResponse authored", 'd', "authored"),
    ("QuestionnaireResponse questionnaire", 'r', "questionnaire"),
    ("ServiceRequest authored", 'd', "authoredOn"),
    ("Specimen type", 't', "type"),
];

/// Types that 7.0.3 does not offer.
pub const NOT_IN_7_0_3: [&str; 5] =
    ["MedicationDispense", "QuestionnaireResponse", "RelatedPerson", "ServiceRequest", "Specimen"];

/// Searches whose answers differ, and say so: the type, its parameters, and why.
pub const TOLD: [(&str, &str, &str); 3] = [
    ("Observation", "patient+category+_lastUpdated", "OpenEMR makes the time up when it answers"),
    ("DiagnosticReport", "patient+category+_lastUpdated", "OpenEMR makes the time up when it answers"),
    ("Encounter", "date", "Without a patient, OpenEMR is asked, and compares the beginning alone"),
];

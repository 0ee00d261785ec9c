"""The processor time of a request as the configuration grows: sites, clients, rules of a policy."""

import contextlib
import hashlib

from contenders import SHIPPED
from load import wrk
from sections.cpu import measured

SITES = (1, 10, 100)
CLIENTS = (1, 1_000, 100_000)
RULES = (1, 10, 100)
# As many types of FHIR R4 as there are rules; the one that is asked for is the last.
TYPES = """Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic Binary
BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry ChargeItem ChargeItemDefinition Claim
ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest CompartmentDefinition Composition ConceptMap Condition
Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric
DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis Encounter Endpoint
EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit
FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy Immunization ImmunizationEvaluation
ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure MeasureReport Media Medication
MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement MessageDefinition MessageHeader
MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition OperationOutcome Organization
OrganizationAffiliation PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole Procedure Provenance
Questionnaire""".split()


def sites(number):
    """Further sites, each with its own token; the last one is asked."""

    def change(config):
        config["sites"] |= {f"site{at}": config["sites"]["default"] | {"bulk_data": {"folder": f"bulk-{at}"}} for at in range(2, number + 1)}

    return change, "/fhir" if number == 1 else f"/site{number}/fhir"


def clients(number):
    """Further clients, each with a key of its own; the last one asks."""

    def change(config):
        last = config["access"]["clients"].pop("bench")
        others = {
            f"client{at}": {"policy": "bench", "api_keys": [f"sha256:{hashlib.sha256(str(at).encode()).hexdigest()}"]}
            for at in range(1, number)
        }
        config["access"]["clients"] = others | {"bench": last}

    return change, "/fhir"


def rules(number):
    """A policy of this many scopes; the last one is what is asked for."""

    def change(config):
        config["access"]["policies"]["bench"]["scopes"] = [f"system/{name}.rs" for name in [*TYPES[: number - 1], "Patient"]]

    return change, "/fhir"


def measure(bench):
    figures = {}
    patient = bench.place.paths["2 KB"].removeprefix("/fhir")
    for name, sizes, configured in (("sites", SITES, sites), ("clients", CLIENTS, clients), ("rules", RULES, rules)):
        found = figures.setdefault(f"growth, {name}", {})
        with contextlib.ExitStack() as stack:
            started = []
            for size in sizes:
                change, base = configured(size)
                each = stack.enter_context(bench.started(SHIPPED, change=change))
                url = each.http + base + patient
                load = measured(bench, lambda _, url=url: wrk(bench.place, url, bench.whole_seconds, bench.load_cores))
                load(each)
                started.append((f"{size:,}", each, load))
            for _ in range(bench.rounds):
                for size, each, load in started:
                    found.setdefault(size, []).append(load(each)[0])
    return figures

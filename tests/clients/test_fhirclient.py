"""SMART's Python client (PyPI fhirclient). Its models are strict: each answer has the members, and the types, that
R4 gives it, or reading it fails."""

import unittest

from fhirclient import client
from fhirclient.models import (
    capabilitystatement, condition, encounter, location, observation, organization, patient, practitioner,
)
from fhirclient.server import FHIRNotFoundException

from support import BASES, DEMO, NOBODY, SAMPLE, EachOnce, whole

MODELS = [
    patient.Patient, observation.Observation, encounter.Encounter, condition.Condition, organization.Organization,
    location.Location, practitioner.Practitioner,
]


def connect(base):
    return client.FHIRClient(settings={"app_id": "probe", "api_base": base})


class Fhirclient(unittest.TestCase, EachOnce):
    def test_the_gateway_asks_for_no_login(self):
        smart = connect(DEMO)
        self.assertTrue(smart.prepare())
        self.assertTrue(smart.ready)

    def test_capability_statement(self):
        for name, base in BASES.items():
            with self.subTest(openemr=name):
                statement = capabilitystatement.CapabilityStatement.read_from("metadata", connect(base).server)
                self.assertEqual(statement.fhirVersion, "4.0.1")
                self.assertEqual(statement.as_json()["resourceType"], "CapabilityStatement")

    def test_every_page_of_every_type(self):
        for name, base in BASES.items():
            server = connect(base).server
            for model in MODELS:
                with self.subTest(openemr=name, type=model.resource_type):
                    pages = list(model.where({"_count": "61"}).perform_iter(server))
                    for page in pages:
                        self.assertEqual(page.type, "searchset")
                        page.as_json()
                    found = [entry.resource.id for page in pages for entry in page.entry]
                    self.assert_each_once(found, whole(base, model.resource_type))

    def test_references_are_resolved(self):
        server = connect(DEMO).server
        found = next(observation.Observation.where({"_count": "1"}).perform_resources_iter(server))
        subject = found.subject.resolved(patient.Patient)
        self.assertIsInstance(subject, patient.Patient)
        self.assertEqual(f"Patient/{subject.id}", found.subject.reference)

    def test_create_read_update(self):
        server = connect(DEMO).server
        # It sends no Prefer, and hands on what comes back.
        answer = patient.Patient(SAMPLE).create(server)
        made = patient.Patient(answer)
        read = patient.Patient.read(made.id, server)
        self.assertEqual(read.birthDate.isostring, "1984-02-29")
        read.gender = "male"
        read.update(server)
        self.assertEqual(patient.Patient.read(made.id, server).gender, "male")

    def test_not_found(self):
        with self.assertRaises(FHIRNotFoundException) as missing:
            patient.Patient.read(NOBODY, connect(DEMO).server)
        self.assertEqual(missing.exception.response.json()["resourceType"], "OperationOutcome")


if __name__ == "__main__":
    unittest.main()

"""fhirpy (PyPI), synchronous and asynchronous, as its documentation has it."""

import asyncio
import json
import unittest

from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from support import BASES, DEMO, NOBODY, SAMPLE, EachOnce, whole

CONFIG = {"timeout": 60}


class Sync(unittest.TestCase, EachOnce):
    def setUp(self):
        self.client = SyncFHIRClient(DEMO, requests_config=CONFIG)

    def test_capability_statement(self):
        statement = self.client.execute("metadata", method="get")
        self.assertEqual(statement["fhirVersion"], "4.0.1")

    def test_fetch_all_brings_every_page(self):
        for name, base in BASES.items():
            client = SyncFHIRClient(base, requests_config=CONFIG)
            for resource_type, count in [("Patient", 17), ("Encounter", 55), ("Condition", 9)]:
                with self.subTest(openemr=name, type=resource_type):
                    found = [one.id for one in client.resources(resource_type).limit(count).fetch_all()]
                    self.assert_each_once(found, whole(base, resource_type))

    def test_iterating_stops_where_the_reader_stops(self):
        first = []
        for patient in self.client.resources("Patient").limit(10):
            first.append(patient.id)
            if len(first) == 25:
                break
        self.assert_each_once(first, whole(DEMO, "Patient")[:25])

    def test_count_first_and_get(self):
        patients = self.client.resources("Patient")
        everyone = whole(DEMO, "Patient")
        self.assertEqual(patients.count(), len(everyone))
        self.assertEqual(patients.first().id, everyone[0])
        self.assertEqual(patients.search(_id=everyone[3]).get().id, everyone[3])
        self.assertEqual(self.client.resources("Observation").search(patient=everyone[0]).count(), 5)

    def test_references_are_followed(self):
        observation = self.client.resources("Observation").first()
        patient = observation["subject"].to_resource()
        self.assertEqual(patient["resourceType"], "Patient")
        self.assertEqual(f"Patient/{patient.id}", observation["subject"]["reference"])
        found = self.client.resources("Observation").search(subject=patient.to_reference()).fetch_all()
        self.assertIn(observation.id, [one.id for one in found])

    def test_revinclude(self):
        bundle = self.client.resources("Patient").limit(3).revinclude("Provenance", "target").fetch_raw()
        modes = [entry["search"]["mode"] for entry in bundle["entry"]]
        self.assertEqual((modes.count("match"), modes.count("include")), (3, 3))

    def test_create_and_update(self):
        # fhirpy sends no Prefer, and takes the answer for the resource.
        patient = self.client.resource("Patient", **SAMPLE)
        patient.save()
        self.assertIsNotNone(patient.id)
        self.assertEqual(patient["name"][0]["family"], "Pyton")
        read = self.client.reference("Patient", patient.id).to_resource()
        self.assertEqual(read["birthDate"], "1984-02-29")
        read["birthDate"] = "1985-03-01"
        read.save()
        self.assertEqual(self.client.get("Patient", patient.id)["birthDate"], "1985-03-01")

    def test_errors_are_outcomes(self):
        with self.assertRaises(ResourceNotFound) as missing:
            self.client.reference("Patient", NOBODY).to_resource()
        self.assertEqual(json.loads(str(missing.exception))["resourceType"], "OperationOutcome")
        with self.assertRaises(OperationOutcome) as invalid:
            self.client.resource("Patient", gender="female").save()
        self.assertEqual(invalid.exception.resource["resourceType"], "OperationOutcome")
        self.assertEqual(invalid.exception.resource["issue"][0]["severity"], "error")
        with self.assertRaises(OperationOutcome) as unrouted:
            self.client.resource("Patient", id=NOBODY).delete()
        self.assertEqual(unrouted.exception.resource["issue"][0]["code"], "not-supported")

    def test_result_parameters(self):
        patients = self.client.resources("Patient").limit(2)
        self.assertEqual(len(patients.search(_format="json").fetch()), 2)
        [summary, _] = patients.search(_summary="true").fetch()
        self.assertIn("birthDate", summary)
        self.assertNotIn("text", summary)
        [elements, _] = patients.elements("birthDate").fetch()
        self.assertIn("birthDate", elements)
        self.assertNotIn("telecom", elements)


class Async(unittest.TestCase, EachOnce):
    def test_pages_and_parallel_reads(self):
        async def run():
            client = AsyncFHIRClient(DEMO)
            found = [patient.id async for patient in client.resources("Patient").limit(23)]
            observations = await client.resources("Observation").limit(400).fetch_all()
            subjects = await asyncio.gather(*(one["subject"].to_resource() for one in observations[:20]))
            return found, [one.id for one in observations], subjects

        found, observations, subjects = asyncio.run(asyncio.wait_for(run(), timeout=120))
        self.assert_each_once(found, whole(DEMO, "Patient"))
        self.assert_each_once(observations, whole(DEMO, "Observation"))
        self.assertEqual({one["resourceType"] for one in subjects}, {"Patient"})


if __name__ == "__main__":
    unittest.main()

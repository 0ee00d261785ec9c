"""What the tests in Python share: where the gateways are, and how to ask them without any FHIR client."""

import json
import os
import urllib.request

DEMO = os.environ["DEMO"] + "/fhir"
BASES = {"demo": DEMO, "8": os.environ["MODERN"] + "/fhir", "7.0.3": os.environ["OLD"] + "/fhir"}
NOBODY = "00000000-0000-4000-8000-000000000000"
ANSWER_WITHIN = 60

SAMPLE = {
    "name": [{"use": "official", "family": "Pyton", "given": ["Ada", "Q"]}],
    "gender": "female",
    "birthDate": "1984-02-29",
}


def ask(url):
    """What the body of a GET says."""
    with urllib.request.urlopen(url, timeout=ANSWER_WITHIN) as answer:
        return json.load(answer)


def whole(base, resource_type):
    """The ids of a whole type, in the order in which it is listed without pages."""
    return [entry["resource"]["id"] for entry in ask(f"{base}/{resource_type}").get("entry", [])]


class EachOnce:
    """Mixed into a TestCase."""

    def assert_each_once(self, found, expected):
        self.assertGreater(len(expected), 0)
        self.assertEqual(len(set(found)), len(found), "an entry came twice")
        self.assertEqual(found, expected)

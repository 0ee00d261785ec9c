"""SMART Fetch (PyPI, of SMART Health IT), the program itself: discovery, token, bulk export and download, with nothing but the
address, a client's name and its key."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SMART = os.environ["SMART"] + "/fhir"
HELD = json.loads(os.environ["SMART_HOLDS"])
KEY = Path(os.environ["SMART_KEYS"]) / "fetcher" / "private_key.pem"


def setUpModule():
    # requirements.txt leaves it out there.
    if sys.version_info < (3, 11):
        raise unittest.SkipTest("SMART Fetch needs Python 3.11")


class SmartFetch(unittest.TestCase):
    def fetch(self, folder, *options):
        program = Path(sys.executable).with_name("smart-fetch")
        command = [program, *options, "--fhir-url", SMART, "--smart-client-id", "fetcher", "--no-compression", folder]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False)

    def test_bulk_export(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.fetch(folder, "bulk", "--smart-key", KEY, "--type", "Patient,Condition", "--no-default-filters")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for resource_type in ("Patient", "Condition"):
                found = []
                for file in Path(folder).glob(f"{resource_type}.*ndjson"):
                    found += [json.loads(line)["id"] for line in file.read_text().splitlines()]
                self.assertEqual(sorted(found), HELD[resource_type], resource_type)

    def test_another_key_gets_no_token(self):
        other = KEY.parent.parent / "keys" / "private_key.pem"
        with tempfile.TemporaryDirectory() as folder:
            done = self.fetch(folder, "bulk", "--smart-key", other, "--type", "Patient")
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertEqual(list(Path(folder).glob("Patient.*ndjson")), [])


if __name__ == "__main__":
    unittest.main()

"""The requests that arrange a release are answered as they are meant to be. The program is the debug build, which records nothing."""

import os
import pathlib
import subprocess
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[2]
GATEWAY = os.environ.get("GATEWAY", str(SOURCES / "target/debug/openemr-gateway"))
WITHIN = 600


class Profile(unittest.TestCase):
    def ask(self, *arguments):
        return subprocess.run([SOURCES / "scripts/profile", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN)

    def test_its_requests_have_the_answers_that_it_expects(self):
        done = self.ask(GATEWAY)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_what_is_no_gateway_is_an_error_of_one_line(self):
        done = self.ask("/bin/false")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\Aerror: .*\n\Z")


if __name__ == "__main__":
    unittest.main()

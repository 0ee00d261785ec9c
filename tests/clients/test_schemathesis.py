"""Schemathesis makes requests of the OpenAPI documents, good ones and bad ones, and every answer is as they say."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

DOCUMENTS = pathlib.Path(__file__).parents[2] / "docs"
# What holds of every answer. Whether a request is taken is not in the documents: a search in `_typeFilter` is any text there.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
]
# 501 is the answer to a method that nobody knows.
SETTINGS = "[checks.not_a_server_error]\nexpected-statuses = [200, 201, 202, 204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 411, 412, 413, 414, 415, 417, 421, 422, 429, 431, 501]\n"


@unittest.skipIf(sys.version_info < (3, 11), "schemathesis needs Python 3.11")
class OpenApi(unittest.TestCase):
    def holds(self, document, url, *options):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "schemathesis.toml").write_text(SETTINGS)
            done = subprocess.run(
                [
                    pathlib.Path(sys.executable).with_name("schemathesis"), "run", DOCUMENTS / document, "--url", url,
                    "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1",
                    "--generation-database", "none", "--warnings", "off", "--no-color", *options,
                ],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150,
            )
        self.assertEqual(done.returncode, 0, done.stdout.partition("= FAILURES =")[2][:6000])
        self.assertRegex(done.stdout, r"\d+ generated")

    def test_where_clients_call(self):
        self.holds("openapi.yaml", os.environ["DEMO"])

    def test_a_gateway_whose_clients_authenticate(self):
        self.holds("openapi.yaml", os.environ["SMART"])

    def test_the_admin_listener(self):
        # The other two would end the process, or have it read its files all the time.
        self.holds("openapi-admin.yaml", os.environ["MODERN_ADMIN"], "--exclude-path", "/drain", "--exclude-path", "/reload", "--exclude-path", "/events", "--header", "X-Admin: 1")
        # Where the log is on, as before.
        order = urllib.request.Request(os.environ["MODERN_ADMIN"] + "/log-level", b"info", {"X-Admin": "1"}, method="PUT")
        urllib.request.urlopen(order, timeout=30).close()


if __name__ == "__main__":
    unittest.main()

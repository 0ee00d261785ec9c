"""The wheel: pip puts the program on the PATH of a fresh environment, and its demo answers. The program is the debug build."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import venv
import zipfile

SOURCES = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(SOURCES / "scripts"))
from ports import free_port

MATURIN = os.environ.get("MATURIN", str(SOURCES / "target/tools/python/bin/maturin"))
WITHIN = 60
# Building waits for what other builds hold, and compiles where nothing is built yet.
BUILT_WITHIN = 1800


class Wheel(unittest.TestCase):
    """One wheel, built once."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        # Where the program runs for good, the wheel says which systems it is for; this build is for this machine alone.
        subprocess.run([MATURIN, "build", "--profile", "dev", "--compatibility", "linux", "--out", cls.folder],
                       cwd=SOURCES / "deploy/python", check=True, stdin=subprocess.DEVNULL, timeout=BUILT_WITHIN)
        [cls.wheel] = cls.folder.glob("openemr_gateway-*.whl")

    def test_pip_installs_it_and_the_demo_answers(self):
        environment = self.folder / "environment"
        venv.create(environment, with_pip=True)
        pip = [environment / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", self.wheel]
        subprocess.run(pip, check=True, timeout=WITHIN)
        program = environment / "bin/openemr-gateway"
        version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=WITHIN).stdout
        self.assertTrue(version.startswith("openemr-gateway "), version)

        address = f"127.0.0.1:{free_port()}"
        demo = subprocess.Popen([program, "demo", "--listen", address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(self.folder)})
        self.addCleanup(demo.wait)
        self.addCleanup(demo.kill)
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                with urllib.request.urlopen(f"http://{address}/fhir/Patient?_count=2", timeout=WITHIN) as answer:
                    self.assertIn(b'"Patient"', answer.read())
                    return
            except urllib.error.URLError:
                self.assertIsNone(demo.poll(), "the demo has ended")
                self.assertLess(time.monotonic(), deadline, "the demo does not answer")
                time.sleep(0.2)

    def test_it_says_what_it_is(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            names = wheel.namelist()
            [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
            text = wheel.read(metadata).decode()
        [program] = [name for name in names if name.endswith("/openemr-gateway")]
        self.assertRegex(program, r"\.data/scripts/openemr-gateway$")
        of_cargo = re.search(r'^version = "(.*)"', (SOURCES / "Cargo.toml").read_text(), re.MULTILINE)[1]
        for line in ("Name: openemr-gateway", f"Version: {of_cargo}", "License-Expression: Apache-2.0"):
            self.assertIn(f"{line}\n", text)
        self.assertTrue(any(name.endswith("/LICENSE") for name in names), names)


if __name__ == "__main__":
    unittest.main()

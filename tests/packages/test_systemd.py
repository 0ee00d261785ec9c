"""What systemd says of the unit: what the service may do, and whether every line of it is understood."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
UNIT = "openemr-gateway.service"
WITHIN = 60


def missing():
    """Why systemd cannot be asked; None where it can."""
    if shutil.which("systemd-analyze") is None:
        reason = "systemd-analyze is missing"
    else:
        # 250 is the first that can rate a file.
        version = int(subprocess.run(["systemd-analyze", "--version"], check=True, capture_output=True, text=True).stdout.split()[1])
        reason = None if version >= 250 else f"systemd {version} cannot rate a file"
    if reason and os.environ.get("REQUIRE_PACKAGES") == "1":
        raise AssertionError(f"the unit cannot be rated: {reason}")
    return reason


@unittest.skipIf(missing(), f"THE SYSTEMD UNIT IS NOT RATED: {missing()}")
class Systemd(unittest.TestCase):
    """The unit by itself, and with the drop-in for ports below 1024."""

    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.unit = self.folder / UNIT
        # Where the program is is for systemd to find out on the machine that runs it.
        shutil.copy(DEPLOY / UNIT, self.unit)

    def enter(self, context):
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def analyze(self, *arguments):
        done = subprocess.run(["systemd-analyze", "--no-pager", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=WITHIN)
        return done.returncode, done.stdout

    def with_low_ports(self):
        """The unit as it is with the drop-in: later lines win."""
        lines = (DEPLOY / UNIT).read_text().split("[Install]")[0]
        self.unit.write_text(lines + (DEPLOY / "low-ports.conf").read_text())

    def test_the_exposure_is_at_most_1_5(self):
        code, said = self.analyze("security", "--offline=true", "--threshold=15", self.unit)
        self.assertEqual(code, 0, said)

    def test_ports_below_1024_cost_little(self):
        self.with_low_ports()
        code, said = self.analyze("security", "--offline=true", "--threshold=17", self.unit)
        self.assertEqual(code, 0, said)
        # One capability, and no other.
        self.assertIn("✗ CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)", said)
        self.assertEqual(said.count("✗ CapabilityBoundingSet"), 1, said)

    def test_every_line_is_understood(self):
        for change in (lambda: None, self.with_low_ports):
            change()
            _, said = self.analyze("verify", "--man=no", self.unit)
            said = [line for line in said.splitlines() if UNIT in line and "is not executable: No such file" not in line]
            self.assertEqual(said, [])


if __name__ == "__main__":
    unittest.main()

"""The Debian package in a Debian with systemd: installation, set-up, upgrades under load, removal and purge.

The program is the debug build, in packages of four versions.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import machine
from machine import SOURCES, Machine, eventually

PROGRAM = pathlib.Path(os.environ.get("GATEWAY", machine.TARGET / "debug/openemr-gateway")).resolve()
FOLDER = "/etc/openemr-gateway"
PATIENTS = "/fhir/Patient?_count=1"
VERSIONS = ["0.1.0-1", "0.1.1-1", "0.1.2-1", "0.1.3-1"]


def required():
    """Why the package cannot be tested here."""
    reason = machine.missing()
    if reason and os.environ.get("REQUIRE_PACKAGES") == "1":
        raise AssertionError(f"the Debian package cannot be tested: {reason}")
    return reason


def packages(folder):
    """Makes the package, and the same with newer versions."""
    made = subprocess.run([SOURCES / "scripts/deb", PROGRAM, VERSIONS[0]], check=True, stdout=subprocess.PIPE, text=True, timeout=600,
                          env={**os.environ, "FAST": "1"})
    subprocess.run(["dpkg-deb", "--raw-extract", made.stdout.strip().splitlines()[-1], folder / "files"], check=True, timeout=120)
    control = folder / "files/DEBIAN/control"
    for before, version in zip([None, *VERSIONS], VERSIONS):
        if before:
            control.write_text(control.read_text().replace(f"Version: {before}\n", f"Version: {version}\n"))
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Znone", folder / "files", folder / f"{version}.deb"],
                       check=True, stdout=subprocess.DEVNULL, timeout=120)


def files_of_the_package(root):
    """The files of the container that have the package's name."""
    found = []
    for top in ("etc", "usr", "var", "opt", "srv"):
        for folder, folders, files in os.walk(root / top):
            found += [str(pathlib.Path(folder, name)) for name in folders + files if "openemr" in name]
    return sorted(found)


@unittest.skipIf(required(), f"THE DEBIAN PACKAGE IS NOT TESTED: {machine.missing()}")
class Debian(unittest.TestCase):
    """One machine, from the first installation to the purge: the tests run in the order of their names and build on one another."""

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.close)
        cls.purged = False
        cls.addClassCleanup(cls.tell)
        folder = cls.machine.path("/root/packages")
        folder.mkdir()
        packages(folder)

    @classmethod
    def tell(cls):
        """What the machine has to say when the tests did not come to their end."""
        if not cls.purged:
            log = cls.machine.path("/var/log/openemr-gateway/gateway.log")
            print(cls.machine.run("journalctl", "--no-pager", "--lines=60", check=False).stdout)
            print(log.read_text()[-4000:] if log.exists() else "there is no log file")

    # What the tests say of the machine.

    def install(self, version):
        """What apt says."""
        return self.machine.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", f"/root/packages/{version}.deb").stdout

    def unit(self, name):
        """A property of the unit."""
        return self.machine.run("systemctl", "show", "--property", name, "--value", "openemr-gateway").stdout.strip()

    def as_gateway(self, *arguments, check=True):
        """The program, run by its user where its configuration is."""
        command = " ".join(f"'{argument}'" for argument in arguments)
        return self.machine.shell(f"cd {FOLDER} && runuser -u openemr-gateway -- openemr-gateway {command}", check=check)

    def get(self, path=PATIENTS, port=8000):
        """The status of an answer."""
        ask = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}{path}', timeout=60).status)"
        done = subprocess.run(self.machine.beside(sys.executable, "-c", ask), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return int(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    def tell_openemr(self, orders):
        """Orders for the sandbox."""
        tell = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:9301/__sandbox/faults', {json.dumps(orders).encode()!r})"
        subprocess.run(self.machine.beside(sys.executable, "-c", tell), check=True, timeout=60)

    @contextlib.contextmanager
    def load(self, port=8000):
        """Callers that ask all the time; every answer has to be 200."""
        command = self.machine.beside(sys.executable, pathlib.Path(__file__).with_name("callers.py"), port, PATIENTS)
        callers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            printed, _ = callers.communicate(timeout=120)
        outcomes = json.loads(printed)
        self.assertEqual(list(outcomes), ["200"], outcomes)

    def edit(self, change):
        """Changes the configuration; it keeps its owner and mode."""
        file = self.machine.path(f"{FOLDER}/gateway.yaml")
        file.write_text(change(file.read_text()))

    # The life of a package.

    def test_1_a_fresh_installation_starts_nothing(self):
        said = self.install(VERSIONS[0])
        self.assertIn("openemr-gateway is not set up yet", said)
        self.assertEqual((self.unit("ActiveState"), self.unit("UnitFileState")), ("inactive", "disabled"))
        owned = self.machine.run("stat", "--format", "%U:%G %a", FOLDER, f"{FOLDER}/keys", f"{FOLDER}/gateway.yaml").stdout.split("\n")
        self.assertEqual(owned[:3], ["openemr-gateway:openemr-gateway 750", "openemr-gateway:openemr-gateway 700", "openemr-gateway:openemr-gateway 640"])
        for file in ("man/man1/openemr-gateway.1.gz", "man/man1/openemr-gateway-keys-rotate.1.gz",
                     "bash-completion/completions/openemr-gateway", "doc/openemr-gateway/examples/gateway.yaml",
                     "doc/openemr-gateway/copyright", "doc/openemr-gateway/examples/low-ports.conf"):
            self.assertTrue(self.machine.path(f"/usr/share/{file}").exists(), file)
        # Who starts it all the same sees it fail, and no loop.
        self.machine.run("systemctl", "start", "openemr-gateway", check=False)
        eventually("the unit gives up", lambda: self.unit("ActiveState") == "failed")
        self.machine.run("systemctl", "reset-failed", "openemr-gateway")

    def test_2_it_is_set_up_as_the_package_says(self):
        self.addClassCleanup(self.start_openemr())
        self.as_gateway("init", "--config", "gateway.yaml", "--force", "--yes", "--openemr", "http://127.0.0.1:9300",
                        "--scopes", "Patient Observation", check=False)
        text = self.machine.path(f"{FOLDER}/gateway.yaml").read_text()
        client = re.search(r"^ *client_id: *[\"']?([^\"'\s#]+)", text, re.MULTILINE)
        self.assertIsNotNone(client, text)
        self.tell_openemr({"clients": {client[1]: {"enabled": True}}})
        # Whatever the unit lets it write to.
        self.edit(lambda text: text + "\nlog: { to: file, file: { path: /var/log/openemr-gateway/gateway.log } }\n"
                  "audit: { folder: state/audit }\n")
        self.machine.run("systemctl", "enable", "--now", "openemr-gateway")
        eventually("it answers", lambda: self.get() == 200)
        self.assertIn("listening on", self.machine.path("/var/log/openemr-gateway/gateway.log").read_text())
        self.assertTrue(list(self.machine.path("/var/lib/openemr-gateway/audit").glob("audit-*.jsonl")))

    def start_openemr(self):
        """Starts the sandbox beside the gateway; returns what ends it."""
        command = self.machine.beside(PROGRAM, "sandbox", "--listen", "127.0.0.1:9300", "--admin", "127.0.0.1:9301",
                                      "--token-lifetime", "20")
        openemr = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def stop():
            openemr.kill()
            openemr.wait()

        eventually("the sandbox listens", lambda: self.get("/apis/default/fhir/metadata", 9300) == 200)
        return stop

    def test_3_a_newer_version_takes_over_without_a_lost_request(self):
        old = self.unit("MainPID")
        with self.load():
            said = self.install(VERSIONS[1])
        new = self.unit("MainPID")
        self.assertNotEqual(old, new)
        self.assertIn(f"openemr-gateway: process {new} has taken over from {old}", said)
        self.assertEqual(self.machine.run("readlink", f"/proc/{new}/exe").stdout.strip(), "/usr/bin/openemr-gateway")
        self.assertIn(VERSIONS[1], self.machine.run("dpkg-query", "--show", "openemr-gateway").stdout)
        eventually("the old process ends", lambda: self.machine.run("test", "-e", f"/proc/{old}", check=False).returncode != 0)
        self.assertEqual(self.unit("ActiveState"), "active")

    def test_4_a_version_that_refuses_the_configuration_leaves_the_old_one_running(self):
        old = self.unit("MainPID")
        self.edit(lambda text: text + "unknown_to_the_new_version: 1\n")
        with self.load():
            said = self.install(VERSIONS[2])
        self.assertIn(f"The old one goes on, as process {old}", said)
        self.assertIn(VERSIONS[2], self.machine.run("dpkg-query", "--show", "openemr-gateway").stdout)
        self.assertEqual((self.unit("MainPID"), self.unit("ActiveState"), self.get()), (old, "active", 200))
        why = self.as_gateway("serve", "--test", "--config", "gateway.yaml", check=False)
        self.assertIn("unknown_to_the_new_version", why.stdout)
        # As the message says.
        self.edit(lambda text: text.replace("unknown_to_the_new_version: 1\n", ""))
        with self.load():
            self.machine.run("systemctl", "reload", "openemr-gateway")
            eventually("a new process takes over", lambda: self.unit("MainPID") != old)

    def test_5_the_unit_lets_a_rotation_write_its_keys(self):
        before = self.machine.path(f"{FOLDER}/keys/private_key.pem").read_text()
        self.as_gateway("keys", "rotate", "--config", "gateway.yaml", "--publish-for", "1s", "--retire-after", "1s")
        published = json.loads(self.machine.path(f"{FOLDER}/keys/jwks.next.json").read_text())
        client = re.search(r"^ *client_id: *[\"']?([^\"'\s#]+)", self.machine.path(f"{FOLDER}/gateway.yaml").read_text(), re.MULTILINE)[1]
        self.tell_openemr({"clients": {client: {"jwks": published}}})
        eventually("the new key takes the place of the old", lambda: self.machine.path(f"{FOLDER}/keys/private_key.pem").read_text() != before, 120)

    def test_6_ports_below_1024(self):
        self.machine.shell("install -D -m 644 /usr/share/doc/openemr-gateway/examples/low-ports.conf -t /etc/systemd/system/openemr-gateway.service.d")
        self.edit(lambda text: text.replace("127.0.0.1:8000", "127.0.0.1:80"))
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", "openemr-gateway")
        self.assertEqual(self.get(port=80), 200)
        old = self.unit("MainPID")
        with self.load(80):
            said = self.install(VERSIONS[3])
        self.assertIn(f"has taken over from {old}", said)

    def test_7_a_removed_package_starts_again_when_it_comes_back(self):
        said = self.machine.run("apt-get", "remove", "--yes", "--quiet", "openemr-gateway").stdout
        self.assertIn("refused", self.get(port=80), said)
        self.assertTrue(self.machine.path(f"{FOLDER}/gateway.yaml").exists())
        self.install(VERSIONS[3])
        eventually("it answers", lambda: self.get(port=80) == 200)

    def test_8_a_purge_leaves_keys_and_audit_trail_and_says_so(self):
        said = self.machine.run("apt-get", "purge", "--yes", "--quiet", "openemr-gateway").stdout
        self.assertIn("openemr-gateway: kept: /etc/openemr-gateway /var/lib/openemr-gateway\n", said)
        self.assertEqual(sorted(file.name for file in self.machine.path(FOLDER).iterdir()), ["keys"])
        self.assertTrue(list(self.machine.path("/var/lib/openemr-gateway/audit").glob("audit-*.jsonl")))
        self.assertFalse(self.machine.path("/var/log/openemr-gateway").exists())
        self.machine.shell(re.search(r"^  sudo (rm .*)$", said, re.MULTILINE)[1].replace("sudo ", ""))
        # The drop-in is the operator's own.
        left = [file.removeprefix(str(self.machine.root)) for file in files_of_the_package(self.machine.root)]
        self.assertEqual(left, ["/etc/systemd/system/openemr-gateway.service.d"])
        self.assertNotIn("openemr", self.machine.path("/etc/passwd").read_text() + self.machine.path("/etc/group").read_text())
        type(self).purged = True


if __name__ == "__main__":
    unittest.main()

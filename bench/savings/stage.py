"""A stage: the sandbox, which takes OpenEMR's times, and a gateway in front of it, each a process of the same program."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from ports import free_ports

CLIENT = "savings"
# OpenEMR's container starts php-fpm with five children.
WORKERS = 5
WITHIN = 30
EXPORT_TYPES = ["Patient", "Observation", "Encounter", "Condition", "Immunization", "Procedure", "AllergyIntolerance", "MedicationRequest"]
SCOPES = [f"system/{name}.read" for name in EXPORT_TYPES] + [
    "system/Binary.read", "system/*.$export", "system/*.$bulkdata-status"]


class Failed(Exception):
    """What the user of the program is told, in one line."""


def eventually(what, done):
    """Waits until `done` gives something true; gives that."""
    deadline = time.monotonic() + WITHIN
    while True:
        with contextlib.suppress(OSError):
            if found := done():
                return found
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come about within {WITHIN} s")
        time.sleep(0.05)


class Stage:
    """The two processes in a folder of their own; a context, at whose end both are gone."""

    def __init__(self, program, folder, patients, settings=""):
        self.program, self.folder = str(pathlib.Path(program).resolve()), pathlib.Path(folder)
        self.folder.mkdir()
        self.openemr, self.admin, self.gateway = free_ports(3)
        self.patients, self.settings = patients, settings
        self.key = self.folder / "keys/private_key.pem"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._run(["keys", "generate", "--out", "keys"])
            self._start(stack, "sandbox", [
                "sandbox", "--listen", f"127.0.0.1:{self.openemr}", "--admin", f"127.0.0.1:{self.admin}", "--workers", str(WORKERS),
                "--timings", "openemr", "--patients", str(self.patients), "--client-id", CLIENT, "--jwks", "keys/jwks.json"])
            eventually("the sandbox", self.state)
            self._write_configuration()
            self._start(stack, "gateway", ["serve", "--config", "gateway.yaml"])
            eventually("the gateway's token", lambda: self._get(self.gateway, "/ready"))
            # What a gateway that has run for a while knows already.
            eventually("the CapabilityStatement", lambda: self._get(self.gateway, "/fhir/metadata"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def state(self):
        """The sandbox's counters."""
        return json.loads(self._get(self.admin, "/__sandbox/state"))

    def begin(self):
        """Sets the sandbox's counters to zero. Faults and the behaviour of exports are as at the start after that."""
        self._post("/__sandbox/reset", {})

    def order(self, changes):
        """Changes how the sandbox behaves."""
        self._post("/__sandbox/faults", changes)

    def log(self):
        """What the gateway has written to its log."""
        return (self.folder / "gateway.log").read_text()

    def _write_configuration(self):
        (self.folder / "gateway.yaml").write_text(f"""
listen: [{{ address: "127.0.0.1:{self.gateway}" }}]
sites:
  default:
    openemr: http://127.0.0.1:{self.openemr}
    client_id: {CLIENT}
    private_key: keys/private_key.pem
    jwks: keys/jwks.json
    scopes: {json.dumps(SCOPES)}
    bulk_data: {{ folder: bulk }}
{self.settings}
server: {{ upgrade_sock: {self.folder}/upgrade.sock, pid_file: {self.folder}/pid }}
""")

    def _run(self, arguments):
        done = subprocess.run([self.program, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=WITHIN)
        if done.returncode:
            raise Failed(f"openemr-gateway {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def _start(self, stack, name, arguments):
        log = stack.enter_context(open(self.folder / f"{name}.log", "w"))
        process = subprocess.Popen([self.program, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(_end, process)

    def _get(self, port, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WITHIN) as answer:
            return answer.read()

    def _post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", json.dumps(body).encode(), method="POST")
        urllib.request.urlopen(request, timeout=WITHIN).read()


def _end(process):
    process.terminate()
    try:
        process.wait(WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def version(program):
    """What the program says that it is."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=WITHIN).stdout
    return re.sub(r"\s+", " ", said).strip()

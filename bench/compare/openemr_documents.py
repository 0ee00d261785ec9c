"""What OpenEMR answers, taken from the gateway's own sandbox: a Patient, a Bundle, its two documents, and an access token."""

import itertools
import json
import pathlib
import urllib.request
import uuid

from programs import Program, run

# Of this many patients the Bundle has about 200 KB.
ENTRIES = 80
NDJSON_BYTES = 20 * 1000 * 1000
TYPES = ("Patient", "Observation", "Condition", "Encounter", "Binary")
# Requests on this machine do not go to a proxy that the environment names.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url, **fields):
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in fields.items()})
    with _opener.open(request, timeout=60) as answer:
        return answer.read()


def exported(resources):
    """A file of an export: the resources again and again, each with an id of its own."""
    lines, length = [], 0
    for at in itertools.count():
        resource = resources[at % len(resources)] | {"id": str(uuid.UUID(int=(0xBE7C << 112) + at, version=4))}
        lines.append(json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        length += len(lines[-1])
        if length >= NDJSON_BYTES:
            return b"".join(lines)


class Documents:
    """The bodies that the upstream serves, and the token that it demands."""

    def __init__(self, gateway, folder, address):
        """Asks a sandbox whose links say `address`, which is where the upstream will be."""
        folder = pathlib.Path(folder)
        self.key = folder / "keys/private_key.pem"
        self.jwks = folder / "keys/jwks.json"
        run(gateway, "keys", "generate", "--bits", "2048", "--out", folder / "keys")
        command = [gateway, "sandbox", "--listen", "127.0.0.1:0", "--site-address", address, "--patients", ENTRIES]
        command += ["--token-lifetime", 86400]
        with Program("sandbox", [*command, "--client-id", "bench", "--jwks", self.jwks], folder) as sandbox:
            listening = sandbox.says(r"listening on (\S+)")[1]
            self._collect(gateway, folder, listening, address)

    def _collect(self, gateway, folder, sandbox, address):
        config = {
            "sites": {
                "default": {
                    "fhir_base": f"{sandbox}/apis/default/fhir",
                    "token_url": f"{sandbox}/oauth2/default/token",
                    "token_audience": f"{address}/oauth2/default/token",
                    "client_id": "bench",
                    "private_key": str(self.key),
                    "jwks": str(self.jwks),
                    "scopes": [f"system/{name}.read" for name in TYPES] + ["system/Patient.write"],
                }
            }
        }
        file = folder / "collector.yaml"
        file.write_text(json.dumps(config))
        self.token = run(gateway, "token", "--config", file, "--show").split()[-1]
        base = f"{sandbox}/apis/default/fhir"
        authorized = {"Authorization": f"Bearer {self.token}"}
        self.bundle = fetch(f"{base}/Patient?_count={ENTRIES}", **authorized)
        entries = json.loads(self.bundle)["entry"]
        self.patient_ids = [entry["resource"]["id"] for entry in entries]
        self.patient_id = self.patient_ids[0]
        self.patient = fetch(f"{base}/Patient/{self.patient_id}", **authorized)
        self.metadata = fetch(f"{base}/metadata")
        self.smart = fetch(f"{base}/.well-known/smart-configuration")
        self.ndjson = exported([entry["resource"] for entry in entries])

    def write(self, folder):
        """Puts the bodies where nginx serves them."""
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        for name in ("bundle", "patient", "metadata", "smart", "ndjson"):
            (folder / name).write_bytes(getattr(self, name))


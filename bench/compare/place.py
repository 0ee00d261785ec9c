"""Where everything of one run is: a folder, the documents, the certificates and the upstream."""

import os
import pathlib
import re
import shutil
import tempfile

from certificates import Certificates
from openemr_documents import Documents
from programs import ROOT, Failed, free_ports, run, say
from proxies.gateway import new_key
from upstream import Upstream

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()

# Envoy, Caddy and the Python proxy's libraries, as `make` installs them.
PACKAGES = pathlib.Path(__file__).resolve().parent / ".venv/bin"


def gateway_to_measure():
    """The gateway named by GATEWAY, or the release build, which is made."""
    if gateway := named_gateway():
        return gateway
    say("building the release (5 to 15 minutes if its dependencies are not built yet)")
    run("cargo", "build", "--locked", "--release", within=3600, cwd=ROOT)
    return TARGET / "release/openemr-gateway"


def gateway_as_released():
    """The gateway named by GATEWAY, or one that recorded requests arrange, as what is released. It is made unless there is one of this
    commit."""
    if gateway := named_gateway():
        return gateway
    [host] = re.findall(r"^host: (\S+)$", run("rustc", "-vV"), re.MULTILINE)
    gateway = TARGET / host / "release/openemr-gateway"
    commit = run("git", "rev-parse", "--short=12", "HEAD", cwd=ROOT).strip()
    if not gateway.exists() or f"(commit {commit}, {host}, profile-guided)" not in run(gateway, "--version"):
        say("building the gateway as it is released (20 to 40 minutes)")
        run("make", "profiled", within=7200, cwd=ROOT)
    return gateway


def named_gateway():
    """The gateway that GATEWAY names, if it does."""
    named = os.environ.get("GATEWAY")
    if not named:
        return None
    gateway = pathlib.Path(named).absolute()
    if not os.access(gateway, os.X_OK):
        raise Failed(f"GATEWAY={named} is not a program")
    return gateway


class Place:
    """A folder with an upstream in it. Both are gone when it is left."""

    def __init__(self, gateway, upstream_cores=None):
        self.gateway = gateway
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        # The workers of nginx are another user.
        self.folder.chmod(0o755)
        try:
            [self.upstream_port] = free_ports(1)
            self.certificates = Certificates(self.folder)
            self.documents = Documents(gateway, self.folder, f"https://127.0.0.1:{self.upstream_port}")
            self.key, self.key_digest = new_key(gateway)
            self.packages = PACKAGES
            self.upstream = Upstream(self.folder, self.documents, self.certificates, self.upstream_port, upstream_cores)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def fields(self):
        """The header fields that every caller sends to every proxy: an API key, and credentials of its own that must not go on."""
        return {"X-API-Key": self.key, "Accept": "application/fhir+json"}

    @property
    def paths(self):
        """What is asked for, by name."""
        return {"2 KB": f"/fhir/Patient/{self.documents.patient_id}", "200 KB": "/fhir/Patient", "20 MB": "/fhir/Binary/export-1"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.upstream.end()
        if "BENCH_KEEP" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)

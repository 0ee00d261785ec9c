"""Programs that run while a test does, and how they are asked."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))
from ports import free_port

GATEWAY = os.path.abspath(os.environ.get("GATEWAY", ROOT / "target/debug/openemr-gateway"))
WITHIN = 60
# Clients of the pods are on this machine, whatever a proxy is set to in the environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def installed(program):
    """Where a program is; those of the system's administrator are not in everybody's PATH."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def needs(program):
    """Skips a test where a program is not installed and need not be: with REQUIRE_PROXIES=1, as in CI, the test fails."""
    is_required = os.environ.get("REQUIRE_PROXIES") == "1"
    return unittest.skipIf(installed(program) is None and not is_required, f"{program} is not installed")


def until(look, what, within=WITHIN):
    """What `look` returns first that is true. `what` is the text of the failure, or a function that makes it."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what() if callable(what) else what}: not within {within} s")
        time.sleep(0.1)


def folder(test, mode=0o755):
    """A new folder, for as long as the test runs."""
    made = tempfile.TemporaryDirectory(prefix="containers-")
    test.addCleanup(made.cleanup)
    os.chmod(made.name, mode)
    return made.name


class Answer:
    """An answer of HTTP, whatever its status."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def ask(url, method="GET", data=None, timeout=WITHIN, **headers):
    """The answer to a request. Names of fields have `_` for `-`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, data=data, headers=fields)
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def status(url, **headers):
    """The status of an answer, or None where nothing answers."""
    try:
        return ask(url, timeout=5, **headers).status
    except (OSError, http.client.HTTPException):
        return None


class Program:
    """A program and what it says. It ends with the test."""

    def __init__(self, test, command, **options):
        self.command = [str(part) for part in command]
        self._said = tempfile.NamedTemporaryFile(prefix="program-", suffix=".log")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, **options)
        test.addCleanup(self.end)

    @property
    def output(self):
        return pathlib.Path(self._said.name).read_text(errors="replace")

    def says(self, text):
        """Waits until it has said something."""
        until(lambda: text in self.output or self._over(), f"{self.command[0]} says {text!r}")
        if text not in self.output:
            raise AssertionError(f"{self.command} has ended with {self.process.returncode}:\n{self.output[-4000:]}")

    def ready(self, url):
        """Waits until it answers a URL with 200."""
        until(lambda: status(url) == 200 or self._over(), lambda: f"{url} is 200:\n{self.output[-4000:]}")
        if self._over():
            raise AssertionError(f"{self.command} has ended with {self.process.returncode}:\n{self.output[-4000:]}")

    def _over(self):
        return self.process.poll() is not None

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._said.close()


def run(*command, **options):
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, **options
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} has ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def make_keys(folder):
    """A signing key and its JWK Set, as {name: bytes}."""
    run(GATEWAY, "keys", "generate", "--bits", "2048", "--out", folder)
    return {name: (pathlib.Path(folder) / name).read_bytes() for name in ("private_key.pem", "jwks.json")}


def new_client_key(name):
    """An API key, and its SHA-256 as it stands in the configuration."""
    printed = run(GATEWAY, "access", "new-key", name)
    return re.search(r"\boegw_\w[\w-]*", printed)[0], re.search(r"sha256:[0-9a-f]{64}", printed)[0]


class Sandbox(Program):
    """The sandbox. With `jwks`, a file or URL, its client is `pod`."""

    def __init__(self, test, jwks, *options):
        self.port = free_port()
        client = ["--client-id", "pod", "--jwks", jwks] if jwks else []
        super().__init__(test, [GATEWAY, "sandbox", "--listen", f"127.0.0.1:{self.port}", "--patients", "20", *client, *options])
        self.base = f"{'https' if '--tls' in options else 'http'}://127.0.0.1:{self.port}"
        self.says("listening on")
        self.admin = re.search(r"^admin (\S+)$", self.output, re.MULTILINE)[1]

    def faults(self, body):
        """Sets the faults, as JSON."""
        answer = ask(f"{self.admin}/__sandbox/faults", method="POST", data=body.encode())
        if answer.status != 200:
            raise AssertionError(repr(answer))

    def enable(self, client):
        """Enables a client, as an administrator does."""
        self.faults(json.dumps({"clients": {client: {"enabled": True}}}))

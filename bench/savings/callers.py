"""Those who call: through the gateway, or OpenEMR itself with a token that they get as SMART Backend Services says."""

import base64
import gzip
import http.client
import json
import subprocess
import threading
import time
import urllib.parse
import uuid

from stage import CLIENT, SCOPES, Failed

WITHIN = 180
FORM = "application/x-www-form-urlencoded"


class Answer:
    """Status, fields and body as they came."""

    def __init__(self, answer):
        self.status, self.fields, self.body = answer.status, answer.headers, answer.read()

    def json(self):
        """The body, read as JSON."""
        return json.loads(gzip.decompress(self.body) if self.fields["Content-Encoding"] == "gzip" else self.body)


class Caller:
    """A program with one connection, which it keeps as long as the server does. `base`: of FHIR."""

    def __init__(self, port, base):
        self.port, self.base, self.token, self._connection = port, base, None, None

    def get(self, path, **fields):
        """Asks for what is below the base."""
        return self.send("GET", self.base + path, None, fields)

    def send(self, method, target, body=None, fields=None):
        """Sends a request; once more where the server had closed the connection meanwhile."""
        fields = {name.replace("_", "-"): value for name, value in (fields or {}).items()}
        if self.token:
            fields["Authorization"] = f"Bearer {self.token}"
        for is_last in (False, True):
            self._connection = self._connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN)
            try:
                self._connection.request(method, target, body, fields)
                received = self._connection.getresponse()
                answer = Answer(received)
                if received.will_close:
                    self.close()
                return answer
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if is_last:
                    raise

    def close(self):
        """Ends its connection."""
        if self._connection:
            self._connection.close()
        self._connection = None


def through_gateway(stage):
    """A caller of the gateway, which needs no token."""
    return Caller(stage.gateway, "/fhir")


def straight(stage):
    """A caller of OpenEMR itself, without a token so far."""
    return Caller(stage.openemr, "/apis/default/fhir")


def assertion(stage):
    """A client assertion, signed anew: OpenEMR takes each once."""
    now = int(time.time())
    url = f"http://127.0.0.1:{stage.openemr}/oauth2/default/token"
    claims = {"iss": CLIENT, "sub": CLIENT, "aud": url, "jti": str(uuid.uuid4()), "iat": now, "exp": now + 240}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "RS384", "typ": "JWT"}, claims)]
    signed = subprocess.run(["openssl", "dgst", "-sha384", "-sign", str(stage.key)], input=b".".join(parts), capture_output=True)
    if signed.returncode:
        raise Failed(f"openssl: {signed.stderr.decode().strip()}")
    return b".".join([*parts, base64.urlsafe_b64encode(signed.stdout).rstrip(b"=")]).decode()


def exchange(caller, signed, scopes=SCOPES):
    """Gets the caller a token by this assertion."""
    form = {"grant_type": "client_credentials", "client_assertion": signed, "scope": " ".join(scopes),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    caller.token = None
    answer = caller.send("POST", "/oauth2/default/token", urllib.parse.urlencode(form), {"Content_Type": FORM})
    if answer.status != 200:
        raise Failed(f"the token endpoint answered {answer.status}: {answer.body[:200]!r}")
    caller.token = answer.json()["access_token"]


def at_once(tasks, threads):
    """Runs the tasks in so many threads; gives their results in order."""
    results, left, errors, lock = [None] * len(tasks), list(enumerate(tasks))[::-1], [], threading.Lock()

    def work():
        while not errors:
            with lock:
                if not left:
                    return
                number, task = left.pop()
            try:
                results[number] = task()
            except Exception as error:  # pylint: disable=broad-except
                errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return results

"""nginx, HAProxy and Traefik in front of the gateway, as docs/deploy.md has them.

nginx and HAProxy run; where one is not installed its tests are skipped, and fail with REQUIRE_PROXIES=1, as in CI. Traefik is in no
package: its configuration is read, not run.
"""

import http.client
import http.server
import json
import pathlib
import re
import signal
import socket
import ssl
import threading
import unittest

import yaml

from documents import blocks
from load import Load
from programs import GATEWAY, Program, Sandbox, folder, free_port, installed, make_keys, needs, run, until

NAME = "gateway.example.org"


class Behind(unittest.TestCase):
    """A gateway that trusts a proxy at 127.0.0.2, and the certificate of the proxy."""

    def setUp(self):
        self.folder = pathlib.Path(folder(self))
        make_keys(self.folder / "keys")
        self.openemr = Sandbox(self, self.folder / "keys/jwks.json")
        run(GATEWAY, "keys", "certificate", "--host", NAME, "--out", self.folder / "certs")
        self.certificate = self.folder / f"certs/{NAME}.pem"
        self.key = self.folder / f"certs/{NAME}-key.pem"
        self.front = free_port()

    def gateway(self, port, **settings):
        """Starts a gateway, and waits until it is ready."""

        def at(*names):
            return str(self.folder.joinpath(*names))

        config = {
            "listen": [{"address": f"127.0.0.1:{port}"}],
            "sites": {
                "default": {
                    "openemr": self.openemr.base,
                    "client_id": "pod",
                    "private_key": at("keys", "private_key.pem"),
                    "jwks": at("keys", "jwks.json"),
                    "scopes": [
                        "system/Patient.read",
                        "system/Observation.read",
                        "system/*.$export",
                        "system/*.$bulkdata-status",
                        "system/Binary.read",
                    ],
                    "bulk_data": {"folder": at(f"bulk-{port}")},
                }
            },
            "trusted_proxies": [{"from": "127.0.0.2", "fields": "x_forwarded"}],
            "public_url": f"https://{NAME}:{self.front}",
            "access": {"allow_from": ["127.0.0.0/8"], "anonymous": "everything"},
            **settings,
        }
        file = self.folder / f"gateway-{port}.yaml"
        file.write_text(yaml.safe_dump(config))
        program = Program(self, [GATEWAY, "serve", "--config", file])
        program.ready(f"http://127.0.0.1:{port}/ready")
        return program

    def ask(self, path, **fields):
        """An answer of the proxy, over TLS and by its name."""
        connection = self.connection()
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def connection(self):
        """A connection to the proxy from 127.0.0.9: a client that is told from programs on this machine by its address."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        connection = http.client.HTTPSConnection(NAME, self.front, timeout=60, context=context)
        plain = socket.create_connection(("127.0.0.1", self.front), timeout=60, source_address=("127.0.0.9", 0))
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        return connection

    def until_served(self):
        def served():
            try:
                return self.ask("/health")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        until(served, "the proxy answers")

    def check(self, gateway):
        """What is promised of every proxy."""
        code, _, body = self.ask("/fhir/Patient?_count=2")
        self.assertEqual(code, 200, body[:500])
        links = {link["relation"]: link["url"] for link in json.loads(body)["link"]}
        self.assertTrue(links["next"].startswith(f"https://{NAME}:{self.front}/fhir/Patient?"), links)
        path = links["next"].removeprefix(f"https://{NAME}:{self.front}")
        self.assertEqual(self.ask(path)[0], 200)
        # Who called is the client, and whom the client names is nobody.
        self.ask("/fhir/Observation?_count=1", X_Forwarded_For="203.0.113.7")
        until(lambda: "resource_type=Observation" in gateway.output, "the request is in the log")
        [line] = [line for line in gateway.output.splitlines() if "resource_type=Observation" in line]
        self.assertIn("caller=127.0.0.9 ", line)

    def check_streaming(self, port):
        """A line of a file reaches the client before the next one is sent: the next is sent when the client has read the first."""
        has_read = threading.Event()

        class File(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/fhir+ndjson")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._line({"resourceType": "Patient", "id": "1"})
                if self.path == "/file" and has_read.wait(60):
                    self._line({"resourceType": "Patient", "id": "2"})
                self.wfile.write(b"0\r\n\r\n")

            def _line(self, resource):
                line = json.dumps(resource).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), File)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.until_served()
        connection = self.connection()
        self.addCleanup(connection.close)
        connection.request("GET", "/file")
        lines = connection.getresponse()
        self.assertEqual(json.loads(lines.readline())["id"], "1")
        has_read.set()
        self.assertEqual(json.loads(lines.readline())["id"], "2")


class Nginx(Behind):
    def start(self, port):
        [text] = blocks("nginx", "nginx")
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.front} ssl").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        text = text.replace("/etc/nginx/gateway.pem", str(self.certificate)).replace("/etc/nginx/gateway-key.pem", str(self.key))
        places = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file = self.folder / "nginx.conf"
        file.write_text(
            f"daemon off;\npid {self.folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
        )
        return Program(self, [installed("nginx"), "-c", file, "-p", self.folder])

    @needs("nginx")
    def test_a_gateway_behind_it(self):
        port = free_port()
        gateway = self.gateway(port)
        self.start(port)
        self.until_served()
        self.check(gateway)

    @needs("nginx")
    def test_files_are_passed_on_as_they_come(self):
        port = free_port()
        self.start(port)
        self.check_streaming(port)


class Haproxy(Behind):
    def start(self, *ports):
        [text] = blocks("HAProxy", "haproxy")
        both = self.folder / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        text = text.replace("bind :443", f"bind 127.0.0.1:{self.front}").replace("/etc/haproxy/gateway.pem", str(both))
        for shown, port in zip(("127.0.0.1:8000", "127.0.0.1:8001"), ports, strict=True):
            text = text.replace(shown, f"127.0.0.1:{port}")
        file = self.folder / "haproxy.cfg"
        file.write_text(text)
        return Program(self, [installed("haproxy"), "-db", "-f", file])

    @needs("haproxy")
    def test_a_gateway_behind_it(self):
        port = free_port()
        gateway = self.gateway(port)
        self.start(port, free_port())
        self.until_served()
        self.check(gateway)

    @needs("haproxy")
    def test_files_are_passed_on_as_they_come(self):
        port = free_port()
        self.start(port, free_port())
        self.check_streaming(port)

    @needs("haproxy")
    def test_gateways_are_replaced_one_after_the_other_without_a_lost_request(self):
        ports = [free_port(), free_port()]
        gateways = [self.gateway(port) for port in ports]
        self.start(*ports)
        self.until_served()
        load = Load(self, self.connection, "/fhir/Patient?_count=3")
        for index, port in enumerate(ports):
            old = gateways[index]
            load.until_answers(20)
            old.signal(signal.SIGTERM)
            until(lambda old=old: old.process.poll() is not None, "the old one ends")
            self.assertEqual(old.process.returncode, 0, old.output[-2000:])
            gateways[index] = self.gateway(port)
            # The other one goes only when this one is sent requests again.
            until(lambda index=index: "resource_type=Patient" in gateways[index].output, "the new one is sent requests")
        load.until_answers(20)
        answers = load.stop()
        self.assertEqual({answer for answer in answers if answer != 200}, set(), f"{len(answers)} answers")


class Traefik(unittest.TestCase):
    def test_its_configuration_is_yaml_of_the_expected_form(self):
        [text] = blocks("Traefik", "yaml")
        http = yaml.safe_load(text)["http"]
        [router] = http["routers"].values()
        balancer = http["services"][router["service"]]["loadBalancer"]
        self.assertEqual(balancer["healthCheck"]["path"], "/ready")
        self.assertEqual(balancer["responseForwarding"], {"flushInterval": "-1ms"})
        self.assertEqual([server for server in balancer["servers"] if not re.fullmatch(r"http://[\d.]+:8000", server["url"])], [])


if __name__ == "__main__":
    unittest.main()

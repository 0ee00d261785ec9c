"""A rollout in Kubernetes: new pods come, old ones go, and no request is lost."""

import http.client
import os
import pathlib
import re
import signal
import socket
import threading
import time
import unittest

from chart import NAME, configuration, example, merged, rendered
from image import run_in_image
from load import Load
from pod import Pod
from programs import GATEWAY, Program, Sandbox, folder, free_port, installed, make_keys, needs, new_client_key, run, until


class Service:
    """A Service: connections, not requests, are spread over the pods that are in it, and stay with a pod that is taken out. HAProxy in
    its TCP mode does that; like a node it does not try again where nobody listens any more."""

    def __init__(self, test, ports):
        self.port = free_port()
        place = pathlib.Path(folder(test))
        self._socket = str(place / "socket")
        servers = "".join(f"  server pod{port} 127.0.0.1:{port} disabled\n" for port in ports)
        (place / "haproxy.cfg").write_text(
            f"global\n  stats socket {self._socket} level admin\n"
            "defaults\n  mode tcp\n  retries 0\n  timeout connect 5s\n  timeout client 180s\n  timeout server 180s\n"
            f"listen service\n  bind 127.0.0.1:{self.port}\n{servers}"
        )
        Program(test, [installed("haproxy"), "-db", "-f", place / "haproxy.cfg"])
        until(lambda: os.path.exists(self._socket), "HAProxy runs")

    def set(self, port, is_in):
        """Puts a pod into the Service, or takes it out."""
        with socket.socket(socket.AF_UNIX) as command:
            command.connect(self._socket)
            command.sendall(f"set server service/pod{port} state {'ready' if is_in else 'maint'}\n".encode())
            command.recv(1024)


@run_in_image
class Rollout(unittest.TestCase):
    def setUp(self):
        self.key, self.digest = new_client_key("lab")
        self.place = pathlib.Path(folder(self))
        self.secrets = {name: make_keys(self.place / name) for name in ("first", "second")}
        self.openemr = Sandbox(self, self.place / "first/jwks.json")

    def values(self, secret, client, port):
        own = {
            "keys": {"secret": secret},
            "config": {
                "listen": [{"address": f"0.0.0.0:{port}"}],
                "sites": {"default": {"openemr": self.openemr.base, "client_id": client}},
                "access": {"allow_from": ["127.0.0.0/8"], "clients": {"lab": {"api_keys": [self.digest]}}},
                "drain_delay": "2s",
            },
            "preStopSeconds": 2,
        }
        return merged(example("simple"), own)

    def start(self, secret, client, port):
        pod = Pod(self, rendered(self.values(secret, client, port))[0], self.secrets, name=f"pod-{port}")
        pod.start()
        until(lambda: pod.probe("readinessProbe")[0], lambda: f"the pod is ready: {pod.program.output[-2000:]}")
        return pod

    def delete(self, service, pod, port):
        """What happens when a pod is deleted: nodes hear of it at some time, the container after preStop."""
        before = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        nodes = threading.Timer(before / 2, service.set, [port, False])
        nodes.start()
        time.sleep(before)
        pod.program.signal(signal.SIGTERM)
        self.assertEqual(pod.program.process.wait(pod.spec["terminationGracePeriodSeconds"] - before), 0, pod.program.output[-3000:])
        nodes.join()

    @needs("haproxy")
    def test_another_key_and_client_come_without_a_lost_request(self):
        ports = [free_port() for _ in range(4)]
        service = Service(self, ports)
        old = [(self.start("first", "pod", port), port) for port in ports[:2]]
        for _, port in old:
            service.set(port, True)
        load = Load(
            self,
            lambda: http.client.HTTPConnection("127.0.0.1", service.port, timeout=60),
            "/fhir/Observation?_count=3",
            X_API_Key=self.key,
        )
        load.until_answers(20)
        scopes = "system/Patient.read system/Observation.read"
        said = run(GATEWAY, "register", "--openemr", self.openemr.base, "--jwks", self.place / "second/jwks.json", "--scope", scopes)
        client = re.search(r"^client_id: (\S+)$", said, re.MULTILINE)[1]
        self.openemr.enable(client)
        # As the Deployment says: one more, then one less.
        for (pod, old_port), port in zip(old, ports[2:], strict=True):
            self.start("second", client, port)
            service.set(port, True)
            # An old pod sees the new configuration, too, and keeps its own: its key is not the new client's.
            newer = rendered(self.values("second", client, old_port))[0]
            pod.config_maps[NAME] = {"gateway.yaml": configuration(newer).encode()}
            pod.update()
            until(lambda pod=pod: "the running configuration" in pod.program.output, lambda pod=pod: pod.program.output[-3000:])
            self.delete(service, pod, old_port)
            load.until_answers(20)
        answers = load.stop()
        self.assertEqual({answer for answer in answers if answer != 200}, set(), f"{len(answers)} answers")

    @needs("haproxy")
    def test_a_pod_that_does_not_get_ready_replaces_none(self):
        port = free_port()
        self.start("first", "pod", port)
        other = free_port()
        # OpenEMR does not know this key.
        pod = Pod(self, rendered(self.values("second", "pod", other))[0], self.secrets, name="pod-2")
        pod.start()
        until(lambda: pod.probe("livenessProbe")[0], "it lives")
        until(
            lambda: "token" in pod.program.output.lower() and "invalid_client" in pod.program.output,
            f"OpenEMR refuses its key: {pod.program.output}",
        )
        self.assertFalse(pod.probe("readinessProbe")[0])


if __name__ == "__main__":
    unittest.main()

"""A pod of the chart, run: probes, rotation of the key, metrics, the end."""

import pathlib
import signal
import threading
import unittest

import yaml

from chart import NAME, NAMESPACE, example, find, merged, rendered
from image import run_in_image
from pod import CONFIGURATION, Pod, Volume
from programs import GATEWAY, Sandbox, ask, folder, free_port, make_keys, new_client_key, run, status, until

KEYS = "openemr-gateway-keys"


@run_in_image
class Running(unittest.TestCase):
    def setUp(self):
        self.port, self.admin = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.key, digest = new_client_key("lab")
        self.admin_key, admin_digest = new_client_key("admin")
        self.keys = make_keys(folder(self))
        # OpenEMR fetches the keys of the client where the gateway publishes them.
        self.openemr = Sandbox(self, f"{self.base}/.well-known/jwks.json")
        self.values = merged(
            example("simple"),
            {
                "config": {
                    "listen": [{"address": f"0.0.0.0:{self.port}"}],
                    "drain_delay": "2s",
                    "sites": {"default": {"openemr": self.openemr.base, "client_id": "pod"}},
                    "access": {"allow_from": ["127.0.0.0/8"], "clients": {"lab": {"api_keys": [digest]}}},
                    "admin": {"address": f"0.0.0.0:{self.admin}", "api_keys": [admin_digest]},
                },
                "metrics": {"enabled": True, "serviceMonitor": {"enabled": True, "secret": "admin"}},
                "autoscaling": {"enabled": True},
                "preStopSeconds": 1,
            },
        )

    def pod(self, **values):
        """A pod of these values, not started."""
        self.objects, _ = rendered(merged(self.values, values))
        return Pod(self, self.objects, {KEYS: self.keys})

    def started(self, **values):
        """A pod that is ready."""
        pod = self.pod(**values)
        pod.start()
        self.until_probe(pod, "startupProbe")
        self.until_probe(pod, "readinessProbe")
        return pod

    def until_probe(self, pod, name, succeeds=True):
        until(lambda: pod.probe(name)[0] == succeeds, lambda: f"{name} is {succeeds}; the pod said:\n{pod.program.output[-3000:]}")

    def observation(self, **fields):
        return ask(f"{self.base}/fhir/Observation?_count=1", X_API_Key=self.key, **fields)

    def of_admin(self, path, method="GET"):
        return ask(f"http://127.0.0.1:{self.admin}{path}", method=method, Authorization=f"Bearer {self.admin_key}")

    def test_it_serves_by_the_name_of_its_service(self):
        self.started()
        for name in [f"{NAME}", f"{NAME}.{NAMESPACE}.svc.cluster.local", f"127.0.0.1:{self.port}"]:
            answer = self.observation(Host=name)
            self.assertEqual(answer.status, 200, f"{name}: {answer}")
        self.assertEqual(self.observation(Host="elsewhere.example.org").status, 421)
        self.assertEqual(ask(f"{self.base}/fhir/Patient").status, 401)

    def test_the_program_accepts_what_is_rendered(self):
        pod = self.pod(config={"audit": {"folder": "state/audit", "required": True}})
        code, said = pod.run("openemr-gateway", "config", "check", f"--config={CONFIGURATION}/gateway.yaml")
        self.assertEqual(code, 0, said)
        self.assertNotIn("warning", said)

    def test_it_knows_how_many_there_are(self):
        self.started()
        self.assertIn(b"\nreplicas: 4\n", self.of_admin("/config").body)

    def test_an_openemr_that_is_down_restarts_nothing(self):
        pod = self.started()
        self.openemr.end()
        self.assertEqual(self.observation().status, 502)
        for name in ("livenessProbe", "readinessProbe"):
            self.assertEqual(pod.probe(name)[0], True, name)
        # A pod that starts now lives, too, but is not sent requests.
        self.port, self.admin = free_port(), free_port()
        other = self.pod(config={"listen": [{"address": f"0.0.0.0:{self.port}"}], "admin": {"address": f"0.0.0.0:{self.admin}"}})
        other.start()
        self.until_probe(other, "startupProbe")
        self.assertEqual(other.probe("livenessProbe")[0], True)
        self.assertEqual(other.probe("readinessProbe")[0], False)

    def test_a_key_that_was_rotated_in_the_secret_is_used_without_a_restart(self):
        pod = self.started()
        published = ask(f"{self.base}/.well-known/jwks.json").body
        pod.secrets[KEYS] = make_keys(folder(self))
        pod.update()
        until(lambda: ask(f"{self.base}/.well-known/jwks.json").body != published, "the new key is published")
        # The sandbox verifies with the new key, which it fetches.
        answer = self.of_admin("/refresh?site=default", "POST")
        self.assertEqual(answer.status, 200, f"{answer}\n{pod.program.output[-3000:]}")
        self.assertEqual(self.observation().status, 200)
        self.assertIsNone(pod.program.process.poll())

    def test_a_key_that_does_not_fit_its_set_changes_nothing(self):
        pod = self.started()
        published = ask(f"{self.base}/.well-known/jwks.json").body
        other = make_keys(folder(self))
        pod.secrets[KEYS] = {**self.keys, "private_key.pem": other["private_key.pem"]}
        pod.update()
        until(lambda: b"openemr_gateway_last_reload_ok 0.0\n" in self.of_admin("/metrics").body, "the reload has failed")
        self.assertEqual(ask(f"{self.base}/.well-known/jwks.json").body, published)
        self.assertEqual(self.of_admin("/refresh?site=default", "POST").status, 200)

    def test_a_volume_of_a_config_map_would_be_refused(self):
        # Why the chart has a projected volume: the folder of the other kind is open to every user.
        pod = self.pod()
        volume = Volume(self, pod.group, 0o440, sticky=False)
        volume.write({"gateway.yaml": pod.config_maps[NAME]["gateway.yaml"]})
        pod._volumes["configuration"] = str(volume.path)
        code, said = pod.run("openemr-gateway", "config", "check", f"--config={CONFIGURATION}/gateway.yaml")
        self.assertEqual(code, 1)
        self.assertIn("can be changed by every user", said)

    def test_prometheus_gets_what_the_autoscaler_asks_for(self):
        self.started()
        monitor = find(self.objects, "ServiceMonitor")["spec"]["endpoints"][0]
        service = find(self.objects, "Service", f"{NAME}-metrics")
        [port] = [port for port in service["spec"]["ports"] if port["name"] == monitor["port"]]
        url = f"http://127.0.0.1:{port['port']}{monitor['path']}"
        self.assertEqual(status(url), 401)
        metrics = ask(url, Authorization=f"{monitor['authorization']['type']} {self.admin_key}").body.decode()
        [metric] = find(self.objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertRegex(str(metrics), rf"(?m)^{metric['pods']['metric']['name']}\{{site=\"default\"\}} \d")

    def test_the_test_of_the_release_succeeds(self):
        pod = self.started()
        [container] = find(self.objects, "Pod", f"{NAME}-test")["spec"]["containers"]
        named = [argument.replace(f"//{NAME}:", "//127.0.0.1:") for argument in container["args"]]
        self.assertNotEqual(named, container["args"])
        code, said = pod.run("openemr-gateway", *named)
        self.assertEqual(code, 0, said)

    def test_what_it_keeps_is_in_its_volume(self):
        pod = self.started(config={"audit": {"folder": "state/audit", "required": True}})
        self.assertEqual(self.observation().status, 200)
        files = until(lambda: list((pod.volume("state") / "state/audit").glob("*")), "the audit trail has a file")
        self.assertEqual({file.stat().st_uid for file in files}, {pod.user})

    def test_what_pods_share_is_in_the_claim(self):
        shared = "/var/lib/openemr-gateway-shared"
        app = {"scopes": ["system/Patient.r"], "smart": {"jwks": f"{CONFIGURATION}/keys/jwks.json"}}
        values = {
            "state": {"claim": "state"},
            "config": {
                "audit": {"folder": "state/audit"},
                "access": {"token_key": f"{shared}/keys/token-key.pem", "clients": {"app": app}},
                "sites": {"default": {"bulk_data": {"folder": f"{shared}/bulk"}}},
            },
        }
        claim = pathlib.Path(folder(self))
        for name in ("a", "b"):
            self.port, self.admin = free_port(), free_port()
            listen = {"listen": [{"address": f"0.0.0.0:{self.port}"}], "admin": {"address": f"0.0.0.0:{self.admin}"}}
            objects, _ = rendered(merged(merged(self.values, values), {"config": listen}))
            pod = Pod(self, objects, {KEYS: self.keys}, name=name, claim=str(claim))
            pod.start()
            self.until_probe(pod, "startupProbe")
            until((claim / name / "state/audit").is_dir, f"{name} has an audit trail")
            key = (claim / "shared/keys/token-key.pem").read_bytes()
            if name == "a":
                first = key
        self.assertEqual(key, first)

    def test_a_pod_that_ends_finishes_its_requests(self):
        # Long enough for what is asked in between, however slow the machine is.
        pod = self.started(config={"drain_delay": "15s"})
        self.openemr.faults('{"fhir": {"delay_ms": 4000, "times": 1}}')
        answers = []
        slow = threading.Thread(target=lambda: answers.append(self.observation()))
        slow.start()
        until(
            lambda: b'openemr_gateway_in_flight_requests{site="default"} 1.0\n' in self.of_admin("/metrics").body,
            "the request is at OpenEMR",
        )
        pod.program.signal(signal.SIGTERM)
        # What the Service still sends is answered while the readiness probe takes the pod out of it.
        until(lambda: status(f"{self.base}/ready") == 503, "it is not ready")
        self.assertEqual(ask(f"{self.base}/health").status, 200)
        self.assertFalse(pod.probe("readinessProbe")[0])
        slow.join()
        self.assertEqual([answer.status for answer in answers], [200])
        grace = pod.spec["terminationGracePeriodSeconds"] - pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertEqual(pod.program.process.wait(grace), 0, pod.program.output)

    def test_the_examples_are_configurations(self):
        for name in ("simple", "everything"):
            with self.subTest(example=name):
                values = example(name)
                digest = new_client_key("lab")[1]
                text = yaml.safe_dump(values).replace("<client_id>", "pod").replace("sha256:<64 hexadecimal digits>", digest)
                objects, _ = rendered(yaml.safe_load(text))
                certificates = folder(self)
                run(GATEWAY, "keys", "certificate", "--host", "gateway.example.org", "--out", certificates)
                certificate, key = (pathlib.Path(certificates, f"gateway.example.org{end}.pem").read_bytes() for end in ("", "-key"))
                store = {"password": b"secret\n"}
                secrets = {
                    "gateway-store": store,
                    KEYS: self.keys,
                    "gateway-tls": {"tls.crt": certificate, "tls.key": key},
                    "openemr-ca": {"ca.crt": certificate},
                }
                pod = Pod(self, objects, secrets)
                code, said = pod.run("openemr-gateway", "config", "check", f"--config={CONFIGURATION}/gateway.yaml")
                self.assertEqual(code, 0, said)


if __name__ == "__main__":
    unittest.main()

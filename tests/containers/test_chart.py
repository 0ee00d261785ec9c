"""The Helm chart: what it renders is what Kubernetes takes, and wrong values are refused."""

import json
import re
import unittest

import jsonschema
import kubernetes_validate
import yaml
from helm_python.errors import HelmError

from chart import CHART, configuration, container, example, find, linted, merged, metadata, packaged, rendered
from documents import blocks, section
from programs import ROOT, folder

# The oldest Kubernetes that Chart.yaml allows, and the latest whose schemas are at hand.
KUBERNETES = ["1.30", "1.37"]

SIMPLE = example("simple")
ADMIN = {"address": "0.0.0.0:9464", "api_keys": ["sha256:" + "0" * 64]}
METRICS = {"config": {"admin": ADMIN}, "metrics": {"enabled": True}}
PEER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "integrations"}}}]

CASES = {
    "simple": {},
    "one replica": {"replicas": 1, "podDisruptionBudget": {"enabled": False}},
    "another name": {"fullnameOverride": "gateway"},
    "a digest": {"image": {"digest": "sha256:" + "a" * 64}},
    "a tag": {"image": {"tag": "0.2.0"}, "imagePullSecrets": [{"name": "registry"}]},
    "the configuration as a Secret": {"configKind": "Secret"},
    "probes by the kubelet": {"probes": "http", "config": {"access": {"allow_from": ["10.0.0.0/8"]}}},
    "routes elsewhere": {"config": {"routes": {"health": "/up", "ready": "/in", "token": None}}},
    "TLS and a listener without": {
        "config": {"listen": [{"address": "0.0.0.0:8443", "tls": {"certificate": "c", "private_key": "k"}}, {"address": "[::]:8000"}]}
    },
    "TLS alone, probes by the kubelet": {
        "probes": "http",
        "config": {"listen": [{"address": "[::]:8443", "tls": {"certificate": "c", "private_key": "k"}}], "access": {"allow_from": "open"}},
    },
    "more files": {
        "files": [{"secret": {"name": "ca", "items": [{"key": "ca.crt", "path": "certs/ca.pem"}]}}, {"configMap": {"name": "lists"}}]
    },
    "variables": {"env": [{"name": "A", "value": "b"}], "envFrom": [{"secretRef": {"name": "c"}}]},
    "a claim": {"state": {"claim": "state"}, "config": {"audit": {"folder": "state/audit"}}},
    "a load balancer": {"service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}, "sessionAffinity": "None"}},
    "metrics": METRICS,
    "a ServiceMonitor": merged(
        METRICS, {"metrics": {"serviceMonitor": {"enabled": True, "secret": "admin-key", "labels": {"release": "prometheus"}}}}
    ),
    "alert rules": {"metrics": {"rules": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "autoscaling": {"autoscaling": {"enabled": True, "maxReplicas": 6}},
    "a network policy": {"networkPolicy": {"enabled": True, "from": PEER}},
    "a network policy with metrics": merged(METRICS, {"networkPolicy": {"enabled": True, "from": PEER, "metricsFrom": PEER, "egress": []}}),
    "an Ingress": {"ingress": {"enabled": True, "host": "gateway.example.org"}},
    "an Ingress with TLS": {
        "ingress": {"enabled": True, "host": "gateway.example.org", "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}}
    },
    "no preStop": {"preStopSeconds": 0},
    "placement": {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "clinic", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "serviceAccountName": "gateway",
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "topologySpreadConstraints": [],
        "resources": {},
        "runAs": 1000,
    },
    "numbers": {"config": {"limits": {"connections": 1000000}}},
}
WHOLE = {name: merged(SIMPLE, values) for name, values in CASES.items()} | {"everything": example("everything")}

# What must not be installed, and a word of the message that says why.
REFUSED = {
    "no image": ({"image": {"repository": ""}}, "/image/repository"),
    "no keys": ({"keys": {"secret": ""}}, "/keys/secret"),
    "a misspelt value": ({"replica": 3}, "replica"),
    "a misspelt part": ({"metrics": {"serviceMonitors": {}}}, "serviceMonitors"),
    "no replica": ({"replicas": 0}, "/replicas"),
    "a name for a port": ({"config": {"listen": [{"address": "gateway:8000"}]}}, "/config/listen/0/address"),
    "no listener": ({"config": {"listen": []}}, "/config/listen"),
    "no site": ({"config": {"sites": None}}, "/config/sites"),
    "the user root": ({"runAs": 0}, "/runAs"),
    "probes of another kind": ({"probes": "tcp"}, "/probes"),
    "a wrong digest": ({"image": {"digest": "sha256:1"}}, "/image/digest"),
    "a folder of the node": ({"files": [{"hostPath": {"path": "/"}}]}, "/files/0"),
    "a listener on loopback": ({"config": {"listen": [{"address": "127.0.0.1:8000"}]}}, "is on loopback"),
    "nobody may call": ({"config": {"access": {"clients": None, "anonymous": None}}}, "config.access.clients is required"),
    "no network may call": ({"config": {"access": {"allow_from": []}}}, "config.access.allow_from is required"),
    "probes that may not call": ({"config": {"access": {"allow_from": ["10.0.0.0/8"]}}}, "needs 127.0.0.0/8"),
    "metrics without a key": ({"metrics": {"enabled": True}, "config": {"admin": {"address": "0.0.0.0:9464"}}}, "config.admin.api_keys"),
    "metrics on loopback": (merged(METRICS, {"config": {"admin": {"address": "127.0.0.1:9464"}}}), "is on loopback"),
    "a ServiceMonitor without metrics": ({"metrics": {"serviceMonitor": {"enabled": True, "secret": "k"}}}, "metrics.enabled"),
    "a ServiceMonitor without a key": (
        merged(METRICS, {"metrics": {"serviceMonitor": {"enabled": True}}}),
        "metrics.serviceMonitor.secret is required",
    ),
    "a network policy for nobody": ({"networkPolicy": {"enabled": True}}, "networkPolicy.from is required"),
    "an Ingress without a host": ({"ingress": {"enabled": True}}, "ingress.host is required"),
    "a target that is never reached": (
        {"autoscaling": {"enabled": True, "maxReplicas": 4, "target": 9}},
        "autoscaling.target is never reached",
    ),
    "fewer at most than at least": ({"autoscaling": {"enabled": True, "minReplicas": 5}}, "autoscaling.maxReplicas"),
}

# What the Prometheus operator requires of the fields that the chart writes.
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
MONITORING = {
    "ServiceMonitor": {
        "type": "object",
        "required": ["selector", "endpoints"],
        "additionalProperties": False,
        "properties": {
            "jobLabel": {"type": "string"},
            "selector": {"type": "object", "properties": {"matchLabels": LABELS}, "additionalProperties": False},
            "endpoints": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "port": {"type": "string"},
                        "path": {"type": "string"},
                        "interval": {"type": "string", "pattern": r"^(0|([0-9]+[ywdhm])*([0-9]+s)?([0-9]+ms)?)$"},
                        "authorization": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "type": {"type": "string"},
                                "credentials": {
                                    "type": "object",
                                    "required": ["key"],
                                    "additionalProperties": False,
                                    "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
    "PrometheusRule": {
        "type": "object",
        "required": ["groups"],
        "additionalProperties": False,
        "properties": {
            "groups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "minLength": 1},
                        "rules": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["expr"],
                                "additionalProperties": False,
                                "properties": {
                                    "alert": {"type": "string"},
                                    "expr": {"type": ["string", "integer"]},
                                    "for": {"type": "string"},
                                    "labels": LABELS,
                                    "annotations": LABELS,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def pods(objects):
    """The specification of each pod, and of the pods that others make."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["spec"]
        elif one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]


class Chart(unittest.TestCase):
    def of_each(self, check):
        """Calls a check with each set of values and the objects that are made of it."""
        for name, values in WHOLE.items():
            with self.subTest(values=name):
                check(values, rendered(values)[0])

    def test_kubernetes_knows_every_field(self):
        def check(values, objects):
            for one in objects:
                if one["kind"] in MONITORING:
                    jsonschema.validate(one["spec"], MONITORING[one["kind"]])
                    self.assertEqual(one["apiVersion"], "monitoring.coreos.com/v1")
                else:
                    for version in KUBERNETES:
                        kubernetes_validate.validate(one, version, strict=True)

        self.of_each(check)

    def test_lint_has_no_objection(self):
        for name, values in WHOLE.items():
            with self.subTest(values=name):
                self.assertEqual(linted(values), [])

    def test_the_pod_security_standard_restricted_is_kept(self):
        def check(values, objects):
            found = list(pods(objects))
            self.assertGreaterEqual(len(found), 1)
            for pod in found:
                self.assertFalse(pod["automountServiceAccountToken"])
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for volume in pod.get("volumes", []):
                    self.assertTrue({"projected", "emptyDir", "persistentVolumeClaim"} & volume.keys(), volume)
                for one in pod["containers"]:
                    self.assertEqual(
                        one["securityContext"],
                        {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
                    )

        self.of_each(check)

    def test_names_and_selectors_fit_together(self):
        def check(values, objects):
            names = [(one["kind"], one["metadata"]["name"]) for one in objects]
            self.assertEqual(len(names), len(set(names)))
            [deployment] = [one for one in objects if one["kind"] == "Deployment"]
            labels = deployment["spec"]["template"]["metadata"]["labels"].items()
            ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
            for one in objects:
                if one["kind"] in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"):
                    selector = one["spec"].get("selector") or one["spec"]["podSelector"]
                    self.assertLessEqual(selector.get("matchLabels", selector).items(), labels, one["kind"])
                if one["kind"] == "Service":
                    self.assertLessEqual({port["targetPort"] for port in one["spec"]["ports"]}, ports)
                if one["kind"] == "HorizontalPodAutoscaler":
                    self.assertEqual(one["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"])
                    self.assertNotIn("replicas", deployment["spec"])
                if one["kind"] == "ServiceMonitor":
                    services = [other["metadata"]["labels"] for other in objects if other["kind"] == "Service"]
                    chosen = [labels for labels in services if one["spec"]["selector"]["matchLabels"].items() <= labels.items()]
                    self.assertEqual([labels["app.kubernetes.io/component"] for labels in chosen], ["metrics"])
                    # By this label the job is called as the alert rules expect.
                    self.assertEqual(chosen[0][one["spec"]["jobLabel"]], "openemr-gateway")
            for constraint in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
                self.assertLessEqual(constraint["labelSelector"]["matchLabels"].items(), labels)

        self.of_each(check)

    def test_the_configuration_is_the_one_of_the_values(self):
        def check(values, objects):
            config = yaml.safe_load(configuration(objects))
            for key, value in values["config"].items():
                if key == "access":
                    value = {**value, "hosts": config["access"]["hosts"]}
                if isinstance(value, dict):
                    self.assertLessEqual(value.items(), config[key].items(), key)
                else:
                    self.assertEqual(config[key], value, key)
            name = next(one for one in objects if one["kind"] == "Deployment")["metadata"]["name"]
            self.assertIn(f"{name}.fhir.svc.cluster.local", config["access"]["hosts"])
            for ingress in (one for one in objects if one["kind"] == "Ingress"):
                self.assertIn(ingress["spec"]["rules"][0]["host"], config["access"]["hosts"])

        self.of_each(check)

    def test_limits_are_divided_by_the_pods_that_there_can_be(self):
        def of(values):
            objects, _ = rendered(merged(SIMPLE, values))
            told = [one["value"] for one in container(objects)[0]["env"] if one["name"] == "GATEWAY_REPLICAS"]
            targets = [
                one["spec"]["metrics"][0]["pods"]["target"]["averageValue"] for one in objects if one["kind"].startswith("Horizontal")
            ]
            return told, targets

        self.assertEqual(of({}), (["2"], []))
        self.assertEqual(of({"replicas": 5}), (["5"], []))
        self.assertEqual(of({"config": {"replicas": 3}}), ([], []))
        # in_flight.most is 32, of which each of four has 8.
        self.assertEqual(of({"autoscaling": {"enabled": True}}), (["4"], ["6"]))
        self.assertEqual(of({"autoscaling": {"enabled": True, "target": 8}}), (["4"], ["8"]))
        second = {"sites": {"second": {"in_flight": {"most": 3}}}}
        self.assertEqual(of({"autoscaling": {"enabled": True}, "config": second}), (["4"], ["6"]))
        self.assertEqual(of({"autoscaling": {"enabled": True}, "config": merged(second, {"replicas": 1})}), ([], ["26"]))

    def test_the_configuration_has_keys_that_the_gateway_knows(self):
        schema = json.loads((ROOT / "conf/gateway.schema.json").read_text())

        def check(_, objects):
            text = configuration(objects).replace("<64 hexadecimal digits>", "0" * 64)
            jsonschema.validate(yaml.safe_load(text), schema)

        self.of_each(check)

    def test_a_rollout_takes_no_pod_away_before_another_is_ready(self):
        def check(values, objects):
            [deployment] = [one for one in objects if one["kind"] == "Deployment"]
            self.assertEqual(deployment["spec"]["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
            pod = deployment["spec"]["template"]["spec"]
            before = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            grace = yaml.safe_load(configuration(objects))["server"]["grace_period_seconds"]
            self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], before + grace + 10)

        self.of_each(check)

    def test_another_configuration_is_another_pod(self):
        def checksum(values):
            return find(rendered(values)[0], "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        other = merged(SIMPLE, {"config": {"sites": {"default": {"client_id": "another"}}}})
        self.assertNotEqual(checksum(SIMPLE), checksum(other))
        self.assertEqual(checksum(SIMPLE), checksum(merged(SIMPLE, {"replicas": 5})))

    def test_the_alert_rules_are_those_of_prometheus(self):
        rules = find(rendered(WHOLE["alert rules"])[0], "PrometheusRule")
        alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
        self.assertEqual(rules["spec"]["groups"], alerts["groups"])
        self.assertGreater(len(alerts["groups"][0]["rules"]), 10)

    def test_a_package_has_the_alert_rules_and_no_examples(self):
        files = packaged(folder(self))
        self.assertEqual(files["files/alerts.yaml"], (ROOT / "deploy/prometheus/alerts.yaml").read_bytes())
        self.assertEqual([name for name in files if name.startswith("examples/")], [])
        self.assertIn("values.schema.json", files)

    def test_a_network_policy_lets_in_whom_it_names(self):
        policy = find(rendered(example("everything"))[0], "NetworkPolicy")["spec"]
        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        clients, monitoring = policy["ingress"]
        self.assertEqual(clients["ports"], [{"protocol": "TCP", "port": 8443}])
        self.assertEqual(monitoring["ports"], [{"protocol": "TCP", "port": 9464}])
        self.assertTrue(all(rule["from"] for rule in policy["ingress"]), "an empty list would be everybody")
        self.assertEqual({port["port"] for port in policy["egress"][0]["ports"]}, {53})

    def test_wrong_values_are_refused_with_their_place(self):
        for name, (values, word) in REFUSED.items():
            with self.subTest(values=name):
                with self.assertRaises(HelmError) as refused:
                    rendered(merged(SIMPLE, values))
                self.assertIn(word, str(refused.exception))

    def test_the_defaults_alone_say_what_is_missing(self):
        with self.assertRaises(HelmError) as refused:
            rendered({})
        self.assertIn("/image/repository", str(refused.exception))
        self.assertIn("/keys/secret", str(refused.exception))

    def test_notes_warn_of_what_is_open(self):
        _, notes = rendered(merged(SIMPLE, {"config": {"access": {"anonymous": "everything"}, "audit": {"folder": "state/audit"}}}))
        for words in ["without a credential", "ends with its pod", "Every pod of the cluster can connect"]:
            self.assertIn(words, notes)
        _, notes = rendered(example("everything"))
        for words in ["without a credential", "ends with its pod", "Every pod of the cluster can connect"]:
            self.assertNotIn(words, notes)

    def test_versions_are_those_of_the_program(self):
        version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
        self.assertEqual(metadata()["appVersion"], version)
        self.assertEqual(container(rendered(SIMPLE)[0])[0]["image"], f"registry.example.org/openemr-gateway:{version}")

    def test_the_documents_rule_is_for_the_autoscalers_metric(self):
        [text] = [block for block in blocks("Metrics and autoscaling", "yaml") if "seriesQuery" in block]
        [rule] = yaml.safe_load(text)["rules"]["custom"]
        [metric] = find(rendered(WHOLE["autoscaling"])[0], "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertEqual(rule["seriesQuery"].split("{")[0], metric["pods"]["metric"]["name"])
        # The operator gives each series these labels; the rule makes resources of them.
        self.assertEqual(set(rule["resources"]["overrides"]), set(re.findall(r'(\w+)!=""', rule["seriesQuery"])))

    def test_the_documents_commands_set_values_that_there_are(self):
        text = section("Kubernetes")
        for path, value in re.findall(r"--set(?:-string)? ([\w.]+)=(\S+)", text):
            values = SIMPLE
            for key in path.split(".")[:-1]:
                values = values[key]
            self.assertIn(path.split(".")[-1], values)
            other = {}
            inner = other
            for key in path.split(".")[:-1]:
                inner = inner.setdefault(key, {})
            inner[path.split(".")[-1]] = value
            self.assertNotEqual(rendered(merged(SIMPLE, other))[0], rendered(SIMPLE)[0], path)
        # The Secret has the files by the names that the chart mounts.
        projected = container(rendered(SIMPLE)[0])[1]["volumes"][0]["projected"]["sources"][1]["secret"]["items"]
        for command in re.findall(r"create secret generic openemr-gateway-keys.*", text):
            self.assertEqual(re.findall(r"--from-file=\S+/(\S+)", command), [item["key"] for item in projected])

    def test_every_value_is_used(self):
        # A value that no template reads would be a promise without effect.
        templates = "\n".join(file.read_text() for file in CHART.glob("templates/**/*") if file.is_file())

        def unused(values, path):
            for key, value in values.items():
                if path == ["config"] or key == "config":
                    continue
                inner = isinstance(value, dict) and value and path + [key] != ["resources"]
                if inner:
                    yield from unused(value, path + [key])
                elif ".".join(["Values", *path, key]) not in templates:
                    yield ".".join([*path, key])

        self.assertEqual(list(unused(yaml.safe_load((CHART / "values.yaml").read_text()), [])), [])


if __name__ == "__main__":
    unittest.main()

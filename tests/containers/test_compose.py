"""The compose files: what the specification allows, hardened, and started the first time as docs/deploy.md says."""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

import yaml

from documents import blocks
from image import image, run_in_image
from programs import ROOT, Sandbox, ask, folder, free_port, make_keys, status, until

FOLDER = ROOT / "deploy/docker"
OPENEMR, DEMO = FOLDER / "compose.yaml", FOLDER / "compose.demo.yaml"


def services(file):
    return yaml.safe_load(file.read_text())["services"]


class Files(unittest.TestCase):
    def test_the_specification_allows_them(self):
        tool = os.path.join(os.path.dirname(sys.executable), "check-jsonschema")
        done = subprocess.run([tool, "--builtin-schema", "vendor.compose-spec", OPENEMR, DEMO], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_gateway_has_no_privileges(self):
        for file in (OPENEMR, DEMO):
            gateway = services(file)["gateway"]
            self.assertTrue(gateway["read_only"])
            self.assertEqual(gateway["cap_drop"], ["ALL"])
            self.assertEqual(gateway["security_opt"], ["no-new-privileges:true"])
            self.assertNotIn("privileged", gateway)
            self.assertEqual((FOLDER / gateway["build"]["context"]).resolve(), ROOT)
            self.assertTrue((ROOT / gateway["build"]["dockerfile"]).is_file())

    def test_nothing_is_published_beyond_this_machine(self):
        for file in (OPENEMR, DEMO):
            for service in services(file).values():
                for port in service.get("ports", []):
                    self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_each_service_is_known_to_work_before_the_next_starts(self):
        found = services(OPENEMR)
        self.assertEqual(found["gateway"]["depends_on"], {"openemr": {"condition": "service_healthy"}})
        self.assertEqual(found["openemr"]["depends_on"], {"mysql": {"condition": "service_healthy"}})
        for name in ("mysql", "openemr"):
            self.assertIn("test", found[name]["healthcheck"])
            self.assertRegex(found[name]["image"], r":\d+\.\d+", "a tag that says which version")
        # The gateway has the image's own check.
        self.assertNotIn("healthcheck", found["gateway"])

    def test_the_database_cannot_be_reached_from_the_gateway(self):
        whole = yaml.safe_load(OPENEMR.read_text())
        self.assertTrue(whole["networks"]["database"]["internal"])
        self.assertEqual([name for name, service in whole["services"].items() if "database" in service["networks"]], ["mysql", "openemr"])

    def test_no_password_is_in_the_files(self):
        whole = yaml.safe_load(OPENEMR.read_text())
        for service in whole["services"].values():
            for name, value in service.get("environment", {}).items():
                if "PASS" in name and not name.endswith("_FILE"):
                    self.assertRegex(value, r"^\$\{\w+:\?", name)
        ignored = (FOLDER / ".gitignore").read_text().split()
        self.assertLessEqual({"secrets/", ".env"}, set(ignored))

    def test_the_engine_waits_for_as_long_as_the_gateway_may_take(self):
        self.assertGreater(int(services(OPENEMR)["gateway"]["stop_grace_period"].removesuffix("s")), 10 + 5)


@run_in_image
class Running(unittest.TestCase):
    def mounts(self, service):
        """The volumes of a service, each new and as the image has the folder, and its tmpfs."""
        for volume in service.get("volumes", []):
            target = volume.split(":")[1]
            path = folder(self, 0o700)
            os.chown(path, image().user, image().group)
            yield [path, target, "rw"]
        for mount in service["tmpfs"]:
            yield [folder(self, 0o1777), mount.split(":")[0], "rw"]

    def test_the_demo_answers_and_is_healthy(self):
        service = services(DEMO)["gateway"]
        port = free_port()

        def here(words):
            return [word.replace("0.0.0.0:8000", f"127.0.0.1:{port}").replace(":8000", f":{port}") for word in words]

        mounts = list(self.mounts(service))
        demo = image().start(self, here(service["command"]), mounts=mounts)
        demo.ready(f"http://127.0.0.1:{port}/ready")
        kind, *check = here(service["healthcheck"]["test"])
        self.assertEqual(kind, "CMD")
        code, said = image().code(check, mounts=mounts)
        self.assertEqual(code, 0, said)
        self.assertEqual(ask(f"http://127.0.0.1:{port}/fhir/Patient?_count=1").status, 200)

    def test_a_gateway_with_files_of_the_host(self):
        [text] = [block for block in blocks("Docker", "sh") if "docker run" in block]
        user, place = 1000, pathlib.Path(folder(self))
        words = shlex.split(text.splitlines()[-1].replace("$(id -u):$(id -g)", f"{user}:{user}").replace("$PWD", str(place)))
        parser = argparse.ArgumentParser()
        for name in ("name", "user", "tmpfs", "cap-drop", "security-opt", "stop-timeout", "publish"):
            parser.add_argument(f"--{name}")
        parser.add_argument("--volume", action="append")
        for name in ("detach", "read-only"):
            parser.add_argument(f"--{name}", action="store_true")
        parser.add_argument("image")
        options = parser.parse_args(words[2:])
        self.assertEqual((options.cap_drop, options.security_opt), ("ALL", "no-new-privileges"))

        # What is in the folders, of that user.
        keys, port = make_keys(place / "keys"), free_port()
        openemr = Sandbox(self, place / "keys/jwks.json")
        config = place / "config"
        for path, content in {
            **{f"keys/{name}": content for name, content in keys.items()},
            "gateway.yaml": self.config(openemr, port),
        }.items():
            (config / path).parent.mkdir(parents=True, exist_ok=True)
            (config / path).write_bytes(content)
            (config / path).chmod(0o600)
        (place / "state").mkdir()
        for found in [config, place / "state", *config.rglob("*")]:
            os.chown(found, user, user)
        volumes = [volume.replace("/etc/openemr-gateway:", f"{config}:", 1).split(":") for volume in options.volume]
        mounts = [[source, target, "rw"] for source, target in volumes] + [[folder(self, 0o1777), options.tmpfs, "rw"]]
        as_told = {"mounts": mounts, "user": user, "group": user, "read_only": options.read_only}
        gateway = image().start(self, image().command, **as_told)
        gateway.ready(f"http://127.0.0.1:{port}/ready")
        code, said = image().code(image().health, **as_told)
        self.assertEqual(code, 0, said)
        # As the image's own user it would not have taken them.
        code, said = image().code([*image().entrypoint, *image().command], mounts=mounts)
        self.assertEqual(code, 1, said)

    def config(self, openemr, port):
        return yaml.safe_dump(
            {
                "listen": [{"address": f"127.0.0.1:{port}"}],
                "sites": {
                    "default": {
                        "openemr": openemr.base,
                        "client_id": "pod",
                        "private_key": "/etc/openemr-gateway/keys/private_key.pem",
                        "jwks": "/etc/openemr-gateway/keys/jwks.json",
                        "scopes": ["system/Patient.read"],
                    }
                },
            }
        ).encode()

    def test_the_first_start_with_an_openemr(self):
        """The commands of the document, with the sandbox at openemr:443 and the image without an engine."""
        [text] = blocks("With OpenEMR and MariaDB", "sh")
        place = pathlib.Path(folder(self), "deploy/docker")
        place.mkdir(parents=True)
        engine = pathlib.Path(folder(self), "docker")
        engine.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$(mktemp "$CALLS/XXXXXX")"\n')
        engine.chmod(0o755)
        calls = pathlib.Path(folder(self))
        # The shell's part is done by a shell: folders, certificate, passwords, and the words that the engine gets.
        path = f"{engine.parent}:{os.environ['PATH']}"
        subprocess.run(
            ["sh", "-euc", text],
            cwd=place.parents[1],
            env={**os.environ, "PATH": path, "CALLS": str(calls)},
            check=True,
            capture_output=True,
        )
        called = [file.read_text().splitlines() for file in calls.iterdir()]
        self.assertEqual(len(called), text.count("docker compose"))
        [init] = [words for words in called if "init" in words]
        self.assertEqual(init[:4], ["compose", "run", "--rm", "gateway"])
        passwords = dict(line.split("=") for line in (place / ".env").read_text().splitlines())
        self.assertEqual(set(passwords), set(re.findall(r"\$\{(\w+):\?", OPENEMR.read_text())))
        self.assertEqual(len(set(passwords.values())), 3)
        for secret in yaml.safe_load(OPENEMR.read_text())["secrets"].values():
            self.assertTrue("environment" in secret or (place / secret["file"]).is_file(), secret)

        # OpenEMR shows the certificate; the name leads to this machine.
        certificate = ["--tls-certificate", place / "secrets/openemr.pem", "--tls-key", place / "secrets/openemr-key.pem"]
        openemr = Sandbox(self, None, "--openemr", "7.0.3", "--tls", *certificate)
        service = services(OPENEMR)["gateway"]
        mounts = list(self.mounts(service))
        hosts = pathlib.Path(folder(self), "hosts")
        hosts.write_text("127.0.0.1 localhost openemr\n")
        mounts.append([str(hosts), "/etc/hosts", "ro"])
        port = free_port()
        words = [word.replace("https://openemr", f"https://openemr:{openemr.port}").replace(":8000", f":{port}") for word in init[4:]]
        setting_up = image().start(self, words, mounts=mounts)
        setting_up.says("API Clients")
        client = re.search(r"client_id\W+([\w-]{20,})", pathlib.Path(mounts[0][0], "gateway.yaml").read_text())[1]
        openemr.enable(client)
        until(lambda: setting_up.process.poll() is not None, "init ends")
        self.assertEqual(setting_up.process.returncode, 0, setting_up.output)
        key = re.search(r"\boegw_\w[\w-]*", setting_up.output)[0]

        gateway = image().start(self, image().command, mounts=mounts)
        gateway.ready(f"http://127.0.0.1:{port}/ready")
        code, said = image().code(image().health, mounts=mounts)
        self.assertEqual(code, 0, said)
        self.assertEqual(ask(f"http://127.0.0.1:{port}/fhir/Patient?_count=1", X_API_Key=key).status, 200)
        self.assertEqual(status(f"http://127.0.0.1:{port}/fhir/Patient"), 401)


if __name__ == "__main__":
    unittest.main()

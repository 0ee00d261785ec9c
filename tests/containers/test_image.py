"""The Dockerfile: what its last stage makes is enough for the program, and no more than that."""

import fnmatch
import os
import re
import signal
import subprocess
import sys
import unittest

from image import BASE, DOCKERFILE, LIBRARIES, image, libraries, run_in_image, stages
from programs import GATEWAY, ROOT, ask, folder, free_port, status, until


class Dockerfile(unittest.TestCase):
    def setUp(self):
        self.stages = stages(DOCKERFILE.read_text())
        self.last = self.stages["last"]

    def test_hadolint_has_no_objection(self):
        done = subprocess.run([os.path.join(os.path.dirname(sys.executable), "hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_images_are_pinned_and_the_compiler_is_new_enough(self):
        self.assertEqual(self.last.base, BASE)
        version = re.fullmatch(r"rust:(\d+)\.(\d+)\.\d+-slim-bookworm", self.stages["build"].base)
        oldest = re.search(r'^rust-version = "(\d+)\.(\d+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
        self.assertGreaterEqual(tuple(map(int, version.groups())), tuple(map(int, oldest.groups())))

    def test_the_program_is_built_as_it_is_locked(self):
        self.assertIn("cargo build --locked --release --bin openemr-gateway", self.stages["build"].all("RUN")[-1])

    def test_the_process_is_nobody_in_particular(self):
        self.assertRegex(self.last.one("USER"), r"^[1-9]\d*:[1-9]\d*$", "Kubernetes' runAsNonRoot needs a number")
        self.assertEqual(self.last.one("STOPSIGNAL"), "SIGTERM")
        # Without a shell there is nothing that could carry out another form.
        for name in ("ENTRYPOINT", "CMD"):
            self.assertTrue(self.last.one(name).startswith("["), name)
        self.assertEqual(self.last.all("RUN"), [])

    def test_labels_are_those_of_the_program(self):
        labels = dict(re.findall(r'([\w.]+)="([^"]*)"', self.last.one("LABEL")))
        package = (ROOT / "Cargo.toml").read_text().split("[lib]")[0]
        manifest = dict(re.findall(r'^(name|version|license) = "(.*)"$', package, re.MULTILINE))
        of = {key.rsplit(".", 1)[1]: value for key, value in labels.items()}
        self.assertEqual((of["title"], of["version"], of["licenses"]), (manifest["name"], manifest["version"], manifest["license"]))

    def test_what_is_copied_is_sent_to_the_engine(self):
        ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split("\n")
        patterns = [line for line in ignored if line and not line.startswith("#")]
        self.assertEqual(patterns[0], "*")
        sent = [pattern[1:] for pattern in patterns[1:] if pattern.startswith("!")]
        copied = [source for text in self.stages["build"].all("COPY") for source in text.split()[:-1]]
        self.assertEqual(sorted(copied), sorted(sent))
        for source in copied:
            self.assertTrue((ROOT / source).exists(), source)

    def test_the_build_has_each_file_that_the_sources_include(self):
        copied = [source for text in self.stages["build"].all("COPY") for source in text.split()[:-1]]
        for file in (ROOT / "src").rglob("*.rs"):
            for named in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', without_tests(file)):
                path = os.path.relpath(os.path.normpath(file.parent / named), ROOT)
                self.assertTrue(any(path == one or path.startswith(one + "/") for one in copied), f"{file}: {path}")

    def test_the_base_has_the_libraries(self):
        needed = {name for name, _ in libraries(GATEWAY) if not fnmatch.fnmatch(name, "ld-linux*")}
        self.assertLessEqual(needed, LIBRARIES)


def without_tests(file):
    """The text of a source file above its tests; nothing of a file of tests."""
    if file.name == "tests.rs" or "tests" in file.parts[-2:-1]:
        return ""
    return re.split(r"^#\[cfg\(test\)\]", file.read_text(), flags=re.MULTILINE)[0]


@run_in_image
class Running(unittest.TestCase):
    def test_there_is_no_shell_and_nothing_to_write_to(self):
        root = image().root
        self.assertEqual(
            [file.name for place in ("bin", "usr/bin", "usr/local/bin", "sbin") for file in (root / place).glob("*")], ["openemr-gateway"]
        )
        for place in ("etc/openemr-gateway", "var/lib/openemr-gateway"):
            found = (root / place).stat()
            self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o022), (image().user, image().group, 0), place)
        # Not even where the user could: the root is mounted read-only.
        code, said = image().code([*image().entrypoint, "keys", "generate", "--out", "/etc/openemr-gateway/keys"])
        self.assertNotEqual(code, 0)
        self.assertIn("Read-only", said)

    def test_it_says_its_version(self):
        code, said = image().code([*image().entrypoint, "--version"])
        self.assertEqual(code, 0, said)
        self.assertRegex(said, r"^openemr-gateway \d+\.\d+\.\d+")

    def test_the_health_check_fails_where_no_gateway_is(self):
        code, said = image().code(image().health)
        self.assertEqual(code, 1, said)

    def test_a_gateway_without_configuration_says_what_is_missing(self):
        code, said = image().code([*image().entrypoint, *image().command])
        self.assertEqual(code, 1, said)
        self.assertIn("/etc/openemr-gateway/gateway.yaml", said)

    def test_a_demo_answers_and_ends_with_the_stop_signal(self):
        port = free_port()
        demo = image().start(self, ["demo", f"--listen=127.0.0.1:{port}"], mounts=[[folder(self, 0o1777), "/tmp", "rw"]])
        demo.ready(f"http://127.0.0.1:{port}/ready")
        answer = ask(f"http://127.0.0.1:{port}/fhir/Patient?_count=1")
        self.assertEqual(answer.status, 200, answer)
        demo.signal(getattr(signal, image().stages["last"].one("STOPSIGNAL")))
        until(lambda: demo.process.poll() is not None, "the demo ends")
        self.assertEqual(demo.process.returncode, 0, demo.output)
        self.assertIsNone(status(f"http://127.0.0.1:{port}/health"))


if __name__ == "__main__":
    unittest.main()

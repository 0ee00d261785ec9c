"""The image of deploy/docker/Dockerfile, laid out by hand: what an engine would make of its last stage.

No engine runs here, and no base image can be fetched. The base image has a substitute: what distroless's cc-debian12 documents to have
(glibc and libgcc, certificates of authorities, the user nonroot, /tmp). The commands of the build stage are run but for the compiler,
in whose place the program comes that the tests are run with.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

from programs import GATEWAY, ROOT, Program

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
BASE = "gcr.io/distroless/cc-debian12:nonroot"
# What BASE has of shared libraries.
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libstdc++.so.6"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def cannot_run():
    """Whether this process may not do what a container engine does: change users, and mount in a namespace of its own."""
    return os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0


run_in_image = unittest.skipIf(cannot_run(), "needs root, and a mount namespace")


@dataclasses.dataclass
class Stage:
    """A stage of a Dockerfile: its base, and its instructions as [name, text]."""

    base: str
    instructions: list

    def all(self, name):
        return [text for one, text in self.instructions if one == name]

    def one(self, name):
        [text] = self.all(name)
        return text


def stages(text):
    """The stages of a Dockerfile by name; the last one is called `last`."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    found, arguments = {}, {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base)
            stage = found[alias or "last"] = Stage(base, [])
        elif not found:
            key, _, value = rest.partition("=")
            arguments[key] = value
        else:
            stage.instructions.append([name, rest.strip()])
    return found


def exec_form(text):
    """The words of an instruction in its exec form, the only one that works without a shell."""
    words = json.loads(text)
    if not all(isinstance(word, str) for word in words):
        raise AssertionError(text)
    return words


class Image:
    """The last stage's root folder, and what its instructions say of the process."""

    def __init__(self):
        self.stages = stages(DOCKERFILE.read_text())
        last = self.stages["last"]
        self.user, self.group = map(int, last.one("USER").split(":"))
        self.workdir = last.one("WORKDIR")
        self.entrypoint = exec_form(last.one("ENTRYPOINT"))
        self.command = exec_form(last.one("CMD"))
        self.health = exec_form(re.search(r"CMD (\[.*\])$", last.one("HEALTHCHECK"))[1])
        self._folder = tempfile.TemporaryDirectory(prefix="image-")
        built, self.root = pathlib.Path(self._folder.name, "built"), pathlib.Path(self._folder.name, "root")
        os.chmod(self._folder.name, 0o755)
        self._build(built)
        self._lay_base()
        for copy in last.all("COPY"):
            self._copy(copy, built)

    def _build(self, built):
        """Runs the last command of the build stage, without the compiler."""
        command = re.sub(r"--mount=\S+\s*", "", self.stages["build"].all("RUN")[-1])
        command = command.replace("/image/", f"{built}/image/")
        with tempfile.TemporaryDirectory() as source:
            cargo = f"cargo() {{ mkdir -p target/release && cp {shlex.quote(GATEWAY)} target/release/openemr-gateway; }}; "
            subprocess.run(["bash", "-euc", cargo + command], cwd=source, check=True)

    def _lay_base(self):
        for folder in ["etc/ssl/certs", "usr/bin", "tmp", "proc", "dev", "lib", "lib64", "home/nonroot", "var/lib"]:
            (self.root / folder).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        (self.root / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
        )
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.root / "etc/resolv.conf").touch()
        authorities = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():
            shutil.copy(authorities, self.root / "etc/ssl/certs")
        for name, file in libraries(GATEWAY):
            place = self.root / file.lstrip("/") if name.startswith("ld-") else self.root / "lib" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)

    def _copy(self, text, built):
        flags = dict(flag[2:].split("=", 1) for flag in text.split() if flag.startswith("--"))
        source, target = [word for word in text.split() if not word.startswith("--")]
        if flags.pop("from") != "build":
            raise AssertionError(text)
        place = self.root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        source = built / source.lstrip("/")
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copy(source, place)
        if "chown" in flags:
            os.chown(place, *map(int, flags["chown"].split(":")))

    def enter(self, command, mounts=(), user=None, group=None, cwd=None, env=None, read_only=True):
        """The command that runs another one in the image."""
        for _, target, _ in mounts:
            # As an engine makes the place of a mount where the image has none.
            place = self.root / target.lstrip("/")
            if not place.exists():
                place.mkdir(parents=True)
        description = {
            "root": str(self.root),
            "mounts": [["/proc", "/proc", "rw"], ["/dev", "/dev", "rw"], *mounts],
            "read_only": read_only,
            "user": self.user if user is None else user,
            "group": self.group if group is None else group,
            "cwd": cwd or self.workdir,
            "env": {"PATH": PATH, **(env or {})},
            "command": command,
        }
        return ["unshare", "--mount", sys.executable, str(pathlib.Path(__file__).with_name("enter.py")), json.dumps(description)]

    def start(self, test, command, **options):
        """Runs a command of the program in the image until the test ends."""
        return Program(test, self.enter([*self.entrypoint, *command], **options))

    def code(self, command, **options):
        """The exit code of a command in the image, and what it printed."""
        done = subprocess.run(self.enter(command, **options), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


def libraries(program):
    """The shared libraries of a program, each as (name, file)."""
    for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found:
            yield os.path.basename(found[1]), found[1]


@functools.cache
def image():
    """The image, laid out once."""
    return Image()

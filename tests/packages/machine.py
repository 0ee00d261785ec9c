"""A Debian of this machine's release with systemd as its first process, in a container with a network of its own."""

import contextlib
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import tempfile
import time

SOURCES = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", SOURCES / "target"))
# What the package needs besides what every Debian has.
PACKAGES = "systemd-sysv,adduser,libgcc-s1"
WITHIN = 60
INSIDE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def missing():
    """Why there can be no such machine here; None where there can."""
    tools = [tool for tool in ("mmdebstrap", "systemd-nspawn", "nsenter", "apt-get") if shutil.which(tool) is None]
    if tools:
        return f"{', '.join(tools)} missing"
    return None if os.geteuid() == 0 else "only root can start a container"


def eventually(what, condition, within=WITHIN):
    """Waits for a condition and returns its value."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.2)
    return value


def program(process):
    """The program of a process; nothing where it has ended."""
    try:
        return os.readlink(f"/proc/{process}/exe")
    except OSError:
        return ""


def base():
    """The packed files of such a Debian, made at the first use."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    packed = TARGET / "packages" / f"debian-{release}.tar"
    if not packed.exists():
        print(f"making a Debian ({release}) to install into", flush=True)
        packed.parent.mkdir(parents=True, exist_ok=True)
        half = packed.with_suffix(".half.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", release, str(half)]
        subprocess.run(command, check=True, timeout=900, stdin=subprocess.DEVNULL)
        half.rename(packed)
    return packed


class Machine(contextlib.ExitStack):
    """The running container; it ends with the `with` block."""

    def __init__(self):
        super().__init__()
        self.root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="gateway-debian-", ignore_cleanup_errors=True)))
        subprocess.run(["tar", "-xf", base(), "-C", self.root], check=True, timeout=300)
        self.console = self.root.parent / f"{self.root.name}.console"
        self.callback(self.console.unlink, missing_ok=True)
        command = ["systemd-nspawn", "--quiet", "--directory", self.root, "--boot", "--register=no", "--keep-unit", "--private-network",
                   "--console=pipe", "systemd.unit=multi-user.target"]
        with open(self.console, "wb") as console:
            self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.callback(self.stop)
        self.first = None
        try:
            self.first = eventually("the container has a first process", self.first_process)
            eventually("systemd is up", lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"))
        except BaseException:
            print(self.console.read_text(errors="replace"))
            self.close()
            raise

    def first_process(self):
        """The container's process 1, as this machine numbers it."""
        if self.nspawn.poll() is not None:
            raise AssertionError(f"the container has ended: {self.console.read_text(errors='replace')}")
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return next((child for child in children if program(child).endswith("/systemd")), None)

    def stop(self):
        """Halts the container."""
        self.nspawn.send_signal(signal.SIGTERM)
        try:
            self.nspawn.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()

    def entered(self, *command):
        """A command inside the container."""
        return ["nsenter", "--target", self.first, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/", *map(str, command)]

    def beside(self, *command):
        """A command with the files of this machine and the network of the container."""
        return ["nsenter", "--target", self.first, "--net", *map(str, command)]

    def run(self, *command, check=True, within=300):
        """Runs a command inside; its result has what it printed."""
        done = subprocess.run(self.entered(*command), env=INSIDE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=within)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
        return done

    def shell(self, script, **options):
        """Runs a script inside."""
        return self.run("sh", "-euc", script, **options)

    def path(self, path):
        """A file of the container, as this machine names it."""
        return self.root / path.lstrip("/")

"""Programs that run while something is measured: started on one core, asked, and ended by their own id."""

import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))
from ports import free_ports

# A program starts slowly under Valgrind, and on a machine that is busy.
WITHIN = 180


class Failed(Exception):
    """What went wrong, and what mends it, in words for the terminal."""


def tool(name):
    """Where a program is; those of the system's administrator are not in everybody's PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise Failed(f"{name} is missing; `scripts/prerequisites bench` installs what the benchmarks need")
    return found


def run(*command, within=600, **options):
    """What a command prints (on its error output if nothing else); it must succeed."""
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within, **options
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(part) for part in command)} has ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout or done.stderr


def until(look, what, within=WITHIN, pause=0.05):
    """What `look` returns first that is true."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Failed(f"{what() if callable(what) else what}: not within {within} s")
        time.sleep(pause)
    return found


def is_listening(port):
    with contextlib.closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def on(cores):
    """What a new process does first: runs on these cores alone (None leaves it where it is), with as many open files as there may be."""

    def prepare():
        if cores is not None:
            os.sched_setaffinity(0, cores)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return prepare


class Program:
    """A program and its children. Its output goes to a file in its folder."""

    def __init__(self, name, command, folder, cores=None, environment=None):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.out"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=on(cores),
            )

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def await_port(self, port, within=WITHIN):
        """Waits until it listens."""
        self.await_that(lambda: is_listening(port), f"listens on {port}", within)

    def await_that(self, look, what, within=WITHIN):
        """Waits for something that it does, and fails at once when it has ended."""

        def looked():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} has ended with {self.process.returncode}:\n{self.output[-3000:]}")
            return look()

        return until(looked, lambda: f"{self.name} {what}; it has said:\n{self.output[-3000:]}", within)

    def says(self, pattern, within=WITHIN):
        """Waits until its output matches."""
        return self.await_that(lambda: re.search(pattern, self.output), f"says {pattern}", within)

    def end(self, number=signal.SIGTERM, within=15):
        """Ends it in order; what does not end within so many seconds is killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                for pid in reversed(family(self.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait(15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def family(pid):
    """A process and what descends from it, parents first."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in task.read_text().split())
    return found


def say(text):
    """A line of progress, at once."""
    print(text, file=sys.stderr, flush=True)

"""The machine and the programs that a run was made with: figures of two machines are not compared."""

import os
import pathlib
import platform

from contenders import VERSIONS
from programs import Failed, run, tool


def machine():
    """Processor, cores, memory, kernel and distribution."""
    processor = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    release = dict(line.split("=", 1) for line in _lines("/etc/os-release") if "=" in line)
    return {
        "processor": processor[0] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{memory / 1024 / 1024:.0f} GiB",
        "kernel": platform.release(),
        "system": release.get("PRETTY_NAME", platform.system()).strip('"'),
    }


def _lines(file):
    return pathlib.Path(file).read_text().splitlines()


def versions(place):
    """The versions of what is compared, and of what measures."""
    found = {name: version(place) for name, version in VERSIONS.items()}
    found["wrk"] = _first([tool("wrk"), "-v"]).split()[1]
    found["h2load"] = run(tool("h2load"), "--version").split("/")[-1].strip()
    found["Valgrind"] = run(tool("valgrind"), "--version").strip().removeprefix("valgrind-")
    found["OpenSSL"] = run(tool("openssl"), "version").split()[1]
    return found


def gateway_version(gateway):
    return run(gateway, "--version").strip()


def _first(command):
    """The first line that a command prints, whatever its exit code is: wrk has none for its version."""
    try:
        return run(*command).splitlines()[0]
    except Failed as failed:
        return str(failed).splitlines()[1]


def check():
    """The proxy has a core for itself while it is measured."""
    if len(os.sched_getaffinity(0)) < 2:
        raise Failed("the benchmarks need two processor cores: one for the proxy, one for the upstream and the load")

#!/usr/bin/env python3
"""Measures sections of the benchmark, and writes docs/benchmarks.json, docs/benchmarks.md and its pictures.

    run.py [SECTION …]        all of them without a name; `none` writes the document alone

BENCH_ROUNDS (5) and BENCH_SECONDS (2) set the length, GATEWAY names the program to measure in place of `make profiled`'s.
"""

import datetime
import importlib
import json
import subprocess
import sys
import time

import instructions
import machine
import report
from bench import Bench
from command import command
from place import Place, gateway_as_released
from programs import ROOT, Failed, run, say

# In the order of the document, with the minutes that each takes by default.
SECTIONS = {
    "cpu": 8,
    "counts": 4,
    "latency": 3,
    "memory": 4,
    "stream": 1,
    "cold_start": 1,
    "token_refresh": 1,
    "scaling": 1,
    "growth": 3,
    "parts": 2,
    "phases": 1,
    "savings": 5,
}


def measured_before(found):
    """The figures of earlier runs on this machine with these versions; nothing of other ones."""
    if not report.MEASURED.exists():
        return {}
    before = json.loads(report.MEASURED.read_text())
    if any(before[part] != found[part] for part in ("machine", "versions")):
        say("figures of earlier runs are left out: the machine or the versions were others")
        return {}
    return before["sections"]


def phases(bench):
    return instructions.count(bench.place)


def savings(bench):
    """What bench/savings/ measures, by itself."""
    file = bench.place.folder / "savings.json"
    run(sys.executable, ROOT / "bench/savings/run.py", "--gateway", bench.place.gateway, "--out", file, within=1800)
    return json.loads(file.read_text())


# Those that are no file of sections/.
OTHERS = {"phases": phases, "savings": savings}


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    wanted = [] if wanted == ["none"] else wanted
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise Failed(f"there is no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if not wanted:
        report.write(json.loads(report.MEASURED.read_text()))
        return 0
    machine.check()
    gateway = gateway_as_released()
    say(f"measuring {', '.join(wanted)}: about {sum(SECTIONS[name] for name in wanted)} minutes; nothing else should run meanwhile")
    with Place(gateway, {1}) as place:
        found = {"machine": machine.machine(), "versions": machine.versions(place)}
        before = measured_before(found)
        bench = Bench(place)
        failed = []
        for name in wanted:
            began = time.monotonic()
            measure = OTHERS.get(name) or importlib.import_module(f"sections.{name}").measure
            try:
                before[name] = {"figures": measure(bench)} | conditions(gateway, bench, name)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                failed.append(name)
                say(f"{name}: {error}")
                continue
            say(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes")
            # What was measured is kept if a later section is broken off.
            ordered = {section: before[section] for section in SECTIONS if section in before}
            report.MEASURED.write_text(json.dumps(found | {"sections": ordered}, indent=1) + "\n")
            report.write(found | {"sections": ordered})
    say("wrote docs/benchmarks.md")
    if failed:
        raise Failed(f"not measured: {' '.join(failed)}\n  again:  make bench BENCH=\"{' '.join(failed)}\"")
    return 0


def conditions(gateway, bench, name):
    """When and how a section was measured."""
    now = datetime.datetime.now(datetime.timezone.utc)
    length = {} if name in ("counts", "parts", *OTHERS) else {"rounds": bench.rounds, "seconds": bench.whole_seconds}
    return {"when": f"{now:%Y-%m-%d %H:%M} UTC", "gateway": machine.gateway_version(gateway)} | length


if __name__ == "__main__":
    sys.exit(command(main))

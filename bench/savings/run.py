#!/usr/bin/env python3
"""What the gateway saves OpenEMR: the same requests through the gateway and to OpenEMR itself, which the sandbox plays with OpenEMR's
times. Writes what was counted and measured as JSON; render.py makes a text of it.

    bench/savings/run.py --gateway target/release/openemr-gateway --out savings.json
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile
import time

import scenarios
from stage import WORKERS, Failed, Stage, version

PATIENTS = 400
SHARES = "    share_pages: 20s"
PAGED = ["Observation", "Encounter", "Patient"]


def measure(arguments, folder, say):
    """All of it, one after the other."""
    requests, scale = (100, 0.1) if arguments.quick else (arguments.requests, 1.0)
    stage = lambda name, settings="": Stage(arguments.gateway, folder / name, PATIENTS, settings)
    found = {"version": version(arguments.gateway), "requests": requests, "workers": WORKERS, "patients": PATIENTS}
    begun = time.monotonic()
    with stage("requests") as one:
        for name in ("jobs", "dashboards", "unchanged", "compressed"):
            say(name)
            found[name] = getattr(scenarios, name)(one, requests)
        tokens = len(re.findall(r" token \d+ for \d+ s", one.log()))
        found["gateway_tokens"] = {"tokens": tokens, "seconds": round(time.monotonic() - begun)}
    say("export")
    with stage("straight") as straight, stage("exporting") as exporting:
        found["export"] = scenarios.exports([straight, exporting], scale)
    say("pages")
    walks = lambda one, name: scenarios.measured(one, lambda: scenarios.walk(one, name))
    with stage("pages") as one, stage("shared", SHARES) as sharing:
        found["pages"] = [{"type": name, "straight": scenarios.unpaged(one, name), "gateway": walks(one, name),
                           "shared": walks(sharing, name)} for name in PAGED]
    return found


def main():
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", required=True, help="the program, built with the sandbox")
    parser.add_argument("--out", required=True, help="the file for the JSON")
    parser.add_argument("--requests", type=int, default=1000, help="how many requests each comparison sends (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="100 requests, and an export whose times are a tenth")
    arguments = parser.parse_args()
    say = lambda name: print(f"savings: {name}", file=sys.stderr, flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(arguments, pathlib.Path(folder), say)
    except (Failed, OSError) as error:
        sys.exit(f"error: {error}")
    pathlib.Path(arguments.out).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

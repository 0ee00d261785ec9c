#!/usr/bin/env python3
"""Counts the instructions of a request and compares them with bench/instructions.json.

    check_instructions.py             exit code 1 if something costs more than 3 % more than the file says
    check_instructions.py --update    writes the file

GATEWAY names the program to count; otherwise the release build is made. Nothing else has to be quiet: instructions are counted, not
timed.
"""

import argparse
import json
import pathlib
import platform
import sys

import instructions
from command import command
from place import Place, gateway_to_measure
from programs import ROOT, run, say, tool

FILE = ROOT / "bench/instructions.json"
# A change beyond this share is a difference; one of a phase must be that share of the whole request, too.
TOLERANCE = 0.03
OF_THE_WHOLE = 0.005


def conditions():
    """What the counts depend on besides the program's sources."""
    flags = next((line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    wanted = ("aes", "pclmulqdq", "avx2", "sha_ni")
    return {
        "rustc": run("rustc", "--version").strip(),
        "valgrind": run(tool("valgrind"), "--version").strip(),
        "libc": " ".join(platform.libc_ver()),
        "processor": platform.machine() + "".join(f" {flag}" for flag in wanted if flag in flags.split()),
    }


def rows(before, now):
    """Each figure of a case as (name, before, now, whether it has grown, whether it has shrunk)."""
    whole = before["total"]
    yield _row("total", whole, now["total"], 0)
    for part, least in (("phases", OF_THE_WHOLE), ("threads", OF_THE_WHOLE)):
        for name in dict.fromkeys([*before[part], *now[part]]):
            # What the phases add up to, and what does not belong to requests.
            if name not in ("requests", "by the clock"):
                yield _row(name, before[part].get(name, 0), now[part].get(name, 0), whole * least)


def _row(name, before, now, least):
    difference = now - before
    matters = abs(difference) > max(before * TOLERANCE, least)
    return name, before, now, matters and difference > 0, matters and difference < 0


def table(before, now):
    """The comparison for a reader, and whether something has grown."""
    lines, has_grown = [], False
    for case in now:
        lines.append(f"{case}: instructions a request")
        if case not in before:
            lines += [f"  {'total':32} {now[case]['total']:>10,}  (not in the file)", ""]
            continue
        for name, was, is_now, grew, shrank in rows(before[case], now[case]):
            change = f"{(is_now - was) / was:+8.1%}" if was else "     new"
            mark = "  MORE" if grew else "  less" if shrank else ""
            lines.append(f"  {name:32} {was:>10,} {is_now:>10,} {change}{mark}")
            has_grown |= grew
        lines.append("")
    return "\n".join(lines), has_grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--update", action="store_true", help="write the file")
    parser.add_argument("--rounds", type=int, default=1, help="count each case so often, and show the totals")
    parser.add_argument("--file", type=pathlib.Path, default=FILE, help="the file to compare with")
    options = parser.parse_args()
    say("counting the instructions of a request under Callgrind: about two minutes")
    with Place(gateway_to_measure()) as place:
        cases = instructions.count(place, rounds=options.rounds)
    for case, figures in cases.items():
        # Names of functions change with each compiler.
        del figures["functions"]
        if totals := figures.pop("rounds", None):
            spread = (max(totals) - min(totals)) / min(totals)
            say(f"{case}: {', '.join(f'{total:,}' for total in totals)}: a spread of {spread:.2%}")
    found = {"conditions": conditions(), "cases": cases}
    if options.update:
        options.file.write_text(instructions.as_text(found))
        print(f"wrote {options.file}")
    known = json.loads(options.file.read_text()) if options.file.exists() else {"conditions": found["conditions"], "cases": {}}
    text, has_grown = table(known["cases"], cases)
    print(text, end="")
    for name, value in found["conditions"].items():
        if known["conditions"].get(name) != value:
            print(f"note: {name} is {value} here, and {known['conditions'].get(name)} in the file: a difference may come from that")
    if has_grown:
        print("error: a request costs more than 3 % more than bench/instructions.json says")
        print("  make it cheaper, or say in the commit what is bought with it and run:  make bench-instructions UPDATE=1")
    return 1 if has_grown else 0


if __name__ == "__main__":
    sys.exit(command(main))

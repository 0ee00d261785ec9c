"""What each lever gave: counts of instructions that check_instructions.py has written, one program after the other, and the figures of
try_levers.py.

bench/levers/levers.json names the files in their order, with what distinguishes each program from the one before it; the changes to
Pingora that were tried, which are not kept anywhere; and in texts the levers that are no change of the program.
"""

import json

from programs import ROOT

FOLDER = ROOT / "bench/levers"
CASES = ("as shipped, 2 KB", "as shipped, 200 KB", "bare, 2 KB")
CALLS = {"as shipped": "calls_as_shipped", "bare": "calls_bare"}

TEXT = """Instructions of a request with each program, without SHA-256, and the difference that it made to the one it is compared with. Each
is the count of `bench/compare/check_instructions.py --file FILE --update`, kept in `bench/levers/`; counts of one program differ by less
than half a percent. Why, and what was left alone: [60](decisions/60-hot-path.md)."""

PINGORA = """The same with a copy of Pingora that was changed for this and thrown away: what is [proposed there](pingora.md). Beside them
the system calls on sockets of a read of 2 KB, one request after the other."""

TIMED = """Some of these programs beside each other in one run of {rounds} rounds of {seconds} s (`bench/compare/time_levers.py`):
microseconds of processor of a request, the whole process, on a core of its own; and calls that write, of a read of 2 KB. Where
threads wake each other, that is what shows it."""

OTHERS = """Levers that are settings, that are there already, or that cannot be had. Figures are those of
`bench/compare/try_levers.py`: instructions of a read of 2 KB without SHA-256, unless it says otherwise."""


def instructions(counted, case):
    """Instructions of a request in a case, without those that a processor with SHA extensions does not need."""
    figures = counted["cases"][case]
    return figures["total"] - figures["origins"].get("SHA-256", 0)


def section(levers=None, folder=FOLDER):
    """The tables, or nothing where there are no counts."""
    if levers is None:
        index = folder / "levers.json"
        levers = json.loads(index.read_text()) if index.exists() else {}
    if not levers.get("programs"):
        return ""
    figures = folder / "tried.json"
    tried = json.loads(figures.read_text()) if figures.exists() else {}
    lines = ["## What each lever gave", "", TEXT, "", *programs(levers["programs"], folder)]
    if (folder / "timed.json").exists():
        lines += ["", "### In time", "", *timed(levers["programs"], json.loads((folder / "timed.json").read_text()))]
    if changed := levers.get("pingora"):
        lines += ["", "### With Pingora changed", "", PINGORA, "", *programs(changed, folder, tried)]
    if others := levers.get("others"):
        lines += ["", "### Other levers", "", OTHERS, "", "| Lever | What it gives | Kept |", "|---|---|---|"]
        lines += [f"| {other['lever']} | {other['text'].format_map(tried)} | {other['kept']} |" for other in others]
    return "\n".join(lines)


def programs(levers, folder, tried=None):
    """A table with a row for each program; with `tried`, their system calls, too."""
    counts = {lever["file"]: json.loads((folder / lever["file"]).read_text()) for lever in levers}
    calls = list(CALLS) if tried is not None else []
    heads = [f" {case} | |" for case in CASES] + [f" calls, {name} |" for name in calls]
    lines = [f"| | Kept |{''.join(heads)}", f"|---|---|{'--:|--:|' * len(CASES)}{'--:|' * len(calls)}"]
    for lever in levers:
        cells = [lever["lever"], lever.get("kept", "")]
        before = counts.get(lever.get("before"))
        for case in CASES:
            now = instructions(counts[lever["file"]], case)
            cells += [f"{now:,}", difference(now, before and instructions(before, case))]
        cells += [f"{tried[lever['tried']][CALLS[name]]:.1f}" for name in calls]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def timed(levers, measured):
    """The table of the programs that were timed."""
    lines = [TIMED.format_map(measured), "", f"| |{''.join(f' {case} (µs) | from, to |' for case in CASES)} writes, 2 KB |"]
    lines.append(f"|---|{'--:|---|' * len(CASES)}--:|")
    texts = {lever["file"].removesuffix(".json"): lever["lever"] for lever in levers}
    for name, cases in measured["programs"].items():
        cells = [texts[name]]
        for case in CASES:
            cells += [f"{cases[case]['cpu']:,.1f}", f"{cases[case]['from']:,.1f} to {cases[case]['to']:,.1f}"]
        lines.append(f"| {' | '.join(cells)} | {cases[CASES[0]]['writes']:.2f} |")
    return lines


def difference(now, before):
    """The difference with its sign; nothing where there is nothing to compare with."""
    return f"{now - before:+,}".replace("-", "−") if before else ""

#!/usr/bin/env python3
"""Writes docs/benchmarks.md and its pictures from docs/benchmarks.json, without measuring anything.

    report.py [JSON [FOLDER]]
"""

import importlib.util
import json
import pathlib
import sys

import levers
import plots
import texts
from aims import NGINX, aims
from contenders import CONTENDERS
from figures import Figures, number, spread, times
from instructions import PHASES
from programs import ROOT
from tables import ALONE, COMPARED

NAMES = [contender.name for contender in CONTENDERS]
# Sections whose figures have a form of their own.
OF_THEIR_OWN = ("phases", "savings")
# Of each case, and what of a name is shown.
FUNCTIONS = 15
LONGEST_NAME = 100
MEASURED = ROOT / "docs/benchmarks.json"
FRAGMENTS = pathlib.Path(__file__).resolve().parent


def document(measured, drawn):
    """The whole document; `drawn` names the pictures that there are."""
    sections = measured["sections"]
    figures = figures_of(measured)
    parts = ["# Benchmarks", texts.MARK, texts.BEGIN, _aims(figures), _fragment("summary.md"), _machine(measured)]
    parts += ["## How it is measured", texts.HOW, "## Results"]
    for table in COMPARED:
        if table.section in sections:
            images = [_image(table, column) for column in table.columns if column.picture in drawn]
            parts += [f"### {table.heading}", table.text, *images, _table(figures, table), _when(sections[table.section])]
    parts += ["## The gateway alone"]
    for table in ALONE:
        if table.section in sections:
            parts += [f"### {table.heading}", table.text, _table(figures, table, "Case"), _when(sections[table.section])]
    if "phases" in sections:
        parts += ["## Where the remaining time goes", texts.PHASES, *_phases(sections["phases"]["figures"]), _when(sections["phases"])]
    parts += [levers.section()]
    if "savings" in sections:
        parts += [_savings(sections["savings"]["figures"]).strip(), _when(sections["savings"])]
    parts += ["## Run it", texts.RUN]
    return "\n\n".join(part for part in parts if part) + "\n"


def figures_of(measured):
    """What was measured of several proxies or cases."""
    return Figures({name: section for name, section in measured["sections"].items() if name not in OF_THEIR_OWN})


def _fragment(name):
    """A part that is written by hand, where there is one."""
    file = FRAGMENTS / name
    return file.read_text().strip() if file.exists() else ""


def _savings(found):
    """The part of bench/savings/, by its own program."""
    spec = importlib.util.spec_from_file_location("savings_render", ROOT / "bench/savings/render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.render(found)


def _aims(figures):
    lines = ["## The aims", "", texts.AIMS, "", "| | Aim, as shipped | Measured | | With Pingora as it is | |", "|---|---|---|---|---|---|"]
    for at, aim in enumerate(aims(figures), 1):
        lines.append(f"| {at} | {aim.aim} | {aim.measured} | {aim.verdict} | {aim.nearer} | {aim.nearer_verdict} |")
    return "\n".join(lines)


def _machine(measured):
    machine = measured["machine"]
    lines = ["## Machine and versions", "", "| | |", "|---|---|"]
    lines += [f"| {name.capitalize()} | {value} |" for name, value in machine.items()]
    lines += [f"| {name} | {value} |" for name, value in measured["versions"].items()]
    return "\n".join(lines)


def _when(section):
    length = f"{section['rounds']} rounds of {section['seconds']:g} s" if section.get("rounds") else ""
    return f"*{section['when']}, {', '.join(part for part in (length, section['gateway']) if part)}.*"


def _table(figures, table, first="Proxy"):
    """Medians, spreads, and ratios to one of the rows."""
    proxies = list(dict.fromkeys(proxy for column in table.columns for proxy in figures.proxies(column.figure)))
    # One that lacks the first figure has its place all the same.
    proxies.sort(key=lambda proxy: NAMES.index(proxy) if proxy in NAMES else -1)
    heads, rules = [first], ["---"]
    for column in table.columns:
        heads.append(f"{column.heading} ({column.unit})" if column.unit else column.heading)
        rules.append("--:")
        if not column.is_plain:
            heads += ["from, to", f"/ {table.reference}"]
            rules += ["---", "--:"]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
    for proxy in proxies:
        cells = [proxy]
        for column in table.columns:
            cells.append(number(figures.median(column.figure, proxy)))
            if not column.is_plain:
                cells += [spread(figures.values(column.figure, proxy)), times(figures.ratio(column.figure, proxy, table.reference))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _phases(cases):
    """Instructions of each case, by phase and by origin."""
    names = list(cases)
    rules = "|---|" + "--:|--:|" * len(names)
    heads = "".join(f" {name} | part |" for name in names)
    lines = [f"| Phase |{heads}", rules]
    for phase in PHASES:
        lines.append(f"| `{phase}` |{_shares(cases, 'phases', phase)}")
    lines.append(f"| Pingora and below |{_shares(cases, 'phases', 'Pingora and below')}")
    for thread in ("log", "audit"):
        lines.append(f"| the thread of the {'audit trail' if thread == 'audit' else thread} |" + _shares(cases, "threads", thread))
    lines.append("| **all** |" + "".join(f" {cases[name]['total']:,} | |" for name in names))
    yield "\n".join(lines)
    of_the_first = cases[names[0]]["origins"]
    origins = sorted({origin for case in cases.values() for origin in case["origins"]}, key=lambda origin: (-of_the_first.get(origin, 0), origin))
    yield "\n".join([f"| Code of |{heads}", rules, *(f"| {origin} |" + _shares(cases, "origins", origin) for origin in origins)])


    functions = dict.fromkeys(function for case in cases.values() for function in list(case["functions"])[:FUNCTIONS])
    lines = [f"| Function, without what it calls |{heads}", rules]
    yield "\n".join([*lines, *(f"| {_code(name)} |{_shares(cases, 'functions', name)}" for name in functions)])


def _code(function):
    """The name of a function as code in a table."""
    name = function if len(function) <= LONGEST_NAME else f"{function[: LONGEST_NAME - 1]}…"
    return f"`{name.replace('|', '∣')}`"


def _shares(cases, part, name):
    cells = ""
    for case in cases.values():
        count = case[part].get(name, 0)
        cells += f" {count:,} | {count / case['total']:.1%} |" if count else " | |"
    return cells


def pictures(measured):
    """The pictures, by name."""
    figures = figures_of(measured)
    found = {}
    for table in COMPARED:
        for column in table.columns:
            rows = _rows(figures, column.figure) if column.picture else []
            if rows:
                found[column.picture] = plots.bars(_title(table, column), rows)
    return found


def _image(table, column):
    return f"![{_title(table, column)}](images/benchmarks-{column.picture}.svg)"


def _title(table, column):
    return f"{table.heading}, {column.heading}: in relation to nginx (less is better)"


def _rows(figures, figure):
    reference = figures.median(figure, NGINX)
    rows = []
    for proxy in figures.proxies(figure) if reference and reference > 0 else []:
        kind = "reference" if proxy == NGINX else "gateway" if proxy.startswith("openemr-gateway") else "other"
        values = [value / reference for value in figures.values(figure, proxy)]
        rows.append((proxy, kind, figures.ratio(figure, proxy, NGINX), min(values), max(values)))
    return rows


def write(measured, folder=ROOT / "docs"):
    """Writes the document and the pictures."""
    drawn = pictures(measured)
    (folder / "images").mkdir(exist_ok=True)
    for name, picture in drawn.items():
        (folder / f"images/benchmarks-{name}.svg").write_text(picture)
    (folder / "benchmarks.md").write_text(document(measured, drawn))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    write(json.loads(pathlib.Path(arguments[0] if arguments else MEASURED).read_text()), *map(pathlib.Path, arguments[1:2]))

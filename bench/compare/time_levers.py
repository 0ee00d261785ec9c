#!/usr/bin/env python3
"""Times programs of the gateway beside each other, in one run: what a lever gives that no count of instructions shows.

    time_levers.py NAME=PROGRAM …     writes bench/levers/timed.json

NAME is that of a program in bench/levers/levers.json. The rounds go A B C … A B C …; BENCH_ROUNDS and BENCH_SECONDS set the length.
"""

import contextlib
import json
import pathlib
import statistics
import sys

import proxies.gateway
from accounting import writes
from bench import Bench, Running
from command import command
from levers import CASES, FOLDER
from load import wrk
from place import Place
from programs import Failed, free_ports, say
from sequential import await_answer, request

FILE = FOLDER / "timed.json"


class Named:
    def __init__(self, name):
        self.name = name


@contextlib.contextmanager
def started(bench, variant, programs):
    """All programs as this variant, started together."""
    place = bench.place
    with contextlib.ExitStack() as stack:
        running = []
        for name, program in programs.items():
            place.gateway, ports = program, free_ports(3)
            serving = stack.enter_context(proxies.gateway.start(place, variant, ports, bench.proxy_cores))
            await_answer(ports[0], request(place.paths["2 KB"], place.fields), name)
            running.append(Running(Named(name), serving, ports))
        yield running


def measure(bench, programs):
    """{program: {case: {microseconds of processor, writes to files a request}}}, medians of all rounds."""
    place, found = bench.place, {name: {} for name in programs}
    for variant in dict.fromkeys(case.rsplit(", ", 1)[0] for case in CASES):
        with started(bench, variant, programs) as running:
            for size in (case.rsplit(", ", 1)[1] for case in CASES if case.startswith(variant)):

                def load(each, size=size):
                    before = writes(each.program.pid)
                    result, used = bench.cost(each, lambda: wrk(place, each.http + place.paths[size], bench.whole_seconds, bench.load_cores))
                    return used * 1e6 / result.requests, (writes(each.program.pid) - before) / result.requests

                for name, rounds in bench.in_turn(running, load).items():
                    cpu, written = zip(*rounds, strict=True)
                    found[name][f"{variant}, {size}"] = {"cpu": statistics.median(cpu), "from": min(cpu), "to": max(cpu)}
                    found[name][f"{variant}, {size}"]["writes"] = statistics.median(written)
    return found


def main():
    programs = {}
    for named in sys.argv[1:]:
        name, _, program = named.partition("=")
        programs[name] = pathlib.Path(program).absolute()
        if not programs[name].is_file():
            raise Failed(f"{named}: there is no such program")
    if not programs:
        raise Failed("no program is named: NAME=PROGRAM")
    say(f"timing {', '.join(programs)}; nothing else should run meanwhile")
    with Place(next(iter(programs.values())), {1}) as place:
        bench = Bench(place)
        found = {"rounds": bench.rounds, "seconds": bench.whole_seconds, "programs": measure(bench, programs)}
    FILE.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))

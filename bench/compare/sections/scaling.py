"""One thread and two: the processor time of a request on both cores, which the load and the upstream share with the proxy."""

import contextlib
import dataclasses

from contenders import NGINX, SHIPPED
from load import wrk
from sections.cpu import measured

BOTH = {0, 1}


def measure(bench):
    figures = {}
    shared = dataclasses.replace(bench, proxy_cores=BOTH, load_cores=BOTH)
    path = bench.place.paths["2 KB"]
    load = measured(shared, lambda each: wrk(bench.place, each.http + path, bench.whole_seconds, BOTH))
    for contender in (NGINX, SHIPPED):
        with contextlib.ExitStack() as stack:
            running = {threads: stack.enter_context(shared.started(contender, threads=threads)) for threads in (1, 2)}
            for each in running.values():
                load(each)
            for _ in range(bench.rounds):
                for threads, each in running.items():
                    cpu, rate, _ = load(each)
                    name = f"{contender.name}, {threads} thread{'s' if threads > 1 else ''}"
                    figures.setdefault("scaling, cpu", {}).setdefault(name, []).append(cpu)
                    figures.setdefault("scaling, rate", {}).setdefault(name, []).append(rate)
    return figures

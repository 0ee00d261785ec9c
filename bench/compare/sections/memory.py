"""Resident memory: after the first answer, and with idle connections that have had an answer each."""

import contextlib
import time

from accounting import memory_kib
from sequential import Caller, request

CONNECTIONS = (1_000, 10_000)
# Memory is the same in each round, within a few percent; opening the connections takes the Python proxy a minute.
ROUNDS = 2
# In which what was needed for the answers is given back.
SETTLE = 1.5


def measure(bench):
    asked = request(bench.place.paths["2 KB"], bench.place.fields)
    figures = {"memory, idle": {}, **{f"memory, {count:,} connections": {} for count in CONNECTIONS}, "memory, a connection": {}}
    for at in range(min(ROUNDS, bench.rounds)):
        for contender in bench.contenders:
            if contender.is_slow and at > 0:
                continue
            with bench.started(contender) as each, contextlib.ExitStack() as stack:
                for name, value in _of(each, asked, stack).items():
                    figures[name].setdefault(contender.name, []).append(value)
    return figures


def _of(each, asked, stack):
    found = {}
    callers = []
    for count in (1, *CONNECTIONS):
        while len(callers) < count:
            caller = Caller(each.ports[0])
            stack.callback(caller.close)
            callers.append(caller)
            status, _ = caller.ask(asked)
            if status != 200:
                raise ConnectionError(f"{each.name}: status {status} on connection {len(callers)}")
        time.sleep(SETTLE)
        found["memory, idle" if count == 1 else f"memory, {count:,} connections"] = memory_kib(each.program.pid) / 1024
    most = CONNECTIONS[-1]
    found["memory, a connection"] = (found[f"memory, {most:,} connections"] - found["memory, idle"]) * 1024 / (most - 1)
    # All of them are still open: each answers once more.
    for caller in callers[:: most // 100]:
        status, _ = caller.ask(asked)
        if status != 200:
            raise ConnectionError(f"{each.name}: status {status} on a connection that was idle")
    return found

"""The time from the start of the program to its first answer that came from OpenEMR."""

import contextlib
import time

from programs import Failed, free_ports, is_listening
from sequential import Caller, request

WITHIN = 60


def measure(bench):
    asked = request(bench.place.paths["2 KB"], bench.place.fields)
    found = {contender.name: [] for contender in bench.contenders}
    for _ in range(bench.rounds):
        for contender in bench.contenders:
            found[contender.name].append(_first_answer(bench, contender, asked))
    return {"cold start": found}


def _first_answer(bench, contender, asked):
    """Milliseconds until the answer is there. A proxy that listens before it can serve is asked again."""
    ports = free_ports(3)
    began = time.monotonic()
    # `start` returns within a few milliseconds of the port's opening.
    with contender.start(bench.place, ports, bench.proxy_cores):
        while time.monotonic() - began < WITHIN:
            if is_listening(ports[0]):
                with contextlib.suppress(ConnectionError), contextlib.closing(Caller(ports[0])) as caller:
                    status, _ = caller.ask(asked)
                    if status == 200:
                        return (time.monotonic() - began) * 1000
            time.sleep(0.002)
    raise Failed(f"{contender.name} has not answered within {WITHIN} s of its start")

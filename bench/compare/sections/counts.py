"""What a request of 2 KB costs where no clock is needed: instructions in user space, and system calls."""

import contextlib
import re
import signal
import subprocess

from callgrind import UnderCallgrind
from instructions import kind_of
from load import wrk
from programs import Failed, Program, family, free_ports, say, tool
from sequential import Caller, await_answer, request

REQUESTS = 500
WARM_UP = 100
ROUNDS = 3


def measure(bench):
    figures = {name: {} for name in ("instructions, 2 KB", "instructions without SHA-256, 2 KB", "system calls, 2 KB")}
    for contender in bench.contenders:
        with not_everywhere(f"{contender.name} under Callgrind"):
            total, hashing = instructions(bench.place, contender)
            figures["instructions, 2 KB"][contender.name] = [total]
            figures["instructions without SHA-256, 2 KB"][contender.name] = [total - hashing]
        with not_everywhere(f"{contender.name} under strace"), bench.started(contender) as each:
            figures["system calls, 2 KB"][contender.name] = [system_calls(bench, each) for _ in range(min(ROUNDS, bench.rounds))]
    return figures


@contextlib.contextmanager
def not_everywhere(what):
    """Valgrind does not run every program, and a system may forbid to watch one: that figure is left out."""
    try:
        yield
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        say(f"  {what}: {str(error).splitlines()[0]}")


def may_be_watched(config):
    config["core_dumps"] = True


def instructions(place, contender):
    """Instructions of a request, one after the other on one connection, and those of them that compute SHA-256."""
    ports = free_ports(3)
    under = UnderCallgrind(place.folder)
    options = {"change": may_be_watched} if contender.is_gateway else {}
    asked = request(place.paths["2 KB"], place.fields)
    with contender.start(place, ports, under=under.command, **options) as program:
        await_answer(ports[0], asked, contender.name)
        with contextlib.closing(Caller(ports[0])) as caller:
            _ask(caller, asked, WARM_UP)
            under.zero(program.pid)
            _ask(caller, asked, REQUESTS)
        threads = under.dump(program.pid)
    if contender.is_gateway:
        threads = [counts for counts in threads if kind_of(counts)]
    hashing = sum(cost for counts in threads for (_, function), cost in counts.own.items() if "sha256_block" in function)
    return sum(counts.total for counts in threads) / REQUESTS, hashing / REQUESTS


def _ask(caller, asked, number):
    for _ in range(number):
        status, _ = caller.ask(asked)
        if status != 200:
            raise Failed(f"an answer with {status}")


def system_calls(bench, each):
    """System calls a request with 32 connections that ask as fast as they get answers, counted by strace."""
    summary = bench.place.folder / f"strace-{each.ports[0]}"
    summary.unlink(missing_ok=True)
    attached = [part for pid in family(each.program.pid) for part in ("-p", pid)]
    url = each.http + bench.place.paths["2 KB"]
    with Program(f"strace-{each.ports[0]}", [tool("strace"), "-f", "-c", "-o", summary, *attached], bench.place.folder) as strace:
        strace.says("attached")
        result = wrk(bench.place, url, bench.whole_seconds, bench.load_cores)
        strace.end(signal.SIGINT)
    total = re.search(r"^100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s+(?:\d+\s+)?total$", summary.read_text(), re.MULTILINE)
    if not total:
        raise Failed(f"strace has counted nothing:\n{summary.read_text()[-500:]}")
    return int(total[1]) / result.requests

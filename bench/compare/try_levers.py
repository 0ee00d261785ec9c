#!/usr/bin/env python3
"""Counts what levers give that need no other program, and no clock: settings of the gateway's, and handshakes with OpenEMR.

    try_levers.py NAME             writes the figures of a program to bench/levers/tried.json, under that name
    try_levers.py NAME calls ...   these alone; the others keep their figures

GATEWAY names the program; otherwise the release build is made. What each figure is, bench/levers/levers.json says in its texts.
"""

import argparse
import contextlib
import json
import re
import signal
import sys
from collections import Counter

import instructions
import proxies.gateway
import upstream
from callgrind import UnderCallgrind
from check_instructions import conditions
from command import command
from levers import FOLDER
from load import wrk
from place import Place, gateway_to_measure
from programs import Failed, Program, free_ports, say, tool
from sequential import Caller, await_answer, request

FILE = FOLDER / "tried.json"
REQUESTS = 1000
WARM_UP = 100
HANDSHAKES = 200
# Of one request, whatever other requests there are; waits and what one thread says to another depend on the load.
OF_SOCKETS = ("sendto", "sendmsg", "writev", "write", "recvfrom", "recvmsg", "read", "getpeername", "getsockopt", "setsockopt")
# How a request gets a connection to OpenEMR and gives it back, and how it is counted.
OF_THE_POOL = re.compile(r"^pingora_core::connectors::http::Connector<C>::(get|release)_http_session")
OF_METRICS = re.compile(r"^openemr_gateway::observe::metrics::")
PROCESSES = 8
LOADED_SECONDS = 2
LOGGED = "log_format tries '$connection_requests $ssl_session_reused $uri'; access_log {folder}/upstream.access.log tries;"


def variant(name):
    """Starts the gateway in a variant, with or without Callgrind, and with changes to its configuration."""

    def start(*arguments, **options):
        return proxies.gateway.start(arguments[0], name, *arguments[1:], **options)

    return start


def counted(place, change=None, name="as shipped", ask=None, number=REQUESTS):
    """The threads of a gateway that has been asked so often, as Callgrind counted them."""
    under, ports = UnderCallgrind(place.folder), free_ports(3)

    def changed(config):
        config["core_dumps"] = True
        if change:
            change(config)

    asked = request(place.paths["2 KB"], place.fields)
    with variant(name)(place, ports, under=under.command, change=changed) as program:
        await_answer(ports[0], asked, "the gateway")
        with contextlib.closing(Caller(ports[0])) as caller:
            once = (lambda: ask(ports[0], asked)) if ask else (lambda: caller.ask(asked)[0])
            for _ in range(WARM_UP):
                expect(once())
            under.zero(program.pid)
            for _ in range(number):
                expect(once())
        return under.dump(program.pid)


def expect(status):
    if status != 200:
        raise Failed(f"an answer with {status}")


def each(threads, number=REQUESTS):
    """Instructions of a request, without SHA-256 and without threads that work by the clock."""
    found = instructions.summary(threads, number)
    return found["total"] - found["origins"].get("SHA-256", 0)


def calls(place):
    """System calls on sockets, of a read of 2 KB."""
    return {f"calls_{name.replace(' ', '_')}": system_calls(place, name) for name in ("as shipped", "bare")}


def system_calls(place, name):
    ports, asked = free_ports(3), request(place.paths["2 KB"], place.fields)
    with variant(name)(place, ports, change=lambda config: config.update(core_dumps=True)) as program:
        await_answer(ports[0], asked, "the gateway")
        summary = place.folder / f"strace-{ports[0]}"
        with contextlib.closing(Caller(ports[0])) as caller:
            expect(caller.ask(asked)[0])
            watched = [tool("strace"), "-f", "-c", "-o", summary, "-e", f"trace={','.join(OF_SOCKETS)}", "-p", program.pid]
            with Program(f"strace-{ports[0]}", watched, place.folder) as strace:
                strace.says("attached")
                for _ in range(REQUESTS):
                    expect(caller.ask(asked)[0])
                strace.end(signal.SIGINT)
    numbers = Counter({line.split()[-1]: int(line.split()[3]) for line in summary.read_text().splitlines() if re.match(r" *\d+\.\d", line)})
    # `write` goes to files and wakes threads, too: on sockets the gateway sends.
    return round(sum(number for call, number in numbers.items() if call not in ("total", "write")) / REQUESTS, 1)


def settings(place):
    """Work stealing with one worker thread, and what of a request are metrics."""
    threads = counted(place)
    stealing = counted(place, lambda config: config["server"].update(work_stealing=True))
    return {"base": each(threads), "work_stealing": each(stealing), "metrics": part(threads, OF_METRICS)}


def part(threads, pattern):
    """Instructions of a request in the functions with such names, with all that they call."""
    return round(sum(thread.within(lambda name: bool(pattern.search(name))) for thread in threads) / REQUESTS)


def connections(place):
    """New connections to OpenEMR, of a thousand reads on four connections at once: of several processes together, and the most of one.
    Which threads the connections get is chance, and each process has four new ones at first."""
    found = {}
    url = "http://127.0.0.1:{}" + place.paths["2 KB"]
    for name, threads, stealing in (("one", 1, False), ("apart", 2, False), ("shared", 2, True)):
        server = {"threads": threads, "work_stealing": stealing}
        reads = []
        for _ in range(PROCESSES):
            ports, before = free_ports(3), len(logged(place))
            with variant("bare")(place, ports, change=lambda config, server=server: config["server"].update(server)):
                await_answer(ports[0], request(place.paths["2 KB"], place.fields), "the gateway")
                wrk(place, url.format(ports[0]), LOADED_SECONDS, connections=4)
            lines = logged(place)[before:]
            reads.append((sum(number == "1" for number, _ in lines), len(lines)))
        found[f"connected_{name}"] = round(1000 * sum(new for new, _ in reads) / sum(number for _, number in reads), 1)
        found[f"connected_{name}_most"] = round(max(1000 * new / number for new, number in reads), 1)
    return found


def logged(place):
    """What the upstream has written of each read: the how manieth it was on its connection, and whether its session was resumed."""
    lines = (place.folder / "upstream.access.log").read_text().splitlines()
    return [line.split()[:2] for line in lines if line.endswith("/patient")]


def accepting(place):
    """A read on a connection of its own, on two worker threads with one and with two tasks that accept."""

    def once(port, asked):
        with contextlib.closing(Caller(port)) as caller:
            return caller.ask(asked)[0]

    def tasks(number):
        return lambda config: config["server"].update(threads=2, listener_tasks_per_fd=number)

    return {f"accept_{name}": each(counted(place, tasks(number), ask=once)) for name, number in (("one", 1), ("two", 2))}


def pool(place):
    """What of a bare read it takes to get a connection to OpenEMR and to give it back."""
    threads = counted(place, name="bare")
    return {"bare": each(threads), "pool": part(threads, OF_THE_POOL)}


def handshakes(place):
    """A read for which the gateway connects to OpenEMR anew, and how many in a hundred of these handshakes were resumed."""

    def of_all(config):
        config["server"]["ca_file"] = config["sites"]["default"].pop("ca_file")

    found = {}
    for name, change in (("site", None), ("server", of_all)):
        threads = counted(place, change, "bare", number=HANDSHAKES)
        lines = logged(place)[-HANDSHAKES:]
        if any(number != "1" for number, _ in lines):
            raise Failed("a connection had several requests")
        found[f"{name}_ca"] = each(threads, HANDSHAKES)
        found[f"{name}_ca_resumed"] = round(100 * sum(reused == "r" for _, reused in lines) / HANDSHAKES)
    return found


GROUPS = {
    "calls": calls,
    "settings": settings,
    "connections": connections,
    "accepting": accepting,
    "pool": pool,
    "handshakes": handshakes,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="the program")
    parser.add_argument("groups", nargs="*", default=[], help=f"of {', '.join(GROUPS)}")
    options = parser.parse_args()
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    figures = known.setdefault(options.name, {})
    gateway = gateway_to_measure()
    kept = upstream.CONFIGURATION
    logging = kept.replace("access_log off;", LOGGED)
    closing = logging.replace("keepalive_requests 100000000;", "keepalive_requests 1;")
    for group in options.groups or GROUPS:
        upstream.CONFIGURATION = {"handshakes": closing, "connections": logging}.get(group, kept)
        with Place(gateway) as place:
            figures.update(GROUPS[group](place))
        say(f"{group}: {figures}")
        figures["conditions"] = conditions()
        FILE.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))

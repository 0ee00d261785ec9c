"""Instructions of a request through the gateway, counted by Callgrind: in total, by phase, and by where the code comes from."""

import json
import re
from collections import Counter

import proxies.gateway
from callgrind import UnderCallgrind
from programs import Failed, free_ports
from sequential import Caller, await_answer, request

# Of how many requests each case is the mean, and how many go before them.
REQUESTS = {"2 KB": 1000, "200 KB": 200}
WARM_UP = {"2 KB": 100, "200 KB": 20}
CASES = (("as shipped", "2 KB"), ("as shipped", "200 KB"), ("bare", "2 KB"))

# The threads whose work belongs to requests, by a function that only they run. The others (timers, the look at the nodes, the history
# of the status page) work by the clock, and under Valgrind the clock runs fifty times as fast as the requests.
THREADS = {
    "requests": re.compile(r" as pingora_proxy::proxy_trait::ProxyHttp>::"),
    "log": re.compile(r"\bobserve::log_(writer|output|file|stream)\b"),
    "audit": re.compile(r"\bsinks::writer::"),
}
# In the order in which Pingora calls them.
PHASES = (
    "early_request_filter",
    "request_filter",
    "upstream_peer",
    "connected_to_upstream",
    "upstream_request_filter",
    "request_body_filter",
    "upstream_response_filter",
    "upstream_response_body_filter",
    "response_filter",
    "response_body_filter",
    "logging",
)

_CRATE = re.compile(r"/registry/src/[^/]+/(.+?)-\d+\.\d+[^/]*/")
_ROOM = re.compile(r"(?:^|/)src/(\w+)(?:/|\.rs)")
# Crates that belong together, by the beginning of their names.
FAMILIES = {
    "Pingora": ("pingora",),
    "tokio": ("tokio-1", "tokio", "mio", "bytes", "futures", "parking_lot", "lock_api", "crossbeam", "slab"),
    "TLS": ("rustls", "tokio-rustls", "aws-lc", "webpki", "ring"),
    "HTTP": ("http", "httparse", "h2", "httpdate"),
    "allocator": ("libmimalloc", "mimalloc"),
    "JSON": ("serde", "memchr", "itoa", "ryu"),
}

# What is less than this part of a request is not told from the rest.
SMALL = 0.002
# As many functions are named.
FUNCTIONS = 30


def origin(file, function):
    """Where a function's code comes from: a room of the gateway, a family of crates, the standard library or the C library."""
    if "sha256_block" in function:
        return "SHA-256"
    crate = _CRATE.search(file)
    if crate:
        return next((name for name, begins in FAMILIES.items() if crate[1].startswith(begins)), crate[1])
    if "/rustc/" in file or "/rust/deps/" in file:
        return "standard library"
    if function.startswith(("aws_lc_", "OPENSSL_", "gcm_", "aes_", "aesni", "bn_", "sha")):
        return "TLS"
    if function.startswith(("mi_", "_mi_")):
        return "allocator"
    if "sysdeps" in file or file.startswith("./"):
        return "C library"
    room = _ROOM.search(file)
    return f"gateway: {room[1]}" if room else "other crates"


def kind_of(counts):
    """What a thread is, or None for one that works by the clock."""
    names = counts.names()
    return next((kind for kind, mark in THREADS.items() if any(mark.search(name) for name in names)), None)


def phase_of(function):
    """The phase that a function is the beginning of."""
    named = re.search(r" as pingora_proxy::proxy_trait::ProxyHttp>::(\w+)", function)
    return named and named[1]


def summary(threads, requests):
    """The figures of one case, each a request."""
    kinds, phases, origins, functions = Counter(), Counter(), Counter(), Counter()
    for counts in threads:
        kind = kind_of(counts)
        kinds[kind or "by the clock"] += counts.total
        if kind is None:
            continue
        for (file, function), cost in counts.own.items():
            origins[origin(file, function)] += cost
            functions[function] += cost
        for phase in PHASES:
            phases[phase] += counts.within(lambda function, phase=phase: phase_of(function) == phase)
    if not kinds["requests"]:
        raise Failed("callgrind names no phase of the gateway: the program needs its symbols (`cargo build --release`, not stripped)")
    total = sum(cost for kind, cost in kinds.items() if kind != "by the clock")

    def each(costs):
        return {name: round(cost / requests) for name, cost in costs.items() if cost}

    small = [name for name, cost in origins.items() if cost < total * SMALL]
    origins["other crates"] += sum(origins.pop(name) for name in small if name != "other crates")

    return {
        "total": round(total / requests),
        "threads": each(kinds),
        "phases": each(phases) | {"Pingora and below": round((kinds["requests"] - sum(phases.values())) / requests)},
        "origins": dict(sorted(each(origins).items(), key=lambda item: -item[1])),
        "functions": each(dict(functions.most_common(FUNCTIONS))),
    }


def count(place, cases=CASES, rounds=1):
    """The figures of each case, by its name; with several rounds the first one's, and the totals of all."""
    found = {}
    for variant in dict.fromkeys(variant for variant, _ in cases):

        def start(*arguments, variant=variant, **options):
            return proxies.gateway.start(arguments[0], variant, *arguments[1:], **options)

        sizes = [size for of, size in cases if of == variant]
        for size, figures in count_of(place, start, sizes, rounds=rounds).items():
            found[f"{variant}, {size}"] = figures
    return found


def count_of(place, start, sizes, change=None, rounds=1):
    """The figures of a gateway for answers of each of these sizes; `change` alters its configuration."""
    ports = free_ports(3)
    under = UnderCallgrind(place.folder)

    def changed(config):
        # Callgrind is asked for its counts through the memory of the process.
        config["core_dumps"] = True
        if change:
            change(config)

    with start(place, ports, under=under.command, change=changed) as program:
        await_answer(ports[0], request(place.paths["2 KB"], place.fields), "the gateway")
        return {size: _counted(place, program, under, ports[0], size, rounds) for size in sizes}


def _counted(place, program, under, port, size, rounds):
    caller = Caller(port)
    asked = request(place.paths[size], place.fields)
    requests = REQUESTS[size]
    for _ in range(WARM_UP[size]):
        _expect(caller.ask(asked))
    results = []
    for _ in range(rounds):
        under.zero(program.pid)
        for _ in range(requests):
            _expect(caller.ask(asked))
        results.append(summary(under.dump(program.pid), requests))
    caller.close()
    totals = [result["total"] for result in results]
    return results[0] | ({"rounds": totals} if rounds > 1 else {})


def _expect(answer):
    status, length = answer
    if status != 200 or not length:
        raise Failed(f"an answer with {status} and {length} bytes")


def as_text(figures):
    return json.dumps(figures, indent=1) + "\n"

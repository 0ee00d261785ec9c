"""What the project aims at, each aim with the figure that was measured."""

from dataclasses import dataclass

from figures import number, times

SHIPPED = "openemr-gateway, as shipped"
PASSING = "openemr-gateway, pass_through, access log"
NGINX = "nginx"
# A difference that is not told from none.
NOT_MEASURABLE = 1.05


@dataclass
class Judged:
    """An aim, what was measured, and whether that meets it. `nearer` is the aim with Pingora as it is, where it is another one."""

    aim: str
    measured: str
    verdict: str
    nearer: str = ""
    nearer_verdict: str = ""


def judged(value, limit):
    """Whether a value is at most the limit, and by how much not."""
    if value is None:
        return "not measured"
    return "met" if value <= limit else _missed(value / limit)


def at_least(value, limit):
    if value is None:
        return "not measured"
    return "met" if value >= limit else _missed(limit / value)


def _missed(factor):
    return f"missed by {factor - 1:.0%}" if factor < 2 else f"missed by a factor of {factor:.1f}"


def aims(figures):
    """All aims, in their order."""
    small, large = "cpu, 2 KB, chunked", "cpu, 200 KB, chunked"
    to_nginx = figures.ratio(small, SHIPPED, NGINX)
    yield Judged("CPU of a request of 2 KB: at most 1.2x nginx", times(to_nginx), judged(to_nginx, 1.2), "1.6x", judged(to_nginx, 1.6))
    for name, least, nearer in (("Envoy", 2, 1 / 0.7), ("Caddy", 4, None), ("FastAPI + httpx", 150, None)):
        better = figures.ratio(small, name, SHIPPED)
        close = (f"below 0.7x {name}", at_least(better, nearer)) if nearer else ("", "")
        aim = f"CPU of a request of 2 KB: {name} needs at least {least}x as much"
        measured = f"{times(better)}, the gateway {times(1 / better)} {name}" if better and nearer else times(better)
        yield Judged(aim, measured, at_least(better, least), *close)
    to_nginx = figures.ratio(large, SHIPPED, NGINX)
    yield Judged(
        "CPU of a search of 200 KB with repairs: at most 1.0x nginx, which passes it through",
        times(to_nginx),
        judged(to_nginx, 1.0),
        "0.95x",
        judged(to_nginx, 0.95),
    )
    fast, passing = (figures.ratio("stream, MB/s", name, NGINX) for name in (SHIPPED, PASSING))
    yield Judged(
        "Download of 20 MB: at least nginx's throughput",
        f"{times(fast)}; passing through {times(passing)}",
        at_least(fast, 1.0) + f"; passing through {at_least(passing, 1.0)}",
    )
    added = figures.ratio("added, p99", SHIPPED, NGINX)
    yield Judged("p99 added at 1,000 requests a second: no more than nginx's", times(added), judged(added, 1.0), "2x nginx's", judged(added, 2.0))
    yield _memory(figures)
    for of, most in (("sites", "100"), ("clients", "100,000"), ("rules", "100")):
        grown = figures.ratio(f"growth, {of}", most, "1")
        what = {"sites": "the 100th site", "clients": "the 100,000th client", "rules": "the 100th rule of a policy"}[of]
        yield Judged(f"No measurable cost from {what}", times(grown), judged(grown, NOT_MEASURABLE))


def _memory(figures):
    at_most = "memory, 10,000 connections"
    mine, envoy = figures.median(at_most, SHIPPED), figures.median(at_most, "Envoy")
    each = figures.median("memory, a connection", SHIPPED)
    return Judged(
        "Memory with 10,000 idle connections: below Envoy's",
        f"{number(mine, 0)} MiB, Envoy {number(envoy, 0)} MiB; {number(each)} KiB a connection",
        judged(mine, envoy) if envoy else "not measured",
        "48 KiB a connection",
        judged(each, 48),
    )

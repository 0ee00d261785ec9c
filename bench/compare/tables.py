"""The tables of the document: what each shows, how that is measured, and its columns."""

from dataclasses import dataclass

from aims import NGINX


@dataclass(frozen=True)
class Column:
    """A figure. With `picture` it is also shown as bars, in docs/images/benchmarks-PICTURE.svg; `is_plain`: its median says it all."""

    figure: str
    heading: str
    unit: str = ""
    picture: str = ""
    is_plain: bool = False


@dataclass(frozen=True)
class Table:
    """A table. Its ratios are those to the row `reference`."""

    heading: str
    section: str
    text: str
    columns: tuple
    reference: str = NGINX


COMPARED = (
    Table(
        "Processor time, answers in chunks",
        "cpu",
        """Microseconds of processor for a read of 2 KB and for a search of 200 KB. The gateway as shipped tests and repairs every resource
of these answers, and makes an ETag for the read.""",
        (
            Column("cpu, 2 KB, chunked", "2 KB", "µs", "cpu-2kb"),
            Column("cpu, 200 KB, chunked", "200 KB", "µs", "cpu-200kb"),
        ),
    ),
    Table(
        "Processor time, answers with a length",
        "cpu",
        """The same with `Content-Length` in the upstream's answers.""",
        (
            Column("cpu, 2 KB, with length", "2 KB", "µs"),
            Column("cpu, 200 KB, with length", "200 KB", "µs"),
        ),
    ),
    Table(
        "Requests a second",
        "cpu",
        """As fast as answers come. *busy* is the part of its core that the proxy used: below about 95 % the upstream and the load on the
other core were what limited it, and the processor time above says how many it could do.""",
        (
            Column("rate, 2 KB, chunked", "2 KB", "/s"),
            Column("busy, 2 KB, chunked", "the proxy's core", "% busy", is_plain=True),
            Column("rate, 200 KB, chunked", "200 KB", "/s"),
        ),
    ),
    Table(
        "A create of 64 KB",
        "cpu",
        """A Patient with a long narrative is created. The gateway as shipped reads it, leaves out what OpenEMR does not take, and then
fetches the resource that was created for its answer: two exchanges with OpenEMR in place of one.""",
        (
            Column("cpu, 64 KB POST", "CPU", "µs"),
            Column("rate, 64 KB POST", "requests", "/s"),
        ),
    ),
    Table(
        "HTTPS and HTTP/2 to the caller",
        "cpu",
        """Reads of 2 KB over kept connections; handshakes are not in these figures. The Python proxy has no HTTP/2.""",
        (
            Column("cpu, 2 KB, TLS", "HTTPS, 2 KB", "µs"),
            Column("cpu, 2 KB, HTTP/2", "HTTP/2, 2 KB", "µs"),
        ),
    ),
    Table(
        "Instructions and system calls",
        "counts",
        """Of a read of 2 KB. Instructions are those in user space, counted by Callgrind with one request at a time; they depend on no
neighbour. Valgrind lacks the processor's SHA extensions, which do SHA-256 in a fraction of these instructions: the second
column is without it (the ETag and the chain of the audit trail). System calls are counted by strace with 32 connections, on all
threads. Caddy has no count of instructions: Callgrind does not follow Go's stacks.""",
        (
            Column("instructions, 2 KB", "instructions"),
            Column("instructions without SHA-256, 2 KB", "without SHA-256"),
            Column("system calls, 2 KB", "system calls"),
        ),
    ),
    Table(
        "Latency at 1,000 requests a second",
        "latency",
        """Of reads of 2 KB on 32 connections with pauses of random length between requests, less the same percentile of the same load that
goes to the upstream itself, over TLS and with the token. The Python proxy is left out: it does not reach this rate.""",
        (
            Column("added, p50", "p50 added", "µs"),
            Column("added, p99", "p99 added", "µs", "latency-p99"),
            Column("added, p99.9", "p99.9 added", "µs"),
        ),
    ),
    Table(
        "Memory",
        "memory",
        """Resident memory (Pss of all processes): after the first answer, and with connections that have had an answer each and are kept.
*each* is the growth from none to 10,000, by connection.""",
        (
            Column("memory, idle", "idle", "MiB"),
            Column("memory, 1,000 connections", "1,000 connections", "MiB"),
            Column("memory, 10,000 connections", "10,000", "MiB", "memory"),
            Column("memory, a connection", "each", "KiB"),
        ),
    ),
    Table(
        "A download of 20 MB",
        "stream",
        """A file of a bulk export in NDJSON, three times on one connection. As shipped the gateway parses and repairs each line; the
client's policy is `everything`, because a file of nobody's export is for no other client.""",
        (
            Column("stream, MB/s", "throughput", "MB/s"),
            Column("stream, CPU", "CPU", "ms"),
        ),
    ),
    Table(
        "Cold start",
        "cold_start",
        """From the start of the program to its first answer from the upstream. The gateway's includes the exchange for its access token.""",
        (
            Column("cold start", "first answer after", "ms"),
        ),
    ),
)
ALONE = (
    Table(
        "A new access token each second",
        "token_refresh",
        """`POST /oauth/token?force=true` each second beside 1,000 requests a second, which a client may do whose policy says so: the times
of answers with and without it.""",
        (
            Column("refresh, p50", "p50", "µs"),
            Column("refresh, p99", "p99", "µs"),
            Column("refresh, p99.9", "p99.9", "µs"),
            Column("refresh, failures", "failures", is_plain=True),
            Column("refresh, tokens", "new tokens", is_plain=True),
        ),
        "without",
    ),
    Table(
        "Two cores",
        "scaling",
        """One worker thread and two, on both cores, which the upstream and the load share with the proxy: two cores cannot show more. What
can be seen is whether a second thread makes a request dearer.""",
        (
            Column("scaling, cpu", "CPU", "µs"),
            Column("scaling, rate", "requests", "/s"),
        ),
        "nginx, 1 thread",
    ),
    Table(
        "Sites",
        "growth",
        """Sites in the configuration, each with its own token; the last one is asked.""",
        (
            Column("growth, sites", "CPU", "µs"),
        ),
        "1",
    ),
    Table(
        "Clients",
        "growth",
        """Clients in the configuration, each with an API key; the last one asks.""",
        (
            Column("growth, clients", "CPU", "µs"),
        ),
        "1",
    ),
    Table(
        "Rules of the policy",
        "growth",
        """Scopes in the client's policy; the last one permits the request.""",
        (
            Column("growth, rules", "CPU", "µs"),
        ),
        "1",
    ),
    Table(
        "What each part costs",
        "parts",
        """Instructions of a request as shipped, and without one or the other of what is done by default.""",
        (
            Column("instructions of parts, 2 KB", "2 KB"),
            Column("instructions of parts, 200 KB", "200 KB"),
        ),
        "as shipped",
    ),
)

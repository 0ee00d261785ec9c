"""The load: wrk for HTTP/1.1, h2load for HTTP/2. Each is one thread."""

import os
import pathlib
import re
from dataclasses import dataclass

from programs import Failed, on, run, tool

CONNECTIONS = 32
# wrk waits this long between two requests of a connection, in milliseconds: at 32 connections 1,000 requests a second in all.
PAUSES = (16, 48)
RATE = CONNECTIONS * 1000 * 2 // sum(PAUSES)

SCRIPT = """
{body}
{delay}
-- Identical requests that are under way at the same time would get one answer of OpenEMR's from openemr-gateway: none are.
local requests, at = {{}}, 0
function init(args)
    for number = 1, 2 * {connections} do
        wrk.headers["Accept-Language"] = string.format("en;q=0.%03d", number)
        requests[number] = wrk.format()
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("RESULT %d %d %d %.1f %.1f %.1f\\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


@dataclass
class Result:
    """What a load has found: answers, failures, the seconds that it took, and percentiles of the time of an answer in microseconds."""

    requests: int
    seconds: float
    failures: int
    p50: float = 0
    p99: float = 0
    p999: float = 0


def wrk(place, url, seconds, cores=None, fields=None, body=None, paced=False, connections=CONNECTIONS, may_fail=False):
    """Requests on kept connections: as many as can be, or with `paced` 1,000 a second. A body makes them POST."""
    script = pathlib.Path(place.folder) / f"load-{os.getpid()}.lua"
    posted = ""
    if body is not None:
        data = pathlib.Path(place.folder) / "load-body"
        data.write_bytes(body)
        posted = f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/fhir+json"\nwrk.body = io.open("{data}", "rb"):read("*a")'
    pause = f"function delay() return math.random({PAUSES[0]}, {PAUSES[1]}) end" if paced else ""
    script.write_text(SCRIPT.format(body=posted, delay=pause, connections=connections))
    headers = [part for name, value in (place.fields if fields is None else fields).items() for part in ("-H", f"{name}: {value}")]
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", script, *headers, url]
    said = run(*command, within=seconds + 120, preexec_fn=on(cores))
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)", said)
    if not found:
        raise Failed(f"wrk {url}: {said[-1000:]}")
    result = Result(int(found[1]), int(found[2]) / 1e6, int(found[3]), float(found[4]), float(found[5]), float(found[6]))
    return _checked(result, url, said, may_fail)


def h2load(place, base, seconds, cores=None, may_fail=False):
    """HTTP/2: reads of 2 KB on one connection, 32 at a time, of as many Patients as there are."""
    addresses = pathlib.Path(place.folder) / "load-addresses"
    addresses.write_text("".join(f"{base}/fhir/Patient/{name}\n" for name in place.documents.patient_ids))
    headers = [part for name, value in place.fields.items() for part in ("-H", f"{name}: {value}")]
    command = [tool("h2load"), "-t1", "-c1", f"-m{CONNECTIONS}", f"-D{seconds}", "-i", addresses, *headers]
    said = run(*command, within=seconds + 120, preexec_fn=on(cores))
    counted = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", said)
    if not counted or "h2" not in said:
        raise Failed(f"h2load {base}: {said[-1000:]}")
    return _checked(Result(int(counted[2]), seconds, int(counted[3])), base, said, may_fail)


def downloads(place, url, number, cores=None):
    """The seconds that a number of downloads take, one after the other."""
    headers = [part for name, value in place.fields.items() for part in ("-H", f"{name}: {value}")]
    each = ["-o", "/dev/null", url]
    command = [tool("curl"), "-sS", "--fail", "--noproxy", "*", "-w", "%{time_total} %{size_download}\\n", *headers, *each * number]
    said = [line.split() for line in run(*command, preexec_fn=on(cores)).splitlines()]
    # What is repaired on the way has another length.
    if any(int(size) < len(place.documents.ndjson) * 0.95 for _, size in said):
        raise Failed(f"downloads of {url} were cut short: {said}")
    return sum(float(seconds) for seconds, _ in said)


def _checked(result, url, said, may_fail):
    if not result.requests or (result.failures and not may_fail):
        raise Failed(f"{result.failures} of {result.requests} requests to {url} were not answered as they should be:\n{said[-1000:]}")
    return result

"""What callers notice while the access token is replaced each second: 1,000 requests a second, with and without."""

import threading
import urllib.request

from bench import split
from contenders import SHIPPED
from load import wrk

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refreshing:
    """Has a new token fetched each second, until it is left."""

    def __init__(self, each, key):
        self._url, self._key = f"{each.http}/oauth/token?force=true", key
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.refreshed = 0

    def _run(self):
        while not self._over.wait(1.0):
            request = urllib.request.Request(self._url, method="POST", headers={"X-API-Key": self._key})
            with _opener.open(request, timeout=30) as answer:
                answer.read()
            self.refreshed += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def measure(bench):
    place, cores = bench.place, bench.load_cores
    seconds = 3 * bench.whole_seconds
    found = {"without": [], "a new token each second": []}
    with bench.started(SHIPPED) as each:
        url = each.http + place.paths["2 KB"]
        wrk(place, url, 1, cores)
        for _ in range(bench.rounds):
            result = wrk(place, url, seconds, cores, paced=True, may_fail=True)
            found["without"].append((result.p50, result.p99, result.p999, result.failures, 0))
            with Refreshing(each, place.key) as refreshing:
                result = wrk(place, url, seconds, cores, paced=True, may_fail=True)
            values = (result.p50, result.p99, result.p999, result.failures, refreshing.refreshed)
            found["a new token each second"].append(values)
    return split(found, "refresh, p50", "refresh, p99", "refresh, p99.9", "refresh, failures", "refresh, tokens")

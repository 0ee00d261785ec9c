"""The time that a proxy adds to an answer at 1,000 requests a second, which no one but the Python proxy finds hard."""

from load import wrk

PERCENTILES = {"p50": "p50", "p99": "p99", "p99.9": "p999"}


def percentiles(result):
    return {name: getattr(result, attribute) for name, attribute in PERCENTILES.items()}


def measure(bench):
    place, cores = bench.place, bench.load_cores
    seconds = 2 * bench.whole_seconds
    path = place.paths["2 KB"]
    direct = f"https://127.0.0.1:{place.upstream_port}{path.replace('/fhir', '/apis/default/fhir', 1)}"
    authorized = {**place.fields, "Authorization": f"Bearer {place.documents.token}"}
    figures = {f"{kind}, {name}": {} for kind in ("latency", "added") for name in PERCENTILES}
    figures["failures at 1,000/s"] = {}

    def note(name, result, without):
        for percentile, value in percentiles(result).items():
            figures[f"latency, {percentile}"].setdefault(name, []).append(value)
            if without:
                figures[f"added, {percentile}"].setdefault(name, []).append(value - without[percentile])
        figures["failures at 1,000/s"].setdefault(name, []).append(result.failures)

    with bench.all_started() as running:
        # The Python proxy takes a fraction of that rate: its times would be those of its queue.
        running = [each for each in running if not each.contender.is_slow]
        for each in running:
            wrk(place, each.http + path, 1, cores)
        for _ in range(bench.rounds):
            without = wrk(place, direct, seconds, cores, fields=authorized, paced=True)
            note("direct", without, None)
            for each in running:
                note(each.name, wrk(place, each.http + path, seconds, cores, paced=True, may_fail=True), percentiles(without))
    return figures


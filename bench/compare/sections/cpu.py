"""Processor time of a request, and requests a second when the load sends as fast as it gets answers."""

from bench import split
from load import h2load, wrk

# A create whose body OpenEMR takes: the narrative fills it.
NARRATIVE = '<div xmlns=\\"http://www.w3.org/1999/xhtml\\">{}</div>'
CREATE = (
    '{{"resourceType":"Patient","name":[{{"use":"official","family":"Bench","given":["Ada"]}}],'
    '"gender":"female","birthDate":"1990-01-01","text":{{"status":"generated","div":"{}"}}}}'
)
POSTED = 64_000


def body():
    around = len(CREATE.format(NARRATIVE.format("")))
    return CREATE.format(NARRATIVE.format("x" * (POSTED - around))).encode()


def measured(bench, load):
    """Microseconds of processor a request, requests a second, and the part of its core that the proxy used, of one load."""

    def measure(each):
        result, used = bench.cost(each, lambda: load(each))
        return used * 1e6 / result.requests, result.requests / result.seconds, used / result.seconds * 100

    return measure


def add(figures, case, found):
    for name, values in split(found, "cpu", "rate", "busy").items():
        figures[f"{name}, {case}"] = values


def measure(bench):
    figures = {}
    place, cores = bench.place, bench.load_cores
    with bench.all_started() as running:
        for framing in ("chunked", "with length"):
            place.upstream.answer(chunked=framing == "chunked")
            # What the others are compared by takes twice as long.
            seconds = bench.whole_seconds if framing == "chunked" else bench.short_seconds
            for size in ("2 KB", "200 KB"):
                load = measured(bench, lambda each, path=place.paths[size], length=seconds: wrk(place, each.http + path, length, cores))
                add(figures, f"{size}, {framing}", bench.in_turn(running, load))
        place.upstream.answer(chunked=True)
        posted = body()
        load = measured(bench, lambda each: wrk(place, f"{each.http}/fhir/Patient", seconds, cores, body=posted))
        add(figures, "64 KB POST", bench.in_turn(running, load))
    with bench.all_started(is_tls=True) as running:
        path = place.paths["2 KB"]
        load = measured(bench, lambda each: wrk(place, each.https + path, seconds, cores))
        add(figures, "2 KB, TLS", bench.in_turn(running, load))
        with_http2 = [each for each in running if each.contender.http2]
        load = measured(bench, lambda each: h2load(place, each.https, seconds, cores))
        add(figures, "2 KB, HTTP/2", bench.in_turn(with_http2, load))
    return figures

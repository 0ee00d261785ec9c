#!/usr/bin/env python3
"""Makes the part of docs/benchmarks.md of what run.py has measured: every figure comes from its JSON.

    bench/savings/render.py savings.json > fragment.md
"""

import json
import pathlib
import sys


def number(value):
    """A whole number, with commas."""
    return f"{round(value):,}"


def seconds(value):
    """A time; of short ones also the hundredths."""
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def length(value):
    """A number of bytes."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB" if value else "0"


def times(more, less):
    """How many times as many."""
    return f"{more / less:.1f}" if less else "–"


def table(head, rows):
    """A table; the first column is text."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def distinct(values):
    """Each of the values once, in order."""
    return [value for at, value in enumerate(values) if value not in values[:at]]


def jobs(result):
    """Programs that come and go."""
    of = result["jobs"]
    sides = [of["gateway"], of["token_a_run"], of["token_a_request"]]
    thousand = lambda name: [number(side[name] * 1000 / of["requests"]) for side in sides]
    own = result["gateway_tokens"]
    return f"""### Programs that come and go

{number(of["runs"])} runs of a program, each of ten requests (six reads of a Patient, two searches for Observations and two for Conditions of a patient), eight at once. Without the gateway a run reads the SMART configuration, gets a token and reads the CapabilityStatement, as FHIR client libraries do; or it gets a
token for each request and reads nothing else, as simple scripts do. Each keeps its connection during a run. A program that kept its token for the five minutes of its life would need one exchange in that time, and with it the key, the clock and the renewal that the gateway has.

{table(["Per 1,000 requests of the programs", "through the gateway", "a token for each run", "a token for each request"], [
    ["token exchanges", *thousand("exchanges")],
    ["CapabilityStatements that OpenEMR made", *thousand("metadata")],
    ["SMART configurations that OpenEMR made", *thousand("smart_configuration")],
    ["requests that OpenEMR answered, of any kind", *thousand("openemr_requests")],
    ["seconds until all had their answers", *[f'{side["seconds"] * 1000 / of["requests"]:.1f}' for side in sides]]])}

The gateway itself got {number(own["tokens"])} {"token" if own["tokens"] == 1 else "tokens"} in the {number(own["seconds"])} s of this and the next three measurements."""


def dashboards(result):
    """The same page in several windows."""
    of = result["dashboards"]
    sides = [of["gateway"], of["straight"]]
    thousand = lambda name: [number(side[name] * 1000 / of["requests"]) for side in sides]
    return f"""### The same page in several windows

A dashboard of five panels (a patient's Encounters, Observations, Conditions, MedicationRequests, and the Patient), one after the other, in {of["windows"]} windows of one client that load it within a tenth of a second, {number(of["rounds"])} times. Without the gateway the windows have their tokens already.

{table(["Per 1,000 requests of the windows", "through the gateway", "to OpenEMR"], [
    ["requests that OpenEMR answered", *thousand("openemr_requests")],
    ["rows that its searches made", *thousand("rows_made")]])}

A window had its five panels after {seconds(sides[0]["median_seconds"])} (median) and {seconds(sides[0]["longest_seconds"])} at most through the gateway, and after {seconds(sides[1]["median_seconds"])} and {seconds(sides[1]["longest_seconds"])} from OpenEMR."""


def bodies(result):
    """Fewer bytes to the caller."""
    same, packed = result["unchanged"], result["compressed"]
    thousand = lambda of, name: [side[name] * 1000 / of["requests"] for side in (of["gateway"], of["straight"])]
    row = lambda text, of, name, show: [text, *[show(value) for value in thousand(of, name)]]
    return f"""### Fewer bytes to the caller

Reads of {number(same["resources"])} Patients that the caller has already, with the `ETag` that came with them: {number(same["gateway"]["with_tag"])} of them had one from the gateway, {number(same["straight"]["with_tag"])} from OpenEMR. OpenEMR is asked all the same. And searches for fifty Patients by a caller that takes gzip; the sandbox's are more alike than people are, and become shorter by it.

{table(["Per 1,000 requests", "through the gateway", "to OpenEMR"], [
    row("reads answered with 304", same, "not_modified", number),
    row("bytes of the bodies of these reads", same, "body_bytes", length),
    row("bytes of the bodies of the searches", packed, "body_bytes", length)])}"""


def export(result):
    """An export that OpenEMR cannot finish."""
    of = result["export"]
    itself, gateway = of["straight"], of["gateway"]
    begun = lambda side: ", ".join(f'{side["kick_offs"].count(one)} of {one["types"]} {"type" if one["types"] == 1 else "types"}, answered with {one["status"]}'
                                   for one in distinct(side["kick_offs"]))
    scaled = "" if of["apache_waits_ms"] == 60000 else " Times of this section are shorter than a real OpenEMR's."
    return f"""### An export that OpenEMR cannot finish

An export of {of["types"]} types, each of which takes OpenEMR {seconds(of["type_takes_ms"] / 1000)}, while its Apache gives up after {seconds(of["apache_waits_ms"] / 1000)}.{scaled}

{table(["", "through the gateway", "to OpenEMR"], [
    ["the kick-off is answered", f'202 after {seconds(gateway["accepted_seconds"])}', f'{itself["status"]} after {seconds(itself["seconds"])}'],
    ["OpenEMR's own kick-offs", begun(gateway), begun(itself)],
    ["the manifest is there", f'after {seconds(gateway["manifest_seconds"])}, with {number(gateway["errors"])} errors', "never"],
    ["all files are fetched", f'{gateway["files"]} files, {number(gateway["resources"])} resources, after {seconds(gateway["seconds"])}', "–"]])}"""


def pages(result):
    """Pages of a large set."""
    ways = [("gateway", "through the gateway"), ("shared", "with `share_pages: 20s`")]

    def rows(of):
        for name, text in ways:
            side = of[name]
            yield [of["type"], text, number(side["pages"]), number(side["openemr_requests"]), number(side["rows_made"]),
                   times(side["rows_made"], side["matches"]), seconds(side["seconds"]), seconds(side["longest_page_seconds"])]
        side = of["straight"]
        yield [of["type"], "straight, all at once", "–", number(side["openemr_requests"]), number(side["rows_made"]),
               times(side["rows_made"], side["matches"]), seconds(side["seconds"]), "–"]

    stuck = " and ".join(of["type"] for of in result["pages"] if of["straight"]["second_page_is_the_first"])
    alone = f" Asked for the second page of {stuck}, it sends the first one again." if stuck else ""
    sizes = ", ".join(f'{number(of["gateway"]["matches"])} {of["type"]}s' for of in result["pages"])
    return f"""### Pages of a large set

A walk from the first page to the last, a hundred resources a page, through {sizes}. OpenEMR makes all rows that a search finds for every page but those of Patient, and cannot begin behind the first rows.{alone}

{table(["", "walked", "pages", "requests to OpenEMR", "rows that it made", "for each resource", "time", "longest page"], [
    row for of in result["pages"] for row in rows(of)])}"""


def render(result):
    """All of it."""
    return "\n\n".join([f"""## What the gateway saves OpenEMR

The same requests through the gateway and straight to the sandbox, which takes as long for each as an OpenEMR 8.0 on two processors does (`--timings openemr`), with {result["workers"]} PHP workers, as had the one whose times these are, and {number(result["patients"])} patients. The gateway has its defaults.
All speak HTTP without TLS, so that what a connection costs is left out on both sides. What OpenEMR did is what the sandbox counted; its workers sleep, so the times are OpenEMR's and not this machine's. Measured by [`bench/savings/run.py`](../bench/README.md#what-is-saved).""",
                        jobs(result), dashboards(result), bodies(result), export(result), pages(result)]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(json.loads(pathlib.Path(sys.argv[1]).read_text())))

"""A download of 20 MB."""

import contextlib

from bench import split
from contenders import SHIPPED
from load import downloads

# One after the other on one connection.
DOWNLOADS = 3


def may_read_files(config):
    """The client may do everything: others get files of their own exports alone."""
    config["access"]["clients"]["bench"]["policy"] = "everything"


def measure(bench):
    place = bench.place
    megabytes = len(place.documents.ndjson) / 1e6

    def download(each):
        seconds, used = bench.cost(each, lambda: downloads(place, each.http + place.paths["20 MB"], DOWNLOADS, bench.load_cores))
        return megabytes * DOWNLOADS / seconds, used * 1000 / DOWNLOADS

    with contextlib.ExitStack() as stack:
        running = []
        for contender in bench.contenders:
            options = {"change": may_read_files} if contender is SHIPPED else {}
            running.append(stack.enter_context(bench.started(contender, **options)))
        found = bench.in_turn(running, download)
    return split(found, "stream, MB/s", "stream, CPU")

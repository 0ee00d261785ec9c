"""The text is made of what was measured, and of nothing else."""

import json
import pathlib
import unittest

from render import render

FIXTURE = pathlib.Path(__file__).with_name("fixture.json")


# Where the figures are that the text shows, as keys from the outermost on.
SHOWN = [
    ["workers"], ["patients"], ["gateway_tokens", "tokens"], ["jobs", "runs"], ["jobs", "token_a_run", "exchanges"],
    ["jobs", "token_a_request", "openemr_requests"], ["jobs", "gateway", "seconds"], ["dashboards", "straight", "openemr_requests"],
    ["dashboards", "gateway", "rows_made"], ["dashboards", "gateway", "longest_seconds"], ["unchanged", "gateway", "not_modified"],
    ["unchanged", "straight", "body_bytes"], ["compressed", "gateway", "body_bytes"], ["export", "straight", "status"],
    ["export", "straight", "seconds"], ["export", "gateway", "resources"], ["export", "gateway", "manifest_seconds"],
    ["pages", 0, "gateway", "rows_made"], ["pages", 0, "gateway", "pages"], ["pages", 0, "straight", "seconds"]]


class Render(unittest.TestCase):
    """What render.py makes of a result."""

    def test_tables_are_whole(self):
        text = render(json.loads(FIXTURE.read_text()))
        self.assertTrue(text.startswith("## What the gateway saves OpenEMR\n"), text[:80])
        tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        self.assertGreaterEqual(len(tables), 5)
        for lines in tables:
            self.assertEqual({line.count("|") for line in lines}, {lines[0].count("|")}, lines)

    def test_no_figure_is_typed(self):
        text = render(json.loads(FIXTURE.read_text()))
        for path in SHOWN:
            changed = json.loads(FIXTURE.read_text())
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = 3 * place[path[-1]] + 1000
            self.assertNotEqual(render(changed), text, path)


if __name__ == "__main__":
    unittest.main()

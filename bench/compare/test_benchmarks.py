"""The arithmetic and the texts of the benchmarks; nothing is measured."""

import json
import pathlib
import tempfile
import unittest

import aims
import callgrind
import check_instructions
import instructions
import levers
import plots
import report
from contenders import CONTENDERS
from figures import number, spread, times
from run import SECTIONS
from tables import ALONE, COMPARED

NAMES = [contender.name for contender in CONTENDERS]

MEASURED_SO = {"when": "2026-01-01 00:00 UTC", "gateway": "openemr-gateway 0.1.0", "rounds": 3, "seconds": 1}

COUNTS = """version: 1
positions: line
events: Ir
fl=(1) /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/pingora-proxy-0.9.1/src/lib.rs
fn=(1) pingora_proxy::process
10 100
cfi=(2) src/gateway/mod.rs
cfn=(2) <openemr_gateway::gateway::Gateway as pingora_proxy::proxy_trait::ProxyHttp>::logging::{{closure}}
calls=5 70
11 900

fl=(2)
fn=(2)
70 600
fi=(3) /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/fmt/mod.rs
71 200
fe=(2)
cfn=(3) aws_lc_0_47_0_sha256_block_data_order_avx
calls=0 0
72 100

fl=(4) ???
fn=(3)
0 100
"""


def measured():
    """Figures of every table: nginx has 10 in each round, each further proxy one more."""
    sections = {}
    for table in (*COMPARED, *ALONE):
        section = sections.setdefault(table.section, MEASURED_SO | {"figures": {}})
        rows = NAMES if table in COMPARED else ["1", "100", "100,000", "without", "nginx, 1 thread", "as shipped"]
        for column in table.columns:
            section["figures"][column.figure] = {name: [10.0 + at, 9.0 + at, 11.0 + at] for at, name in enumerate(rows)}
    case = {"total": 1000, "threads": {"requests": 900, "log": 100}, "phases": {"logging": 900}, "origins": {"Pingora": 100, "TLS": 900}}
    case["functions"] = {"a<b>": 900, "c": 50}
    sections["phases"] = {"when": "2026-01-01 00:00 UTC", "gateway": "openemr-gateway 0.1.0", "figures": {"as shipped, 2 KB": case}}
    return {"machine": {"processor": "One", "cores": 2}, "versions": {"nginx": "1.22"}, "sections": sections}


class Report(unittest.TestCase):
    def test_every_table_has_a_section(self):
        for table in (*COMPARED, *ALONE):
            self.assertIn(table.section, SECTIONS)

    def test_a_document(self):
        with tempfile.TemporaryDirectory() as folder:
            report.write(measured(), pathlib.Path(folder))
            document = pathlib.Path(folder, "benchmarks.md").read_text()
            for name in ("cpu-2kb", "cpu-200kb", "latency-p99", "memory"):
                self.assertIn(f"images/benchmarks-{name}.svg", document)
                self.assertIn("</svg>", pathlib.Path(folder, f"images/benchmarks-{name}.svg").read_text())
        for table in (*COMPARED, *ALONE):
            self.assertIn(f"### {table.heading}\n", document)
        self.assertIn("| HAProxy | 11.0 | 10.0 to 12.0 | 1.10x |", document)
        self.assertIn("| `logging` | 900 | 90.0% |", document)
        self.assertIn("| `a<b>` | 900 | 90.0% |", document)
        self.assertNotIn("None", document)

    def test_sections_that_were_not_measured_are_left_out(self):
        found = measured()
        del found["sections"]["memory"]
        document = report.document(found, {})
        self.assertNotIn("### Memory", document)
        self.assertIn("not measured", document)

    def test_the_document_is_what_the_figures_make(self):
        if not report.MEASURED.exists():
            self.skipTest("nothing was measured yet")
        found = json.loads(report.MEASURED.read_text())
        written = (report.ROOT / "docs/benchmarks.md").read_text()
        self.assertEqual(report.document(found, report.pictures(found)), written, "write it anew:  make bench BENCH=")


class Aims(unittest.TestCase):
    def test_an_aim_is_met_or_missed(self):
        self.assertEqual(aims.judged(1.2, 1.2), "met")
        self.assertEqual(aims.judged(1.5, 1.2), "missed by 25%")
        self.assertEqual(aims.at_least(1.0, 2.0), "missed by a factor of 2.0")
        self.assertEqual(aims.judged(None, 1.0), "not measured")

    def test_all_are_judged(self):
        found = list(aims.aims(report.figures_of(measured())))
        self.assertEqual(len(found), 11)
        self.assertEqual(found[0].measured, "1.20x")
        self.assertNotIn("not measured", [aim.verdict for aim in found])


class Numbers(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([number(value) for value in (None, 0.04, 12.34, 1234.5)], ["–", "0.0", "12.3", "1,234"])
        self.assertEqual([times(ratio) for ratio in (None, 1.234, 254.3)], ["–", "1.23x", "254x"])
        self.assertEqual((spread([3.0, 1.0, 2.0]), spread([1.0])), ("1.0 to 3.0", ""))

    def test_bars_that_are_too_long_are_cut_off(self):
        picture = plots.bars("a < b", [("nginx", "reference", 1.0, 0.9, 1.1), ("slow", "other", 254.0, 250.0, 260.0)])
        self.assertIn("a &lt; b", picture)
        self.assertIn(">254 (cut off)<", picture)


class Instructions(unittest.TestCase):
    def test_a_file_of_callgrind(self):
        counts = callgrind.Counts(COUNTS)
        self.assertEqual(counts.total, 1000)
        self.assertEqual(counts.within(lambda function: instructions.phase_of(function) == "logging"), 900)
        self.assertEqual(instructions.kind_of(counts), "requests")

    def test_a_summary(self):
        found = instructions.summary([callgrind.Counts(COUNTS)], 1)
        self.assertEqual(found["total"], 1000)
        self.assertEqual(found["phases"], {"logging": 900, "Pingora and below": 100})
        self.assertEqual(found["origins"], {"gateway: gateway": 600, "standard library": 200, "SHA-256": 100, "Pingora": 100})

    def test_what_has_grown_is_seen(self):
        before = {"a": {"total": 1000, "threads": {"requests": 1000}, "phases": {"logging": 500, "request_filter": 4}}}
        same = {"a": {"total": 1029, "threads": {"requests": 1029}, "phases": {"logging": 514, "request_filter": 9}}}
        more = {"a": {"total": 1000, "threads": {"requests": 1000}, "phases": {"logging": 520, "request_filter": 4}}}
        self.assertFalse(check_instructions.table(before, same)[1])
        text, has_grown = check_instructions.table(before, more)
        self.assertTrue(has_grown)
        self.assertIn("MORE", text)
        self.assertFalse(check_instructions.table({}, more)[1])


class Levers(unittest.TestCase):
    def test_each_is_compared_with_the_one_before(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name, total in (("a.json", 1000), ("b.json", 900)):
                figures = {"total": total, "origins": {"SHA-256": 100}}
                (folder / name).write_text(json.dumps({"cases": {case: figures for case in levers.CASES}}))
            named = [{"file": "a.json", "lever": "before"}, {"file": "b.json", "lever": "less", "kept": "yes", "before": "a.json"}]
            lines = levers.section({"programs": named}, folder).splitlines()
            self.assertEqual(lines[-2], "| before |  | 900 |  | 900 |  | 900 |  |")
            self.assertEqual(lines[-1], "| less | yes | 800 | −100 | 800 | −100 | 800 | −100 |")

    def test_changes_to_pingora_have_their_system_calls_and_texts_their_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            figures = {"total": 1000, "origins": {}}
            (folder / "a.json").write_text(json.dumps({"cases": {case: figures for case in levers.CASES}}))
            (folder / "tried.json").write_text(json.dumps({"a": {"calls_as_shipped": 5.0, "calls_bare": 7.0, "pool": 12345}}))
            named = {"programs": [{"file": "a.json", "lever": "before"}], "pingora": [{"file": "a.json", "lever": "changed", "tried": "a"}]}
            named["others"] = [{"lever": "a pool", "kept": "no", "text": "takes {a[pool]:,}"}]
            text = levers.section(named, folder)
            self.assertIn("| changed |  | 1,000 |  | 1,000 |  | 1,000 |  | 5.0 | 7.0 |", text)
            self.assertIn("| a pool | takes 12,345 | no |", text)

    def test_what_was_timed_is_named_as_the_programs_are(self):
        times = {case: {"cpu": 1234.5, "from": 1200, "to": 1300, "writes": 0.25} for case in levers.CASES}
        lines = levers.timed([{"file": "1-a.json", "lever": "a lever"}], {"rounds": 5, "seconds": 1, "programs": {"1-a": times}})
        self.assertIn("5 rounds of 1 s", lines[0])
        self.assertEqual(lines[-1], "| a lever |" + " 1,234.5 | 1,200.0 to 1,300.0 |" * 3 + " 0.25 |")

    def test_every_count_that_is_named_is_there(self):
        self.assertIn("What each lever gave", levers.section())


if __name__ == "__main__":
    unittest.main()

"""Callgrind's counts: taken from a program that runs under it, and read from its files.

The program runs under Valgrind the whole time; its counters are set to zero before the requests that count, and written after them.
A file's lines are read as https://valgrind.org/docs/manual/cl-format.html describes them.
"""

import pathlib
import re
from collections import Counter

from programs import Failed, run, tool, until

# Callgrind counts a `rep movsb` once for each byte, where a processor copies whole lines: the C library is told to copy with AVX.
TUNABLES = "glibc.cpu.hwcaps=-ERMS,-FSRM"

_NAMED = re.compile(r"(fl|fi|fe|fn|cfn|cfi|cfl|ob|cob)=\((\d+)\)(?: (.*))?$")


class Counts:
    """What a file says: instructions by function and source file, and of the calls from one function to another."""

    def __init__(self, text=""):
        self.total = 0
        self.own = Counter()
        self.edges = Counter()
        self._read(text)

    def _read(self, text):
        names = {kind: {} for kind in ("file", "function", "object")}
        kinds = {"fl": "file", "fi": "file", "fe": "file", "cfi": "file", "cfl": "file", "fn": "function", "cfn": "function"}
        now = {}
        is_call = False
        for line in text.splitlines():
            named = _NAMED.match(line)
            if named:
                key, number, name = named.groups()
                known = names[kinds.get(key, "object")]
                if name is not None:
                    known[number] = name
                now[key] = known[number]
                if key in ("fl", "fi", "fe"):
                    now["file"] = now[key]
            elif line.startswith("calls="):
                is_call = True
            elif line[:1].isdigit():
                instructions = int(line.split()[1])
                if is_call:
                    self.edges[now["fn"], now["cfn"]] += instructions
                    is_call = False
                else:
                    self.own[now["file"], now["fn"]] += instructions
                    self.total += instructions

    def names(self):
        """All functions."""
        return {function for _, function in self.own} | {function for edge in self.edges for function in edge}

    def within(self, belongs):
        """Instructions of the functions of which `belongs` is true, with all that they call."""
        entered = sum(cost for (caller, callee), cost in self.edges.items() if belongs(callee) and not belongs(caller))
        called = {callee for _, callee in self.edges}
        roots = sum(cost for (_, function), cost in self.own.items() if belongs(function) and function not in called)
        return entered + roots


class UnderCallgrind:
    """The command that a program runs under, and what is counted of it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.command = [
            "env",
            f"GLIBC_TUNABLES={TUNABLES}",
            tool("valgrind"),
            "--tool=callgrind",
            "--separate-threads=yes",
            "--compress-pos=no",
            f"--callgrind-out-file={self.folder}/callgrind.%p",
            f"--log-file={self.folder}/valgrind.%p",
        ]

    def zero(self, pid):
        """Forgets what was counted."""
        self._control(pid, "--zero")

    def dump(self, pid):
        """What was counted since, by thread."""
        before = set(self.folder.glob(f"callgrind.{pid}.*"))
        self._control(pid, "--dump=counted")
        files = until(lambda: sorted(set(self.folder.glob(f"callgrind.{pid}.*")) - before), "callgrind writes its counts")
        threads = []
        for file in files:
            counts = Counts(file.read_text(errors="replace"))
            if counts.total:
                threads.append(counts)
        if not threads:
            raise Failed("callgrind has counted nothing")
        return threads

    def _control(self, pid, order):
        said = run(tool("callgrind_control"), order, pid, within=60)
        if "OK" not in said:
            raise Failed(f"callgrind_control {order} {pid}: {said}")

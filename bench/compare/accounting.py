"""What a process and its children have used: processor time and memory, by the kernel's own account."""

import contextlib
import pathlib

from programs import family


def cpu_seconds(pid):
    """Time on a processor, in user mode and in the kernel, of all threads that are running: /proc/PID/task/TID/schedstat."""
    nanoseconds = 0
    for member in family(pid):
        for task in pathlib.Path(f"/proc/{member}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9


def writes(pid):
    """How often its threads have written to files and sockets by write(2) and its like: /proc/PID/task/TID/io."""
    count = 0
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/io"):
        with contextlib.suppress(OSError):
            count += int(dict(line.split(": ") for line in task.read_text().splitlines())["syscw"])
    return count


def memory_kib(pid):
    """Resident memory in KiB; pages that several processes share count once in the sum (Pss)."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total

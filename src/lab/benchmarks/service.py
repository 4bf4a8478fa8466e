"""Measure the CPU time of this process's children, such as W&B's, which writes files."""

from __future__ import annotations

import os
import time
from pathlib import Path


def settled_cpu_seconds() -> float:
    """Return the CPU seconds of all descendants of this process, once they are idle."""
    before = _cpu_seconds()
    while True:
        time.sleep(0.03)  # the system counts in units of 0.01 s
        now = _cpu_seconds()
        if now == before:
            return now
        before = now


def _cpu_seconds() -> float:
    """Return the CPU seconds of all descendants of this process; 0 if there is no /proc."""
    below, ticks = {os.getpid()}, 0
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # the process has just ended
            continue
        # The name, in brackets, may hold blanks. After it: state, parent, …, utime, stime.
        words = text.rpartition(")")[2].split()
        stats.append((int(path.parent.name), int(words[1]), int(words[11]) + int(words[12])))
    for pid, parent, used in sorted(stats):  # a parent is older than its children
        if parent in below:
            below.add(pid)
            ticks += used
    return ticks / os.sysconf("SC_CLK_TCK")

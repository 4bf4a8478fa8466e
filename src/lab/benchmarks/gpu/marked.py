"""Run the tests that are marked `gpu`, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from lab.benchmarks.gpu.figure import Figure, unmeasured

PART = "tests"


def measure(paths: Sequence[str] = ("tests",), seconds: float = 150) -> list[Figure]:
    """Run them for `seconds` at most; the table names those that fail."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        try:
            subprocess.run([*command, f"--junitxml={found}", *paths], timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return [unmeasured(PART, "marked gpu", f"not done within {seconds:g} s")]
        if not found.exists():
            return [Figure(PART, "marked gpu", "pytest did not run", wanted="passed")]
        cases = list(ElementTree.parse(found).getroot().iter("testcase"))
    by_outcome: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in cases:
        tags = {child.tag for child in case}
        outcome = "failed" if tags & {"failure", "error"} else "passed"
        by_outcome["skipped" if "skipped" in tags else outcome].append(case.attrib["name"])
    failed = by_outcome["failed"]
    value = "failed" if failed or not by_outcome["passed"] else "passed"
    counts = ", ".join(f"{len(names)} {outcome}" for outcome, names in by_outcome.items())
    note = "; ".join([counts, *failed])
    return [Figure(PART, "marked gpu", value, n=len(cases), wanted="passed", note=note)]

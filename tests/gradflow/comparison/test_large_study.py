"""A study of a thousand runs stays usable: its table, its page and its report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from large_study import a_large_study
from processes import environment

RUNS = 1000
# Seconds of the processor, which other work on the machine changes less than the clock's.
PROGRAM = """
import json, sys, time
from pathlib import Path

from gradflow.comparison.configurations import configurations
from gradflow.comparison.page import build_page
from gradflow.comparison.report import definition, make_report, read_study
from gradflow.comparison.table import print_table
from gradflow.runs.read import read_runs

study, page = map(Path, sys.argv[1:])


def table():
    print_table(*configurations(read_runs([study])), title="large")


def report():
    json.dumps(definition(make_report(read_study(study))))


seconds = {}
for name, make in (
    ("table", table),
    ("page", lambda: build_page(read_runs([study]), page, title="large")),
    ("report", report),
):
    start = time.process_time()
    make()
    seconds[name] = time.process_time() - start
# Not getrusage's: that counts the process from which this one was forked.
lines = Path("/proc/self/status").read_text().splitlines()
gigabytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
Path(page.with_suffix(".json")).write_text(json.dumps({"gigabytes": gigabytes, **seconds}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_table_page_and_report_of_a_thousand_runs_are_made_in_seconds(tmp_path: Path) -> None:
    study = a_large_study(tmp_path / "large", RUNS)
    page = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(study), str(page)],
        env=environment(tmp_path) | {"POLARS_MAX_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(page.with_suffix(".json").read_text())
    print(measured, page.stat().st_size)
    assert done.stdout.count("│ 5 │") == RUNS // 5  # each configuration has five seeds
    assert measured.pop("gigabytes") < 1
    assert page.stat().st_size < 10e6
    # Twice what an idle machine takes at most.
    assert {name: s for name, s in measured.items() if s > 20} == {}

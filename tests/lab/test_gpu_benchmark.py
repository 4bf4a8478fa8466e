"""Every part of `make gpu` runs on a CPU, tiny, and claims nothing that only a GPU can tell."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gradflow.launch import cli
from lab.benchmarks.gpu import capture, main, marked, precision, speed, waits
from lab.benchmarks.gpu.figure import Figure, median, print_table, unmeasured, write
from lab.benchmarks.gpu.scale import Scale

TINY = Scale(
    torch.device("cpu"),
    net=("model.depth=8", "model.width=2", "model.stem_stride=2"),
    batch_size=8,
    train_images=40,
    turn=2,
    rounds=1,
    steps=7,
    backend="eager",
)


def values(figures: list[Figure]) -> dict[str, float | str | None]:
    return {figure.name: figure.value for figure in figures}


def test_waits_are_not_measured_on_a_cpu() -> None:
    found = waits.measure(TINY)
    assert len(found) == 6
    assert {figure.verdict for figure in found} == {"not measured"}


def test_the_wait_of_a_record_is_told_from_those_of_the_run_itself() -> None:
    name = waits.TO_HOST
    bare = [Counter({name: 1 if step == 4 else 0}) for step in range(8)]
    watched = [Counter({name: own[name] + (step in (0, 5))}) for step, own in enumerate(bare)]
    watched[0][name] = 9  # what is computed once
    assert waits.compared(name, watched, bare, {0, 5}) == ([1], [0, 0, 0, 0])


def test_torch_s_warnings_of_waits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    counter = waits.ByWarnings()
    assert counter.end() is None
    counter.begin()
    for text in ("does not yet detect all synchronizing operations", "something else"):
        warnings.warn(text, stacklevel=1)
    for _ in range(2):
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
    assert counter.end() == {waits.WARNINGS: 2}
    assert counter.end() is None


def test_the_profiler_counts_none_where_there_is_no_gpu() -> None:
    counter = waits.ByProfiler()
    counter.begin()
    float(torch.ones(3).sum())
    if not torch.cuda.is_available():
        assert counter.end() == {waits.SYNCHRONIZE: 0, waits.TO_HOST: 0}


def test_the_profiler_s_names_are_counted() -> None:
    names = ["cudaStreamSynchronize", "cudaMemcpyAsync", "Memcpy DtoH (Device -> Pageable)"]
    names += ["cudaEventSynchronize", "Memcpy HtoD (Pageable -> Device)", "aten::add"]
    assert waits.count_calls(names) == {waits.SYNCHRONIZE: 2, waits.TO_HOST: 1}


def test_a_net_that_was_measured_trains_on_but_is_not_captured() -> None:
    (found,) = capture.measure_capture(TINY)
    assert found.verdict == "not measured"


def test_a_compiled_net_is_recorded_without_compiling_more() -> None:
    found = values(capture.measure_compiled(TINY))
    assert found["compiled for reduce-overhead: records have finite layers"] == "yes"
    assert found["graphs compiled, watched beyond unwatched"] == 0


def test_bf16_stays_finite_and_fp16_is_left_out() -> None:
    bf16, fp16 = precision.measure(TINY)
    assert (bf16.verdict, fp16.verdict) == ("met", "not measured")


def test_a_gradient_that_is_not_finite_is_told() -> None:
    trained = precision.train(TINY, "monitor.every_n_steps=5")
    assert precision.what_is_not_finite(trained) is None
    next(trained.task.parameters()).grad[0] = torch.nan  # type: ignore[index]
    assert precision.what_is_not_finite(trained) == "gradients are not"


def test_the_monitor_is_timed_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, 1.0, 100.0])  # at the start, and before each round
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    found = speed.measure_overhead(TINY._replace(rounds=50), "bf16-mixed", 60)
    assert len(found) == 4
    assert all(isinstance(figure.value, float) and figure.n == 1 for figure in found)


def test_the_template_is_timed_against_a_bare_loop() -> None:
    found = speed.measure_template(TINY)
    assert len(found) == 3
    assert all(isinstance(figure.value, float) and figure.n == 1 for figure in found)


def test_the_outcomes_of_the_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs one\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.gpu\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip\n"
        "def test_left_out(): pass\n"
    )
    (found,) = marked.measure([str(tmp_path)])
    assert (found.value, found.n, found.verdict) == ("failed", 3, "missed")
    assert found.note == "1 passed, 1 failed, 1 skipped; test_bad"


def broken() -> list[Figure]:
    raise RuntimeError("no kernel image\nis available")


def test_a_part_that_fails_or_comes_late_is_a_row() -> None:
    good = unmeasured("good", "all", "")
    parts: dict[str, Callable[[], list[Figure]]] = {"bad": broken, "good": lambda: [good]}
    (bad,), (last,) = main.run_parts(parts, until=float("inf"))
    assert (bad.value, bad.note) == ("failed", "RuntimeError: no kernel image")
    assert last is good
    (late, _) = main.run_parts(parts, until=0.0)
    assert late[0].note == "the time was over"


def test_every_part_is_in_the_command() -> None:
    assert list(main.parts(TINY)) == [
        *("waits", "capture", "mixed precision", "overhead, fp32", "overhead, bf16"),
        *("template", "compile"),
    ]


def test_the_table_is_written(tmp_path: Path) -> None:
    figures = [
        median("a", "slow|er", [1.0, 3.0, 2.0], "ms", at_most=1.5),
        unmeasured("b", "waits", "no GPU", 0),
    ]
    write(figures, "a machine", tmp_path)
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert lines[0] == "a machine"
    assert lines[-2] == "| a | slow\\|er | 2 ms | 1 to 3 | 3 | ≤ 1.5 | missed |  |"
    assert lines[-1] == "| b | waits | - |  | 0 | ≤ 0 | not measured | no GPU |"
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["figures"][1]["value"] is None
    print_table(figures, Console(quiet=True))


def test_without_a_gpu_the_command_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: main.main([]))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("error: gpu: torch ")
    assert said.err.count("\n") == 1

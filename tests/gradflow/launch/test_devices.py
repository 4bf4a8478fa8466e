"""Places on GPUs: one job each unless more are allowed, freed when the process lets go."""

from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.launch.devices import VISIBLE, take, visible_gpus


@pytest.fixture(autouse=True)
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "2,GPU-8a,5")


def test_each_process_gets_a_gpu_of_its_own_and_leaves_it_to_the_next(tmp_path: Path) -> None:
    taken = [take(1, 1, tmp_path) for _ in range(3)]
    assert [one.variables[VISIBLE] for one in taken] == ["2", "GPU-8a", "5"]
    taken[1].release()
    assert take(1, 1, tmp_path).variables == {VISIBLE: "GPU-8a"}


def test_gpus_fill_evenly_where_jobs_may_share_them(tmp_path: Path) -> None:
    taken = [take(1, 2, tmp_path) for _ in range(6)]
    assert [one.variables[VISIBLE] for one in taken] == ["2", "GPU-8a", "5"] * 2


def test_a_job_of_several_gpus_gets_different_ones(tmp_path: Path) -> None:
    one, two = take(1, 2, tmp_path), take(2, 2, tmp_path)
    assert (one.variables[VISIBLE], two.variables[VISIBLE]) == ("2", "GPU-8a,5")
    with pytest.raises(ConfigError, match=r"trainer\.devices=4: a job sees 3 GPUs"):
        take(4, 2, tmp_path)


def test_nothing_is_taken_where_there_is_no_gpu_or_none_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert take(0, 1, tmp_path).variables == {}
    monkeypatch.setenv(VISIBLE, "")
    assert visible_gpus() == []
    assert take(1, 1, tmp_path).variables == {}


def test_without_the_variable_the_driver_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VISIBLE)
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert visible_gpus() == ["0", "1"]

"""The arithmetic of the YAML files, and the names of jobs' folders."""

import pytest
from omegaconf import OmegaConf

from gradflow.launch.resolvers import folder_name, register


def test_a_short_line_of_overrides_is_the_folders_name() -> None:
    assert folder_name("case=vanishing,seed=0") == "case=vanishing,seed=0"
    assert folder_name("") == "default"


def test_long_lines_stay_apart_and_within_what_file_systems_take() -> None:
    first, second = ("x=" + "ä" * 300 + end for end in "12")
    assert folder_name(first) != folder_name(second)
    assert len(folder_name(first).encode()) <= 255
    assert "/" not in folder_name("data.root=/tmp/a")


def test_a_long_name_has_what_the_jobs_of_a_study_differ_in() -> None:
    rest = "data.batch_size=64,data=synthetic," * 5
    one, other = (folder_name(f"{rest}seed={seed}", f"seed={seed}") for seed in (1, 2))
    assert (one[:7], other[:7]) == ("seed=1-", "seed=2-")
    # What is not swept tells two studies' jobs apart by the hash alone.
    assert folder_name(f"{rest}lr=1,seed=1", "seed=1") != one
    assert folder_name("seed=1,steps=2", "seed=1") == "seed=1,steps=2"


def single_run(overrides: str) -> str:
    register()
    config = OmegaConf.create({"o": overrides, "d": "${gradflow.single_run:now,${o}}"})
    return str(config.d)


def test_a_requeued_job_of_slurm_finds_the_folder_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert single_run("seed=1") == "now"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    first = single_run("seed=1")
    assert first.startswith("slurm-77-")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert single_run("seed=1") == first
    assert single_run("seed=2") != first  # another run of the same job
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert single_run("seed=1") == first.replace("77", "70_3")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert single_run("seed=1") == "now"

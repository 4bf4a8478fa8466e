"""The arithmetic of the YAML files, and the names of jobs' folders."""

from gradflow.launch.resolvers import folder_name


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

"""The arithmetic of the YAML files, and the names of jobs' folders."""

from gradflow.config.resolvers import folder_name


def test_a_short_line_of_overrides_is_the_folders_name() -> None:
    assert folder_name("case=vanishing,seed=0") == "case=vanishing,seed=0"
    assert folder_name("") == "default"


def test_long_lines_stay_apart_and_within_what_file_systems_take() -> None:
    first, second = ("x=" + "ä" * 300 + end for end in "12")
    assert folder_name(first) != folder_name(second)
    assert len(folder_name(first).encode()) <= 255
    assert "/" not in folder_name("data.root=/tmp/a")

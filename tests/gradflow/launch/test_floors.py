"""Versions that are not met are one line; what is not installed is no business of theirs."""

from importlib.metadata import version
from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.launch.floors import check_floors


def declared(folder: Path, *needed: str, extra: str = "") -> Path:
    path = folder / "pyproject.toml"
    path.write_text(
        f'[project]\nname = "gradflow"\ndependencies = {list(needed)}\n'
        f'[project.optional-dependencies]\nmore = ["{extra}"]\n'
    )
    return path


def test_the_versions_of_this_environment_are_met() -> None:
    check_floors()


@pytest.mark.parametrize("extra", [False, True])
def test_a_floor_that_is_not_met_is_named_with_what_to_do(tmp_path: Path, extra: bool) -> None:
    floor = "numpy>=999"
    path = declared(tmp_path, extra=floor) if extra else declared(tmp_path, "torch", floor)
    with pytest.raises(ConfigError) as refused:
        check_floors(path)
    line = str(refused.value)
    assert line.startswith(f"numpy {version('numpy')} is installed; gradflow ")
    assert line.endswith(" needs numpy>=999: `make lock && make setup`")


def test_an_extra_that_is_not_installed_and_a_wheel_without_floors_are_left_alone(
    tmp_path: Path,
) -> None:
    check_floors(declared(tmp_path, extra="no-such-package-anywhere>=1"))
    check_floors(tmp_path / "nothing.toml")

"""YAML of somebody else's is read as plain data, or refused: it ends no process and fills none."""

from pathlib import Path

import pytest
import yaml

from gradflow.errors import ConfigError
from gradflow.runs.config import read_config
from gradflow.runs.plain_yaml import plain_yaml
from gradflow.runs.read import read_run

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
BAD = {
    "a tag": "a: !!python/object/apply:os.system ['touch ran']\n",
    "aliases that repeat each other": LAUGHS,
    "a value in itself": "a: &a {b: *a}\n",
    "brackets": "[" * 100_000 + "]" * 100_000 + "\n",
    "dashes": "- " * 100_000 + "x\n",
    "question marks": "? " * 100_000 + "x\n",
    "sixty levels": "[" * 60 + "]" * 60 + "\n",
    "a date": "a: 2026-13-45\n",
    "a number": "a: !!int x\n",
    "a float": "a: !!float x\n",
    "bytes": "a: !!binary 3\n",
    "a merge": "<<: 3\n",
    "a key": "? {a: b}\n: c\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_is_refused_in_one_line_and_read_as_a_damaged_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^(is not YAML|has more than)") as refused:
        plain_yaml(text)
    assert "\n" not in str(refused.value)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        read_config(tmp_path / "config.yaml")
    run = read_run(tmp_path)
    assert run.config == {}
    assert run.settings == {"case": None, "pathology": None, "remedy": None}
    assert not (tmp_path / "ran").exists()


def test_what_the_library_writes_is_read_as_it_was() -> None:
    shared = ["norm=batch", "init=xavier_uniform"]
    values = {"advice": {"a": shared, "b": shared}, "model": {"size": [32, 32], "x": {"y": None}}}
    assert plain_yaml(yaml.safe_dump(values)) == values
    many = {f"key_{n}": [n, str(n)] for n in range(4000)}
    assert plain_yaml(yaml.safe_dump(many)) == many

"""Wrong pathologies, remedies and cases are refused in one line when they are composed."""

from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose

REFUSED = [
    ("remedy=[relu,nope]", ["remedy=nope", "no such choice", "conf/remedy"]),
    ("+remedy={1:2}", ["remedy.1", "valid string"]),
    ("case=nope", ["case=nope", "no such choice", "vanishing_relu"]),
    ("pathology=[vanishing,dying_relu]", ["pathology=[vanishing,dying_relu]", "one choice"]),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_in_one_line(words: str, named: list[str], conf: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(words.split(), conf)
    line = str(refused.value)
    assert "\n" not in line
    assert [part for part in named if part not in line] == [], line

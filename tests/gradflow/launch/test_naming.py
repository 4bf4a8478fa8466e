"""Names on the command line: quoted for Hydra and for a shell, whatever they hold."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gradflow.launch.naming import quoted, typed

NAMES = ["plain", "it's", "a,b", r"back\slash", r"\'", "end\\", "[x]", "a b=c", "é", "${now:%Y}"]


@pytest.mark.parametrize("name", NAMES)
def test_hydra_reads_what_was_quoted(name: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(name)}"])
    expected = name.replace("${", "\\${")  # what OmegaConf takes for the text itself
    assert override.value() == expected
    (word,) = shlex.split(typed("key", name))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == expected

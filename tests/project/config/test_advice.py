"""Every recommendation of a verdict composes, and none is useless by its nature."""

import pytest
import shipped
import yaml

from gradflow.launch.compose import compose

FILES = (shipped.CONF / "advice.yaml", shipped.CONF / "lab/lab.yaml")
ADVICE = {path.name: yaml.safe_load(path.read_text())["advice"] for path in FILES if path.exists()}
RECOMMENDED = sorted({line for advice in ADVICE.values() for x in advice.values() for line in x})


@pytest.mark.parametrize("overrides", RECOMMENDED)
def test_every_recommendation_composes(overrides: str) -> None:
    compose(overrides.split(), shipped.CONF)


@pytest.mark.parametrize("name", ADVICE)
def test_clipping_and_lower_rates_are_not_offered_where_the_gradient_shrinks(name: str) -> None:
    for kind in ("vanishing", "small_weights", "frozen", "saturated"):
        offered = ADVICE[name][kind]
        assert offered
        assert not any(
            word in tried for tried in offered for word in ("clip", "lower_lr", "lr_scale")
        )


def test_the_monitor_is_given_the_advice() -> None:
    config = compose([], shipped.CONF)
    assert config.monitor["remedies"] == config.advice

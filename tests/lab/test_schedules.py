"""The schedule of ResNet-110 against He et al. 2015, section 4.2."""

import pytest
import torch

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from project.build import build_data, build_task


def test_a_tenth_for_a_160th_then_the_full_rate_then_a_tenth_twice() -> None:
    config = compose(["scheduler=warmup_multistep", "steps=6400", "lr=0.1"])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = instantiate(config.scheduler, key="scheduler", partial=True)(optimizer)
    seen = {}
    for step in range(6400):
        seen[step] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
    wanted = {0: 0.01, 39: 0.01, 40: 0.1, 3199: 0.1, 3200: 0.01, 4799: 0.01, 4800: 0.001}
    assert {step: seen[step] for step in wanted} == pytest.approx(wanted)
    assert seen[6399] == pytest.approx(0.001)


def test_a_run_that_is_shorter_than_its_warm_up_is_refused_in_one_line() -> None:
    config = compose(
        ["scheduler=warmup_multistep", "scheduler.warmup_steps=250", "steps=500", "data=synthetic"]
    )
    with pytest.raises(ConfigError, match="the first milestone, 250, must come after warmup_steps"):
        build_task(config, build_data(config))

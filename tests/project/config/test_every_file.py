"""Every YAML file of every group composes alone, and its run can be built. No list of them here."""

from pathlib import Path

import grey_images
import pytest
import shipped
import torch

from gradflow.launch.compose import compose
from project.build import build_data, build_task, build_trainer
from project.train import PROJECT

# What a choice cannot do without, where the defaults do not give it.
NEEDS = {("init", "zero_residual"): ["model=resnet", "norm=batch"]}

FILES = [(group, name) for group in shipped.groups() for name in shipped.names(group)]


@pytest.mark.parametrize(("group", "name"), FILES, ids=["=".join(file) for file in FILES])
def test_composes_alone_and_its_run_is_built(
    group: str, name: str, conf: Path, tmp_path: Path
) -> None:
    words = [f"{group}={name}", *NEEDS.get((group, name), [])]
    if name == "folder":  # the one data set that has to be there to say how many classes it has
        words += grey_images.make(tmp_path / "images")[1:]
    config = compose(words, conf)
    if group in config.axes:
        assert config.axes[group] == name
    # A run's folder may be evaluated by anybody.
    PROJECT.refuse_foreign_code(config)
    torch.manual_seed(config.seed)
    data = build_data(config)
    task = build_task(config, data)
    images = torch.zeros(2, data.in_channels, 32, 32)
    assert task.net.eval()(images).shape == (2, data.num_classes)
    # One device of the CPU: what a file asks for beyond it, this machine may not have.
    here = config.trainer.model_copy(update={"accelerator": "cpu", "devices": 1})
    config = config.model_copy(update={"trainer": here})
    trainer = build_trainer(config, tmp_path, "run", validates=True)
    assert trainer.max_steps == config.steps


def test_every_group_has_a_file_and_every_file_says_what_it_is() -> None:
    assert len(FILES) > 50
    for group, name in FILES:
        text = shipped.file(group, name).read_text()
        lines = text.removeprefix("# @package _global_\n").splitlines()
        assert lines[0].startswith("# "), f"{group}/{name}.yaml opens with what it does"

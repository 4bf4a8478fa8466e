"""What a run's folder may name: a foreign configuration builds objects and runs no code."""

import pytest

from gradflow.errors import ConfigError
from gradflow.runs.config import refuse_foreign_code


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load",
        "torch.load",
        "torch.serialization.load",
        "numpy.load",
        "numpy.fromfile",
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "pickle.loads",
        "runpy.run_path",
        "lightning.fabric.utilities.cloud_io._load",
        "lightning.pytorch.LightningModule.load_from_checkpoint",
        "small_project.Fit.load_from_checkpoint",
        "torch.nn.Module.load_state_dict",
        "importlib.import_module",
        "hydra.utils.get_method",
        "functools.partial",
        "nowhere.at_all",
        "nothing",
        "",
    ],
)
def test_loaders_and_callers_are_refused_wherever_they_stand(target: str) -> None:
    values = {"callbacks": {"mine": {"_target_": "torch.nn.ReLU", "deep": [{"_target_": target}]}}}
    with pytest.raises(ConfigError) as refused:
        refuse_foreign_code(values, "small_project")
    assert str(refused.value).startswith(f"callbacks.mine.deep._target_={target}: is not built")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.ReLU",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "torchvision.models.resnet18",
        "lightning.pytorch.callbacks.EarlyStopping",
        "gradflow.gradients.monitor.GradientMonitor",
        "gradflow.training.clipping.NormClip",
        "small_project.Fit",
        "small_project.Points",
        "small_project.build_task",
    ],
)
def test_nets_tasks_data_and_callbacks_are_built(target: str) -> None:
    refuse_foreign_code({"model": {"_target_": target}}, "small_project")

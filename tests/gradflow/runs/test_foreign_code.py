"""What a run's folder may name: a foreign configuration builds parts of nets and runs no code."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradflow.errors import ConfigError
from gradflow.runs.foreign import refuse_foreign_code, refuse_foreign_overrides

# Callables that load pickles or libraries, open files for writing, or run commands.
DANGEROUS = [
    "torch.hub.load",
    "torch.load",
    "torch.nn.functional.torch.load",
    "torch.optim.sgd.torch.load",
    "torch.nn.functional.torch.hub.load",
    "torch.serialization.load",
    "torch.jit.load",
    "torch.ops.load_library",
    "torch.classes.load_library",
    "torch.save",
    "torch.distributed.run.main",
    "torch.utils.cpp_extension.load",
    "torch.utils.data.datapipes.iter.FileOpener",
    "torchvision.models.get_model",
    "torchvision.models.resnet.load_state_dict_from_url",
    "torchvision.datasets.utils.download_and_extract_archive",
    "numpy.load",
    "numpy.fromfile",
    "numpy.savetxt",
    "pandas.read_pickle",
    "polars.read_csv",
    "ctypes.CDLL",
    "os.system",
    "os.execv",
    "posix.system",
    "pty.spawn",
    "shutil.rmtree",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "io.open",
    "code.interact",
    "subprocess.Popen",
    "pickle.loads",
    "marshal.loads",
    "runpy.run_path",
    "webbrowser.open",
    "lightning.fabric.utilities.cloud_io._load",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "lightning.pytorch.callbacks.LambdaCallback",
    "small_project.Fit.load_from_checkpoint",
    "small_project.hydra.utils.get_method",
    "small_project.instantiate",
    "small_project.torch.load",
    "small_project.Project",
    "gradflow.launch.instantiate.instantiate",
    "gradflow.launch.instantiate.hydra.utils.instantiate",
    "gradflow.runs.config.import_named",
    "gradflow.gradients.atomic.write_text",
    "gradflow.gradients.atomic.os.system",
    "torch.nn.Module.load_state_dict",
    "torch.nn.init.kaiming_normal_",
    "torch.nn.functional.relu",
    "importlib.import_module",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "functools.partial",
    "timm.create_model.__globals__",
    "timm.models.load_checkpoint",
    "timm.models.create_model.__builtins__",
    "torch.nn",
    "torch.nn.",
    ".torch.nn.ReLU",
    "nowhere.at_all",
    "nothing",
    "",
]


@pytest.mark.parametrize("target", DANGEROUS)
def test_loaders_and_callers_are_refused_wherever_they_stand(target: str) -> None:
    values = {"callbacks": {"mine": {"_target_": "torch.nn.ReLU", "deep": [{"_target_": target}]}}}
    with pytest.raises(ConfigError) as refused:
        refuse_foreign_code(values, "small_project", run=Path("their/run"))
    start = f"their/run: callbacks.mine.deep.0._target_={target}: is not built"
    assert str(refused.value).startswith(start)
    assert "--trust" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", [["os.system"], {"_target_": "os.system"}, 3, None])
def test_a_target_that_is_no_name_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"^model\._target_="):
        refuse_foreign_code({"model": {"_target_": target}}, "small_project")


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.ReLU",
        "torch.nn.modules.activation.ReLU",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "torchvision.models.resnet18",
        "torchvision.models.resnet.resnet18",
        "torchvision.models.ResNet",
        "timm.create_model",
        "timm.models.create_model",
        "small_project.Fit",
    ],
)
def test_nets_layers_optimizers_and_schedulers_are_built(target: str) -> None:
    refuse_foreign_code({"model": {"_target_": target}}, "small_project")


def test_what_a_file_of_the_readers_own_names_is_built(tmp_path: Path) -> None:
    callback = {"callbacks": {"a": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}}
    with pytest.raises(ConfigError):
        refuse_foreign_code(callback, "small_project", tmp_path)
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "mine.yaml").write_text(yaml.safe_dump(callback["callbacks"]))
    refuse_foreign_code(callback, "small_project", tmp_path)


def test_deciding_imports_no_module_that_a_foreign_run_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("open('ran', 'w')\nimport torch\nReLU = torch.nn.ReLU\n")
    (tmp_path / "torch_nn").mkdir()
    (tmp_path / "torch_nn" / "__init__.py").write_text("open('ran', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    for target in ("planted.ReLU", "torch_nn.ReLU", "antigravity.x", "torch.utils.tensorboard.x"):
        with pytest.raises(ConfigError):
            refuse_foreign_code({"model": {"_target_": target}}, "small_project")
    assert not (tmp_path / "ran").exists()
    assert {"planted", "torch_nn", "antigravity"}.isdisjoint(set(sys.modules) - before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"pretrained": 1},
        {"pretrained_cfg": {"file": "/tmp/evil.pth"}},
        {"pretrained_cfg_overlay": {"hf_hub_id": "a/b"}},
        {"checkpoint_path": "/tmp/evil.pth"},
        {"weights": "DEFAULT"},
        {"weights_backbone": "IMAGENET1K_V1"},
        {"model_name": "hf-hub:a/b"},
        {"model_name": "HF_hub:a/b"},
        {"model_name": " h\tf-hub:a/b"},
        {"model_name": "local-dir:/tmp/evil"},
        {"model_name": "https://x/y"},
        {"model_name": "resnet10t", "block": {"deep": [{"url": "x"}]}},
        {"_args_": ["resnet10t", True]},
        {"_given_": {"pretrained": "num_classes"}},
        {"model_name": "${oc.env:HOME}"},
        {"deep": [["${model.x}"]]},
    ],
    ids=str,
)
def test_arguments_that_load_download_or_interpolate_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigError, match=r"^model\.") as refused:
        refuse_foreign_code({"model": {"_target_": "timm.create_model", **arguments}}, "x")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_name": "resnet10t", "pretrained": False, "checkpoint_path": "", "weights": None},
        {"use_checkpoint": True, "weight_decay": 0.1, "weights": [1.0, 2.0], "a": "C:/x"},
        {"_given_": {"in_chans": "in_channels"}, "_args_": [{"_target_": "torch.nn.Flatten"}]},
        {"_partial_": True, "_recursive_": False, "_convert_": "all"},
    ],
    ids=str,
)
def test_other_arguments_are_not(arguments: Any) -> None:
    refuse_foreign_code({"model": {"_target_": "timm.create_model", **arguments}}, "x")


def test_an_argument_that_the_readers_own_file_gives_is_allowed_with_that_value(
    tmp_path: Path,
) -> None:
    node = {"_target_": "timm.create_model", "model_name": "resnet10t", "pretrained": True}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(node))
    refuse_foreign_code({"model": node}, "x", tmp_path)
    with pytest.raises(ConfigError, match="checkpoint_path=a: loads"):
        refuse_foreign_code({"model": {**node, "checkpoint_path": "a"}}, "x", tmp_path)


@pytest.mark.parametrize(
    "override",
    [
        "project=planted.PROJECT",
        "+project=planted.PROJECT",
        "hydra.searchpath=[file:///tmp/evil]",
        "hydra/launcher=joblib",
        "model@hydra.launcher=resnet",
        "model=../../outputs/run/evil",
        "remedy=[relu,/tmp/evil]",
        "+lab/x='/tmp/evil'",
        "lr=${oc.env:SECRET}",
        "lr=${ oc.env:SECRET}",
        "lr=${${x}:SECRET}",
        "lr=${gradflow.folder:a}",
    ],
)
def test_overrides_that_reach_beyond_conf_are_refused(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        refuse_foreign_overrides(["lr=0.1", override], Path("their/run"))
    assert str(refused.value).startswith(f"their/run: {override}: is ")


def test_other_overrides_are_taken() -> None:
    refuse_foreign_overrides(
        [
            *("lr=0.1", "remedy=[relu,clip]", "data.root=../data", "weights='/a/b'"),
            *("scheduler.T_max=${steps}", "a.b=${..c}", "x=${gradflow.fraction:${steps},0.5}"),
        ],
        Path("run"),
    )


def test_no_environment_is_read_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SECRET", "planted")
    with pytest.raises(ConfigError) as refused:
        refuse_foreign_code(
            {"model": {"_target_": "torch.nn.ReLU", "x": "${oc.env:SECRET}"}}, "small_project"
        )
    assert "planted" not in str(refused.value)

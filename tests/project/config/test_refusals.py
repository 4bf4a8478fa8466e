"""What cannot be run is refused before data is touched, in one line that says what is allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shipped

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from project.config import Config
from project.data import ImageData
from project.train import train

# The words of a command line; then what the one line has to name.
REFUSED = [
    # keys that do not exist
    ("stepz=3", ["stepz=3", "no such key", "steps"]),
    ("+stepz=3", ["stepz=3", "no such key", "steps"]),
    ("model.depht=3", ["model.depht=3", "no such key", "depth"]),
    ("+model.depht=3", ["model.depht=3", "no such key", "depth"]),
    ("+activation.x=1", ["activation.x=1", "no such key", "inplace"]),
    ("+norm.x=1", ["norm.x=1", "no such key", "eps"]),
    ("+init.x=1", ["init.x=1", "no such key", "gain, mode"]),
    ("+clip.x=1 clip=norm", ["clip.x=1", "no such key", "max_norm"]),
    ("+optimizer.x=1", ["optimizer.x=1", "no such key", "momentum"]),
    ("+optimizer.lr=1", ["optimizer.lr=1", "no such key", "momentum"]),
    ("+scheduler.x=1", ["scheduler.x=1", "no such key", "total_iters"]),
    ("+data.x=1", ["data.x=1", "no such key", "batch_size"]),
    ("+trainer.x=1", ["trainer.x=1", "no such key", "accelerator"]),
    ("+logger.x=1", ["logger.x=1", "no such key", "project"]),
    ("+monitor.x=1", ["monitor.x=1", "no such key", "every_n_steps"]),
    ("+axes.model=x", ["axes", "cannot be set"]),
    # choices that do not exist, or are too many
    ("activation=rleu", ["activation=rleu", "no such choice", "leaky_relu, mish, prelu, relu"]),
    ("activation=[relu,tanh]", ["activation", "one choice", "list"]),
    ("~optimizer", ["optimizer", "one choice"]),
    ("activation=[1]", ["activation=[1]", "cannot be composed"]),
    ("+callbacks={1:2}", ["callbacks", "string"]),
    # numbers beyond what a machine can hold
    ("trainer.devices=100000000", ["trainer.devices=100000000", "4096"]),
    ("accumulate=9223372036854775808", ["accumulate=9223372036854775808", "2147483648"]),
    ("lr=1e308", ["lr=1e+308", "1e+30"]),
    ("model.width=9223372036854775808", ["model", "Overflow"]),
    # Hydra's own options of a node
    ("+model._args_=3", ["model._args_=3", "a list"]),
    ("+model._recursive_=a", ["model._recursive_=a", "true or false"]),
    ("data.root=../up", ["data.root=../up", "below the working directory"]),
    # values out of range, or of another type
    ("model.depth=21", ["model", "depth", "got 21", "6n+2, from 8 to 1202", "20 and 26"]),
    ("model.depth=abc", ["model.depth=abc", "int"]),
    ("model.width=0", ["model", "width", "got 0", "at least 1"]),
    ("model.stem_stride=3", ["model", "stem_stride", "got 3", "1 or 2"]),
    ("lr=0", ["lr=0", "greater than 0"]),
    ("lr=-0.1", ["lr=-0.1", "greater than 0"]),
    ("lr=nan", ["lr=nan", "finite"]),
    ("lr=inf", ["lr=inf", "finite"]),
    ("lr_scale=0", ["lr_scale=0", "greater than 0"]),
    ("steps=0", ["steps=0", "greater than or equal to 1"]),
    ("seed=-1", ["seed=-1", "greater than or equal to 0"]),
    ("seed=4294967296", ["seed=4294967296", "less than 4294967296"]),
    ("seed=null", ["seed=None", "integer"]),
    ("seed=true", ["seed=True", "integer"]),
    ("checkpoint.every_minutes=0", ["checkpoint.every_minutes=0", "greater than 0"]),
    ("checkpoint.every_n_steps=0.5", ["checkpoint.every_n_steps=0.5", "integer"]),
    ("checkpoint.every=1", ["checkpoint.every=1", "no such key", "every_minutes"]),
    ("lr=true", ["lr=True", "number"]),
    ("channels_last=1", ["channels_last=1", "boolean"]),
    ("trainer.devices=true", ["trainer.devices=True", "integer", "'auto'"]),
    ("threads=0", ["threads=0", "greater than or equal to 1"]),
    ("threads=1000000", ["threads=1000000", "less than or equal to 1024"]),
    (
        "precision=16-mixed trainer=cpu",
        ["precision=16-mixed", "not on a CPU"],
    ),
    ("precision=8", ["precision=8", "'32-true', 'bf16-mixed', '16-mixed' or '64-true'"]),
    ("accumulate=0", ["accumulate=0", "greater than or equal to 1"]),
    ("monitor.every_n_steps=0", ["monitor.every_n_steps=0", "at least 1"]),
    ("trainer.devices=x", ["trainer.devices=x", "integer", "'auto'"]),
    ("logger.mode=on", ["logger.mode=on", "'online', 'offline' or 'none'"]),
    ("clip=agc clip.clip_factor=0", ["clip.clip_factor=0", "> 0"]),
    ("clip=agc clip.clip_factor=-1", ["clip.clip_factor=-1", "> 0"]),
    ("clip=norm clip.max_norm=nan", ["clip.max_norm=nan", "finite"]),
    ("clip=norm clip.max_norm=inf", ["clip.max_norm=inf", "finite"]),
    ("clip=value clip.clip_value=inf", ["clip.clip_value=inf", "finite"]),
    ("data.root=null", ["data.root=None", "str"]),
    ("data.root=5", ["data.root=5", "str"]),
    ("optimizer.momentum=-1", ["optimizer=sgd", "momentum", "-1"]),
    ("activation=elu activation.alpha=abc", ["activation.alpha=abc", "float"]),
    # values that do not fit together
    ("init=zero_residual norm=none", ["init=zero_residual", "norm=batch"]),
    ("init=zero_residual model=plain_cnn", ["init=zero_residual", "model.skip=true"]),
    ("norm=group model.width=3", ["num_groups", "4 groups", "3 channels", "divide"]),
    ("data.batch_size=45001", ["data.batch_size=45001", "from 1 to 45000"]),
    (
        "callbacks=early_stopping data.validation=0",
        ["callbacks.early_stopping.monitor=validation/accuracy", "data.validation=0"],
    ),
    ("data=synthetic data.batch_size=2001", ["data.batch_size=2001", "from 1 to 2000"]),
    ("accumulate=1000", ["data.batch_size=128", "accumulate=1000", "at most 45"]),
    ("+callbacks.x._target_=torch.nn.ReLU", ["callbacks.x._target_", "must be a Callback"]),
    # overrides that Hydra cannot read
    ("model", ["model", "key=value"]),
    ("steps=[1", ["steps=[1", "key=value"]),
    ("steps=1,2", ["steps=1,2", "--multirun"]),
    ("lr=${nosuch}", ["lr", "nosuch"]),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_in_one_line_before_data_is_touched(
    words: str, named: list[str], conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: ImageData) -> None:
        raise AssertionError("the data was touched")

    monkeypatch.setattr(ImageData, "load", load)
    with pytest.raises(ConfigError) as refused:
        train(compose(["logger=none", *words.split()], conf), tmp_path)
    line = str(refused.value)
    assert "\n" not in line
    assert [part for part in named if part not in line] == [], line


def test_seed_zero_is_a_seed(conf: Path) -> None:
    assert compose(["seed=0"], conf).seed == 0


def test_a_saved_config_with_an_unknown_key_is_refused(conf: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = compose([], conf)
    config.save(file)
    assert Config.load(file) == config
    file.write_text(file.read_text() + "stepz: 3\n")
    with pytest.raises(ConfigError) as refused:
        Config.load(file)
    assert str(refused.value).startswith(
        f"{file}: stepz=3: there is no such key; allowed: project, seed, "
    )


@pytest.mark.parametrize(
    "damaged", [b"\xff\xfe\x00", b"seed: 0\nlr: {a", b"", b"just words", b"[1]"]
)
def test_a_damaged_config_is_named_in_one_line(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(damaged)
    with pytest.raises(ConfigError) as refused:
        Config.load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["+model.depht=3", "activation=rleu"])
def test_the_command_says_one_line_and_exits_with_2(words: str, tmp_path: Path) -> None:
    script = shipped.CONF.parent / "scripts" / "train.py"
    done = subprocess.run(
        [sys.executable, str(script), words, "logger=none", f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {words.lstrip('+')}: there is no such")
    assert done.stdout == ""

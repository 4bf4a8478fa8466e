"""What is measured of new nets equals the same figures by hand; the notebook runs."""

import math
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.launch.compose import compose
from gradflow.runs.read import read_runs
from lab.probe.run import first_batch, new_net
from lab.textbook import clipped, starts

SMALL = ("data=synthetic", "data.train_images=200", "data.test_images=100", "data.validation=100")
NET = ("model=plain_cnn", "model.depth=8", "model.width=4", "norm=none", "activation=tanh")
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_the_figures_of_a_new_net_are_those_computed_by_hand() -> None:
    words = [*SMALL, *NET, "init=saturating"]
    (start,) = starts(words, [1])
    config = compose([*words, "data.batch_size=64", "seed=1"])
    images, labels = first_batch(config)
    net = new_net(config)
    zs: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, nn.Tanh):
            module.register_forward_pre_hook(lambda _, inputs: zs.append(inputs[0]))
    loss = F.cross_entropy(net(images), labels)
    for z in zs:
        z.retain_grad()
    loss.backward()  # type: ignore[no-untyped-call]

    def decades(last: Tensor | None, first: Tensor | None) -> float:
        assert last is not None
        assert first is not None
        return 0.5 * math.log10(last.square().mean().item() / first.square().mean().item())

    assert len(zs) == 7
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert start.loss == pytest.approx(loss.item(), rel=1e-5)
    far = torch.cat([z.flatten().abs() > 5 for z in zs]).double().mean()
    assert start.far == pytest.approx(float(far), abs=1e-6)
    assert 0.2 < start.far < 1
    assert start.signal == pytest.approx(decades(zs[-1], zs[0]), abs=1e-4)
    assert start.gradient == pytest.approx(decades(zs[0].grad, zs[-1].grad), abs=1e-4)
    first, last = convolutions[0].weight.grad, convolutions[-1].weight.grad
    assert start.weights == pytest.approx(decades(first, last), abs=1e-4)
    sizes = [m.weight.grad.square().mean().sqrt().log10().item() for m in convolutions]  # type: ignore[union-attr]
    assert start.smallest == pytest.approx(min(sizes), abs=1e-4)


def test_clipping_by_norm_alone_leaves_the_ratio_between_layers() -> None:
    found = clipped([*SMALL, *NET, "init=saturating"], [0])
    assert found["norm"] == pytest.approx(found["none"], abs=1e-4)
    for clip in ("value", "agc"):
        assert abs(found[clip][0] - found["none"][0]) > 0.1


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (SCRIPTS / "lab/notebook.py").read_text(encoding="utf-8")
    real = '"data=cifar10", "data.batch_size=64", "steps=150"'
    assert text.count(real) == 1
    words = ", ".join(f'"{word}"' for word in (*SMALL, "data.batch_size=20", "steps=3"))
    text = text.replace(real, words)
    assert text.count("\n# %%") == 5
    text = text.replace('Path("outputs/notebook")', f'Path("{tmp_path}/runs")')
    monkeypatch.chdir(SCRIPTS.parent)  # a notebook lies in the repository, where conf/ is
    (tmp_path / "notebook.py").write_text(text)
    runpy.run_path(str(tmp_path / "notebook.py"), run_name="__main__")
    assert (tmp_path / "runs/profiles.png").stat().st_size > 10_000
    assert len(read_runs([tmp_path / "runs"])) == 9
    printed = capsys.readouterr().out
    assert "vanishing" in printed
    assert "chi_1: 0.0" in printed

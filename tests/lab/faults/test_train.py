"""What every suite trains and measures with: it must not change the run, and fit any net."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gradflow.gradients.record import read_gradients
from gradflow.gradients.schedule import is_scheduled
from lab.faults.peers import Step, answers
from lab.faults.train import accuracy, train


class Net(LightningModule):
    """A sequence of layers that ends in three logits."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(*shape: int) -> DataLoader[tuple[Tensor, ...]]:
    images = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.arange(16) % 3), batch_size=8)


def test_watching_a_run_does_not_change_it(tmp_path: Path) -> None:
    ends = []
    for monitor in (True, False):
        torch.manual_seed(1)
        net = Net(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3))
        folder = tmp_path / str(monitor)
        steps = train(net, batches(4), folder, 21, 7, monitor)
        assert len(steps) == (3 if monitor else 0)
        assert folder.exists() == monitor
        ends.append([p.detach() for p in net.parameters()])
    for watched, unwatched in zip(*ends, strict=True):
        assert torch.equal(watched, unwatched)
    recorded = read_gradients(tmp_path / "True")["step"].unique().to_list()
    assert sorted(recorded) == [step for step in range(21) if is_scheduled(step) or step == 20]


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((5,), [nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)]),
        ((6, 5), [nn.Linear(5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)]),
        ((5, 6, 6), [nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]),
    ],
    ids=["features", "sequences", "images"],
)
def test_the_inactive_units_of_any_shape_are_found(
    tmp_path: Path, shape: tuple[int, ...], layers: list[nn.Module]
) -> None:
    with torch.no_grad():
        first = layers[0]
        assert isinstance(first, nn.Linear | nn.Conv2d)
        assert first.bias is not None
        first.bias.copy_(torch.tensor([-99.0, 99.0, 99.0, 99.0]))
    (step, *_) = train(Net(*layers), batches(*shape), tmp_path, 1, 0)
    assert step.inactive == [0.25]
    assert step.silent == [pytest.approx(0.25)]
    assert step.beyond_5 == [1.0]  # of the inputs, though the activation may act in place


def test_an_activation_that_is_called_twice_is_two_nonlinearities(tmp_path: Path) -> None:
    act = nn.Tanh()
    net = Net(nn.Linear(4, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 3))
    (step, *_) = train(net, batches(4), tmp_path, 1, 0)
    assert len(step.silent) == 2
    assert not act._forward_pre_hooks


def test_the_tools_answer_for_a_net_without_activations(tmp_path: Path) -> None:
    steps = train(Net(nn.Linear(4, 3)), batches(4), tmp_path, 11, 0)
    assert set(answers(steps, True).values()) == {"healthy"}


class Net2(LightningModule):
    """Two layers without a common loss, each with its own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh())
        self.automatic_optimization = False

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        for net, optimizer in zip((self.first, self.second), self.optimizers(), strict=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            self.manual_backward(net(batch[0]).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(net.parameters(), lr=0.1) for net in (self.first, self.second)]


def test_each_of_several_optimizers_makes_all_steps_and_has_its_own_weights(tmp_path: Path) -> None:
    steps = train(Net2(), batches(4), tmp_path, 21, 0, optimizers=2)
    assert [len(step.norm) for step in steps] == [1] * 6
    assert [len(step.silent) for step in steps] == [1] * 6
    assert read_gradients(tmp_path)["step"].max() == 20


def test_each_due_step_of_l_bfgs_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lbfgs = lambda net: torch.optim.LBFGS(net.parameters(), max_iter=3)  # noqa: E731
    monkeypatch.setattr(Net, "configure_optimizers", lbfgs)
    steps = train(Net(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)), batches(4), tmp_path, 11, 0)
    assert [len(step.silent) for step in steps] == [1, 1]


def test_the_tools_answer_for_a_step_without_any_gradient_of_a_weight() -> None:
    assert set(answers([Step(1.0, True, *[[] for _ in range(8)])], False).values()) == {"healthy"}


def test_accuracy_is_measured_with_batch_statistics_and_without_dropout() -> None:
    images = torch.randn(300, 4)
    norm = nn.BatchNorm1d(4)
    norm.running_mean = torch.full((4,), 1e3)  # evaluation mode would give one class alone
    net = nn.Sequential(norm, nn.Dropout(0.9))
    labels = norm(images).argmax(1)
    assert accuracy(net, [(images, labels)] * 3) == 1

"""The chance loss, against the best constant that a search or a formula of its own finds."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_run import TinyCNN, watch
from torch import Tensor

from gradflow.gradients.chance import Chance, term_of
from gradflow.gradients.learning import learning
from gradflow.gradients.schedule import is_scheduled

N = 20_000


def drawn(*shares: float, count: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(torch.tensor(shares), count, replacement=True, generator=generator)


def outputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


def best_constant(function: Any, target: Tensor, *shape: int) -> float:
    """The least loss of outputs that are the same for every input, by Newton's method."""
    constant = torch.zeros(1, *shape, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = function(constant.expand(len(target), *shape), target)
        value.backward()
        return value

    optimizer.step(loss)
    return float(loss())


LABELS = drawn(0.7, 0.2, 0.1)
RARE = (drawn(0.95, 0.05).float()[:, None] * torch.tensor([1.0, 0.0])).contiguous()


@pytest.mark.parametrize(
    ("function", "target", "outs"),
    [
        (F.cross_entropy, LABELS, 3),
        (F.cross_entropy, F.one_hot(LABELS, 3).float() * 0.8 + 0.2 / 3, 3),
        (F.binary_cross_entropy_with_logits, RARE[:, :1].contiguous(), 1),
        (F.mse_loss, 100 + 3 * torch.randn(N, 4), 4),
    ],
)
def test_it_is_the_least_loss_of_a_constant(function: Any, target: Tensor, outs: int) -> None:
    term = term_of(function, (outputs(N, outs), target), {})
    assert term is not None
    found = float(Chance().read(term, add=False)[0])
    assert found == pytest.approx(best_constant(function, target, outs), rel=2e-4)


def test_the_value_is_the_plain_mean_whatever_the_step_makes_of_it() -> None:
    x, y = outputs(64, 3), LABELS[:64]
    options = {"reduction": "sum", "label_smoothing": 0.1}
    term = term_of(F.cross_entropy, (x, y), options)
    assert term is not None
    assert term.hits == (x.argmax(1) == y).double().mean()
    assert Chance().read(term, add=False)[1] == torch.bincount(y).max() / 64
    assert float(term.value) == pytest.approx(float(F.cross_entropy(x, y)))


def test_targets_that_are_to_be_ignored_are() -> None:
    y = torch.where(torch.rand(N) < 0.5, -1, LABELS)
    term = term_of(F.cross_entropy, (outputs(N, 3), y), {"ignore_index": -1})
    assert term is not None
    shares = torch.bincount(y[y >= 0]) / (y >= 0).sum()
    wanted = float(torch.special.entr(shares).sum())
    assert float(Chance().read(term, add=False)[0]) == pytest.approx(wanted, abs=2e-4)


def test_small_batches_are_not_taken_for_easy_ones() -> None:
    """Ten classes in batches of 16: their plain entropy is 0.28 too low on average."""
    generator = torch.Generator().manual_seed(2)
    once, chance = [], Chance()
    for _ in range(200):
        y = torch.randint(0, 10, (16,), generator=generator)
        term = term_of(F.cross_entropy, (outputs(16, 10), y), {})
        assert term is not None
        once.append(float(Chance().read(term, add=False)[0]))
        together = float(chance.read(term, add=True)[0])
    assert sum(once) / 200 == pytest.approx(math.log(10), abs=0.12)
    assert together == pytest.approx(math.log(10), abs=0.005)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (F.mse_loss, (outputs(4, 2), outputs(4, 2))),  # two outputs of the net
        (F.l1_loss, (outputs(4, 2), torch.zeros(4, 2))),
        (F.mse_loss, (outputs(4, 2), torch.zeros(2))),  # broadcast
        (F.mse_loss, (outputs(1, 2**16 + 1), torch.zeros(1, 2**16 + 1))),
        # With weights, the best constant is another one.
        (F.cross_entropy, (outputs(64, 3), LABELS[:64], torch.tensor([1.0, 5.0, 9.0]))),
    ],
)
def test_nothing_is_said_of_other_losses(function: Any, args: tuple[Tensor, ...]) -> None:
    assert term_of(function, args, {}) is None


class Penalized(TinyCNN):
    """Cross-entropy times 100, with a penalty that is larger than it."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        self.plain = F.cross_entropy(self.net(images), labels)
        return 100 * self.plain + 5000 + torch.stack([p.norm() for p in self.parameters()]).sum()


def test_a_scale_and_a_penalty_are_taken_off_the_loss(tmp_path: Path) -> None:
    module = Penalized()
    monitor = watch(tmp_path, module, max_steps=4)
    last = monitor.flows[-1]
    assert last.loss is not None
    assert last.loss > 5000
    assert last.term == pytest.approx(float(module.plain.detach()))
    assert learning(monitor.flows).losses[-1].mean == pytest.approx(last.term)
    assert last.chance == pytest.approx(math.log(10), rel=0.05)


def test_targets_that_are_all_alike_say_nothing() -> None:
    """A residual is often compared with zeros: its chance loss is not 0."""
    term = term_of(F.mse_loss, (outputs(64, 3), torch.zeros(64, 3)), {})
    assert term is not None
    assert math.isnan(Chance().read(term, add=False)[0])


def test_labels_of_any_integer_type_are_taken() -> None:
    term = term_of(F.cross_entropy, (outputs(64, 3), LABELS[:64].to(torch.uint8)), {})
    assert term is not None
    assert float(term.value) == pytest.approx(float(F.cross_entropy(outputs(64, 3), LABELS[:64])))


class Learner(TinyCNN):
    """Learns to tell two halves of the batch apart; its loss is `made` of outputs and labels."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        loss: Tensor = self.made(self.net(images), (images.mean(dim=(1, 2, 3)) > 0).long())
        return loss


def padded(outputs: Tensor, labels: Tensor) -> Tensor:
    """Most targets are masked, after the loss function."""
    masked = torch.arange(len(labels)) >= len(labels) // 2
    each = F.cross_entropy(outputs, torch.where(masked, labels, 7), reduction="none")
    return (each * masked).sum() / masked.sum()


def ignored(outputs: Tensor, labels: Tensor) -> Tensor:
    """Every target of the batch is to be ignored."""
    return F.cross_entropy(outputs, torch.full_like(labels, -100), reduction="sum")


def per_sample(outputs: Tensor, labels: Tensor) -> Tensor:
    one = torch.func.grad(lambda x, y: F.cross_entropy(x[None], y[None]))
    torch.func.vmap(one)(outputs.detach(), labels)
    return F.cross_entropy(outputs, labels)


@pytest.mark.parametrize("made", [padded, ignored, per_sample])
def test_no_loss_of_a_stranger_ends_the_watching(made: Any, tmp_path: Path) -> None:
    monitor = watch(tmp_path, Learner(made), every_n_steps=None, max_steps=30)
    assert monitor.verdict is not None
    assert len(monitor.flows) == len([s for s in range(30) if is_scheduled(s)]) + 1


def test_a_loss_that_does_not_follow_its_function_has_no_chance_from_it(tmp_path: Path) -> None:
    monitor = watch(tmp_path, Learner(padded), every_n_steps=1, max_steps=30)
    assert monitor.flows[-1].term is not None
    assert [p.mean for p in learning(monitor.flows).losses] == [f.loss for f in monitor.flows]

"""Nets and trainings of other people: measured right or said not to be, and never changed."""

import copy
import io
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_run import Smooth, TinyCNN, batches, fit, rows, watch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from gradflow.gradients import monitor as monitor_module
from gradflow.gradients.layer_values import LayerValues
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import read_gradients
from gradflow.gradients.verdict import diagnose

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def measured(net: nn.Module, loss: Callable[[], Tensor]) -> LayerValues:
    watch = LayerWatch(net, images=None)
    watch.start()
    value = loss()
    watch.enter_backward()
    value.backward()
    watch.leave_backward()
    found = watch.collect()
    assert found is not None
    return found


def values(found: LayerValues) -> dict[str, list[float]]:
    return dict(zip(found.names, found.values[:, :4].tolist(), strict=True))


class Blocks(nn.Module):
    """A deep sigmoid net in two blocks, whose passes may be checkpointed."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = [nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()) for _ in range(4)]
        self.one, self.two = nn.Sequential(*sizes[:2]), nn.Sequential(*sizes[2:])
        self.head, self.reentrant = nn.Linear(4, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.one, self.two):
            if self.reentrant is None:
                x = block(x)
            else:
                x = checkpoint(block, x, use_reentrant=self.reentrant)
        logits: Tensor = self.head(x)
        return logits


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_changes_no_figure(reentrant: bool) -> None:
    found = []
    for how in (None, reentrant):
        net = Blocks(how).double()
        x = X.clone().requires_grad_(how is not None)  # a reentrant block needs one
        found.append(measured(net, lambda net=net, x=x: F.cross_entropy(net(x), Y)))  # type: ignore[misc]
    plain, checkpointed = found
    assert checkpointed.names == plain.names
    assert len(plain.names) == 5
    torch.testing.assert_close(
        checkpointed.values, plain.values, rtol=1e-12, atol=0, equal_nan=True
    )


def test_a_module_that_checkpointing_calls_several_times_keeps_the_order_of_its_calls() -> None:
    class Shared(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear, self.phi, self.head = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)
            self.reentrant = reentrant

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3):
                block = nn.Sequential(self.linear, self.phi)
                x = checkpoint(block, x, use_reentrant=True) if self.reentrant else block(x)
            logits: Tensor = self.head(x)
            return logits

    x = X.clone().requires_grad_()
    found = []
    for reentrant in (False, True):
        net = Shared(reentrant).double()
        found.append(measured(net, lambda net=net: F.cross_entropy(net(x), Y)))  # type: ignore[misc]
    assert found[1].names == ["phi", "phi#2", "phi#3", "head"]
    torch.testing.assert_close(found[1].values, found[0].values, rtol=1e-12, atol=0, equal_nan=True)


def test_copies_and_inner_loops_are_no_layers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    plain = measured(net, lambda: F.cross_entropy(net(X), Y))

    def adapted() -> Tensor:
        twin = copy.deepcopy(net)
        F.cross_entropy(twin(X), Y).backward()
        fast = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
        for _ in range(2):
            inner = F.cross_entropy(functional_call(net, fast, (X,)), Y)
            gradients = torch.autograd.grad(inner, list(fast.values()))
            fast = {name: p - 0.1 * g for (name, p), g in zip(fast.items(), gradients, strict=True)}
        net(100 * X)  # for logging, with gradients enabled
        return F.cross_entropy(net(X), Y)

    found = measured(net, adapted)
    assert found.names == plain.names
    torch.testing.assert_close(found.values, plain.values, rtol=0, atol=0, equal_nan=True)


def test_a_gradient_penalty_is_not_taken_for_the_gradient_of_the_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def penalized(weight: float) -> Tensor:
        x = X.clone().requires_grad_()
        logits = net(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return F.cross_entropy(logits, Y) + weight * slope.square().mean()

    free = measured(net, lambda: penalized(0))
    plain = measured(net, lambda: F.cross_entropy(net(X), Y))
    torch.testing.assert_close(free.values, plain.values, rtol=1e-12, atol=0, equal_nan=True)
    z = net[0](X)
    assert values(measured(net, lambda: penalized(5)))["1"][:2] == pytest.approx(
        [z.norm().item(), z.abs().max().item()]
    )


class Functional(nn.Module):
    """The same net with functions in place of modules."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.one, self.two, self.head = net[0], net[2], net[4]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.two(F.relu(self.one(x)))))
        return logits


def test_nonlinearities_called_as_functions_are_measured_as_modules_are() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    ).double()
    modules = measured(net, lambda: F.cross_entropy(net(X), Y))
    functional = Functional(net)
    functions = measured(functional, lambda: F.cross_entropy(functional(X), Y))
    assert modules.names == ["1", "3", "4"]
    assert functions.names == ["relu", "tanh", "head"]
    torch.testing.assert_close(functions.values, modules.values, equal_nan=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.relu(),
        lambda x: F.relu(x, inplace=True),
        lambda x: torch.relu_(x),
        lambda x: nn.ReLU()(input=x),  # with a keyword, as a module of no parent
    ],
)
def test_each_way_to_call_relu_is_seen(call: Callable[[Tensor], Tensor]) -> None:
    linear = nn.Linear(4, 3).double()
    net = nn.ModuleDict({"linear": linear})
    z = linear(X).detach()
    found = measured(net, lambda: call(linear(X) * 1).sum())
    assert found.names[0] == "relu"
    assert found.values[0, 0].item() == pytest.approx(z.norm().item())
    assert found.values[0, 2].item() == pytest.approx(math.sqrt((z > 0).sum()))


def test_a_transformer_has_its_layers_from_input_to_output() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    net = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 3), "head": nn.Linear(8, 3)})
    x = torch.randn(6, 5, 8)
    found = measured(net, lambda: F.cross_entropy(net["head"](net["encoder"](x).mean(1)), Y))
    assert found.names == [*(f"encoder.layers.{i}.relu" for i in range(3)), "head"]
    assert found.units == [16, 16, 16, 3]
    assert all(found.has_gradient)


@pytest.mark.parametrize("way", ["first", "auxiliary", "gate", "functional", "probabilities"])
def test_the_logits_are_what_enters_the_loss_wherever_they_come_from(way: str) -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)  # declared before the encoder
            self.encoder = nn.Linear(4, 5)
            self.gate = nn.Linear(3, 3)
            self.side = nn.Linear(5, 7)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.encoder(x).tanh()
            logits = self.head(hidden)
            if way == "gate":
                logits = logits * self.gate(logits.detach()).sigmoid()
            if way == "functional":
                logits = F.linear(hidden, self.head.weight)
            return logits, self.side(hidden)

    net = Net().double()
    wanted: list[Tensor] = []

    def loss() -> Tensor:
        logits, side = net(X)
        wanted.append(logits)
        if way == "probabilities":
            return F.nll_loss(F.log_softmax(logits, dim=1), Y)
        return F.cross_entropy(logits, Y) + (side.square().mean() if way == "auxiliary" else 0)

    found = measured(net, loss)
    assert found.names[-1] == ("output" if way in ("gate", "functional") else "head")
    assert found.units[-1] == 3
    assert found.values[-1, 0].item() == pytest.approx(wanted[0].norm().item())
    assert found.has_gradient[-1]


def test_of_two_losses_of_different_tensors_the_logits_are_unknown() -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"a": nn.Linear(4, 3), "phi": nn.Tanh(), "b": nn.Linear(3, 5)}).double()

    def loss() -> Tensor:
        a = net["a"](X)
        return F.cross_entropy(a, Y) + F.cross_entropy(net["b"](net["phi"](a)), Y)

    found = measured(net, loss)
    assert (found.names, found.elements[-1]) == (["phi", "output"], 0)
    assert torch.isnan(found.values[-1]).all()


class Running(nn.Module):
    """An activation with a running buffer and a count: called twice, it would train otherwise."""

    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.zeros(()))
        self.calls, self.seen = 0, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen[0] += 1
        self.running = 0.9 * self.running + 0.1 * x.detach().abs().mean()
        return torch.tanh(x / (1 + self.running))


class TwoArguments(nn.Module):
    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        return torch.tanh(scale * x)


class Odd(Smooth):
    """Activations of all kinds that have a name or a type that may mislead."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Flatten())
        self.activation = Running()
        self.activation_scaled = TwoArguments()
        self.activation_dropout = nn.Dropout(0.1)
        self.activation_post_process = torch.ao.quantization.MinMaxObserver()
        self.activation_net = nn.Sequential(nn.Linear(144, 144))
        self.head = nn.Linear(144, 10)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        x = self.activation_dropout(self.activation(self.net(batch[0])))
        x = self.activation_net(self.activation_post_process(self.activation_scaled(x, scale=2.0)))
        return F.cross_entropy(self.head(x), batch[1])


def test_activations_with_a_state_train_as_if_unwatched_and_names_alone_make_no_layer(
    tmp_path: Path,
) -> None:
    alone = fit(tmp_path / "alone", Odd(), every_n_steps=None)
    watched = Odd()
    monitor = watch(tmp_path / "watched", watched, max_steps=12)
    assert monitor.flows[0].layers == ["activation", "activation_scaled", "head"]
    for key, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value), key
    assert watched.activation.calls == watched.activation.seen[0] == 12
    assert math.isnan(monitor.flows[0].saturated[0])
    assert monitor.flows[0].dead[0] == 0


def test_a_pass_that_is_repeated_to_find_a_bad_layer_leaves_no_trace(tmp_path: Path) -> None:
    class Bad(Odd):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            if self.global_step == 3:
                batch = [batch[0] * math.inf, batch[1]]
            return super().training_step(batch, index)

    module = Bad()
    monitor = watch(tmp_path, module, max_steps=5, every_n_steps=2)
    assert monitor._non_finite == (3, "activation")
    assert module.activation.calls == 5


class Unusual(Smooth):
    """Sparse, complex, scripted, lazy: beside a net that can be measured."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 10, sparse=True)
        self.phase = nn.Parameter(torch.ones(10, dtype=torch.complex64))
        self.offset = nn.Parameter(torch.zeros(10, dtype=torch.float64))
        self.activation_scripted = torch.jit.script(nn.Sequential(nn.Linear(10, 10), nn.ReLU()))
        self.unused = nn.LazyLinear(3)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        logits = self.activation_scripted(self.net(batch[0])) + self.offset.float()
        return F.cross_entropy((logits + self.embedding(batch[1])) * self.phase.abs(), batch[1])


def test_what_cannot_be_measured_is_named_once_and_the_rest_is_measured(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch(tmp_path, Unusual(), max_steps=4)
    (said,) = [str(x.message) for x in caught if "not measured" in str(x.message)]
    assert said.startswith("gradients are not measured for ")
    for text in (
        "phase (it is torch.complex64)",
        "embedding.weight (its gradient is sparse)",
        "unused.weight (it is not initialized)",
    ):
        assert text in said
    names = set(rows(tmp_path, "gradient", step=3)["name"])
    assert names >= {"offset", "net.0.weight", "activation_scripted.0.weight"}
    assert not names & {"phase", "embedding.weight"}


def test_a_module_can_be_saved_and_copied_while_it_is_watched(tmp_path: Path) -> None:
    class Save(Callback):
        def on_before_zero_grad(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            file = io.BytesIO()
            torch.save(module.net, file)  # type: ignore[arg-type]
            file.seek(0)
            loaded = torch.load(file, weights_only=False)
            for copied in (loaded, copy.deepcopy(module.net)):
                copied(batches().dataset[0][0][None])

    monitor = watch(tmp_path, TinyCNN(), callbacks=(Save(),), max_steps=3)
    assert [flow.layers for flow in monitor.flows] == 3 * [["net.2", "net.6"]]


@pytest.mark.parametrize("address", ["s3://bucket/run", "memory://run"])
def test_a_folder_that_is_an_address_gets_nothing_and_the_figures_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = GradientMonitor(1, on_error="raise")
    # The trainer itself would ask for the address' own library.
    monkeypatch.setattr(Trainer, "default_root_dir", address)
    with pytest.warns(UserWarning, match="is an address; no gradients are written to it"):
        fit(tmp_path, Smooth(), every_n_steps=None, callbacks=(monitor,), max_steps=3)
    assert len(monitor.flows) == 3
    assert monitor.verdict is not None
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_in_a_folder_keeps_the_record_of_the_first(tmp_path: Path) -> None:
    watch(tmp_path, Smooth(), max_steps=3)
    first = read_gradients(tmp_path)
    for fold in (1, 2):
        with pytest.warns(UserWarning, match=f"are now in .*gradients-{fold}.parquet"):
            watch(tmp_path, Smooth(), max_steps=5)
    assert read_gradients(tmp_path)["step"].max() == 4
    assert pl.read_parquet(tmp_path / "gradients-1.parquet").equals(first)
    assert pl.read_parquet(tmp_path / "gradients-2.parquet")["step"].max() == 4


class Adversarial(LightningModule):
    """A generator and a critic; `ratio` steps of the critic for one of the generator."""

    def __init__(self, ratio: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.ratio = ratio
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
        self.critic = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(m.parameters(), 1e-3) for m in (self.generator, self.critic)]

    def training_step(self, batch: list[Tensor], index: int) -> None:
        real = batch[0].flatten(1)[:, :6]
        made = self.generator(torch.randn(len(real), 4))
        of_generator, of_critic = self.optimizers()
        loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(made.detach())).mean()
        of_critic.zero_grad()
        self.manual_backward(loss)
        of_critic.step()
        if (index + 1) % self.ratio == 0:
            of_generator.zero_grad()
            self.manual_backward(F.softplus(-self.critic(made)).mean())
            of_generator.step()


@pytest.mark.parametrize("ratio", [1, 3])
def test_each_optimizer_is_recorded_at_its_own_due_steps_and_a_gan_is_not_called_sick(
    tmp_path: Path, ratio: int
) -> None:
    module = Adversarial(ratio)
    batches_run = 120
    monitor = GradientMonitor(10, on_error="raise")
    fit(
        tmp_path,
        module,
        every_n_steps=None,
        callbacks=(monitor,),
        max_steps=-1,
        max_epochs=batches_run // 6,
    )
    record = read_gradients(tmp_path)
    recorded = record.filter(pl.col("kind") == "gradient")
    for part, made in (("generator", batches_run // ratio), ("critic", batches_run)):
        mine = recorded.filter(pl.col("name").str.starts_with(part))
        due = [step for step in range(made) if step % 10 == 0 or step == batches_run - 1]
        assert mine["step"].unique().sort().to_list() == due
        assert mine["norm"].null_count() == 0
    layers = rows(tmp_path, "pre_activation", step=10)
    assert sorted(layers["name"]) == ["critic.1", "critic.1#2", "generator.1"]
    gradients = rows(tmp_path, "pre_activation_gradient", step=10)
    assert (gradients["norm"] > 0).all()
    assert record.filter(pl.col("kind").str.contains("loss")).is_empty()
    assert monitor.verdict is not None
    assert monitor.verdict.kind == "healthy"
    assert "several optimizers" in monitor.verdict.evidence
    assert diagnose(monitor.flows).kind == "healthy"


@pytest.mark.parametrize(
    "place", ["Snapshot", "log_record", "LayerWatch._enter", "LayerWatch._listen", "FunctionCalls"]
)
def test_a_bug_in_the_monitor_disables_it_and_the_training_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    class BugError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise BugError("a bug")

    owner, _, name = place.rpartition(".")
    if place == "FunctionCalls":
        monkeypatch.setattr(LayerWatch, "_function", fail)
        monkeypatch.setattr(LayerWatch, "_entering", lambda *_: None)
        monkeypatch.setattr(LayerWatch, "_leaving", lambda *_: None)
    else:
        monkeypatch.setattr(LayerWatch if owner else monitor_module, name, fail)
    alone = fit(tmp_path / "alone", Smooth(), every_n_steps=None, max_steps=3)
    monitor = GradientMonitor(1)
    with caplog.at_level(logging.ERROR):
        watched = fit(
            tmp_path / "watched", Smooth(), every_n_steps=None, callbacks=(monitor,), max_steps=3
        )
    assert monitor.is_disabled
    assert "gradient monitor: disabled by an error; training goes on" in caplog.text
    assert "BugError: a bug" in caplog.text
    for key, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value), key
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())
    with pytest.raises(BugError):
        watch(tmp_path / "strict", Smooth(), max_steps=3)


def test_a_functional_net_trains_to_the_same_weights(tmp_path: Path) -> None:
    class Net(Smooth):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
            self.head = nn.Linear(144, 10)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            x = F.rrelu(F.gelu(self.net(batch[0])), training=True)
            return F.cross_entropy(self.head(x), batch[1])

    data = DataLoader(TensorDataset(*batches().dataset.tensors), batch_size=8)  # type: ignore[attr-defined]
    alone = fit(tmp_path / "alone", Net(), every_n_steps=None, data=data)
    watched = Net()
    monitor = watch(tmp_path / "watched", watched, data=data, max_steps=12)
    assert monitor.flows[5].layers == ["gelu", "rrelu", "head"]
    assert np.isfinite(monitor.flows[5].gradient).all()
    for key, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value), key

"""The drawn suite: draws that are what they say, causes that are decided without a verdict."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from gradflow.gradients.record import Entry, RecordWriter
from gradflow.gradients.verdict import Kind
from lab.faults.drawn import causes, run
from lab.faults.drawn.causes import counterfactuals, right_kinds
from lab.faults.drawn.draws import ACTIVATIONS, INITS, OPTIMIZERS, PARTS, Draw, draw, draws
from lab.faults.drawn.net import DrawnModule, build_net, weights
from lab.faults.drawn.table import cause_is_right, is_right, is_unclear, print_tables
from lab.faults.runs import read_rows

DRAWS = draws()
SMALL = Draw(
    part="tuning",
    seed=3,
    channels=(8, 8),
    kernels=(3, 3),
    pools=("none", "max"),
    head_pool="none",
    hidden=(16,),
    activation="tanh",
    init="normal_0.01",
    norm="none",
    dropout=0.0,
    l2=1e-2,
    optimizer="sgd",
    lr=0.5,
    batch_size=16,
    clip="none",
)


def test_the_parts_share_no_seed_and_are_mixed() -> None:
    assert not set(PARTS["tuning"]) & set(PARTS["held_out"])
    counts = {part: sum(d.part == part for d in DRAWS) for part in PARTS}
    assert counts == {"tuning": 200, "held_out": 300}
    assert 25 <= sum(d.part == "tuning" for d in DRAWS[:100]) <= 55
    assert len({d.name for d in DRAWS}) == 500


def test_a_seed_gives_the_same_draw_each_time() -> None:
    assert [draw(d.part, d.seed) for d in DRAWS[:20]] == DRAWS[:20]


def test_every_choice_of_the_space_occurs() -> None:
    assert {d.activation for d in DRAWS} == set(ACTIVATIONS)
    assert {d.init for d in DRAWS} == set(INITS)
    assert {d.optimizer for d in DRAWS} == set(OPTIMIZERS)
    assert {len(d.channels) for d in DRAWS} == set(range(2, 9))
    assert {len(d.hidden) for d in DRAWS} == set(range(6))
    assert min(d.lr for d in DRAWS) < 2e-5
    assert max(d.lr for d in DRAWS) > 0.5


def test_the_results_are_those_of_the_draws() -> None:
    settings = {d.name: d.settings for d in DRAWS}
    for row in read_rows(run.RESULTS):
        assert {key: row[key] for key in settings[row["name"]]} == settings[row["name"]]


@pytest.mark.parametrize("d", DRAWS[::25], ids=lambda d: d.name)
def test_a_net_has_the_drawn_layers(d: Draw) -> None:
    net = build_net(d)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    convolutions = [m for m in net if isinstance(m, nn.Conv2d)]
    assert tuple(m.out_channels for m in convolutions) == d.channels
    assert tuple(m.kernel_size[0] for m in convolutions) == d.kernels
    assert tuple(m.out_features for m in net if isinstance(m, nn.Linear)) == (*d.hidden, 10)
    norms = sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net)
    assert norms == (0 if d.norm == "none" else len(d.channels) + len(d.hidden))


def test_batch_norm_is_on_the_drawn_side_of_the_activation() -> None:
    for norm, order in (("before", (1, 2)), ("after", (2, 1))):
        net = build_net(replace(SMALL, norm=norm))
        kinds = nn.BatchNorm2d, nn.Tanh
        assert tuple(isinstance(net[i], k) for i, k in zip(order, kinds, strict=True)) == (
            True,
            True,
        )


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("he_normal", math.sqrt(2 / 288)),
        ("he_uniform", math.sqrt(2 / 288)),
        ("glorot_normal", math.sqrt(2 / (288 + 288))),
        ("lecun_uniform", math.sqrt(1 / 288)),
        ("torch_default", math.sqrt(1 / (3 * 288))),
        ("normal_0.05", 0.05),
        ("uniform_0.05", 0.05 / math.sqrt(3)),
        ("truncated_0.05", 0.05 * 0.8796),  # Keras too cuts at two standard deviations
        ("normal_0.01", 0.01),
        ("normal_1", 1.0),
    ],
)
def test_an_initialization_has_its_scale(init: str, std: float) -> None:
    net = build_net(replace(SMALL, channels=(32, 32), init=init))
    second = list(weights(net))[1].detach()  # fan_in and fan_out are 32 x 9
    assert float(second.std()) == pytest.approx(std, rel=0.05)


def test_the_loss_has_the_l2_penalty_of_the_weights_alone() -> None:
    batch = (torch.randn(4, 3, 32, 32), torch.arange(4))
    module = DrawnModule(SMALL)
    with torch.no_grad():
        for m in module.net:
            if isinstance(m, nn.Linear):
                m.bias.fill_(1.0)
    plain = nn.functional.cross_entropy(module.net(batch[0]), batch[1])
    penalty = 0.01 * sum(float(w.detach().square().sum()) for w in weights(module.net))
    total = float(plain.detach()) + penalty
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(total)
    assert penalty > 0


def test_clipping_leaves_a_gradient_of_norm_1() -> None:
    for clip, norm in (("norm", 1.0), ("none", 10.0)):
        module = DrawnModule(replace(SMALL, clip=clip))
        count = sum(p.numel() for p in module.parameters())
        for p in module.parameters():
            p.grad = 10 * torch.ones_like(p) / math.sqrt(count)
        module.configure_gradient_clipping(torch.optim.SGD(module.parameters()))
        total = sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None)
        assert math.sqrt(total) == pytest.approx(norm, rel=1e-3)


def test_a_counterfactual_differs_in_the_setting_that_it_names_alone() -> None:
    for d in DRAWS:
        for name, changed in counterfactuals(d).items():
            before, after = asdict(d), asdict(changed)
            assert [key for key in before if before[key] != after[key]] == [name]


def test_a_sane_setting_has_no_counterfactual() -> None:
    sane = replace(SMALL, activation="relu", init="he_uniform", norm="before", l2=0.0, clip="norm")
    assert list(counterfactuals(sane)) == ["lr"]
    assert list(counterfactuals(SMALL)) == ["lr", "init", "activation", "norm", "l2", "clip"]


def test_all_right_kinds_are_kinds_of_verdict() -> None:
    for kinds in causes._KINDS.values():
        assert kinds < set(Kind.__args__)  # type: ignore[attr-defined]
        assert "healthy" not in kinds


def test_the_right_kinds_follow_the_direction_of_the_cause() -> None:
    assert right_kinds(replace(SMALL, lr=1e-5), ["lr"]) == {"untrained"}
    assert "diverged" in right_kinds(SMALL, ["lr"])
    assert right_kinds(SMALL, ["init"]) == {"frozen", "vanishing"}
    assert "saturated" in right_kinds(replace(SMALL, init="normal_1"), ["init"])
    assert right_kinds(SMALL, ["init", "clip"]) == {"frozen", "vanishing", "diverged", "exploding"}
    assert right_kinds(SMALL, []) == set()


def test_a_run_is_judged_with_the_counterfactuals_that_are_there(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    for step in range(0, 150, 10):
        writer.append(step, "gradient", [Entry("w", 0, 4)], {})
        logits = {"norm": [1.0], "rms": [1.0], "max": [1.0], "units": [10]}
        writer.append(step, "pre_activation", [Entry("logits", 0, 80)], logits)
        loss = {"max": [math.log(10)]}
        writer.append(step, "mean_loss", [Entry("loss", 0, 10 if step else 1)], loss)
    writer.flush()
    tools = dict.fromkeys(run.CLASSES, "dead")

    def outcome(name: str, accuracy: float, last_loss: float = 2.3) -> None:
        values = {"accuracy": accuracy, "last_loss": last_loss, "seconds": 1.0, **tools}
        (tmp_path / f"{name}.json").write_text(json.dumps(values))

    def judged() -> tuple[str, str, str]:
        row = run.judge(SMALL, tmp_path)
        return row["learned"], row["cures"], row["right_kinds"]

    outcome("outcome", 0.1)
    assert judged() == (False, "", "")
    for name in counterfactuals(SMALL):
        outcome(name, 0.1)
    assert judged() == (False, "several", "")
    outcome("init", 0.15)
    outcome("clip", 0.3, math.inf)  # its loss overflowed: no cure
    assert judged() == (False, "init", "frozen+vanishing")
    outcome("outcome", 0.3)
    assert judged() == (True, "", "")
    outcome("outcome", 0.3, math.nan)
    assert judged()[0] is False
    assert run.judge(SMALL, tmp_path)["verdict"] == "untrained"


def test_only_missing_trainings_are_done(tmp_path: Path) -> None:
    first = DRAWS[0]
    assert len(run._runs(tmp_path)) == len(DRAWS)
    assert run._counterfactuals(tmp_path) == []
    folder = tmp_path / first.name
    folder.mkdir()
    sick = json.dumps({"accuracy": 0.1, "last_loss": 2.3})
    (folder / "outcome.json").write_text(sick)
    (folder / "lr.json").write_text(sick)
    assert len(run._runs(tmp_path)) == len(DRAWS) - 1
    names = [task.outcome.stem for task in run._counterfactuals(tmp_path)]
    assert names == [name for name in counterfactuals(first) if name != "lr"]
    (folder / "outcome.json").write_text(json.dumps({"accuracy": 0.4, "last_loss": 1.0}))
    assert run._counterfactuals(tmp_path) == []


def row(accuracy: float, verdict: str, right: str = "", cures: str = "") -> dict[str, str]:
    return {
        "name": f"{verdict}-{accuracy}",
        "part": "tuning",
        "accuracy": str(accuracy),
        "learned": str(accuracy >= 0.15),
        "verdict": verdict,
        "by_step_20": verdict,
        "confidence": "0.9",
        "right_kinds": right,
        "cures": cures,
        **dict.fromkeys(run.CLASSES, "healthy"),
    }


def test_a_verdict_is_right_if_state_and_cause_are() -> None:
    assert is_right(row(0.3, "healthy")) is True
    assert is_right(row(0.3, "dead")) is False
    assert is_right(row(0.1, "healthy", "", "several")) is False
    assert is_right(row(0.1, "dead", "", "several")) is None
    assert is_right(row(0.1, "dead", "dead+saturated", "lr")) is True
    assert is_right(row(0.1, "dead", "untrained", "lr")) is False
    assert cause_is_right(row(0.1, "dead", "", "several")) is None


def test_runs_near_the_bound_are_unclear() -> None:
    assert [is_unclear(row(a, "healthy")) for a in (0.129, 0.13, 0.199, 0.2)] == [
        False,
        True,
        True,
        False,
    ]


def test_the_tables_hold_for_a_part_of_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row(0.3, "healthy"),
        row(0.4, "dead"),
        row(0.1, "dead", "dead", "lr"),
        row(0.1, "dead", "", "several"),
        row(0.1, "untrained"),
        row(0.16, "healthy"),
    ]
    print_tables(rows, True, Console(width=150))
    printed = capsys.readouterr().out
    assert "tuning part: 6 of 200" in printed
    assert "held out part: 0 of 300" in printed
    assert "2 healthy, 3 sick, 1 unclear" in printed
    assert "1 misses" in printed
    assert "cause right: 1/1" in printed
    assert "left out: 1 with several causes at once, 1 not known yet" in printed
    assert "0.750" in printed  # half of the healthy runs and all sick ones

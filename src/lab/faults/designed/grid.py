"""The runs of the fault suite: healthy nets, and the same nets with one fault each.

The label of a run follows from its fault, and not from anything that the verdict looks at. A
healthy net is the counterfactual of its faulty versions: each differs from it by one fault alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

STEPS = 150
_SHAPE = ("model.width=8", "model.stem_stride=2", "data.batch_size=64", f"steps={STEPS}")


@dataclass(frozen=True)
class Activation:
    """An activation with the initialization that lets a deep net without norm learn."""

    overrides: tuple[str, ...]
    init: str
    bounded: bool = False  # phi' goes to 0 on both sides: units can saturate
    can_die: bool = False  # phi and phi' are 0 on one side
    kinked: bool = False  # phi' jumps at 0


_KAIMING, _XAVIER = "kaiming_normal", "xavier_normal"
_ACTIVATIONS = {
    # tuning
    "relu": Activation(("activation=relu",), _KAIMING, can_die=True, kinked=True),
    "tanh": Activation(("activation=tanh",), _XAVIER, bounded=True),
    "selu": Activation(("activation=selu",), "lecun_normal"),
    "silu": Activation(("activation=silu",), _KAIMING),
    # held out
    "relu6": Activation(
        ("activation=relu", "activation._target_=torch.nn.ReLU6"),
        _KAIMING,
        can_die=True,
        kinked=True,
    ),
    "leaky_relu": Activation(("activation=leaky_relu",), _KAIMING, kinked=True),
    "elu": Activation(("activation=elu",), _KAIMING),
    "gelu": Activation(("activation=gelu",), _KAIMING),
    "mish": Activation(("activation=mish",), _KAIMING),
    "softsign": Activation(("activation=softsign",), _KAIMING, bounded=True),
    "hardtanh": Activation(("activation=hardtanh",), _XAVIER, bounded=True),
}
# "none" twice, since nets without a norm have more ways to fail.
_NORMS = ("none", "none", "batch", "group")
_TUNING = ("relu", "tanh", "selu", "silu")
_HELD_OUT = tuple(name for name in _ACTIVATIONS if name not in _TUNING)


@dataclass(frozen=True)
class Case:
    """One run of the suite."""

    part: str  # tuning or held_out
    base: str  # the healthy net's name
    fault: str  # none, or the name of the fault
    label: str  # the kind of verdict that is right for it
    overrides: tuple[str, ...]
    bias: float | None = None  # set for every pre-activation after initialization
    random_sign: bool = False  # draw the sign of that bias for each unit

    @property
    def name(self) -> str:
        """The unique name of the run."""
        return f"{self.base}-{self.fault}"


def cases() -> list[Case]:
    """Return every run of the suite, the same ones each time."""
    found: list[Case] = []
    # The parts share no architecture (model and depth) and no activation. Only the first
    # `with_faults` bases have faults; the rest measure false alarms.
    for part, draw, models, depths, names, norms, bases, with_faults in (
        ("tuning", 0, ("plain_cnn",), (8, 20), _TUNING, ("none", "batch", "group"), 32, 16),
        ("held_out", 3, ("plain_cnn", "resnet"), (14, 26), _HELD_OUT, _NORMS, 130, 36),
    ):
        grid = [
            (model, depth, name, norm, clip)
            for model in models
            for depth in depths
            for name in names
            for norm in norms
            for clip in ("none", "norm")
        ]
        for i, point in enumerate(random.Random(draw).sample(grid, bases)):
            # Each draw has its own seeds, so that no two draws share a run. The few nets that can
            # be too deep all get that fault.
            runs = _with_faults(part, *point, 1000 * draw + i)
            if i >= with_faults:
                runs = [case for case in runs if case.fault in ("none", "too_deep")]
            if part == "held_out" and i % 2:  # drop half of these: every base has one
                runs = [case for case in runs if case.fault != "lr_too_low"]
            found += runs
    return found


def _with_faults(
    part: str, model: str, depth: int, activation: str, norm: str, clip: str, seed: int
) -> list[Case]:
    a = _ACTIVATIONS[activation]
    base = f"{model}-{depth}-{activation}-{norm}-clip_{clip}-{seed}"
    lr = 0.05 if norm != "none" else 0.01 if model == "resnet" else 0.02
    healthy = (
        f"model={model}",
        f"model.depth={depth}",
        *_SHAPE,
        *a.overrides,
        f"norm={norm}",
        f"init={a.init}",
        f"clip={clip}",
        f"lr={lr}",
        f"seed={seed}",
    )

    def case(fault: str, label: str, *overrides: str, **surgery: float | bool) -> Case:
        return Case(part, base, fault, label, (*healthy, *overrides), **surgery)  # type: ignore[arg-type]

    cases = [case("none", "healthy"), case("lr_too_low", "untrained", "lr_scale=1e-4")]
    if norm == "batch" and model == "plain_cnn" and a.kinked:
        # Batch normalization makes the gradients of deep plain nets explode (Yang et al. 2019),
        # fastest if phi has a kink at 0. Only for these is the label certain.
        deep = 56 if part == "tuning" else 62
        cases.append(case("too_deep", "exploding", f"model.depth={deep}"))
    if a.can_die:
        cases.append(case("negative_bias", "dead", bias=-8.0))
    if a.bounded:
        cases.append(case("large_bias", "saturated", bias=10.0, random_sign=True))
    if norm == "none":
        cases.append(case("lr_too_high", "diverged", "lr_scale=300"))
        if depth >= 14 and model == "plain_cnn":
            cases.append(case("init_too_small", "frozen", "init=too_small"))
            cases.append(case("init_small", "frozen", "init=too_small", "init.gain=0.75"))
            sigmoid = (
                "activation=sigmoid"
                if part == "tuning"
                else "activation._target_=torch.nn.Hardsigmoid"
            )
            other = () if part == "tuning" else ("activation=sigmoid",)
            cases.append(case("sigmoid", "vanishing", *other, sigmoid, "init=xavier_normal"))
            if depth >= 20:
                cases.append(case("default_init", "vanishing", "init=default"))
        if depth >= 14 and not a.bounded and activation != "relu6":
            cases.append(case("init_too_large", "exploding", "init=too_large"))
            cases.append(case("init_large", "exploding", "init=too_large", "init.gain=2.2"))
    return cases

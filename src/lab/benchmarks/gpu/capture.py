"""Capture a watched net in a CUDA graph between two records, and train one that is compiled.

The capture is by hand: `LayerWatch` and `Snapshot` measure a step, as the monitor does, then a step
is captured and replayed, then another is measured. `mode="reduce-overhead"` of torch.compile
captures graphs itself; there Lightning and the monitor are the real ones.
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional as F

from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.snapshot import Snapshot
from lab.benchmarks.gpu.figure import Figure, median, unmeasured
from lab.benchmarks.gpu.run import StepClock, train
from lab.benchmarks.gpu.scale import Scale
from project.build import build_data, build_net

PART = "CUDA graphs"
_WARM_UP, _REPLAYS = 3, 5
_CAPTURED = "a step between two records, captured and replayed"


class Step(NamedTuple):
    """What one training step needs."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor

    def __call__(self) -> Tensor:
        """Make the step, and return the loss ()."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


def new_step(scale: Scale) -> Step:
    """Build the template's net and one batch on the device."""
    config = scale.config()
    data = build_data(config)
    images, labels = next(iter(data.train_dataloader()))
    torch.manual_seed(0)
    net = build_net(config, data).to(scale.device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return Step(net, optimizer, images.to(scale.device), labels.to(scale.device))


def record(step: Step, watch: LayerWatch) -> int:
    """Make a step that is measured; return its number of layers."""
    watch.start()
    step.optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(step.net(step.images), step.labels)
    watch.enter_backward()
    loss.backward()  # type: ignore[no-untyped-call]
    watch.leave_backward()
    layers = watch.collect()
    snapshot = Snapshot(0, step.net, layers, {"loss": loss.detach()})
    step.optimizer.step()
    snapshot.read()
    watch.stop()
    return 0 if layers is None else len(layers.names)


def captured_between_records(scale: Scale) -> str | None:
    """Return "yes", or what went wrong; None on a CPU, where the step is not captured."""
    step = new_step(scale)
    watch = LayerWatch(step.net)
    before = record(step, watch)
    weights = [parameter.detach().clone() for parameter in step.net.parameters()]
    if scale.device.type == "cuda":
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(beside)
        step.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step()
        for _ in range(_REPLAYS):
            graph.replay()
    else:
        for _ in range(_WARM_UP + _REPLAYS):
            loss = step()
    moved = any(not torch.equal(p, w) for p, w in zip(step.net.parameters(), weights, strict=True))
    finite = bool(torch.isfinite(loss))
    after = record(step, watch)
    watch.close()
    if not (moved and finite):
        return "the replays do not train"
    if before != after or not before:
        return f"{before} layers before, {after} after"
    return "yes" if scale.device.type == "cuda" else None


def measure_capture(scale: Scale) -> list[Figure]:
    """Say whether a step can be captured between two records."""
    said = captured_between_records(scale)
    if said is None:
        return [unmeasured(PART, _CAPTURED, "a CPU has no CUDA graphs")]
    return [Figure(PART, _CAPTURED, said, wanted="yes")]


def measure_compiled(scale: Scale) -> list[Figure]:
    """Train with torch.compile(mode="reduce-overhead"), watched and not."""
    figures = []
    compiled = {}
    for title, monitor in (("unwatched", "none"), ("watched", "gradients")):
        torch.compiler.reset()
        counters.clear()
        clock = StepClock()
        options = ["monitor.every_n_steps=8"] if monitor != "none" else []
        trained = train(
            scale,
            f"monitor={monitor}",
            *options,
            compile_mode="reduce-overhead",
            callbacks=(clock,),
        )
        compiled[title] = counters["stats"]["unique_graphs"]
        recorded: set[int] = set()
        if trained.monitor is not None:
            flows = trained.monitor.flows
            recorded = {flow.step for flow in flows}
            good = all(len(flow.layers) > 1 and flow.is_finite for flow in flows)
            name = "compiled for reduce-overhead: records have finite layers"
            figures.append(Figure(PART, name, "yes" if good else "no", n=len(flows), wanted="yes"))
        # A step after a record may wait for a graph to be recorded anew: it counts.
        times = [
            (later - sooner) * 1e3
            for step, (sooner, later) in enumerate(pairwise(clock.seconds), 1)
            if step > len(clock.seconds) // 2 and step not in recorded
        ]
        name = f"compiled for reduce-overhead, {title}: an ordinary step"
        skips = counters["inductor"]["cudagraph_skips"]
        note = f"graphs skipped by torch: {skips}" if scale.device.type == "cuda" else "no graphs"
        figures.append(median(PART, name, times, "ms", note=note))
        if times:
            rate = scale.batch_size * 1e3 / statistics.median(times)
            figures.append(Figure(PART, f"the same, {title}", rate, "images/s", n=len(times)))
    name = "graphs compiled, watched beyond unwatched"
    more = compiled["watched"] - compiled["unwatched"]
    figures.append(Figure(PART, name, more, at_most=0))
    return figures

"""Measure the gradient profile of a net on one batch; the optimizer takes no step."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gradflow.gradients.flow import Flow
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.snapshot import Snapshot, flow_of_rows


def measure(net: nn.Module, images: Tensor, labels: Tensor) -> Flow:
    """Run one batch forward and backward, and return its flow over all of its images."""
    watch = LayerWatch(net, images=None)
    watch.start()
    loss = F.cross_entropy(net(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    snapshot = Snapshot(0, net, watch.collect(), {"loss": loss.detach()})
    watch.close()
    return flow_of_rows(0, snapshot.read())

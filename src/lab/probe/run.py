"""The probe: gradients at initialization, measured and predicted by theory.

It runs the first training batch forward and backward, and fresh initializations of the same net on
a part of it, as a band. The optimizer takes no step.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial

import lightning as L
import torch
from torch import Tensor, nn

from gradflow.gradients.flow import Flow
from gradflow.gradients.verdict import Verdict, diagnose
from gradflow.training.process import quieten
from lab.probe.measure import measure
from lab.remedies.lsuv import REASON, is_chosen, scale_layers
from lab.theory.band import IMAGES, Band, band
from lab.theory.layers import applies, second_moment
from lab.theory.mean_field import MeanField, Moments, mean_field
from lab.theory.predict import Prediction, predict
from project.build import build_data, build_net
from project.config import Config
from project.models import ConvNet


@dataclass(frozen=True)
class Probe:
    """The measurements over one whole batch, and the predictions for it."""

    flow: Flow
    band: Band  # of fresh initializations, on the first images of the batch
    verdict: Verdict  # from the layers alone: nothing has been learned yet
    prediction: Prediction | None
    mean_field: MeanField | None  # of a plain net's layers between the first and the last
    no_theory: str | None  # why there is no prediction


def probe(config: Config) -> Probe:
    """Build the net of `config`, and run its first training batch forward and backward.

    Raises:
        ConfigError: if the configuration cannot be run; raised before any download.
        DataError: if the data cannot be loaded.
    """
    images, labels = first_batch(config)
    net = new_net(config)
    on_data = is_chosen(config)
    if on_data:
        scale_layers(net, images)
    flow = measure(net, images, labels)
    spread = band(partial(fresh_net, config, images), images, labels)
    verdict = diagnose([flow])
    if not isinstance(net, ConvNet):
        reason = "the theory covers only gradflow's ConvNet"
        return Probe(flow, spread, verdict, None, None, reason)
    no_theory = REASON if on_data else applies(net)
    return Probe(
        flow=flow,
        band=spread,
        verdict=verdict,
        prediction=predict(net, images, labels) if no_theory is None else None,
        mean_field=None if on_data else plain_mean_field(net),
        no_theory=no_theory,
    )


def fresh_net(config: Config, images: Tensor) -> nn.Module:
    """Build another initialization of the net, from torch's global random state.

    LSUV scales it on the first of the images, (B, C, H, W).
    """
    config = config.without_weights()  # loaded ones would be the same in each net
    net = build_net(config, build_data(config))
    if is_chosen(config):
        scale_layers(net, images[:IMAGES])
    return net


def first_batch(config: Config) -> tuple[Tensor, Tensor]:
    """Return the images (B, 3, H, W) and labels (B,) with which training would begin."""
    quieten()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    data = build_data(config)
    build_net(config, data)  # a net that cannot be built fails before a download
    images, labels = next(iter(data.train_dataloader()))
    return images, labels


def new_net(config: Config) -> nn.Module:
    """Build the net as it is before the first step."""
    L.seed_everything(config.seed, verbose=False)
    return build_net(config, build_data(config))


def net_key(config: Config) -> str:
    """Return what decides `new_net`, as text: runs that share it start with the same net."""
    parts = (config.model, config.activation, config.norm, config.branch, config.init)
    return repr((parts, config.seed, config.weights, config.weights_except, config.callbacks))


def plain_mean_field(net: nn.Module) -> MeanField | None:
    """Compute the theory for sigma_w^2 and sigma_b^2 of the layers between first and last.

    None unless `net` is a plain ConvNet without a norm, whose weights are independent.
    """
    if not isinstance(net, ConvNet) or not _is_plain(net) or applies(net) is not None:
        return None
    if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        return None
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d)][1:]
    weight = statistics.median(c.weight[0].numel() * second_moment(c.weight) for c in layers)
    bias = statistics.median(0.0 if c.bias is None else second_moment(c.bias) for c in layers)
    return mean_field(Moments(_activation(net)), weight, bias)


def _is_plain(net: ConvNet) -> bool:
    return not any(name.endswith("shortcut") for name, _ in net.named_modules())


def _activation(net: ConvNet) -> nn.Module:
    return net.stem.get_submodule("activation")

"""Scaled weight standardization against its definition."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers.std_conv import ScaledStdConv2d
from torch import nn

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from lab.remedies.standardized import standardize
from lab.theory.layers import applies
from project.build import build_data, build_net
from project.models import ConvNet

RELU_GAIN = 1 / math.sqrt((1 - 1 / math.pi) / 2)  # Var[relu(z)] in closed form


def new_net(gain: float | None = None, **changes: object) -> ConvNet:
    torch.manual_seed(0)
    net = ConvNet(
        **{"depth": 20, "width": 16, "skip": False, **changes},  # type: ignore[arg-type]
        activation=nn.ReLU,
        norm=lambda _: nn.Identity(),
    )
    standardize(net, nn.ReLU, gain=gain)
    return net


def convolutions(net: nn.Module) -> list[ScaledStdConv2d]:
    return [m for m in net.modules() if isinstance(m, ScaledStdConv2d)]


@pytest.mark.parametrize("gain", [None, 1.0])
def test_a_convolution_uses_each_filter_with_mean_0_and_variance_gain_squared_over_fan_in(
    gain: float | None,
) -> None:
    conv = convolutions(new_net(gain))[3]
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    w = conv.weight.detach().double()
    centred = w - w.mean(dim=(1, 2, 3), keepdim=True)
    std = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    by_hand = centred / std * (gain or RELU_GAIN) / math.sqrt(w[0].numel())
    expected = F.conv2d(x.double(), by_hand, conv.bias.detach().double(), padding=1)  # type: ignore[union-attr]
    torch.testing.assert_close(conv(x).double(), expected, rtol=1e-3, atol=1e-3)


def test_every_convolution_is_replaced_and_keeps_its_shape_and_stride() -> None:
    net = new_net(stem_stride=2)
    assert len(convolutions(net)) == 19
    assert not [m for m in net.modules() if type(m) is nn.Conv2d]
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert net.stem(torch.randn(2, 3, 32, 32)).shape == (2, 16, 16, 16)


def test_scaling_the_weights_changes_no_output() -> None:
    net, images = new_net(), torch.randn(4, 3, 32, 32)
    before = net(images).detach()
    with torch.no_grad():
        for conv in convolutions(net):
            conv.weight.mul_(3)
    difference = net(images).detach() - before
    assert float(difference.norm() / before.norm()) < 0.02  # timm's eps is not scaled


def test_z_keeps_its_variance_and_its_channels_stay_centred_unlike_kaimings() -> None:
    """Filters without a mean do not see the mean of rectified inputs."""
    standardized, kaiming = new_net(width=64), new_net(width=64)
    for name, conv in list(kaiming.named_modules()):
        if isinstance(conv, ScaledStdConv2d):
            plain = nn.Conv2d(conv.in_channels, 64, 3, conv.stride, 1)
            nn.init.kaiming_normal_(plain.weight)
            parent, _, own = name.rpartition(".")
            setattr(kaiming.get_submodule(parent), own, plain)
            if name.startswith("stages.0.2.conv2"):
                break
    sizes, shares = zip(*first_stage(standardized), strict=True)
    assert all(0.9 < b / a < 1.1 for a, b in itertools.pairwise(sizes))
    assert max(shares) < 0.05
    assert min(share for _, share in first_stage(kaiming)) > 0.2


def first_stage(net: ConvNet) -> list[tuple[float, float]]:
    """E[z^2] in each block of the first stage, and the share of it that is channels' means."""
    x = net.stem(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    found = []
    for block in net.stages.get_submodule("0").children():
        z = block.get_submodule("conv1")(x)[:, :, 4:-4, 4:-4].detach()  # without the border
        size = float(z.square().mean())
        found.append((size, float(z.mean(dim=(0, 2, 3)).square().mean()) / size))
        x = block(x)
    return found


def test_the_theory_says_that_it_does_not_know_standardized_weights() -> None:
    reason = applies(new_net())
    assert reason == (
        "the theory needs weights that are used as they are, and stem.conv is a ScaledStdConv2d"
    )


def test_it_trains_by_words_and_is_refused_in_one_line_where_padding_is_periodic() -> None:
    words = ["model=plain_cnn", "norm=none", "init=standardized", "data=synthetic"]
    config = compose(words)
    assert convolutions(build_net(config, build_data(config)))
    config = compose([*words, "model.padding=circular"])
    with pytest.raises(
        ConfigError, match=r"^init=standardized: needs padding=zeros, and stem.conv"
    ):
        build_net(config, build_data(config))

"""Scaled residual branches and Fixup against their definitions."""

import math

import pytest
import shipped
import torch
import torch.nn.functional as F
from timm.layers import LayerScale2d
from torch import Tensor, nn

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from lab.remedies.branches import ScaledBranch, fixup
from lab.theory.layers import applies
from project.build import build_data, build_net
from project.models import BasicBlock, ConvNet
from project.models import initializers as init
from project.models.blocks import BranchFactory

DEPTH, BLOCKS = 20, 9
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def factory(name: str) -> BranchFactory:
    node = shipped.read("branch", name)
    made: BranchFactory = instantiate(node, key="branch", partial=True)
    return made


def new_net(branch: str = "none", **changes: object) -> ConvNet:
    torch.manual_seed(0)
    net = ConvNet(
        **{"depth": DEPTH, "width": 8, **changes},  # type: ignore[arg-type]
        activation=nn.ReLU,
        norm=lambda _: nn.Identity(),
        branch=factory(branch),
    )
    init.kaiming_normal(net, nn.ReLU, gain=None, mode="fan_in")
    return net


def blocks(net: nn.Module) -> list[BasicBlock]:
    return [module for module in net.modules() if isinstance(module, BasicBlock)]


def added(block: BasicBlock, x: Tensor) -> Tensor:
    """What a block adds to its shortcut, from its layers; activation2 is left out for it."""
    assert block.shortcut is not None
    kept, block.activation2 = block.activation2, nn.Identity()
    difference: Tensor = block(x) - block.shortcut(x)
    block.activation2 = kept
    return difference


def test_with_skipinit_the_net_starts_as_its_shortcuts_and_every_scale_can_move() -> None:
    net = new_net("skipinit")
    x = net.stem(IMAGES)
    for block in blocks(net):
        assert block.shortcut is not None
        x, out = F.relu(block.shortcut(x)), block(x)
        assert torch.equal(out, x)
    F.cross_entropy(net(IMAGES), torch.arange(4)).backward()
    scales = [module.scale for module in net.modules() if isinstance(module, ScaledBranch)]
    assert len(scales) == BLOCKS
    assert all(scale.shape == () and scale.grad is not None for scale in scales)
    assert all(float(scale.grad.abs()) > 0 for scale in scales if scale.grad is not None)


def test_a_branch_scaled_by_depth_is_the_plain_one_over_the_root_of_the_blocks() -> None:
    x = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    plain, scaled = new_net(), new_net("by_depth")
    for a, b in zip(blocks(plain)[:3], blocks(scaled)[:3], strict=True):
        torch.testing.assert_close(added(b, x), added(a, x) / math.sqrt(BLOCKS))
    assert plain.state_dict().keys() == scaled.state_dict().keys()


def test_the_signal_of_unnormalized_blocks_grows_by_a_bounded_factor_at_any_depth() -> None:
    """Unscaled, each block doubles E[z^2] or nearly so; scaled, all together grow it by below e."""

    def growth(branch: str, depth: int) -> float:
        net = new_net(branch, depth=depth, width=32)
        x = net.stem(IMAGES)
        return float((net.stages[0](x).square().mean() / x.square().mean()).detach())

    assert 1 < growth("by_depth", 20) < math.e
    assert 1 < growth("by_depth", 56) < math.e
    assert growth("none", 20) > 4
    assert growth("none", 56) > 64


def test_layer_scale_is_that_of_timm() -> None:
    ours = factory("layer_scale")(8, BLOCKS)
    theirs = LayerScale2d(8, init_values=0.1)
    gammas = torch.rand(8)
    with torch.no_grad():
        x = torch.randn(2, 8, 5, 5)
        assert torch.equal(ours(x), theirs(x))
        ours.scale.copy_(gammas[:, None, None])  # type: ignore[union-attr, operator]
        theirs.gamma.copy_(gammas)
        assert torch.equal(ours(x), theirs(x))


def test_fixup_divides_the_first_convolution_and_starts_at_the_loss_of_knowing_nothing() -> None:
    net, kaiming = new_net("scalar"), new_net()
    torch.manual_seed(1)
    fixup(net, nn.ReLU, gain=None, mode="fan_in")
    torch.manual_seed(1)
    init.kaiming_normal(kaiming, nn.ReLU, gain=None, mode="fan_in")
    for ours, plain in zip(blocks(net), blocks(kaiming), strict=True):
        torch.testing.assert_close(ours.conv1.weight, plain.conv1.weight / 3)  # of 9 blocks
        assert not ours.conv2.weight.any()
    loss = F.cross_entropy(net(IMAGES), torch.arange(4))
    assert loss.item() == pytest.approx(math.log(10))


def test_fixup_needs_skip_connections() -> None:
    with pytest.raises(ValueError, match=r"^init fixup needs a net with skip connections"):
        fixup(new_net(skip=False), nn.ReLU, gain=None, mode="fan_in")


@pytest.mark.parametrize("branch", ["skipinit", "scalar", "layer_scale", "by_depth"])
def test_the_theory_says_that_it_does_not_follow_a_scaled_branch(branch: str) -> None:
    assert applies(new_net()) is None
    reason = applies(new_net(branch))
    assert reason is not None
    assert reason.startswith("the theory needs branches without a scale, and stages.0.0.branch is")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model=plain_cnn", "branch=skipinit"], "model: branch needs skip connections"),
        (["model=resnet18", "branch=skipinit", "init=default"], "branch=skipinit: has no effect"),
    ],
)
def test_a_branch_is_refused_in_one_line_where_it_cannot_act(words: list[str], line: str) -> None:
    config = compose(["data=synthetic", *words])
    with pytest.raises(ConfigError) as refused:
        build_net(config, build_data(config))
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["lars", "muon"])
def test_steps_do_not_depend_on_the_size_of_the_gradient(name: str) -> None:
    """So a layer whose gradient has vanished moves as much as any other."""
    node = shipped.read("optimizer", name)["optimizer"]
    steps = []
    for size in (1.0, 2.0**-46):  # a power of 2, as all rounding; 10^-14, as the demo's first layer
        torch.manual_seed(0)
        conv = nn.Conv2d(4, 8, 3, bias=False)
        before = conv.weight.detach().clone()
        make = instantiate(node, key="optimizer", partial=True, lr=0.1)
        optimizer = make(conv.parameters())
        conv.weight.grad = size * torch.randn(
            conv.weight.shape, generator=torch.Generator().manual_seed(2)
        )
        optimizer.step()
        steps.append(conv.weight.detach() - before)
    assert float(steps[0].norm()) > 1e-4
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-4, atol=1e-7)

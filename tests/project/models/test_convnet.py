"""The layout of He et al. 2015, section 4.2: sizes, strides, names, and what a plain net lacks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.models import ConvNet


def plain_or_resnet(**changes: object) -> ConvNet:
    options = {"depth": 8, "width": 4, "activation": nn.ReLU, "norm": nn.BatchNorm2d} | changes
    return ConvNet(**options)  # type: ignore[arg-type]


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (56, 853_018), (110, 1_727_962)])
def test_resnets_have_the_known_exact_parameter_counts(depth: int, count: int) -> None:
    assert parameter_count(plain_or_resnet(depth=depth, width=16)) == count


@pytest.mark.parametrize(
    ("depth", "millions"),
    [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7"), (1202, "19.4")],
)
def test_parameter_counts_round_to_those_of_table_6(depth: int, millions: str) -> None:
    decimals = len(millions.split(".")[1])
    count = parameter_count(plain_or_resnet(depth=depth, width=16))
    assert f"{count / 1e6:.{decimals}f}" == millions


@pytest.mark.parametrize("depth", [8, 20, 56, 110])
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    net = plain_or_resnet(depth=depth)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


@pytest.mark.slow
@pytest.mark.parametrize("skip", [True, False])
def test_depth_1202_runs_forward_and_backward(skip: bool) -> None:
    net = plain_or_resnet(depth=1202, width=1, skip=skip)
    logits = net(torch.randn(2, 3, 8, 8))
    logits.sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("depth", "nearest"),
    [
        (21, "20 and 26"),
        (25, "20 and 26"),
        (9, "8 and 14"),
        (2, "8 and 14"),
        (-4, "8 and 14"),
        (1201, "1196 and 1202"),
        (1208, "1196 and 1202"),
    ],
)
def test_a_depth_that_is_not_6n_plus_2_is_refused_with_the_two_nearest(
    depth: int, nearest: str
) -> None:
    with pytest.raises(ValueError, match=f"got {depth}; the nearest are {nearest}$") as refusal:
        plain_or_resnet(depth=depth)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2, got 3"),
        ({"padding": "mirror"}, "padding must be zeros or circular, got mirror"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        plain_or_resnet(**changes)


@pytest.mark.parametrize(("stem_stride", "sides"), [(1, (32, 32, 16, 8)), (2, (16, 16, 8, 4))])
def test_stages_halve_the_image_and_double_the_channels(
    stem_stride: int, sides: tuple[int, ...]
) -> None:
    net = plain_or_resnet(depth=14, width=4, stem_stride=stem_stride)
    shapes: list[tuple[int, ...]] = []
    for stage in (net.stem, *net.stages):
        stage.register_forward_hook(lambda _m, _a, out: shapes.append(tuple(out.shape)))
    net(torch.randn(2, 3, 32, 32))
    channels = (4, 4, 8, 16)
    assert shapes == [(2, c, side, side) for c, side in zip(channels, sides, strict=True)]


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("skip", [True, False])
def test_logits_equal_a_forward_pass_written_out_by_hand(skip: bool, padding: str) -> None:
    changes = {"skip": skip, "padding": padding, "norm": lambda _: nn.Identity()}
    net = plain_or_resnet(activation=nn.Tanh, **changes).double()
    weights = dict(net.named_parameters())
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        if padding == "zeros":
            x = F.pad(x, (1, 1, 1, 1))
        else:
            x = torch.cat([x[..., -1:], x, x[..., :1]], dim=-1)
            x = torch.cat([x[..., -1:, :], x, x[..., :1, :]], dim=-2)
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)

    x = torch.tanh(conv(images, "stem.conv"))
    for stage, stride in enumerate((1, 2, 2)):
        hidden = torch.tanh(conv(x, f"stages.{stage}.0.conv1", stride))
        z = conv(hidden, f"stages.{stage}.0.conv2")
        if skip:
            shortcut = torch.zeros_like(z)
            shortcut[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
            z = z + shortcut
        x = torch.tanh(z)
    logits = x.flatten(2).mean(2) @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(net(images), logits)


@pytest.mark.parametrize("skip", [True, False])
def test_with_circular_padding_it_makes_no_difference_where_an_image_begins(skip: bool) -> None:
    """Shifts by 4 pixels, since the two strides of 2 read every fourth; zeros see the border."""
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    shifted = images.roll((4, 8), dims=(2, 3))
    nets = [plain_or_resnet(skip=skip, padding=p).double() for p in ("circular", "zeros")]
    nets[1].load_state_dict(nets[0].state_dict())
    circular, zeros = nets
    torch.testing.assert_close(circular(shifted), circular(images))
    assert not torch.allclose(zeros(shifted), zeros(images), atol=1e-3)


def test_a_plain_net_is_the_resnet_with_its_shortcuts_cut() -> None:
    plain, resnet = plain_or_resnet(depth=14, skip=False), plain_or_resnet(depth=14, skip=True)
    shapes = [{name: t.shape for name, t in net.state_dict().items()} for net in (plain, resnet)]
    assert shapes[0] == shapes[1]
    assert list(shapes[0]) == list(shapes[1])
    plain.load_state_dict(resnet.state_dict())
    for module in resnet.modules():
        if hasattr(module, "shortcut"):
            module.shortcut = None
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(plain(images), resnet(images))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.PReLU, nn.Identity])
def test_every_nonlinearity_is_a_module_of_its_own_and_is_called_once(
    activation: type[nn.Module],
) -> None:
    made: list[nn.Module] = []

    def factory() -> nn.Module:
        made.append(activation())
        return made[-1]

    net = plain_or_resnet(depth=14, activation=factory)
    calls: list[nn.Module] = []
    for module in made:
        module.register_forward_hook(lambda module, _a, _o: calls.append(module))
    net(torch.randn(2, 3, 8, 8))
    assert len(made) == 14 - 1  # after every convolution, and none after the head
    assert [id(module) for module in calls] == [id(module) for module in made]
    names = [name for name, module in net.named_modules() if any(module is m for m in made)]
    assert names[:3] == ["stem.activation", "stages.0.0.activation1", "stages.0.0.activation2"]
    assert names[-1] == "stages.2.1.activation2"


def test_an_activation_that_overwrites_its_pre_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ReLU\(inplace=True\) .* inplace=False$"):
        plain_or_resnet(activation=lambda: nn.ReLU(inplace=True))


@pytest.mark.parametrize(
    ("norm", "has_bias"),
    [
        (lambda _: nn.Identity(), True),
        (nn.BatchNorm2d, False),
        (lambda channels: nn.GroupNorm(1, channels), False),
    ],
)
def test_convolutions_have_a_bias_exactly_when_there_is_no_norm(
    norm: type[nn.Module], has_bias: bool
) -> None:
    convs = [m for m in plain_or_resnet(norm=norm).modules() if isinstance(m, nn.Conv2d)]
    assert [conv.bias is not None for conv in convs] == [has_bias] * 7


def test_channels_last_passes_through_every_layer_and_changes_no_number() -> None:
    net = plain_or_resnet(depth=8, width=4).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = net(images)
    layouts: dict[str, bool] = {}
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, module in net.named_modules():
        if not name.startswith("head") and name:
            module.register_forward_hook(
                lambda _m, _a, out, name=name: layouts.__setitem__(
                    name, out.is_contiguous(memory_format=torch.channels_last)
                )
            )
    logits = net(images.contiguous(memory_format=torch.channels_last))
    assert len(layouts) > 20
    assert [name for name, kept in layouts.items() if not kept] == []
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("skip", [True, False])
def test_torch_compile_captures_the_net_in_one_graph(skip: bool) -> None:
    net = plain_or_resnet(skip=skip)
    images = torch.randn(2, 3, 8, 8)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))

"""One block against its formula, and the shortcut against indices written out by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.models.blocks import BasicBlock, SubsampleAndPad


def test_the_shortcut_takes_every_second_pixel_and_appends_zero_channels() -> None:
    x = torch.arange(2 * 2 * 4 * 5, dtype=torch.float32).reshape(2, 2, 4, 5)
    out = SubsampleAndPad(2, 5, stride=2)(x)
    assert out.shape == (2, 5, 2, 3)
    for b in range(2):
        for row in range(2):
            for column in range(3):
                assert out[b, 0, row, column] == x[b, 0, 2 * row, 2 * column]
                assert out[b, 1, row, column] == x[b, 1, 2 * row, 2 * column]
    assert torch.count_nonzero(out[:, 2:]) == 0


def test_the_shortcut_has_no_parameters_and_gives_back_the_gradient_where_it_read() -> None:
    shortcut = SubsampleAndPad(2, 4, stride=2)
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    shortcut(x).sum().backward()
    read = torch.zeros(4, 4)
    read[::2, ::2] = 1
    assert list(shortcut.parameters()) == []
    assert x.grad is not None
    assert torch.equal(x.grad, read.expand(1, 2, 4, 4))


def blocks_with_equal_weights(
    in_channels: int, out_channels: int, stride: int
) -> tuple[BasicBlock, BasicBlock]:
    plain, residual = (
        BasicBlock(
            in_channels,
            out_channels,
            stride=stride,
            skip=skip,
            activation=nn.Tanh,
            norm=nn.BatchNorm2d,
        ).double()
        for skip in (False, True)
    )
    plain.load_state_dict(residual.state_dict())
    return plain, residual


def pre_activations(block: BasicBlock, x: Tensor) -> tuple[Tensor, Tensor]:
    """What enters activation1 and activation2."""
    seen: list[Tensor] = []
    for activation in (block.activation1, block.activation2):
        activation.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    block(x)
    return seen[0], seen[1]


def by_hand(block: BasicBlock, x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """z1 and the branch before the addition, with batch statistics (weight 1, bias 0)."""

    def normalized(y: Tensor) -> Tensor:
        mean = y.mean((0, 2, 3), keepdim=True)
        variance = y.var((0, 2, 3), unbiased=False, keepdim=True)
        return (y - mean) / torch.sqrt(variance + 1e-5)

    z1 = normalized(F.conv2d(x, block.conv1.weight, stride=stride, padding=1))
    return z1, normalized(F.conv2d(torch.tanh(z1), block.conv2.weight, padding=1))


def test_pre_activations_are_after_the_norm_and_after_the_addition() -> None:
    plain, residual = blocks_with_equal_weights(3, 3, stride=1)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    z1, branch = by_hand(residual, x, stride=1)
    torch.testing.assert_close(pre_activations(residual, x), (z1, branch + x))
    torch.testing.assert_close(pre_activations(plain, x), (z1, branch))
    torch.testing.assert_close(residual(x), torch.tanh(branch + x))


def test_where_the_shape_changes_plain_and_residual_differ_by_the_shortcut_alone() -> None:
    plain, residual = blocks_with_equal_weights(2, 4, stride=2)
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    z1, branch = by_hand(residual, x, stride=2)
    shortcut = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(branch[:, 2:])], dim=1)
    torch.testing.assert_close(pre_activations(residual, x), (z1, branch + shortcut))
    torch.testing.assert_close(pre_activations(plain, x), (z1, branch))

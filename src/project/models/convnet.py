"""The CIFAR-10 net of He et al. 2015, section 4.2: a ResNet, or the same net without skips.

Knows the layout: depth, widths and strides. A new net has PyTorch's default initial weights;
`initializers.py` sets others.
"""

from typing import get_args

from torch import Tensor, nn

from project.models.blocks import (
    ActivationFactory,
    BasicBlock,
    BranchFactory,
    NormFactory,
    Padding,
    conv_norm_activation,
)

MIN_DEPTH, MAX_DEPTH = 8, 1202


class ConvNet(nn.Module):
    """A net of 6n+2 weight layers: stem, three stages of n basic blocks, linear head.

    The stages have width, 2 width and 4 width channels; the second and the third begin with
    stride 2. Global average pooling precedes the head. Shortcuts are option A and have no
    parameters, so `skip` changes neither the names nor the shapes of the parameters.

    Layers are named `stem.conv`, `stages.0.2.conv1` (first stage, third block), `head`. Each
    nonlinearity is a separate module, such as `stem.activation` or `stages.0.2.activation1`; its
    input is the pre-activation z.

    Args:
        depth: weight layers, 6n+2, from 8 to 1202.
        width: channels of the first stage.
        stem_stride: stride of the first convolution, 1 or 2; 2 quarters the cost of the net.
        padding: "zeros", or "circular" for periodic images, which have no border.
        skip: True for the ResNet, False for the plain net.
        activation: called without arguments, returns a nonlinearity that does not work in place.
        norm: called with a number of channels, returns a norm, or an Identity for no norm; the
            convolutions then have a bias.
        branch: called with the channels and the number of blocks, returns what scales a residual
            branch before the addition.
        num_classes: number of logits.
        in_channels: channels of an image.

    Raises:
        ValueError: if depth, width, stem_stride or padding is out of range, the activation works
            in place, or a branch is to be scaled in a net without skip connections.
    """

    def __init__(
        self,
        *,
        depth: int = 20,
        width: int = 16,
        stem_stride: int = 1,
        padding: Padding = "zeros",
        skip: bool = True,
        activation: ActivationFactory,
        norm: NormFactory,
        branch: BranchFactory = nn.Identity,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        blocks_per_stage = _blocks_per_stage(depth)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {stem_stride}")
        if padding not in get_args(Padding):
            raise ValueError(f"padding must be {' or '.join(get_args(Padding))}, got {padding}")
        self.stem = conv_norm_activation(
            in_channels,
            width,
            stride=stem_stride,
            activation=activation,
            norm=norm,
            padding=padding,
        )
        stages: list[nn.Sequential] = []
        channels = width
        for stage_width, stage_stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            blocks: list[BasicBlock] = []
            for index in range(blocks_per_stage):
                scale = branch(stage_width, 3 * blocks_per_stage)
                if not skip and not isinstance(scale, nn.Identity):
                    raise ValueError("branch needs skip connections, such as model=resnet")
                block = BasicBlock(
                    channels,
                    stage_width,
                    stride=stage_stride if index == 0 else 1,
                    skip=skip,
                    activation=activation,
                    norm=norm,
                    padding=padding,
                    branch=scale,
                )
                blocks.append(block)
                channels = stage_width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, num_classes)."""
        features: Tensor = self.stages(self.stem(images))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _blocks_per_stage(depth: int) -> int:
    """Return n for a depth of 6n+2. For another depth, ValueError names the two nearest ones."""
    if MIN_DEPTH <= depth <= MAX_DEPTH and depth % 6 == 2:
        return depth // 6
    below = min(max((depth - 2) // 6 * 6 + 2, MIN_DEPTH), MAX_DEPTH - 6)
    raise ValueError(
        f"depth must be 6n+2, from {MIN_DEPTH} to {MAX_DEPTH}, got {depth}; "
        f"the nearest are {below} and {below + 6}"
    )

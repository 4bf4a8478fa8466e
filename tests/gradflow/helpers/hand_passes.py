"""Forward passes written out by hand: z of every layer as a tensor whose gradient is kept."""

import torch
import torch.nn.functional as F
from nets import ConvNet
from torch import Tensor, nn


def convnet_pass(net: ConvNet, images: Tensor) -> dict[str, Tensor]:
    """Return z of each nonlinearity of a ConvNet, and the logits as `head`."""
    zs: dict[str, Tensor] = {}
    h = _enter(zs, "stem.activation", net.stem.norm(net.stem.conv(images)), net.stem.activation)
    for s, stage in enumerate(net.stages):
        for b, block in enumerate(stage):
            name = f"stages.{s}.{b}.activation"
            inner = _enter(zs, f"{name}1", block.norm1(block.conv1(h)), block.activation1)
            z = block.norm2(block.conv2(inner))
            if block.shortcut is not None:
                z = z + block.shortcut(h)
            h = _enter(zs, f"{name}2", z, block.activation2)
    zs["head"] = _kept(net.head(h.mean(dim=(2, 3))))
    return zs


def torchvision_pass(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return z of each ReLU of a torchvision ResNet of basic blocks, and the logits as `fc`."""
    zs: dict[str, Tensor] = {}
    h = _enter(zs, "relu", net.bn1(net.conv1(images)), F.relu)
    h = F.max_pool2d(h, 3, stride=2, padding=1)
    for s in range(1, 5):
        for b, block in enumerate(net.get_submodule(f"layer{s}")):
            name = f"layer{s}.{b}.relu"
            inner = _enter(zs, name, block.bn1(block.conv1(h)), F.relu)
            shortcut = h if block.downsample is None else block.downsample(h)
            h = _enter(zs, f"{name}#2", block.bn2(block.conv2(inner)) + shortcut, F.relu)
    zs["fc"] = _kept(net.fc(h.mean(dim=(2, 3))))
    return zs


def rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item()


def largest(x: Tensor) -> float:
    return x.detach().double().abs().max().item()


def _enter(zs: dict[str, Tensor], name: str, z: Tensor, phi: object) -> Tensor:
    zs[name] = _kept(z)
    assert callable(phi)
    out: Tensor = phi(z)
    return out


def _kept(z: Tensor) -> Tensor:
    if z.requires_grad:
        z.retain_grad()
    return z


def classification(batch: int, size: int, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Return random images (batch, 3, size, size) in float64, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 10, (batch,), generator=generator)

"""What a module is to the monitor, and hooks on it that leave no trace in a copy.

This file knows modules and tensors. It does not know what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradflow.gradients.functions import NONLINEARITIES

_WEIGHT_LAYERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)

_NORMALIZATIONS = (
    *(nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    nn.LocalResponseNorm,
)


class Hook:
    """A hook of ours on a module. A copy of the module, or its pickled form, carries none."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> None:
        """Call the function, whose result is not the module's."""
        self._function(*args)

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _nothing(*args: Any) -> None:
    pass


def _no_hook() -> Callable[..., None]:
    return _nothing


def is_nonlinearity(name: str, module: nn.Module) -> bool:
    """Return whether the input of `module`, called `name` in its net, is a pre-activation.

    A class of torch.nn tells by itself. Another one is taken for a nonlinearity if its own name
    begins with `activation` and it has no weight layer inside.
    """
    if isinstance(module, NONLINEARITIES):
        return True
    if not name.rpartition(".")[2].startswith("activation"):
        return False
    where = type(module).__module__
    if where.startswith("torch.ao.") or (
        where.startswith("torch.nn.") and not isinstance(module, nn.Identity | nn.Sequential)
    ):
        return False  # dropout, a norm, an observer
    return not any(is_weight_layer(inner) for inner in module.modules())


def has_no_layer_inside(name: str, module: nn.Module) -> bool:
    """Return whether `module` is neither a nonlinearity nor calls one: a leaf of torch.nn."""
    is_leaf = not module._modules and type(module).__module__.startswith("torch.nn.modules.")
    return is_leaf and not is_nonlinearity(name, module)


def has_fast_path(module: nn.Module) -> bool:
    """Whether torch may compute a module otherwise while nobody watches it.

    A frozen or evaluated Transformer has such a path, whose result differs where it is padded.
    """
    kinds = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
    return isinstance(module, kinds) and (
        not module.training or not any(p.requires_grad for p in module.parameters())
    )


def is_weight_layer(module: nn.Module) -> bool:
    """Return whether a module multiplies its input with weights: linear or a convolution."""
    return isinstance(module, _WEIGHT_LAYERS)


def is_normalization(module: nn.Module) -> bool:
    """Return whether a module rescales its input by its own statistics: by its class or its name.

    A class of another library counts if its name has "norm" in it and it holds no weight layer.
    """
    if isinstance(module, _NORMALIZATIONS):
        return True
    named = "norm" in type(module).__name__.lower()
    return named and not any(is_weight_layer(inner) for inner in module.modules())


def is_transparent(module: nn.Module, root: nn.Module) -> bool:
    """Return whether hooks on `module` must do nothing now; `root` is the watched module."""
    # A call of the watched module whose `forward` Lightning has replaced by training_step; or code
    # that is being compiled, which hooks must not change.
    return torch.compiler.is_compiling() or (module is root and "forward" in vars(module))


def is_measurable(x: object) -> bool:
    """Return whether `x` is a dense tensor of real numbers, with at least one of them."""
    return (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and x.layout == torch.strided
        and not x.is_nested
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        and x.numel() > 0
    )

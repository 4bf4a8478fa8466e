"""Histograms of |x| in fixed log2 bins, with norms, for many tensors at once.

The bins are the exponent byte of float32, so they are the same in every run, layer and step, and
two histograms can be overlaid or subtracted without any resampling. Everything is measured in one
pass and reaches the host in one copy; nothing in between waits for the device.

It knows tensors. It knows nothing of parameters, of training, or of where the numbers go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FIRST_EXPONENT = -126  # bin i holds 2^(i - 126) <= |x| < 2^(i - 125)
BINS = 254  # exponents -126 … 127: all the normal numbers of float32

# Each element gets one code. Zeros and infinities get codes of their own, so subnormals remain with
# exponent byte 0, and NaN with 255.
_SUBNORMAL, _FIRST_BIN, _NAN, _ZERO, _INF = 0, 1, 255, 256, 257
_CODES = 258
WIDTH = _CODES + 2  # columns on the device: the codes, norm, maximum

# Elements per chunk. On a CPU a chunk's temporaries stay in the cache; on an accelerator fewer and
# larger kernels are faster, and the limit bounds their memory.
_CPU_CHUNK, _DEVICE_CHUNK = 2**18, 2**24


@dataclass(frozen=True)
class Histograms:
    """Measurements of n tensors, one entry each; `bins` and the four counts add up to `elements`.

    `norm`, `rms` and `max` cover the finite elements only, since one NaN would hide all other
    elements of a diverging layer. Non-finite elements are counted separately. The three are NaN if
    no element is finite.
    """

    elements: NDArray[np.int64]  # (n,)
    zeros: NDArray[np.int64]  # (n,) exactly 0
    subnormals: NDArray[np.int64]  # (n,) not 0, but |x| < 2^-126
    nans: NDArray[np.int64]  # (n,)
    infs: NDArray[np.int64]  # (n,)
    norm: NDArray[np.float64]  # (n,) square root of the sum of squares
    rms: NDArray[np.float64]  # (n,) square root of the mean of squares
    max: NDArray[np.float64]  # (n,) largest |x|
    bins: NDArray[np.int64]  # (n, BINS)


@dataclass(frozen=True)
class Measurement:
    """Histograms still on the device; `read` turns a copy of `rows` on the host into them."""

    rows: Tensor  # (n, WIDTH) float64, exact for counts below 2^53
    order: list[int]  # for each row the index of its tensor

    def read(self, copied: NDArray[np.float64]) -> Histograms:
        """Return the histograms; `copied` is `rows` as an array of shape (n, WIDTH)."""
        measured = np.empty_like(copied)
        measured[self.order] = copied
        counts = measured[:, :_CODES].astype(np.int64)
        norm, largest = measured[:, _CODES], measured[:, _CODES + 1]
        elements = counts.sum(axis=1)
        finite = elements - counts[:, _NAN] - counts[:, _INF]
        none_finite = finite == 0
        return Histograms(
            elements=elements,
            zeros=counts[:, _ZERO],
            subnormals=counts[:, _SUBNORMAL],
            nans=counts[:, _NAN],
            infs=counts[:, _INF],
            norm=np.where(none_finite, np.nan, norm),
            rms=np.where(none_finite, np.nan, norm / np.sqrt(np.maximum(finite, 1))),
            max=np.where(none_finite, np.nan, largest),
            bins=counts[:, _FIRST_BIN : _FIRST_BIN + BINS],
        )


def measure(tensors: Sequence[Tensor]) -> Histograms:
    """Measure each tensor and copy the result to the host: `begin` and `read` in one."""
    measurement = begin(tensors)
    return measurement.read(measurement.rows.cpu().numpy())


@torch.no_grad()
def begin(tensors: Sequence[Tensor]) -> Measurement:
    """Measure tensors of any shape, device and real floating-point type, without a wait.

    bfloat16 and float16 are widened to float32, which is exact. The exponent of a float64 is read
    from its own bits: finite values beyond float32's range count as subnormal or in the last bin,
    but norm, RMS and maximum are those of the float64 values. Sums of squares are taken in float64,
    where the squares of float32 can neither underflow nor overflow.

    Raises:
        ValueError: if there are no tensors, or one is empty or not real floating point.
    """
    if not tensors:
        raise ValueError("tensors=[]: must hold at least one tensor")
    for tensor in tensors:
        if not tensor.is_floating_point() or tensor.numel() == 0:
            raise ValueError(
                f"a tensor of shape {tuple(tensor.shape)} and type {tensor.dtype}: "
                "must have elements, of a real floating-point type"
            )
    order: list[int] = []
    parts: list[Tensor] = []
    for chunk in _chunks(tensors):
        order += chunk
        parts.append(_measure_chunk([tensors[i] for i in chunk]))
    return Measurement(torch.cat([part.to(parts[0].device) for part in parts]), order)


def _chunks(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield indices of tensors to measure together: small ones share a chunk, large ones do not."""
    open_chunks: dict[tuple[torch.device, bool], list[int]] = {}
    sizes: dict[tuple[torch.device, bool], int] = {}
    for i, tensor in enumerate(tensors):
        key = (tensor.device, tensor.dtype == torch.float64)
        limit = _CPU_CHUNK if tensor.device.type == "cpu" else _DEVICE_CHUNK
        if key in open_chunks and sizes[key] + tensor.numel() > limit:
            yield open_chunks.pop(key)
        if key not in open_chunks:
            open_chunks[key], sizes[key] = [], 0
        open_chunks[key].append(i)
        sizes[key] += tensor.numel()
    yield from open_chunks.values()


def flatten(x: Tensor) -> Tensor:
    """Flatten x in the order of its memory, without a copy if x is channels-last."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    return x.reshape(-1)


def _measure_chunk(tensors: list[Tensor]) -> Tensor:
    """Return counts per code, norm and maximum: shape (len(tensors), WIDTH), float64."""
    flat = [flatten(tensor.detach()) for tensor in tensors]
    x = flat[0] if len(flat) == 1 else torch.cat(flat)
    x = x if x.dtype == torch.float64 else x.float()
    if x.device.type == "mps":  # Apple's GPUs have no float64: copy to the host now
        x = x.cpu()
    sizes = [tensor.numel() for tensor in tensors]

    # Reading is free on a CPU: without zeros, subnormals and non-finites, exponents are codes.
    counts = _counts(_exponents(x), sizes) if x.is_cpu else None
    if counts is None or counts.numpy()[:, [_SUBNORMAL, _NAN]].any():
        codes = _exponents(x)
        codes.add_(x == 0, alpha=_ZERO - _SUBNORMAL)
        codes.add_(x.isinf(), alpha=_INF - _NAN)
        counts = _counts(codes, sizes)
        x = x.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    finite = list(torch.split(x.abs(), sizes))
    largest = torch.stack(torch._foreach_max(finite)).double()
    if x.dtype == torch.float64:  # squares can leave the range of float64: scale by the maximum
        scale = largest.where(largest > 0, 1.0)
        scaled = torch._foreach_div(finite, list(scale.unbind()))
        norm = torch.stack(torch._foreach_norm(scaled, 2)) * scale
    else:
        norm = torch.stack(torch._foreach_norm(finite, 2, dtype=torch.float64))
    return torch.cat([counts.double(), norm[:, None], largest[:, None]], dim=1)


def _exponents(x: Tensor) -> Tensor:
    """Return the biased exponent of each element of a flat float32 or float64 tensor, int32."""
    if x.dtype != torch.float64:
        return (x.view(torch.int32) >> 23).bitwise_and_(255)  # without the sign bit
    exponents = (x.view(torch.int64) >> 52).bitwise_and_(2047)
    not_finite = exponents == 2047  # they get the code after the last bin, which holds large values
    # float64's bias is 1023, that of float32 is 127.
    codes = exponents.sub_(1023 - 127).clamp_(_SUBNORMAL, _NAN - 1).int()
    return codes.add_(not_finite)


def _counts(codes: Tensor, sizes: list[int]) -> Tensor:
    """Count each code in each part: int64 (len(sizes), _CODES). Overwrites `codes`."""
    first = np.arange(0, _CODES * len(sizes), _CODES, dtype=np.int32)
    if codes.is_cpu:  # torch would make a call for each part
        codes.add_(torch.from_numpy(np.repeat(first, sizes)))
    else:
        torch._foreach_add_(list(torch.split(codes, sizes)), first.tolist())
    return _count(codes, _CODES * len(sizes)).view(len(sizes), _CODES)


def _count(codes: Tensor, size: int) -> Tensor:
    """Count each of 0 … size - 1: int64 of shape (size,)."""
    if codes.device.type == "cpu":
        return torch.bincount(codes, minlength=size)
    # On an accelerator bincount reads the extremes back, which waits for the device twice.
    counts = torch.zeros(size, dtype=torch.int64, device=codes.device)
    return counts.scatter_add_(0, codes.long(), torch.ones_like(codes, dtype=torch.int64))

"""Pack a JSON document and the arrays that it refers to into one compressed block of bytes.

    zlib( length of the JSON: uint32 | JSON, UTF-8 | zeros up to a multiple of 8 | arrays )

All numbers are little-endian. In the JSON an array is {"type", "at", "length"}: its type as in the
browser's typed arrays (u1 Uint8, u2, u4, i2 Int16, f4, f8), its byte offset from the start of the
arrays, a multiple of 8, and its number of elements. This file knows nothing of runs.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reference = dict[str, str | int]
_TYPES = ("u1", "u2", "u4", "i2", "f4", "f8")


class Arrays:
    """Collect arrays, and return for each the reference by which it is found."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: NDArray[Any], kind: str) -> Reference:
        """Keep `values`, flattened row by row, as one of the types above."""
        raw = np.ascontiguousarray(values).astype(f"<{kind}").tobytes()
        reference: Reference = {"type": kind, "at": self._size, "length": int(values.size)}
        self._parts += [raw, bytes(-len(raw) % 8)]
        self._size += len(raw) + -len(raw) % 8
        return reference

    def add_counts(self, counts: NDArray[Any]) -> Reference:
        """Keep non-negative integers, exactly, in the smallest type that holds them."""
        largest = int(counts.max(initial=0))
        kind = next((k for k, bits in (("u1", 8), ("u2", 16), ("u4", 32)) if largest < 2**bits), "")
        return self.add(counts, kind or "f8")  # float64 holds every count below 2^53

    def compress(self, document: Any) -> bytes:
        """Return the block. NaN and Inf in `document` become texts, since JSON has no such numbers.

        The browser's Number() reads these texts. A value of any other type becomes text, too.
        """
        plain = _plain(document)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        raw = text.encode(errors="replace")  # a folder's name may hold bytes that are not UTF-8
        head = struct.pack("<I", len(raw)) + raw
        return zlib.compress(head + bytes(-len(head) % 8) + b"".join(self._parts), level=6)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value if isinstance(value, str | int | float | None) else str(value)


def unpack(block: bytes) -> tuple[Any, bytes]:
    """Return the document and the bytes of the arrays, as the browser reads them."""
    raw = zlib.decompress(block)
    (length,) = struct.unpack_from("<I", raw)
    end = 4 + length
    return json.loads(raw[4:end]), raw[end + -end % 8 :]


def read(reference: Reference, arrays: bytes) -> NDArray[Any]:
    """Return the array that `reference` names."""
    kind, at, length = reference["type"], int(reference["at"]), int(reference["length"])
    if kind not in _TYPES:
        raise ValueError(f"type={kind}: must be one of {', '.join(_TYPES)}")
    return np.frombuffer(arrays, f"<{kind}", length, at)

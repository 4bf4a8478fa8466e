"""Download one file over HTTP, and check its rate, its size and its md5 sum.

torchvision's own download waits forever for a silent server; this one times out.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from gradflow.errors import DataError
from project.data.cifar10.pace import Limits, Pace, stalled
from project.data.cifar10.progress import progress

_CHUNK = 1 << 18


def download(url: str, path: Path, *, size: int, md5: str, limits: Limits, what: str) -> None:
    """Download `url` to `path`; `size` in bytes, `what` names the file in the progress bar.

    Raises DataError if the download fails or the file is not the expected one, and TooSlowError if
    it is too slow. After an error, the caller discards `path`.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "gradflow"})
    digest = hashlib.md5(usedforsecurity=False)
    total = 0
    try:
        with (
            urllib.request.urlopen(request, timeout=limits.timeout) as response,
            path.open("wb") as file,
            progress(what, size) as advance,
        ):
            pace = Pace(limits)
            while chunk := response.read1(_CHUNK):  # `read` would wait for a full chunk
                file.write(chunk)
                digest.update(chunk)
                total += len(chunk)
                if total > size:
                    break
                pace.update(total)
                advance(total)
            _check(total, size, digest.hexdigest(), md5)
    except urllib.error.HTTPError as error:
        raise DataError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # URLError wraps the cause
        if isinstance(reason, TimeoutError):
            raise stalled(limits) from None
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise DataError(" ".join(text.split())) from None


def _check(total: int, size: int, digest: str, md5: str) -> None:
    if total < size:
        raise DataError(f"truncated: {total} of {size} bytes")
    if total > size or digest != md5:
        raise DataError(f"altered: md5 is not {md5}")

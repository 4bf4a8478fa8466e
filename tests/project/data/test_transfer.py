"""One transfer: its pace, its progress, and every way in which a server can fail."""

import hashlib
import io
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_source import Server, serving

from gradflow.errors import DataError
from project.data.cifar10.download import download
from project.data.cifar10.pace import Limits, Pace, TooSlowError
from project.data.cifar10.progress import progress

CONTENT = bytes(range(256)) * 200  # 51 kB
# A busy machine may leave a sound source without a byte for a second; one that is silent for good
# is found out at any limit.
PATIENT = Limits(min_rate=0, timeout=30)
IMPATIENT = Limits(min_rate=0, timeout=0.2)


class Clock:
    """A clock that the test advances."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(CONTENT) as running:
        yield running


def fetch(url: str, path: Path, limits: Limits = PATIENT) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    download(url, path, size=len(CONTENT), md5=md5, limits=limits, what="CONTENT")


def test_a_sound_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    fetch(server.url("good"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("truncated", "truncated: 25600 of 51200 bytes"),
        ("altered", "altered: md5 is not "),
        ("longer", "altered: md5 is not "),
        ("stalling", "stalled: no bytes for 0.2 s"),
        ("silent", "stalled: no bytes for 0.2 s"),
    ],
)
def test_an_unsound_source_is_refused_with_its_reason(
    server: Server, tmp_path: Path, behaviour: str, reason: str
) -> None:
    limits = IMPATIENT if reason.startswith("stalled") else PATIENT
    with pytest.raises(DataError, match=reason) as refusal:
        fetch(server.url(behaviour), tmp_path / "file", limits)
    assert not isinstance(refusal.value, TooSlowError)
    assert "\n" not in str(refusal.value)


def test_a_refused_connection_is_named(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DataError, match=r"^Connection refused$"):
            fetch(url, tmp_path / "file")


def test_a_crawling_source_is_too_slow(server: Server, tmp_path: Path) -> None:
    limits = Limits(min_rate=1e7, timeout=1)
    with pytest.raises(TooSlowError, match=r"slow: \d+ kB/s, under min_rate=10000 kB/s"):
        fetch(server.url("slow"), tmp_path / "file", limits)
    assert (tmp_path / "file").stat().st_size < len(CONTENT) / 2  # not only found out at the end


def test_the_same_crawl_is_let_through_without_a_rate(server: Server, tmp_path: Path) -> None:
    fetch(server.url("slow"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_stall_is_no_byte_for_the_whole_timeout() -> None:
    clock = Clock()
    pace = Pace(Limits(min_rate=0, timeout=10), clock)
    for clock.now, total in ((9, 0), (9.5, 1), (19.4, 1), (19.45, 2), (29.4, 2)):
        pace.update(total)
    clock.now = 29.45
    with pytest.raises(DataError, match="stalled: no bytes for 10 s"):
        pace.update(2)


def test_the_rate_is_taken_over_each_stretch_of_the_timeout() -> None:
    clock = Clock()
    pace = Pace(Limits(min_rate=100, timeout=10), clock)
    pace.update(5)
    clock.now = 9.9  # 10 bytes a second, but not for a whole stretch yet
    pace.update(99)
    clock.now = 10
    pace.update(100_000)  # a fast stretch …
    clock.now = 20
    with pytest.raises(TooSlowError) as slow:  # … does not make up for a slow one
        pace.update(100_999)
    assert slow.value.rate == pytest.approx(99.9)


def test_without_a_terminal_a_transfer_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "project.data"), progress("a file", 2_000_000) as advance:
        for done in range(0, 2_000_000, 100_000):
            advance(done)
    first, last = caplog.messages
    assert first == "a file: 2 MB"
    assert last.startswith("a file: done in ")


def test_a_failed_transfer_logs_no_final_line(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "project.data"),
        pytest.raises(DataError),
        progress("a file", 1_000_000),
    ):
        raise DataError("no")
    assert caplog.messages == ["a file: 1 MB"]


def test_on_a_terminal_a_transfer_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, "project.data"), progress("a file", 2_000_000) as advance:
        advance(1_000_000)
    assert "a file" in terminal.getvalue()
    assert "2.0/2.0 MB" in terminal.getvalue()
    assert caplog.messages == []

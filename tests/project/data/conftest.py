"""Fixtures of the data tests: the real data, its tiny stand-in, and an empty memory."""

from pathlib import Path

import pytest
import tiny_cifar

from project.data import CIFAR10, ImageData


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return the repository's data folder with CIFAR-10, downloaded if missing."""
    root = Path(__file__).parents[3] / "data"
    CIFAR10(root=root).load()
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_cifar.Files:
    """The files of a tiny CIFAR-10."""
    return tiny_cifar.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_world(tiny: tiny_cifar.Files, monkeypatch: pytest.MonkeyPatch) -> tiny_cifar.Files:
    """Replace the real CIFAR-10 by the tiny one, with empty caches."""
    tiny.install(monkeypatch.setattr)
    monkeypatch.setattr(ImageData, "_loaded", {})
    return tiny

"""Addresses of runs on W&B; tests/project/server fetches from a real server."""

import pytest

from gradflow.comparison.fetch import Address, is_address
from gradflow.errors import ConfigError


def test_addresses_are_taken_apart() -> None:
    assert Address.parse("wandb:me/p") == Address("me", "p", None, None)
    assert Address.parse("wandb:me/p/r1") == Address("me", "p", None, "r1")
    assert Address.parse("wandb:me/p/runs/r1") == Address("me", "p", None, "r1")
    assert Address.parse("wandb:me/p/groups/demo") == Address("me", "p", "demo", None)
    in_browser = "https://wandb.ai/me/p/groups/demo/workspace?nw=1"
    assert Address.parse(in_browser) == Address("me", "p", "demo", None)
    assert Address.parse("https://wandb.ai/me/p/runs/r1") == Address("me", "p", None, "r1")
    assert Address.parse("https://wandb.ai/me/p/workspace") == Address("me", "p", None, None)


@pytest.mark.parametrize("text", ["wandb:me", "wandb:me/p/runs/", "https://wandb.ai/me"])
def test_what_names_no_run_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="names no run; allowed: wandb:ENTITY/PROJECT"):
        Address.parse(text)


def test_a_folder_is_no_address() -> None:
    assert not is_address("multirun/demo")
    assert is_address("wandb:me/p")
    assert is_address("https://wandb.ai/me/p")

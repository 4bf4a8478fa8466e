"""What all tests of the gradients promise."""

from collections.abc import Iterator

import pytest
from torch.overrides import _get_current_function_mode_stack


@pytest.fixture(autouse=True)
def _nothing_watches_functions_any_more() -> Iterator[None]:
    """No test leaves torch's functions watched, however it ends."""
    yield
    assert _get_current_function_mode_stack() == []

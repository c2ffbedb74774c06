"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Examples are the same in every run, and a slow machine is no failure.
settings.register_profile("growenv", deadline=None, derandomize=True)
settings.load_profile("growenv")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, and tests that run side by side lose."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

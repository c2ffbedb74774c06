"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(autouse=True)
def subnormal_numbers() -> Iterator[None]:
    """Scripts flush subnormal numbers for their whole process; the test that comes next must not inherit it."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def real_data() -> None:
    """Skips where the real data sets are not at hand."""
    root = os.environ.get("GROWENV_DATA", "")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("needs the real MNIST files: set GROWENV_DATA to the folder that holds MNIST/raw")

"""Checkouts to run workflows from."""

import shutil
from pathlib import Path

import pytest
from flow import copy_checkout


@pytest.fixture
def checkout(tmp_path):
    return copy_checkout(tmp_path / "checkout")


@pytest.fixture
def stubbed(checkout):
    """A checkout whose verbs only touch their outputs."""
    shutil.copy2(Path(__file__).parent / "stub.py", checkout / "seqbench" / "__main__.py")
    return checkout

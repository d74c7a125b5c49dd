"""Shared by all tests: they neither wait for the jobs of this machine nor hold them up."""

import os

import pytest

from seqbench.hardware import leases


@pytest.fixture(scope="session", autouse=True)
def own_leases(tmp_path_factory):
    """A folder of locks of their own, for this process and for all that it starts."""
    os.environ[leases.FOLDER] = str(tmp_path_factory.mktemp("leases"))

"""Shared by the unit tests: one small prepared dataset, and contestants that are scripts."""

from pathlib import Path

import pytest
from fake_workers import fake_in
from stub_workers import SOUND, stubs_in

from seqbench.data import prepare

TINY = {"n_users": 120, "n_items": 40, "mean_length": 15.0, "max_length": 40, "seed": 3}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Folder of a prepared synthetic dataset of 120 users and 40 items."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    definition = {"source": "synthetic", "k_core": 1, "synthetic": TINY}
    prepare("tiny", definition, folder.parent, folder)
    return folder


@pytest.fixture
def fake(tmp_path):
    """Make a contestant whose worker is a script in the test's folder."""
    return fake_in(tmp_path)


@pytest.fixture
def bench_folder(tmp_path):
    """A folder of benchmarks in place of the project's."""
    path = tmp_path / "bench"
    path.mkdir()
    (path / "test_paths.py").write_text(SOUND)
    return path


@pytest.fixture
def stubs(tmp_path, monkeypatch, bench_folder):
    """Workers of the regression gate whose stages are stubs."""
    return stubs_in(tmp_path, monkeypatch, bench_folder)

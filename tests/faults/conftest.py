"""Shared by the tests of faults: one small prepared dataset and a job on it."""

import signal

import pytest

from seqbench.core.jobs import Training, TrainingJob
from seqbench.data import prepare

TINY = {"n_users": 60, "n_items": 20, "mean_length": 10.0, "max_length": 20, "seed": 3}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Folder of a prepared dataset of 60 users."""
    folder = tmp_path_factory.mktemp("data") / "small"
    prepare("small", {"source": "synthetic", "k_core": 1, "synthetic": TINY}, folder.parent, folder)
    return folder


@pytest.fixture
def job():
    """The shortest training."""
    training = Training(max_steps=2, eval_every=1, targets_per_step=64, patience_steps=9)
    return TrainingJob("small", "sasrec", "matched", 8, 0, (("d_model", 8),), training)


@pytest.fixture(autouse=True)
def hang_up():
    """A hang-up ends what the tests start, also where nohup has them ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)

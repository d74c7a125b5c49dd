"""Clusters, and runs of the workflow on them."""

import pytest
import slurm
from on_slurm import Workflow


def started(factory, **options):
    why = slurm.missing()
    if why:
        pytest.skip(why)
    return slurm.Slurm(factory.mktemp("slurm") / "state", **options)


@pytest.fixture(scope="module")  # a second: another module may want accounting
def bare(tmp_path_factory):
    """A cluster without accounting: the one that most tests run on."""
    with started(tmp_path_factory) as cluster:
        yield cluster


@pytest.fixture
def cluster(bare):
    """The cluster without accounting, empty before and after."""
    yield bare
    bare.clear()


@pytest.fixture
def accounting(tmp_path_factory):
    """A cluster with slurmdbd and its database."""
    with started(tmp_path_factory, accounting=True) as cluster:
        yield cluster


@pytest.fixture
def workflow(tmp_path):
    """Run the workflow in a folder: ``workflow(cluster, config) -> Workflow``; none of it is left at the end."""
    made = []

    def make(cluster, config, name="work"):
        made.append(Workflow(tmp_path / name, config, cluster))
        return made[-1]

    yield make
    for one in made:
        one.kill()

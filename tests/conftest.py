"""Shared by all tests: one thread per process, and locks of their own, so that they neither wait for jobs of this machine nor hold them up."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before anything imports a numerical library: tests run side by side

import pytest  # noqa: E402

from seqbench.hardware import leases  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With SEQBENCH_NO_SKIP set a skip is a failure."""
    report = yield
    if report.skipped and os.environ.get("SEQBENCH_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and SEQBENCH_NO_SKIP is set: {call.excinfo.value}"
    return report


@pytest.fixture(scope="session", autouse=True)
def own_leases(tmp_path_factory):
    """A folder of locks, for this process and for all that it starts."""
    os.environ[leases.FOLDER] = str(tmp_path_factory.mktemp("leases"))

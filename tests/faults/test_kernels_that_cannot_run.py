"""numba that is installed and cannot run: the fallback runs, says why, and `doctor` does not say yes."""

import sys

import pytest
import torch

from models import _kernels, _numba, _scan
from models._errors import ModelError
from seqbench.hardware import doctor

CPU = torch.device("cpu")


class _Broken:
    """Stands in for the compiled kernels: the smallest one fails as it is called."""

    def __init__(self, error):
        self.smallest = lambda row: (_ for _ in ()).throw(error)


def forget():
    for cached in (_numba._tried, _kernels._installed, _scan._resolve):
        cached.cache_clear()


@pytest.fixture
def broken(monkeypatch):
    """Let what is compiled fail with an error, or fail to be imported (None)."""

    def install(error):
        import models

        module = None if error is None else _Broken(error)
        monkeypatch.setitem(sys.modules, "models._tiles", module)
        monkeypatch.setattr(models, "_tiles", module, raising=False)
        if error is None:
            monkeypatch.delattr(models, "_tiles")
        forget()

    yield install
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    "error",
    [
        None,
        ImportError("Numba needs NumPy 2.3 or less. Got NumPy 2.4."),
        RuntimeError("cannot cache function 'smallest': no locator available for file 'x.py'"),
        OSError(30, "Read-only file system"),
        SystemError("initialization of _internal failed"),
        AttributeError("module 'numpy' has no attribute 'long'"),
    ],
    ids=repr,
)
def test_the_fallback_runs_and_says_why(broken, error):
    broken(error)
    kernels, scan = _kernels.resolve(CPU), _scan.resolve("auto", CPU)
    assert (kernels.used, kernels.fallback) == ("torch", True)
    assert (scan.used, scan.fallback) == ("reference", True)
    for choice in (kernels, scan):
        assert "numba cannot run: " in choice.reason and "\n" not in choice.reason
    with pytest.raises(ModelError, match="numba cannot run"):
        _kernels.use("numba")
    rows = {row.what: row for row in doctor.kernels(CPU)}
    assert rows["between products"].have == rows["scan numba"].have == doctor.NO
    assert "numba cannot run" in rows["between products"].words
    assert "NUMBA_CACHE_DIR" in rows["between products"].remedy


def test_numba_that_computes_something_else_is_not_used(broken, monkeypatch):
    broken(RuntimeError())
    sys.modules["models._tiles"].smallest = lambda row: 3.0
    assert "in the place of 16" in _kernels.resolve(CPU).reason


def test_numba_that_is_told_not_to_compile_is_not_used(monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    forget()
    assert "NUMBA_DISABLE_JIT" in _kernels.resolve(CPU).reason
    monkeypatch.undo()
    forget()


def test_numba_that_runs_is_used():
    forget()
    assert _numba.why_not() is None and _kernels.resolve(CPU).used == "numba"

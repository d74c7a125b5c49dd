"""Whether numba's kernels can run here. It is tried: a package that is there may refuse this NumPy, or find no folder."""

from __future__ import annotations

import functools
import importlib.util

import numpy as np


def why_not() -> str | None:
    """Why numba's kernels cannot run, in one line; None when they can."""
    try:
        missing = importlib.util.find_spec("numba") is None
    except (ImportError, ValueError) as error:
        return _line(error)
    return "No module named 'numba'" if missing else _tried()


@functools.cache
def _tried() -> str | None:
    """Compile and run the smallest kernel as all others are: vectors, tiles and the cache on disk included."""
    try:
        from numba import config

        if config.DISABLE_JIT:
            return "numba cannot run: NUMBA_DISABLE_JIT is set"
        from models import _tiles

        found = _tiles.smallest(np.zeros(16, np.float32))
    except Exception as error:  # whatever a broken installation raises
        return _line(error)
    return None if found == 16 else f"numba computes {found} in the place of 16"


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"numba cannot run: {lines[0] if lines else type(error).__name__}"

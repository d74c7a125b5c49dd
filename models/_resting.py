"""What depends on weights alone, computed once while they do not change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")
_known: dict[Tensor, Any] | None = None


@contextlib.contextmanager
def weights_rest() -> Iterator[None]:
    """For the length of a block no weight changes."""
    global _known
    before, _known = _known, {}
    try:
        yield
    finally:
        _known = before


def once(weight: Tensor, compute: Callable[[], T]) -> T:
    """``compute()``, within ``weights_rest`` the first one for this weight."""
    if _known is None:
        return compute()
    if weight not in _known:
        _known[weight] = compute()
    return _known[weight]

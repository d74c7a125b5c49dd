"""What depends on weights alone, computed once while they do not change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_known: dict[Hashable, Any] | None = None


@contextlib.contextmanager
def weights_rest() -> Iterator[None]:
    """For the length of a block no weight changes."""
    global _known
    before, _known = _known, {}
    try:
        yield
    finally:
        _known = before


def resting() -> bool:
    """Whether this is such a block."""
    return _known is not None


def once(key: Hashable, compute: Callable[[], T]) -> T:
    """``compute()``, within ``weights_rest`` the first one for this key, such as a weight."""
    if _known is None:
        return compute()
    if key not in _known:
        _known[key] = compute()
    return _known[key]

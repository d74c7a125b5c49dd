"""Which events stay, and in which order: the iterative k-core, and the order of events within a user.

The base order is a stable sort by (user, time) with ties in file order. Variants are permutations
of it within users: `file` (the base order itself), `seed:k` (ties shuffled with seed k) and
`float32` (times rounded to float32 first, as frameworks that keep times in float32 tensors do:
around 10^9 s that merges times up to 64 s apart).
"""

from collections.abc import Iterator

import numpy as np

from ..core.errors import UserError

BLOCK_EVENTS = 2**22  # looked at together: what that takes beside the data stays small
MOST_BLOCKS = 32  # each is a pass over all rows


def blocks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Users [first, last) of one block after the other, all of whose events are looked at together."""
    size = max(BLOCK_EVENTS, int(offsets[-1]) // MOST_BLOCKS)
    first, n_users = 0, len(offsets) - 1
    while first < n_users:
        last = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def counts(codes: np.ndarray, size: int) -> np.ndarray:
    """How often each code occurs (size,), int64; np.bincount alone widens all codes at once."""
    found = np.zeros(size, dtype=np.int64)
    for start in range(0, len(codes), BLOCK_EVENTS):
        found += np.bincount(codes[start : start + BLOCK_EVENTS], minlength=size)
    return found


def k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Row numbers of the k-core of the bipartite graph, ascending.

    `users` and `items` are (n,) integer codes. Users and items with fewer than k rows are dropped
    again and again until nothing changes; the result does not depend on who is dropped first.
    """
    rows = np.arange(len(users), dtype=np.int32 if len(users) < 2**31 else np.int64)
    while len(rows):
        keep = _frequent(users, k) & _frequent(items, k)
        if keep.all():
            break
        users, items, rows = users[keep], items[keep], rows[keep]
    return rows


def _frequent(codes: np.ndarray, k: int) -> np.ndarray:
    """Whether the code of a row (n,) has at least k rows."""
    return (counts(codes, int(codes.max()) + 1) >= k)[codes]


def base_order(users: np.ndarray, key: np.ndarray | None) -> np.ndarray:
    """Permutation (n,) that sorts rows by (user, key), ties in file order; key None: by user."""
    return np.argsort(users, kind="stable") if key is None else np.lexsort((key, users))


def check_order(order: str, time: str) -> None:
    """UserError unless `order` is a known variant and the kind of time can support it."""
    seed = order.removeprefix("seed:")
    if order not in ("file", "float32") and not (order.startswith("seed:") and seed.isdigit()):
        raise UserError(f"order: {order!r} is unknown; allowed: file, float32, seed:<integer>")
    if order != "file" and time != "unix":
        raise UserError(f"order: {order} needs real times (time: unix), but this file has {time}")


def permutation(offsets: np.ndarray, times: np.ndarray, rows: np.ndarray, order: str) -> np.ndarray:
    """Permutation (n,) of events, within users, that turns the base order into a variant other than `file`."""
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    if order == "float32":
        return np.lexsort((rows, times.astype(np.float32), users))
    shuffled = np.random.default_rng(int(order.removeprefix("seed:"))).permutation(len(times))
    return np.lexsort((shuffled, times, users))


def changes(offsets: np.ndarray, variant: np.ndarray) -> dict[str, int]:
    """What a variant (n,) does to leave-one-out, in users with at least 3 events.

    users: so many; test, validation: those who get another event there; swapped: those whose two events change places.
    """
    end = offsets[1:][np.diff(offsets) >= 3]
    test, valid = variant[end - 1], variant[end - 2]
    return {
        "users": len(end),
        "test": int((test != end - 1).sum()),
        "validation": int((valid != end - 2).sum()),
        "swapped": int(((test == end - 2) & (valid == end - 1)).sum()),
    }


def describe(order: str, key: str | None) -> str:
    """The rule in words, for dataset.json; `key` is time, position or None."""
    if key is None:
        return "file order"
    if order == "float32":
        return "stable sort by (user, time rounded to float32), ties in file order"
    if order == "file":
        return f"stable sort by (user, {key}), ties in file order"
    return f"sort by (user, {key}), ties shuffled with {order.replace(':', ' ')}"


def tie_statistics(offsets: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """Shares in [0, 1] that say how far equal times decide the split.

    test_decided_by_tie, boundary_tie: users whose last two events share a time, or whose test or
    validation item shares its time with the event before it (users with at least 3 events);
    events_tied: events that share their time with a neighbour; users_one_timestamp: users all of
    whose (2 or more) events share one time.
    """
    equal = np.zeros(len(times) + 1, dtype=bool)  # equal[e]: event e ties with e - 1, same user
    equal[1:-1] = times[1:] == times[:-1]
    equal[offsets] = False
    start, end = offsets[:-1], offsets[1:]
    evaluated = end - start >= 3
    test, boundary = equal[end[evaluated] - 1], equal[end[evaluated] - 2]
    pairs = np.add.reduceat(equal[:-1], start, dtype=np.int64)
    one_timestamp = (pairs == end - start - 1) & (end - start >= 2)
    return {
        "test_decided_by_tie": _mean(test),
        "boundary_tie": _mean(test | boundary),
        "events_tied": _mean(equal[:-1] | equal[1:]),
        "users_one_timestamp": _mean(one_timestamp),
    }


def _mean(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None

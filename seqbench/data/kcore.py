"""Iterative k-core: every user and every item keeps at least k events."""

import numpy as np


def k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Row numbers of the k-core of the bipartite graph, ascending.

    `users` and `items` are (n,) integer codes. Users and items with fewer than k rows are dropped
    again and again until nothing changes; the result does not depend on who is dropped first.
    """
    rows = np.arange(len(users))
    while len(rows):
        u, i = users[rows], items[rows]
        keep = (np.bincount(u)[u] >= k) & (np.bincount(i)[i] >= k)
        if keep.all():
            break
        rows = rows[keep]
    return rows

"""What a model that knows the true process of synthetic data can attain.

The oracle ranks all items by their true conditional probability. Its expected metric, over the
true distribution of the held-out item, is the sum over ranks r <= 10 of p_(r) * gain(r), p_(r)
being the r-th largest probability: equal probabilities may be ranked in any order (here: by item
id) without changing that sum, and under pure uniform noise it gives chance, 10 / n_items for
HR@10. Models are scored with conservative ties, which cannot make them better than this.
"""

import numpy as np

from seqbench.data.synthetic import Process

K = 10
CHUNK_USERS = 2**15
GAINS = {  # of the held-out item at rank 1..K
    "hr@10": np.ones(K),
    "ndcg@10": 1.0 / np.log2(np.arange(2, K + 2)),
    "mrr@10": 1.0 / np.arange(1, K + 1),
}


def oracle_metrics(process: Process, items: np.ndarray, offsets: np.ndarray) -> dict | None:
    """Expected full-ranking metrics of the oracle, nothing masked, as means over users.

    Returns {"test": {"hr@10", "ndcg@10", "mrr@10"}, "valid": {...}, "n_users"}, users with at
    least 3 events; None when there are none.
    """
    ends = offsets[1:][np.diff(offsets) >= 3]
    starts = offsets[:-1][np.diff(offsets) >= 3]
    if not len(ends):
        return None
    test = _expected(process, items, starts, ends - 1)
    valid = _expected(process, items, starts, ends - 2)
    return {"test": test, "valid": valid, "n_users": len(ends)}


def _expected(process: Process, items, starts, targets) -> dict[str, float]:
    totals = dict.fromkeys(GAINS, 0.0)
    for begin in range(0, len(targets), CHUNK_USERS):
        chunk = slice(begin, begin + CHUNK_USERS)
        top = top_probabilities(process, items, starts[chunk], targets[chunk])
        for metric, gain in GAINS.items():
            totals[metric] += float((top @ gain[: top.shape[1]]).sum())
    return {metric: total / len(targets) for metric, total in totals.items()}


def top_probabilities(process: Process, items, starts, targets) -> np.ndarray:
    """(B, min(K, candidates)) largest true probabilities of the event at each target, descending.

    Only the K most popular items, the successors of the last item and the copied item can be among
    the K most probable: any other item is less probable than each of the K most popular ones.
    """
    popular = process.by_rank[:K]
    last = items[targets - 1] - 1
    has_copy = targets - starts >= process.copy_lag
    copied = np.where(has_copy, items[targets - np.where(has_copy, process.copy_lag, 1)] - 1, -1)
    following = process.successors[last]  # (B, m)
    weights = np.where(has_copy[:, None], process.weights(True, True), process.weights(True, False))

    candidates = np.concatenate(
        [np.broadcast_to(popular, (len(last), len(popular))), following, copied[:, None]], axis=1
    )
    p = weights[:, 2:] * process.popularity[candidates]
    for column, share in enumerate(process.successor_weights):
        p += weights[:, 1:2] * share * (candidates == following[:, column, None])
    p += weights[:, :1] * (candidates == copied[:, None])
    p[_repeated(candidates) | (candidates < 0)] = 0.0
    return -np.sort(-p, axis=1)[:, :K]


def _repeated(candidates: np.ndarray) -> np.ndarray:
    """(B, C) flags of candidates that stand further left already."""
    repeated = np.zeros(candidates.shape, dtype=bool)
    for column in range(1, candidates.shape[1]):
        equal = candidates[:, :column] == candidates[:, column, None]
        repeated[:, column] = equal.any(axis=1)
    return repeated

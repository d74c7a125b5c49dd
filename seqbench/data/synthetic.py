"""A seeded generator of interactions with known structure.

The next item of a user with history x_1 .. x_{t-1} is drawn from the mixture

    p(i | x) = w_copy [i = x_{t-k}] + w_markov T(x_{t-1}, i) + w_noise pop(i)

with k = copy_lag, T a sparse transition matrix (each item has a few successors) and pop a Zipf law
over shuffled item ids. Where the copied event does not exist yet, the other two weights share its
part in proportion; the first event is drawn from pop. Only a model that remembers k steps can use
the copies, so the pieces can be told apart.

The oracle says what a model that knows this process can attain. It ranks all items by their true conditional probability.
Its expected metric, over the true distribution of the held-out item, is the sum over ranks r <= 10 of p_(r) * gain(r),
p_(r) being the r-th largest probability. Equal probabilities may be ranked in any order (here: by item id) without
changing that sum. Under pure uniform noise it gives chance, 10 / n_items for HR@10. Models are scored with conservative
ties, which cannot make them better than this.
"""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core.errors import UserError

CHUNK_USERS = 2**16  # users generated at a time; part of the result's identity, like the seed


@dataclass(frozen=True)
class SyntheticConfig:
    """The generator's parameters."""

    n_users: int = 2000  # users
    n_items: int = 500  # items 1..n_items; all keep their ids, seen or not
    mean_length: float = 30.0  # mean events per user, before the cut at max_length
    min_length: int = 5  # shortest history; the rest of a length is geometric
    max_length: int = 200  # longest history
    zipf: float = 1.0  # popularity of the r-th item is proportional to r^-zipf; 0 is uniform
    copy: float = 0.3  # weight of copying the item from copy_lag steps ago
    copy_lag: int = 8  # how far back the copied item lies; 1 repeats the last item
    markov: float = 0.4  # weight of the transition from the last item; the rest is popularity noise
    successors: int = 5  # successors per item, drawn by popularity
    randomness: float = 0.5  # the j-th successor has weight randomness^j: 0 is certain, 1 uniform
    seed: int = 0  # of everything: structure, lengths and events


@dataclass(frozen=True)
class Process:
    """The true distribution behind a synthetic dataset; items count from 0 here."""

    popularity: np.ndarray  # (n_items,) float64 of item i, sums to 1
    by_rank: np.ndarray  # (n_items,) int32 items, the most popular first
    successors: np.ndarray  # (n_items, m) int32
    successor_weights: np.ndarray  # (m,) float64, sums to 1
    copy: float
    copy_lag: int
    markov: float

    def weights(self, has_last: bool, has_copy: bool) -> tuple[float, float, float]:
        """(w_copy, w_markov, w_noise) where the last or the copied item may not exist; sum 1."""
        if not has_last:
            return 0.0, 0.0, 1.0
        if has_copy:
            return self.copy, self.markov, 1.0 - self.copy - self.markov
        rest = 1.0 - self.copy
        markov = self.markov / rest if rest > 0 else 0.0
        return 0.0, markov, 1.0 - markov


LIMITS = {  # inclusive
    "n_users": (1, 2**31 - 1),
    "n_items": (1, 2**31 - 2),
    "mean_length": (1, 1e6),
    "min_length": (1, 10**6),
    "max_length": (1, 10**6),
    "zipf": (0, 10),
    "copy": (0, 1),
    "copy_lag": (1, 10**6),
    "markov": (0, 1),
    "successors": (1, 1000),
    "randomness": (0, 1),
    "seed": (0, 2**63 - 1),
}


def config_from(name: str, fields: dict) -> SyntheticConfig:
    """The checked configuration of one dataset block; UserError names the key and its range."""
    key = f"datasets.{name}.synthetic"
    types = {field.name: field.type for field in dataclasses.fields(SyntheticConfig)}
    for field, value in fields.items():
        if field not in types:
            raise UserError(f"{key}.{field} is unknown; allowed: {', '.join(types)}")
        low, high = LIMITS[field]
        number = isinstance(value, int | types[field]) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            kind = types[field].__name__
            raise UserError(f"{key}.{field}: {value!r} must be {kind}, {low} to {high}")
    config = SyntheticConfig(**fields)
    if not config.min_length <= config.mean_length <= config.max_length:
        raise UserError(f"{key}: min_length <= mean_length <= max_length does not hold: {config}")
    if config.copy + config.markov > 1 + 1e-12:
        total = config.copy + config.markov
        raise UserError(f"{key}: copy + markov is {total:g}, more than 1 (the rest is noise)")
    return config


def process_of(config: SyntheticConfig) -> Process:
    """Draw the structure: who is popular and who follows whom."""
    rng = np.random.default_rng([config.seed, 0])
    ranks = np.arange(1, config.n_items + 1, dtype=np.float64)
    shares = ranks**-config.zipf
    shares /= shares.sum()
    by_rank = rng.permutation(config.n_items).astype(np.int32)  # an id says nothing about it
    popularity = np.empty(config.n_items)
    popularity[by_rank] = shares
    weights = np.power(config.randomness, np.arange(config.successors, dtype=np.float64))
    weights /= weights.sum()
    shape = (config.n_items, config.successors)
    successors = by_rank[_draw(np.cumsum(shares), rng.random(shape))]
    markov = min(config.markov, 1.0 - config.copy)
    return Process(popularity, by_rank, successors, weights, config.copy, config.copy_lag, markov)


def generate(config: SyntheticConfig) -> tuple[Process, np.ndarray, np.ndarray]:
    """(process, items (n,) int32 from 1, offsets (n_users + 1,) int64) of a whole dataset."""
    process = process_of(config)
    lengths = _lengths(config)
    offsets = np.zeros(config.n_users + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    items = np.empty(offsets[-1], dtype=np.int32)
    borders = [*range(0, config.n_users, CHUNK_USERS), config.n_users]
    for chunk, (start, end) in enumerate(pairwise(borders)):
        rng = np.random.default_rng([config.seed, 2, chunk])
        part = items[offsets[start] : offsets[end]]
        _fill(process, lengths[start:end], part, rng)
    return process, items, offsets


def _lengths(config: SyntheticConfig) -> np.ndarray:
    rng = np.random.default_rng([config.seed, 1])
    extra = config.mean_length - config.min_length
    lengths = config.min_length - 1 + rng.geometric(1.0 / (1.0 + extra), config.n_users)
    return np.minimum(lengths, config.max_length)


def _fill(process: Process, lengths: np.ndarray, items: np.ndarray, rng) -> None:
    """Generate the events of some users into `items`, user after user, step by step in time."""
    order = np.argsort(-lengths, kind="stable")  # longest first: the active users are a prefix
    active = np.searchsorted(-lengths[order], -np.arange(lengths.max()), side="left")
    starts = (np.cumsum(lengths) - lengths)[order]
    by_rank = np.cumsum(process.popularity[process.by_rank])  # short ways to the popular items
    cumulative = by_rank, np.cumsum(process.successor_weights)
    for t, n in enumerate(active):
        at = starts[:n] + t
        copied = items[at - process.copy_lag] if t >= process.copy_lag else None
        last = items[at - 1] - 1 if t else None
        items[at] = _step(process, cumulative, last, copied, n, rng)


def _step(process: Process, cumulative, last, copied, n: int, rng) -> np.ndarray:
    """Next items (n,), from 1, given the last item (from 0) and the copied one (from 1)."""
    w_copy, w_markov, _ = process.weights(last is not None, copied is not None)
    part, value = rng.random(n), rng.random(n)
    following = np.empty(n, dtype=np.int32)
    markov = (part >= w_copy) & (part < w_copy + w_markov)
    noise = part >= w_copy + w_markov
    if w_copy:
        np.copyto(following, copied, where=part < w_copy)
    if w_markov:
        which = _draw(cumulative[1], value[markov])
        following[markov] = process.successors[last[markov], which] + 1
    following[noise] = process.by_rank[_draw(cumulative[0], value[noise])] + 1
    return following


def _draw(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Indices drawn by inverting a cumulative distribution that ends near 1."""
    return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1)


K = 10
ORACLE_CHUNK_USERS = 2**15
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
    for begin in range(0, len(targets), ORACLE_CHUNK_USERS):
        chunk = slice(begin, begin + ORACLE_CHUNK_USERS)
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

"""Training windows, evaluation histories and their batches: index arithmetic on the flat item array.

Nothing is copied per prefix or per window: a window is a start and a length in ``items``, and a batch is one
gather on the device that trains. Two objectives cut them: ``all-positions`` into windows in which every item but
the first is a target, ``prefix`` (RecBole's) into one window per target, its last item. B batch, L sequence length, W windows, U users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models import Batch

from ..core.jobs import PREDICTIONS
from ..data.split import Split

# Windows are sorted by length within pools of this many batches: little padding, yet batches differ every epoch.
POOL_BATCHES = 64


@dataclass(frozen=True)
class Windows:
    """Training windows: ``start`` (W,) index into ``items`` and ``length`` (W,) in items, 2 to L + 1.

    A window of length n holds n - 1 targets, every item but its first predicted from those before it, or with
    ``last_only`` one, its last item. fresh (W,): the last so many items are targets alone, where windows overlap and a
    model is not to predict an item twice. model: says what it reads and predicts; None: all but the last item, all targets.
    """

    start: np.ndarray
    length: np.ndarray
    last_only: bool = False
    fresh: np.ndarray | None = None
    model: Any = None  # models.SequenceModel

    @property
    def targets(self) -> int:
        """Targets per epoch."""
        return int(self.targets_of(slice(None)).sum())

    def targets_of(self, numbers: np.ndarray | slice) -> np.ndarray:
        """Targets of the windows ``numbers``."""
        if self.fresh is not None:
            return self.fresh[numbers]
        targets = self.length[numbers] - 1
        return np.ones_like(targets) if self.last_only else targets

    def positions_of(self, numbers: np.ndarray | slice) -> np.ndarray:
        """Positions that a model reads of the windows ``numbers``."""
        lengths = self.length[numbers]
        return self.model.positions(lengths) if self.model else lengths - 1

    def predictions_of(self, numbers: np.ndarray | slice) -> np.ndarray:
        """Expected terms of the loss of the windows ``numbers``."""
        targets = self.targets_of(numbers)
        return self.model.predictions(self.positions_of(numbers), targets) if self.model else targets  # fmt: skip

    def counted(self, numbers: np.ndarray | slice, step_counts: str) -> np.ndarray:
        """What fills a batch of the windows ``numbers``: ``predictions`` or ``targets``."""
        return (self.predictions_of if step_counts == PREDICTIONS else self.targets_of)(numbers)


def windows_for(
    objective: str, split: Split, seq_len: int, model: Any = None,
    stride: int | None = None,
) -> Windows:  # fmt: skip
    """The training windows of an objective, ``all-positions`` or ``prefix``, with the terms that a model's loss has of them.

    stride: as in ``training_windows``; None: ``seq_len``. Prefixes have none.
    """
    if objective == "prefix":
        cut = prefix_windows(split, seq_len)
    else:
        cut = training_windows(
            split, seq_len, stride, model is not None and model.fresh_targets_only
        )
    return replace(cut, model=model)


def training_windows(
    split: Split, seq_len: int, stride: int | None = None, fresh_only: bool = False
) -> Windows:
    """Cut every user's training part into windows of up to ``seq_len`` targets, so that no target is lost.

    Cut from the end of the history, each ``stride`` items before the next one. By default they share one item, so each
    training item but a user's first is a target exactly once. Where they overlap it is one of each window that holds it,
    or with fresh_only of the first of them alone, where it has most items before it.
    """
    stride = min(stride or seq_len, seq_len)
    first, end = split.offsets[:-1], split.ends
    targets = end - first - 1
    pieces = np.where(targets > 0, 1 + np.maximum(-(-(targets - seq_len) // stride), 0), 0)
    user = np.repeat(np.arange(len(pieces)), pieces)
    place = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    stop = end[user] - place * stride
    start = np.maximum(stop - seq_len - 1, first[user])
    cut = Windows(start.astype(np.int64), (stop - start).astype(np.int64))
    if not fresh_only or stride == seq_len:
        return cut
    own = np.where(start > first[user], stride, cut.length - 1)  # the earliest window has all
    return replace(cut, fresh=np.minimum(own, cut.length - 1))


def prefix_windows(split: Split, seq_len: int) -> Windows:
    """One window per target: it and up to ``seq_len`` items before it, as RecBole augments sequences.

    The targets are those of ``training_windows``. 8 bytes per target where places fit into 32 bits.
    """
    first, end = split.offsets[:-1], split.ends
    counts = np.maximum(end - first - 1, 0)
    dtype = np.int32 if split.offsets[-1] < 2**31 else np.int64
    begin = np.repeat(first.astype(dtype), counts)
    place = np.arange(counts.sum(), dtype=dtype)
    place -= np.repeat((np.cumsum(counts) - counts).astype(dtype), counts)  # 0.. within the user
    start = begin + np.maximum(place + 1 - seq_len, 0).astype(dtype)
    return Windows(start, begin + place + 2 - start, last_only=True)


def epoch_batches(
    windows: Windows,
    per_step: int,
    rng: np.random.Generator,
    bucket_by_length: bool,
    step_counts: str = PREDICTIONS,
) -> list[np.ndarray]:
    """Window numbers of each batch of one epoch, about ``per_step`` of what ``step_counts`` names per batch.

    With ``bucket_by_length`` windows of similar length share a batch. Every window occurs once.
    """
    n = len(windows.start)
    order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    rng.shuffle(order)  # as rng.permutation, in half its memory
    if bucket_by_length:
        for number, pool in _parts(windows, order, POOL_BATCHES * per_step, step_counts):
            # Every other pool is sorted downwards, so that no batch spans the shortest and the longest windows.
            length = windows.length[pool]
            pool[:] = pool[np.argsort(length if number % 2 == 0 else -length, kind="stable")]
    batches = [batch for _, batch in _parts(windows, order, per_step, step_counts)]
    return [batches[i] for i in rng.permutation(len(batches))] if bucket_by_length else batches


def _parts(
    windows: Windows, order: np.ndarray, per_part: int, step_counts: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Views of ``order``, each with windows that begin among the same ``per_part`` of what is counted, and their numbers."""
    if windows.last_only and (step_counts != PREDICTIONS or windows.model is None):
        cuts = np.arange(0, len(order), per_part)
        numbers = range(len(cuts))
    else:
        own = windows.counted(order, step_counts)
        part = ((np.cumsum(own) - own) // per_part).astype(np.int64)
        cuts = np.flatnonzero(np.diff(part, prepend=-1))
        numbers = part[cuts].tolist()
    return zip(numbers, np.split(order, cuts[1:]), strict=True)


class Gatherer:
    """Gathers batches from the flat item array where the model computes."""

    def __init__(self, items: np.ndarray, windows: Windows, device: torch.device) -> None:
        self.items = torch.from_numpy(np.array(items, dtype=np.int32)).to(device)
        self.start = torch.from_numpy(windows.start).to(device)
        self.length = torch.from_numpy(windows.length).to(device)
        self.windows = windows  # so that the host need not ask the device

    def batch(self, numbers: np.ndarray, generator: torch.Generator) -> Batch:
        """The windows ``numbers`` (B,), right-padded to the longest of them, as a training batch."""
        return next(self.batches([numbers], generator))

    def batches(self, epoch: list[np.ndarray], generator: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch; their numbers go to the device once, so that no step waits for a copy."""
        numbers = torch.from_numpy(np.concatenate(epoch)).to(self.items.device)
        for host, chosen in zip(epoch, numbers.split([len(n) for n in epoch]), strict=True):
            yield self._gather(chosen, host, generator)

    def _gather(self, chosen: torch.Tensor, host: np.ndarray, generator: torch.Generator) -> Batch:
        lengths = self.length[chosen].long()
        longest = int(self.windows.length[host].max())
        windows = gather_spans(self.items, self.start[chosen].long(), lengths, longest)
        place = torch.arange(longest - 1, device=windows.device)
        last = lengths[:, None] - 2  # of the targets, which begin at the window's second item
        mask = place == last if self.windows.last_only else place <= last
        if self.windows.fresh is not None:
            mask &= place > last - torch.from_numpy(self.windows.fresh[host]).to(place.device)[:, None]  # fmt: skip
        targets = int(self.windows.targets_of(host).sum())
        return Batch(windows, lengths, mask, generator, targets, self.windows.last_only)


def gather_spans(
    items: torch.Tensor, start: torch.Tensor, length: torch.Tensor, longest: int | None = None
) -> torch.Tensor:
    """Spans of ``items`` as rows (B, longest) int64, padded with 0 on the right. start, length (B,).

    ``longest`` is the largest length; who does not say it waits for the device to find it.
    """
    place = torch.arange(longest or int(length.max()), device=items.device)
    index = (start[:, None] + place).clamp_(max=len(items) - 1)
    return torch.where(place < length[:, None], items[index], 0).long()


def full_length_batch(
    n_items: int,
    rows: int,
    seq_len: int,
    generator: torch.Generator,
    device: torch.device,
    last_only: bool = False,
) -> Batch:
    """A synthetic batch without padding: ``rows`` windows of ``seq_len`` targets, items uniform over 1..n_items.

    last_only: only their last items are targets, as under the objective ``prefix``.
    """
    shape = (rows, seq_len + 1)
    windows = torch.randint(1, n_items + 1, shape, generator=generator, device=device)
    lengths = torch.full((rows,), seq_len + 1, device=device)
    mask = torch.ones((rows, seq_len), dtype=torch.bool, device=device)
    if last_only:
        mask[:, :-1] = False
    return Batch(windows, lengths, mask, generator, rows * (1 if last_only else seq_len), last_only)

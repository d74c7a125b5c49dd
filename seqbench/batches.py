"""Training windows, evaluation histories and their batches: index arithmetic on the flat item array.

Nothing is copied per prefix or per window: a window is a start and a length in ``items``, and a batch is one
gather on the device that trains. B batch, L sequence length, W windows, U users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models import Batch

from .data.split import Split

# Windows are sorted by length within pools of this many batches: little padding, yet batches differ every epoch.
POOL_BATCHES = 64


@dataclass(frozen=True)
class Windows:
    """Training windows: ``start`` (W,) index into ``items`` and ``length`` (W,) in items, 2 to L + 1.

    A window of length n holds n - 1 targets: every item but its first is predicted from those before it.
    """

    start: np.ndarray
    length: np.ndarray

    @property
    def targets(self) -> int:
        """Targets per epoch."""
        return int(self.length.sum() - len(self.length))


def training_windows(split: Split, seq_len: int) -> Windows:
    """Cut every user's training part into windows of up to ``seq_len`` targets, so that no target is lost.

    Cut from the end of the history, neighbours share one item: each training item but a user's first is a
    target exactly once.
    """
    first, end = split.offsets[:-1], split.ends
    pieces = np.maximum(-(-(end - first - 1) // seq_len), 0)
    user = np.repeat(np.arange(len(pieces)), pieces)
    place = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    stop = end[user] - place * seq_len
    start = np.maximum(stop - seq_len - 1, first[user])
    return Windows(start.astype(np.int64), (stop - start).astype(np.int64))


def epoch_batches(
    windows: Windows, batch_targets: int, rng: np.random.Generator, bucket: bool
) -> list[np.ndarray]:
    """Window numbers of each batch of one epoch, about ``batch_targets`` real targets per batch.

    With ``bucket`` windows of similar length share a batch. Every window occurs once.
    """
    order = rng.permutation(len(windows.start))
    targets = windows.length[order] - 1
    if bucket:
        pool = (np.cumsum(targets) - targets) // (POOL_BATCHES * batch_targets)
        # Every other pool is sorted downwards, so that no batch spans the shortest and the longest windows.
        rising = np.where(pool % 2 == 0, targets, -targets)
        order = order[np.lexsort((rising, pool))]
        targets = windows.length[order] - 1
    batch = (np.cumsum(targets) - targets) // batch_targets
    cuts = np.flatnonzero(np.diff(batch)) + 1
    batches = np.split(order, cuts)
    return [batches[i] for i in rng.permutation(len(batches))] if bucket else batches


class Gatherer:
    """Gathers batches from the flat item array where the model computes."""

    def __init__(self, items: np.ndarray, windows: Windows, device: torch.device) -> None:
        self.items = torch.from_numpy(np.array(items, dtype=np.int32)).to(device)
        self.start = torch.from_numpy(windows.start).to(device)
        self.length = torch.from_numpy(windows.length).to(device)
        self.host_length = windows.length  # so that the host need not ask the device

    def batch(self, numbers: np.ndarray, generator: torch.Generator) -> Batch:
        """The windows ``numbers`` (B,), right-padded to the longest of them, as a training batch."""
        return next(self.batches([numbers], generator))

    def batches(self, epoch: list[np.ndarray], generator: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch; their numbers go to the device once, so that no step waits for a copy."""
        numbers = torch.from_numpy(np.concatenate(epoch)).to(self.items.device)
        for host, chosen in zip(epoch, numbers.split([len(n) for n in epoch]), strict=True):
            yield self._gather(chosen, self.host_length[host], generator)

    def _gather(
        self, chosen: torch.Tensor, host_lengths: np.ndarray, generator: torch.Generator
    ) -> Batch:
        lengths = self.length[chosen]
        longest = int(host_lengths.max())
        windows = gather_spans(self.items, self.start[chosen], lengths, longest)
        place = torch.arange(longest - 1, device=windows.device)
        n_targets = int((host_lengths - 1).sum())
        return Batch(windows, lengths, place < lengths[:, None] - 1, generator, n_targets)


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
    n_items: int, rows: int, seq_len: int, generator: torch.Generator, device: torch.device
) -> Batch:
    """A synthetic batch without padding: ``rows`` windows of ``seq_len`` targets, items uniform over 1..n_items."""
    shape = (rows, seq_len + 1)
    windows = torch.randint(1, n_items + 1, shape, generator=generator, device=device)
    lengths = torch.full((rows,), seq_len + 1, device=device)
    mask = torch.ones((rows, seq_len), dtype=torch.bool, device=device)
    return Batch(windows, lengths, mask, generator, rows * seq_len)

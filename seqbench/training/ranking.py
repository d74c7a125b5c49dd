"""Full ranking: the rank of each user's held-out item among all items, with and without the seen ones.

Ties count against us (the rank counts every other item with the same score), NaN is an error, the padding
row is never ranked. B batch, L sequence length, V = n_items + 1, U users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

import models

from ..core import metrics
from ..core.jobs import TrainingJob
from ..data import Dataset
from ..data.split import Split
from ..hardware.arithmetic import arithmetic
from .batches import gather_spans

SEEN_ITEMS = ("kept", "excluded")
SPLITS = ("valid", "test")


class Diverged(Exception):
    """The model's numbers are no longer finite."""


@dataclass(frozen=True)
class Ranks:
    """Per user: conservative ``rank`` (U,) and the number of equal-scored other items ``ties`` (U,), int32."""

    rank: np.ndarray
    ties: np.ndarray


class Evaluator:
    """Ranks the held-out items of all evaluated users of a dataset, on the device of the model."""

    def __init__(
        self,
        items: np.ndarray,
        split: Split,
        seq_len: int,
        batch: int,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self.items = torch.from_numpy(np.array(items, dtype=np.int32)).to(device)
        self.split, self.seq_len, self.precision, self.batch = split, seq_len, precision, batch

    @torch.inference_mode()
    def ranks(
        self, model: torch.nn.Module, split: str, shuffle: int | None = None
    ) -> dict[str, Ranks]:
        """Seen items (kept, excluded) -> ranks of the ``split`` ("valid" or "test") targets, in the order of ``split.users[split]``.

        shuffle: seed with which the order of every history that the model reads is drawn anew, None to leave
        it: what a model loses by it is what it knows of the order.

        Raises:
            Diverged: a score is not a number.
        """
        model.eval()
        size = len(self.split.users[split])
        found = {m: np.empty((2, size), dtype=np.int32) for m in SEEN_ITEMS}
        generator = None if shuffle is None else torch.Generator().manual_seed(shuffle)
        on_cpu = self.items.device.type == "cpu"
        most = getattr(model, "cpu_positions", None) if on_cpu else None
        with models.weights_rest():
            for rows, history, inputs, target in self._batches(split, most):
                if generator is not None:
                    inputs = shuffled(inputs, generator)
                with arithmetic(self.precision, inputs.device):
                    scores = model.scores(inputs).float()
                for seen_items, (rank, ties) in rank_target(scores, target, history).items():
                    found[seen_items][0, rows] = rank.cpu().numpy()
                    found[seen_items][1, rows] = ties.cpu().numpy()
        return {m: Ranks(*values) for m, values in found.items()}

    def _batches(
        self, split: str, most: int | None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Rows into the split's users (B,), whole history (B, H), its last L items (B, <= L), target (B,).

        most: padded positions per batch.
        """
        firsts, places = self.split.offsets[self.split.users[split]], self.split.target_index[split]
        # Users with histories of similar length share a batch: less padding, same ranks.
        lengths = places - firsts
        order = np.argsort(lengths, kind="stable")
        cuts = _cuts(np.minimum(lengths[order], self.seq_len), self.batch, most)
        for low, high in pairwise(cuts):
            rows = order[low:high]
            first = torch.from_numpy(firsts[rows]).to(self.items.device)
            place = torch.from_numpy(places[rows]).to(self.items.device)
            seen = place - first
            history = gather_spans(self.items, first, seen)
            kept = seen.clamp(max=self.seq_len)
            yield (
                rows,
                history,
                gather_spans(self.items, place - kept, kept),
                self.items[place].long(),
            )


def shuffled(items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Real items of every row in a random order, padding stays on the right: (B, L) -> (B, L)."""
    keys = torch.rand(items.shape, generator=generator).to(items.device)
    return items.gather(1, keys.masked_fill(items == 0, 2.0).argsort(dim=1))


def _cuts(lengths: np.ndarray, batch: int, positions: int | None) -> list[int]:
    """Borders of batches of rising ``lengths``: at most ``batch`` users and ``positions`` with padding."""
    cuts = [0]
    for row, length in enumerate(lengths.tolist()):
        size = row + 1 - cuts[-1]
        if size > batch or (positions and size > 1 and size * length > positions):
            cuts.append(row)
    return [*cuts, len(lengths)] if len(lengths) else cuts


def rank_target(
    scores: torch.Tensor, target: torch.Tensor, history: torch.Tensor
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Seen items (kept, excluded) -> (rank, ties) (B,) of ``target`` (B,) in ``scores`` (B, V); ``history`` (B, H) holds the seen items.

    A target that was seen before stays in the ranking.

    Raises:
        Diverged: a score is not a number.
    """
    counts, wrong = models.count_above(scores, target, history)
    if wrong:
        raise Diverged("a score is NaN")
    rank, ties, seen_above, seen_tied = counts.unbind(1)
    return {"kept": (rank, ties), "excluded": (rank - seen_above, ties - seen_tied)}


def summary(ranks: dict[str, Ranks]) -> dict[str, dict[str, float]]:
    """Seen items (kept, excluded) -> metric -> mean over users, conservative ties."""
    names = ("hr@10", "ndcg@10", "mrr@10")
    return {
        seen_items: {name: float(metrics.per_user(r.rank, name).mean()) for name in names}
        for seen_items, r in ranks.items()
    }


PROBE_RANKS = 255  # no list is longer; what lies beyond is not told apart
SHUFFLE_SEED = (
    0  # of the probe, equal in every record, so that models see the same shuffled histories
)


def evaluator_of(experiment: TrainingJob, dataset: Dataset, where: torch.device) -> Evaluator:
    """What ranks the held-out items for a training job."""
    t = experiment.training
    return Evaluator(
        dataset.items, dataset.split, experiment.seq_len, t.eval_batch, where, t.precision
    )


def samples(
    evaluator: Evaluator, model: torch.nn.Module, test: bool = True
) -> dict[str, np.ndarray]:
    """Arrays over the evaluated users (U,) of each split: ``rank`` and ``ties`` with seen items kept, and of the seen
    items those that stood at or above the target (``seen_above``) and those of equal score (``seen_tied``).

    Of the probe, which reads shuffled histories, the rank up to ``PROBE_RANKS``. test False: nothing, as while tuning.
    """
    if not test:
        return {}
    found = {}
    for split in SPLITS:
        ranks = evaluator.ranks(model, split)
        kept, excluded = ranks["kept"], ranks["excluded"]
        found |= {
            f"{split}/rank": kept.rank,
            f"{split}/ties": kept.ties,
            f"{split}/seen_above": kept.rank - excluded.rank,
            f"{split}/seen_tied": kept.ties - excluded.ties,
        }
    shuffled_ranks = evaluator.ranks(model, "test", shuffle=SHUFFLE_SEED)["kept"]
    return {**found, "test-shuffled/rank": np.minimum(shuffled_ranks.rank, PROBE_RANKS)}

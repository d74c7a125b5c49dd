"""The compared models: one public file each, found by name, and the contract that they share.

Letters in every file: B windows, L positions, D model width, N state size, T targets of a batch,
V = n_items + 1 rows (row 0 is the padding and never ranked).

A model file defines ``Config`` (frozen dataclass; every field has a literal default and a trailing
comment) and ``Model(config, n_items, max_len)``. Module-level switches, both optional:
``trainable = False`` for models that are fitted by counting (``fit`` instead of ``loss``), and
``causal = False`` for models whose hidden states may look at later items.

Windows are padded with 0 on the right, so a causal model never reads padding and needs no key mask;
positions count from the start of the window. L may be anything from 1 to ``max_len``.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from models import _cost, _kernels
from models._catalogue import catalogue_cross_entropy
from models._errors import ModelError
from models._layers import gather_positions, lengths_of

resolve_kernels = _kernels.resolve  # what runs on a device, and why
use_kernels = _kernels.use  # which implementation runs between the matrix products
compile_seconds = _kernels.compile_seconds  # that numba took in this process
counting_flops = _cost.counting  # formulas in place of what PyTorch cannot count
observing_kernels = _cost.observing  # launches that PyTorch does not see


@dataclass
class Batch:
    """Windows of consecutive items of users, right-padded with 0.

    windows (B, L+1) int64; lengths (B,) real items per window; target_mask (B, L) bool, true where
    ``windows[:, 1:]`` is a target; generator: source of the random masks of masked models; n_targets:
    number of targets, where the host knows it, so that nothing waits for a GPU to count them.
    """

    windows: Tensor
    lengths: Tensor
    target_mask: Tensor
    generator: torch.Generator
    n_targets: int | None = None

    def target_places(self) -> Tensor:
        """Where ``target_mask.flatten()`` is true: (T,) int64, in order."""
        mask = self.target_mask.flatten()
        size = int(mask.sum()) if self.n_targets is None else self.n_targets
        return torch.nonzero_static(mask, size=size).squeeze(1)


class SequenceModel(nn.Module):
    """A trained next-item model: a query vector per user, scored against a table of items.

    every_position: pass positions through the last layers too that nothing reads, as RecBole and the
    authors of Mamba4Rec do; results differ by rounding only.
    """

    every_position = False

    def hidden(self, items: Tensor) -> Tensor:
        """Represent every position: items (B, L) -> (B, L, D)."""
        raise NotImplementedError

    def query(self, items: Tensor) -> Tensor:
        """Represent what comes after the last real item: items (B, L) -> (B, D)."""
        return gather_positions(self.hidden(items), lengths_of(items)[:, None] - 1).squeeze(1)

    def item_table(self) -> Tensor:
        """The vectors that queries are scored against: (V, D)."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of every target given the items before it, over items 1..n."""
        places = batch.target_places()  # (T,)
        hidden = self.hidden(batch.windows[:, :-1]).flatten(0, 1)[places]
        targets = batch.windows[:, 1:].flatten()[places]
        return catalogue_cross_entropy(hidden, self.item_table(), targets)

    def scores(self, items: Tensor) -> Tensor:
        """Score every item as the next one: items (B, L) -> (B, V); column 0 means nothing."""
        return self.score(self.query(items))

    def score(self, query: Tensor) -> Tensor:
        """Products of queries (B, D) with all items: (B, V).

        In the precision of the weights under autocast too: among thousands of scores of 8 bits many
        would be equal.
        """
        table = self.item_table()
        with torch.autocast(query.device.type, enabled=False):
            return query.to(table.dtype) @ table.T

    def backend_report(self) -> dict:
        """Which interchangeable kernels run on the device of the weights, by kind."""
        return {"kernels": _kernels.resolve(self.item_table().device)._asdict()}


class CountingModel(nn.Module):
    """A baseline that is fitted in one pass over the training part; its buffers are its weights."""

    def fit(self, items: Tensor, offsets: Tensor) -> None:
        """Count: items (interactions,) user after user, user u owns items[offsets[u]:offsets[u+1]]."""
        raise NotImplementedError

    def scores(self, items: Tensor) -> Tensor:
        """Score every item as the next one: items (B, L) -> (B, V); column 0 means nothing."""
        raise NotImplementedError

    def backend_report(self) -> dict:
        """Counting models have no interchangeable kernels."""
        return {}


def available() -> list[str]:
    """Names of all models: the public files of this folder."""
    files = Path(__file__).parent.glob("[!_]*.py")
    return sorted(file.stem for file in files)


def load(name: str) -> ModuleType:
    """Import models/<name>.py and nothing else; an unknown name is a ModelError listing the known."""
    if name not in available():
        raise ModelError(f"model {name!r} is unknown; available: {', '.join(available())}")
    return importlib.import_module(f"models.{name}")


def build(
    name: str, hyperparameters: dict, n_items: int, max_len: int
) -> SequenceModel | CountingModel:
    """Build a model for histories of up to max_len items; unknown hyper-parameters are refused."""
    module = load(name)
    known = [field.name for field in dataclasses.fields(module.Config)]
    unknown = sorted(set(hyperparameters) - set(known))
    if unknown:
        raise ModelError(
            f"model {name!r} has no hyper-parameter {unknown[0]!r}; it has: {', '.join(known)}"
        )
    config = module.Config(**hyperparameters)
    if not 0 <= getattr(config, "dropout", 0.0) < 1:
        raise ModelError(f"model {name!r}: dropout {config.dropout} is not in [0, 1)")
    return module.Model(config, n_items, max_len)

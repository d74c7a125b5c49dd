"""What every trained model shares: the loss over the catalogue and the scores of all items.

Letters as in models/__init__.py.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models import _kernels
from models._batch import Batch, gather_positions, lengths_of
from models._catalogue import catalogue_cross_entropy


class SequenceModel(nn.Module):
    """A trained next-item model: a query vector per user, scored against a table of items.

    every_position: pass positions through the last layers too that nothing reads, as RecBole and the
    authors of Mamba4Rec do; results differ by rounding only.
    """

    every_position = False
    cpu_positions = 8192  # of a batch to score: what passes from layer to layer stays in the cache

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
        """Mean cross-entropy of every target given the items before it, over items 1..n.

        Of a window with its last item as the only target, what nothing reads passes no last layer (``query``).
        """
        if batch.last_only and not self.every_position:
            history, targets = batch.before_last()
            return catalogue_cross_entropy(self.query(history), self.item_table(), targets)
        places = batch.target_places()  # (T,)
        hidden = self.hidden(batch.windows[:, :-1]).flatten(0, 1)[places]
        targets = batch.windows[:, 1:].flatten()[places]
        return catalogue_cross_entropy(hidden, self.item_table(), targets)

    def positions(self, lengths: np.ndarray) -> np.ndarray:
        """Positions that ``loss`` reads of windows of so many items, (W,) -> (W,): not the last item, a target alone."""
        return lengths - 1

    fresh_targets_only = False  # of overlapping windows: no loss on what an earlier one has

    def predictions(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Expected terms of ``loss`` in windows of so many positions and targets, (W,) each -> (W,): all, unless a model masks.

        A batch is filled by these, so that a step of every model has as many.
        """
        return targets

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
            return _kernels.scores(query.to(table.dtype), table, self)

    def backend_report(self) -> dict:
        """Which interchangeable kernels run on the device of the weights, by kind."""
        return {"kernels": _kernels.resolve(self.item_table().device)._asdict()}
